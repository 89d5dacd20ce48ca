"""silt doctor on a mapping: recorded answers of the API, as they are and with changes."""

import copy
import datetime as dt
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from handler.health import Finding
from silt.deployment.functions import functions_of
from silt.deployment.mappings import event_source_mapping
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment
from silt.doctor.mapping_check import of_change, of_mapping, of_others
from tests.builders import ROOT
from tests.deployments import write_example
from tests.lambda_api import RECORDED

ENVIRONMENT = {"SILT_PARTIAL_BATCH_RESPONSE": "true"}


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return read_deployment(ROOT / "docs/deployments/msk-iam.yml")


def found_of(
    deployment: Deployment, environment: Any = ENVIRONMENT, **changes: Any
) -> list[Finding]:
    """Return what is found of the recorded mapping with some changes; None takes a key away."""
    response = copy.deepcopy(RECORDED["EventSourceMappings"][0])
    for key, value in changes.items():
        response[key] = value
        if value is None:
            del response[key]
    wanted = event_source_mapping(deployment, deployment.topics[0])["Properties"]
    return list(of_mapping("orders", response, wanted, environment))


def test_recorded_answer_has_the_shape_of_the_api() -> None:
    client = boto3.Session("test", "test", region_name="eu-central-1").client("lambda")
    shape = client.meta.service_model.operation_model("ListEventSourceMappings").output_shape
    answer = copy.deepcopy(RECORDED)
    for mapping in answer["EventSourceMappings"]:
        mapping["LastModified"] = dt.datetime.fromtimestamp(mapping["LastModified"], dt.UTC)
    assert not ParamValidator().validate(answer, shape).has_errors()


