"""The Lambda functions of a deployment: one a topic, one of maintenance, each with role and log."""

from dataclasses import dataclass, field
from typing import Any

from silt.deployment.deploy_yml import DeploymentModel
from silt.deployment.mapping_section import Vpc
from silt.deployment.names import function_key, function_name, maintenance_name
from silt.deployment.permissions import Statement, of_maintenance, of_topic, policy
from silt.deployment.plan import Deployment, TopicDeployment
from silt.packaging.artifact import DIST, artifact_name

MAINTENANCE_KEY = "Maintenance"
DEADLINE_MARGIN_MS = 3000
STORAGE_MIN_MB, STORAGE_MAX_MB = 512, 10_240
"""Of /tmp, which a function has and may have ('Lambda quotas')."""


@dataclass(frozen=True, slots=True)
class LambdaFunction:
    """One function, as both the framework and CloudFormation need it.

    `key` begins its logical ids; `artifact` is the zip of `silt package`, below dist/.
    """

    key: str
    name: str
    description: str
    handler: str
    artifact: str
    memory_mb: int
    timeout_s: int
    environment: dict[str, str]
    statements: list[Statement] = field(repr=False)
    storage_mb: int = STORAGE_MIN_MB
    reserved_concurrency: int | None = None
    vpc: Vpc | None = None

    @property
    def log_group(self) -> str:
        """Return the name of its log group, Lambda's default."""
        return f"/aws/lambda/{self.name}"


def functions_of(deployment: Deployment) -> list[LambdaFunction]:
    """Return the functions of a deployment: those of the topics, then maintenance."""
    model = deployment.model
    result = [
        LambdaFunction(
            key=function_key(topic.topic),
            name=function_name(model.name, topic.topic),
            description=_description(topic)[:256],
            handler="handler.app.lambda_handler",
            artifact=artifact_name("ingest", deployment.target),
            memory_mb=topic.function.memory_mb,
            timeout_s=topic.function.timeout_s,
            environment={
                **_environment(deployment),
                "SILT_TOPICS": topic.topic,
                "SILT_GENERATION": str(topic.function.generation),
                "SILT_PARTIAL_BATCH_RESPONSE": _flag(topic.partial_batch_response),
                "SILT_HEALTH_CHECK": _flag(topic.function.health_check),
                "SILT_LOG_LEVEL": topic.function.log_level,
                "SILT_DEADLINE_MARGIN_MS": str(DEADLINE_MARGIN_MS),
                "SILT_RUNTIME_LIMIT_S": str(topic.function.timeout_s),
            },
            statements=of_topic(deployment, topic),
            reserved_concurrency=topic.function.reserved_concurrency,
            vpc=topic.function.vpc,
        )
        for topic in deployment.topics
    ]
    if model.maintenance.enabled:
        result.append(_maintenance(deployment))
    return result


def _maintenance(deployment: Deployment) -> LambdaFunction:
    model = deployment.model
    return LambdaFunction(
        key=MAINTENANCE_KEY,
        name=maintenance_name(model.name),
        description="Silt: checkpoints, compaction and cleaning of all tables",
        handler="handler.maintenance.lambda_handler",
        artifact=artifact_name("maintenance", deployment.target),
        memory_mb=model.maintenance.memory_mb,
        timeout_s=model.maintenance.timeout_s,
        environment={
            **_environment(deployment),
            "SILT_TOPICS": ",".join(topic.topic for topic in deployment.topics),
            "SILT_LOG_LEVEL": model.function.log_level,
            "SILT_RUNTIME_LIMIT_S": str(model.maintenance.timeout_s),
        },
        statements=of_maintenance(deployment),
        storage_mb=model.maintenance.storage_mb or _storage_mb(deployment),
        vpc=model.maintenance.vpc,
    )


def _description(topic: TopicDeployment) -> str:
    tables = [contract.table for contract in topic.contracts]
    noun = "table" if len(tables) == 1 else "tables"
    return f"Silt: topic {topic.topic} into {noun} {', '.join(tables)}"


