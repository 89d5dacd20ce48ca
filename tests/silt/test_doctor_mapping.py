"""silt doctor on a mapping: recorded answers of the API, as they are and with changes."""

import copy
import datetime as dt
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from handler.health import Finding
from silt.deployment.mappings import event_source_mapping
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment
from silt.doctor.mapping import of_mapping, of_others
from tests.builders import ROOT
from tests.lambda_api import RECORDED

ENVIRONMENT = {"SILT_PARTIAL_BATCH_RESPONSE": "true"}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return read_deployment(ROOT / "docs/deployments/msk-iam.yml")


def found_of(
    deployment: Deployment, environment: Any = ENVIRONMENT, **changes: Any
) -> list[Finding]:
    """Return what is found of the recorded mapping with some changes; None takes a key away."""
    told = copy.deepcopy(RECORDED["EventSourceMappings"][0])
    for key, value in changes.items():
        told[key] = value
        if value is None:
            del told[key]
    wanted = event_source_mapping(deployment, deployment.topics[0])["Properties"]
    return list(of_mapping("orders", told, wanted, environment))


def test_recorded_answer_has_the_shape_of_the_api() -> None:
    client = boto3.Session("test", "test", region_name="eu-central-1").client("lambda")
    shape = client.meta.service_model.operation_model("ListEventSourceMappings").output_shape
    answer = copy.deepcopy(RECORDED)
    for mapping in answer["EventSourceMappings"]:
        mapping["LastModified"] = dt.datetime.fromtimestamp(mapping["LastModified"], dt.UTC)
    assert not ParamValidator().validate(answer, shape).has_errors()


def test_mapping_as_deployed_is_well(deployment: Deployment) -> None:
    assert {finding.state for finding in found_of(deployment)} == {"ok"}


@pytest.mark.parametrize(
    ("changes", "check", "state", "words"),
    [
        ({"State": "Disabled"}, "mapping", "wrong", "Enable it"),
        ({"State": "Updating"}, "mapping", "warning", "Wait some minutes"),
        (
            {"LastProcessingResult": "PROBLEM: SASL authentication failed"},
            "mapping result",
            "wrong",
            "#authentication",
        ),
        (
            {"LastProcessingResult": "PROBLEM: Connection error. Please check your VPC"},
            "mapping result",
            "wrong",
            "#networks",
        ),
        ({"LastProcessingResult": "PROBLEM: Topic not found"}, "mapping result", "wrong", "topic"),
        (
            {"LastProcessingResult": "PROBLEM: Function call failed"},
            "mapping result",
            "wrong",
            "log",
        ),
        ({"FunctionResponseTypes": []}, "partial responses", "wrong", "RESPONSE=false"),
        ({"ProvisionedPollerConfig": None}, "partial responses", "wrong", "RESPONSE=false"),
        ({"DestinationConfig": None}, "on-failure destination", "wrong", "on_failure: true"),
        (
            {"DestinationConfig": {"OnFailure": {"Destination": "arn:aws:sqs:eu:1:q"}}},
            "on-failure destination",
            "warning",
            "Use a bucket",
        ),
        ({"MaximumRetryAttempts": -1}, "on-failure destination", "warning", "retry_attempts"),
        ({"BisectBatchOnFunctionError": True}, "bisect", "wrong", "Turn it off"),
        (
            {"SelfManagedKafkaEventSourceConfig": {"ConsumptionMode": "Queue"}},
            "consumption mode",
            "wrong",
            "Use Stream",
        ),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": "{}"}]}},
            "filters",
            "warning",
            "Deploy again",
        ),
        ({"MetricsConfig": {"Metrics": []}}, "mapping settings", "warning", "Deploy again"),
        ({"StartingPosition": "LATEST"}, "starting position", "warning", "trim_horizon"),
        ({"BatchSize": 100}, "mapping settings", "warning", "Deploy again"),
        (
            {"AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "other"}},
            "consumer group",
            "warning",
            "Only a new mapping",
        ),
        (
            {
                "AmazonManagedKafkaEventSourceConfig": {
                    "ConsumerGroupId": "silt-orders",
                    "SchemaRegistryConfig": {"EventRecordFormat": "SOURCE"},
                }
            },
            "schema registry",
            "wrong",
            "EventRecordFormat: JSON",
        ),
        (
            {
                "AmazonManagedKafkaEventSourceConfig": {
                    "ConsumerGroupId": "silt-orders",
                    "SchemaRegistryConfig": {"EventRecordFormat": "JSON"},
                }
            },
            "schema registry",
            "warning",
            "rejects",
        ),
    ],
)
def test_what_is_wrong_with_a_mapping_is_found_with_its_fix(
    changes: dict[str, Any], check: str, state: str, words: str, deployment: Deployment
) -> None:
    found = {finding.check: finding for finding in found_of(deployment, **changes)}
    assert found[check].state == state
    assert words in found[check].fix
    others = [f for f in found.values() if f.state == "wrong" and f.check != check]
    assert others == []


def test_function_that_raises_beside_a_mapping_that_honours_responses_is_only_slower(
    deployment: Deployment,
) -> None:
    found = found_of(deployment, {"SILT_PARTIAL_BATCH_RESPONSE": "false"})
    (finding,) = [f for f in found if f.check == "partial responses"]
    assert finding.state == "warning"
    none = {"FunctionResponseTypes": None, "ProvisionedPollerConfig": None}
    found = found_of(deployment, {"SILT_PARTIAL_BATCH_RESPONSE": "false"}, **none)
    (finding,) = [f for f in found if f.check == "partial responses"]
    assert finding.state == "ok"


def test_mapping_that_is_deployed_disabled_on_purpose_is_a_warning(deployment: Deployment) -> None:
    told = {**RECORDED["EventSourceMappings"][0], "State": "Disabled"}
    wanted = event_source_mapping(deployment, deployment.topics[0])["Properties"]
    found = list(of_mapping("orders", told, {**wanted, "Enabled": False}, ENVIRONMENT))
    assert (found[0].check, found[0].state) == ("mapping", "warning")


def test_other_mappings_of_the_topic_are_named() -> None:
    own = RECORDED["EventSourceMappings"][0]
    other = {**own, "FunctionArn": own["FunctionArn"].replace("silt-orders", "search-index")}
    clicks = {**other, "Topics": ["clicks"]}
    (finding,) = of_others("orders", "silt-orders", own, [own, other, clicks])
    assert finding.reason == "search-index reads it too, as silt-orders"


def test_other_mappings_of_a_cluster_of_ones_own_are_told_by_its_brokers() -> None:
    def of(function: str, server: str) -> dict[str, Any]:
        return {
            "FunctionArn": f"arn:aws:lambda:eu-central-1:123456789012:function:{function}",
            "Topics": ["orders"],
            "SelfManagedEventSource": {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": [server, "b:1"]}},
            "SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": f"{function}-group"},
        }

    own, other = of("silt-orders", "a:1"), of("search-index", "c:1")
    elsewhere = {**of("x", "d:1"), "SelfManagedEventSource": {"Endpoints": {"K": ["e:1"]}}}
    (finding,) = of_others("orders", "silt-orders", own, [own, other, elsewhere])
    assert finding.reason == "search-index reads it too, as search-index-group"