def test_mapping_as_deployed_is_ok(deployment: Deployment) -> None:
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
        ({"StartingPosition": "LATEST"}, "starting position", "warning", "#recreate-a-mapping"),
        (
            {"StartingPositionTimestamp": dt.datetime(2026, 11, 25, tzinfo=dt.UTC)},
            "starting position",
            "warning",
            "#recreate-a-mapping",
        ),
        ({"EventSourceArn": "arn:aws:kafka:x"}, "cluster", "warning", "#recreate-a-mapping"),
        ({"BatchSize": 100}, "mapping settings", "warning", "Deploy again"),
        (
            {"AmazonManagedKafkaEventSourceConfig": {"ConsumerGroupId": "other"}},
            "consumer group",
            "warning",
            "#recreate-a-mapping",
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
            "rejected",
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


def test_function_that_raises_beside_a_mapping_that_honors_responses_is_only_slower(
    deployment: Deployment,
) -> None:
    found = found_of(deployment, {"SILT_PARTIAL_BATCH_RESPONSE": "false"})
    (finding,) = [f for f in found if f.check == "partial responses"]
    assert finding.state == "warning"
    none = {"FunctionResponseTypes": None, "ProvisionedPollerConfig": None}
    found = found_of(deployment, {"SILT_PARTIAL_BATCH_RESPONSE": "false"}, **none)
    (finding,) = [f for f in found if f.check == "partial responses"]
    assert finding.state == "ok"


def made(folder: Path, mapping: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return mapping and variables that a deployment with these settings would make."""
    deployment = read_deployment(write_example(folder, f"mapping: {{{mapping}}}\n"))
    properties = event_source_mapping(deployment, deployment.topics[0])["Properties"]
    return properties, functions_of(deployment)[0].environment


def of_next(folder: Path, live: str, wanted: str, **changes: Any) -> list[str]:
    """Return what is wrong with deploying `wanted` over `live`, whose mapping has changes."""
    response, before = made(folder, live)
    then, after = made(folder, wanted)
    found = list(of_change("orders", {**response, **changes}, then, before, after))
    assert {finding.state for finding in found} <= {"wrong"}
    return [finding.check for finding in found]


@pytest.mark.parametrize(
    ("live", "wanted", "is_safe"),
    [
        ("pollers: {maximum: 4}", "pollers: {maximum: 8}", True),
        ("pollers: {maximum: 4}", "pollers: on_demand", False),
        ("pollers: on_demand", "pollers: {maximum: 4}", False),
        # The two deployments of the guide, from one to the other.
        ("pollers: on_demand", "partial_batch_response: false", True),
        ("partial_batch_response: false", "pollers: {maximum: 4}", True),
        # And back.
        ("pollers: {maximum: 4}", "partial_batch_response: false", True),
        ("partial_batch_response: false", "pollers: on_demand", True),
    ],
)
def test_between_pollers_and_on_demand_there_are_two_deployments(
    live: str, wanted: str, is_safe: bool, tmp_path: Path
) -> None:
    """Whichever of function and mapping is updated first, no answer is taken for what it is not."""
    assert of_next(tmp_path, live, wanted) == ([] if is_safe else ["partial responses"])


def test_what_loses_records_already_may_be_deployed_over(tmp_path: Path) -> None:
    response, _whole = made(tmp_path, "pollers: on_demand")
    wanted, single = made(tmp_path, "pollers: {maximum: 4}")
    assert list(of_change("orders", response, wanted, single, single)) == []


@pytest.mark.parametrize(
    ("live", "wanted", "is_safe"),
    [
        ("pollers: on_demand", "pollers: {maximum: 4}", False),
        ("pollers: {maximum: 4}", "pollers: on_demand", False),
        ("pollers: on_demand", "pollers: on_demand, window_s: 9", True),
        ("pollers: {maximum: 4}", "pollers: {maximum: 8}", True),
    ],
)
def test_function_whose_variables_may_not_be_read_is_taken_to_fit_its_mapping(
    live: str, wanted: str, is_safe: bool, tmp_path: Path
) -> None:
    response, _hidden = made(tmp_path, live)
    then, after = made(tmp_path, wanted)
    found = list(of_change("orders", response, then, None, after))
    assert (found == []) is is_safe


def test_mapping_that_reads_nothing_loses_nothing(tmp_path: Path) -> None:
    """The guide begins with a mapping that is disabled: then all may be changed at once."""
    steps = ("pollers: on_demand, enabled: false", "pollers: {maximum: 4}, enabled: false")
    for live, wanted in (steps, steps[::-1]):
        assert of_next(tmp_path, live, wanted, State="Disabled") == []
    assert of_next(tmp_path, steps[0], "pollers: {maximum: 4}", State="Disabled") == []
    # What reads at the end may be what a failed update leaves beside the old function.
    assert of_next(tmp_path, steps[1], "pollers: on_demand", State="Disabled") != []


@pytest.mark.parametrize("on", ["pollers: on_demand", "pollers: {maximum: 4}"])
def test_function_fails_batches_whole_while_its_mapping_goes_away(on: str, tmp_path: Path) -> None:
    """CloudFormation removes the mapping at the end, and the function is changed before."""
    response, before = made(tmp_path, on)
    _gone, after = made(tmp_path, f"{on}, create: false")
    assert after["SILT_PARTIAL_BATCH_RESPONSE"] == "false"
    assert list(of_change("orders", response, response, before, after)) == []


@pytest.mark.parametrize(
    "left_out", ["StartingPosition", "AmazonManagedKafkaEventSourceConfig", "EventSourceArn"]
)
def test_what_the_api_leaves_out_is_no_difference(left_out: str, tmp_path: Path) -> None:
    assert of_next(tmp_path, "", "", **{left_out: None}) == []


@pytest.mark.parametrize(
    ("wanted", "check"),
    [
        ("consumer_group: other", "consumer group"),
        ("starting_position: latest", "starting position"),
        ("starting_position: at_timestamp, starting_timestamp: 5", "starting position"),
    ],
)
def test_what_makes_a_second_mapping_is_found_before(
    wanted: str, check: str, tmp_path: Path
) -> None:
    assert of_next(tmp_path, "", wanted) == [check]


def test_brokers_of_a_mapping_are_those_of_its_cluster() -> None:
    """In any order; another one is another event source."""
    deployment = read_deployment(ROOT / "docs/deployments/self-managed-sasl.yml")
    wanted = event_source_mapping(deployment, deployment.topics[0])["Properties"]
    response = copy.deepcopy(wanted)
    endpoints = response["SelfManagedEventSource"].pop("Endpoints")
    servers = endpoints["KafkaBootstrapServers"]
    own = response["SelfManagedEventSource"]
    own["Endpoints"] = {"KAFKA_BOOTSTRAP_SERVERS": servers[::-1]}
    assert list(of_change("orders", response, wanted, ENVIRONMENT, ENVIRONMENT)) == []
    own["Endpoints"] = {"KAFKA_BOOTSTRAP_SERVERS": [*servers, "more:9092"]}
    (finding,) = of_change("orders", response, wanted, ENVIRONMENT, ENVIRONMENT)
    assert (finding.check, finding.state) == ("cluster", "wrong")


def test_filters_that_a_list_does_not_show_are_not_missed(deployment: Deployment) -> None:
    """Encrypted ones are null in a list."""
    (response,) = [
        f for f in found_of(deployment, KMSKeyArn="arn:aws:kms:x") if f.check == "filters"
    ]
    assert response.state == "unknown"


@pytest.mark.parametrize("pollers", [None, {"MinimumPollers": 1, "MaximumPollers": 9}])
def test_settings_that_differ_say_how_they_are_changed(
    pollers: Any, deployment: Deployment
) -> None:
    found = found_of(deployment, ProvisionedPollerConfig=pollers)
    (finding,) = [f for f in found if f.check == "mapping settings"]
    assert ("two deployments" in finding.fix) == (pollers is None)


def test_mapping_that_is_deployed_disabled_on_purpose_is_a_warning(deployment: Deployment) -> None:
    response = {**RECORDED["EventSourceMappings"][0], "State": "Disabled"}
    wanted = event_source_mapping(deployment, deployment.topics[0])["Properties"]
    found = list(of_mapping("orders", response, {**wanted, "Enabled": False}, ENVIRONMENT))
    assert (found[0].check, found[0].state) == ("mapping", "warning")


def test_other_mappings_of_the_topic_are_named() -> None:
    own = RECORDED["EventSourceMappings"][0]
    other = {**own, "FunctionArn": own["FunctionArn"].replace("silt-orders", "search-index")}
    clicks = {**other, "Topics": ["clicks"]}
    (finding,) = of_others("orders", "silt-orders", own, [own, other, clicks])
    assert finding.reason == "search-index reads it too, as silt-orders"


def test_other_mappings_of_a_self_managed_cluster_are_known_by_its_brokers() -> None:
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