def _storage_mb(deployment: Deployment) -> int:
    """Return how much room the engine gets: it spills there only where it sorts."""
    upkeeps = [
        upkeep
        for topic in deployment.topics
        for contract in topic.contracts
        for upkeep in (contract.upkeep, contract.dead_letter_upkeep)
    ]
    return STORAGE_MAX_MB if any(upkeep.sort_by for upkeep in upkeeps) else STORAGE_MIN_MB


def _environment(deployment: Deployment) -> dict[str, str]:
    model = deployment.model
    result = {
        "SILT_NAME": model.name,
        "SILT_TABLE_ROOT": model.table_root,
        "SILT_CONTRACTS": "schemas",
    }
    if deployment.source is not None:
        result["SILT_SOURCE"] = deployment.source
    return result


def _flag(value: bool) -> str:
    return "true" if value else "false"


def tags_of(model: DeploymentModel) -> dict[str, Any]:
    """Return the `Tags` property of a resource, nothing where there are no tags."""
    if not model.tags:
        return {}
    return {"Tags": [{"Key": key, "Value": value} for key, value in sorted(model.tags.items())]}


def role_and_log(model: DeploymentModel, function: LambdaFunction) -> dict[str, Any]:
    """Return the role, with its policy, and the log group of a function, by logical id."""
    role: dict[str, Any] = {
        "AssumeRolePolicyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "lambda.amazonaws.com"},
                    "Action": "sts:AssumeRole",
                }
            ],
        },
        "Policies": [{"PolicyName": "silt", "PolicyDocument": policy(function.statements)}],
        **tags_of(model),
    }
    if model.permissions_boundary is not None:
        role["PermissionsBoundary"] = model.permissions_boundary
    log: dict[str, Any] = {
        "LogGroupName": function.log_group,
        "RetentionInDays": model.log_days,
        **tags_of(model),
    }
    if model.kms_key_arn is not None:
        log["KmsKeyId"] = model.kms_key_arn
    return {
        f"{function.key}Role": {"Type": "AWS::IAM::Role", "Properties": role},
        f"{function.key}LogGroup": {
            "Type": "AWS::Logs::LogGroup",
            # Logs of a removed stack go with it; tables and failed batches do not.
            "DeletionPolicy": "Delete",
            "UpdateReplacePolicy": "Delete",
            "Properties": log,
        },
    }


def lambda_function(model: DeploymentModel, function: LambdaFunction) -> dict[str, Any]:
    """Return the function as a resource of CloudFormation; its code is a local path.

    `aws cloudformation package` puts the path's file on S3 and its place there instead of it.
    """
    properties: dict[str, Any] = {
        "FunctionName": function.name,
        "Description": function.description,
        "Runtime": f"python{model.python}",
        "Architectures": [model.architecture],
        "Handler": function.handler,
        "Code": (DIST / function.artifact).as_posix(),
        "Role": {"Fn::GetAtt": [f"{function.key}Role", "Arn"]},
        "MemorySize": function.memory_mb,
        "Timeout": function.timeout_s,
        "Environment": {"Variables": function.environment},
        **tags_of(model),
    }
    if function.storage_mb != STORAGE_MIN_MB:
        properties["EphemeralStorage"] = {"Size": function.storage_mb}
    if function.reserved_concurrency is not None:
        properties["ReservedConcurrentExecutions"] = function.reserved_concurrency
    if model.kms_key_arn is not None:
        properties["KmsKeyArn"] = model.kms_key_arn
    if function.vpc is not None:
        properties["VpcConfig"] = {
            "SubnetIds": function.vpc.subnets,
            "SecurityGroupIds": function.vpc.security_groups,
        }
    return {
        "Type": "AWS::Lambda::Function",
        "DependsOn": [f"{function.key}LogGroup"],
        "Properties": properties,
    }
