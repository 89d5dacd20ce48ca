"""The event source mapping of a topic: each value, and why the guarantees need it."""

from typing import Any

from silt.deployment.deploy_yml import DeploymentModel
from silt.deployment.functions import tags_of
from silt.deployment.mapping_section import Msk, Pollers, SelfManaged
from silt.deployment.names import function_key, on_failure_arn
from silt.deployment.plan import Deployment, TopicDeployment

RETRY_ATTEMPTS = 100
"""Where none are given. A bad record needs no retry at all: what fails is the store, a permission,
or a batch that the circuit breaker stopped. Hours of retries outlast most of that, and a partition
that waits longer than its topic's retention would lose records."""
_TYPES = {
    "plain": "BASIC_AUTH",
    "scram": "SASL_SCRAM_512_AUTH",
    "scram_256": "SASL_SCRAM_256_AUTH",
    "scram_512": "SASL_SCRAM_512_AUTH",
    "mtls": "CLIENT_CERTIFICATE_TLS_AUTH",
}


def event_source_mapping(deployment: Deployment, topic: TopicDeployment) -> dict[str, Any]:
    """Return the resource of a topic's mapping.

    It is `AWS::Lambda::EventSourceMapping` itself, because the framework's `kafka` and `msk` events
    can say neither bounds on retries nor destinations, partial responses, metrics or logging.
    """
    model, mapping = deployment.model, topic.mapping
    key = function_key(topic.topic)
    properties: dict[str, Any] = {
        "FunctionName": {"Fn::GetAtt": [f"{key}LambdaFunction", "Arn"]},
        "Topics": [topic.topic],
        "Enabled": mapping.enabled,
        # Full batches: a commit costs the same for one record and for 10,000.
        "BatchSize": mapping.batch_size,
        "MaximumBatchingWindowInSeconds": mapping.window_s,
        # From the oldest record: LATEST can miss some while the mapping is being created.
        "StartingPosition": mapping.starting_position.upper(),
        # What an alarm needs: batches that were given up or dropped.
        "MetricsConfig": {"Metrics": ["EventCount"]},
        **_source(model, topic),
    }
    if mapping.starting_timestamp is not None:
        properties["StartingPositionTimestamp"] = mapping.starting_timestamp
    if mapping.pollers is not None:
        properties |= _provisioned(topic, mapping.pollers)
    if topic.on_failure:
        # S3 alone keeps the records themselves, so that a replay needs no broker.
        bucket = on_failure_arn(model.on_failure.bucket)
        properties["DestinationConfig"] = {"OnFailure": {"Destination": bucket}}
    if mapping.filters:
        patterns = [{"Pattern": pattern} for pattern in mapping.filters]
        properties["FilterCriteria"] = {"Filters": patterns}
        if model.kms_key_arn is not None:
            properties["KmsKeyArn"] = model.kms_key_arn  # of the filters, nothing else
    properties |= tags_of(model)
    made: dict[str, Any] = {"Type": "AWS::Lambda::EventSourceMapping"}
    if model.create_bucket:
        made["DependsOn"] = ["TableBucketPolicy"]  # no event before there is a place for its rows
    return {**made, "Properties": properties}


def _provisioned(topic: TopicDeployment, pollers: Pollers) -> dict[str, Any]:
    """Return what AWS honors with provisioned pollers alone."""
    mapping = topic.mapping
    config: dict[str, Any] = {"MinimumPollers": pollers.minimum, "MaximumPollers": pollers.maximum}
    if pollers.group is not None:
        config["PollerGroupName"] = pollers.group
    return {
        "ProvisionedPollerConfig": config,
        # Only what is unsettled is delivered again; without it AWS treats every answer as a
        # success. It stays where the function fails batches whole: then no answer has an unsettled
        # record.
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        # Off: a half of a batch that the circuit breaker stopped would stay below its limit.
        "BisectBatchOnFunctionError": False,
        # The lag too; and why a mapping cannot connect ('Event source mapping logging').
        "MetricsConfig": {"Metrics": ["EventCount", "ErrorCount", "KafkaMetrics"]},
        "LoggingConfig": {"SystemLogLevel": "WARN"},
        # Bounded only with a destination: without one the end of the attempts is a loss.
        "MaximumRetryAttempts": retry_attempts(topic),
        "MaximumRecordAgeInSeconds": mapping.record_age_s,
    }


def retry_attempts(topic: TopicDeployment) -> int:
    """Return how often a batch is tried again before it is given up; -1 is endless."""
    given = topic.mapping.retry_attempts
    if given is not None:
        return given
    return RETRY_ATTEMPTS if topic.on_failure else -1


def _source(model: DeploymentModel, topic: TopicDeployment) -> dict[str, Any]:
    if model.msk is not None:
        return _msk(model.msk, topic.group)
    assert model.self_managed is not None
    return _self_managed(model.self_managed, topic.group)


def _msk(msk: Msk, group: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "EventSourceArn": msk.cluster_arn,
        "AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": group},
    }
    if msk.secret_arn is not None:
        # IAM needs none: it is what a mapping of MSK does by itself.
        result["SourceAccessConfigurations"] = [
            {"Type": _TYPES[msk.authentication], "URI": msk.secret_arn}
        ]
    return result


def _self_managed(cluster: SelfManaged, group: str) -> dict[str, Any]:
    access = []
    if cluster.secret_arn is not None:
        access.append({"Type": _TYPES[cluster.authentication], "URI": cluster.secret_arn})
    if cluster.root_ca_secret_arn is not None:
        access.append({"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": cluster.root_ca_secret_arn})
    if cluster.vpc is not None:
        access += [{"Type": "VPC_SUBNET", "URI": f"subnet:{s}"} for s in cluster.vpc.subnets]
        access += [
            {"Type": "VPC_SECURITY_GROUP", "URI": f"security_group:{each}"}
            for each in cluster.vpc.security_groups
        ]
    result: dict[str, Any] = {
        "SelfManagedEventSource": {
            # Sorted, because another order would be another event source, and need a new mapping.
            "Endpoints": {"KafkaBootstrapServers": sorted(cluster.bootstrap_servers)}
        },
        "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": group},
    }
    if access:
        result["SourceAccessConfigurations"] = access
    return result
