"""What a deployment becomes: the templates as reviewed, linted, scanned, and taken by moto."""

import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.validate import ParamValidator
from moto import mock_aws

from handler.settings import read_settings
from silt.cli import main
from silt.command_errors import DeploymentError
from silt.deployment.alarms import of_maintenance, of_topic
from silt.deployment.cloudformation import cloudformation, serverless
from silt.deployment.limits import ENVIRONMENT_MAX, POLICY_MAX, RESOURCES_MAX
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment
from silt.packaging.artifact import FUNCTIONS
from tests.artifacts import place_artifacts
from tests.builders import ROOT
from tests.deployments import write_contract, write_example

EXAMPLES = sorted((ROOT / "docs/deployments").glob("*.yml"))
SCAN = ROOT / ".venv-scan/bin"
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def template_of(example: Path) -> dict[str, Any]:
    return cloudformation(read_deployment(example))


def test_template_reports_artifacts_that_are_not_those_of_the_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Node.js nobody else looks before they are uploaded."""
    schemas = tmp_path / "schemas"
    shutil.copytree(ROOT / "schemas", schemas)
    file = write_example(tmp_path, contracts="schemas")
    monkeypatch.chdir(tmp_path)

    def missed() -> list[str]:
        assert main(["template", "deploy.yml"]) == 0
        answer = capsys.readouterr()
        yaml.safe_load(answer.out)
        return [line.split(" ")[0] for line in answer.err.splitlines()]

    names = [f"dist/silt-{function}-arm64-py3.13.zip" for function in FUNCTIONS]
    assert missed() == names
    place_artifacts(tmp_path, file)
    assert missed() == []
    orders = schemas / "orders.yaml"
    orders.write_text(orders.read_text() + "# of another stage\n")
    assert missed() == names


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = {k: r for k, r in template["Resources"].items() if r["Type"] == kind}
    return {key: resource.get("Properties", {}) for key, resource in found.items()}


@each_example
def test_template_is_as_it_was_reviewed(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["template", str(example)]) == 0
    printed = capsys.readouterr().out
    reviewed = (ROOT / "tests/snapshots" / example.name).read_text()
    assert printed == reviewed, "the template has changed: review it, and run: make snapshots"
    assert main(["template", str(example), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == yaml.safe_load(reviewed)


def test_templates_pass_cfn_lint() -> None:
    """It knows CloudFormation's schema of each resource, and IAM's actions."""
    files = [ROOT / "tests/snapshots" / example.name for example in EXAMPLES]
    # W3002: code that is a local path is for `aws cloudformation package`, as the guide says.
    done = subprocess.run(
        [SCAN / "cfn-lint", "--ignore-checks", "W3002", "--", *files],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.nightly
@each_example
def test_template_passes_the_policy_scan(example: Path, tmp_path: Path) -> None:
    config = (ROOT / ".checkov.yaml").read_text()
    if read_deployment(example).model.kms_key_arn is not None:
        # With a key nothing is excused that is for want of one.
        config = re.sub(r"  - CKV_AWS_(158|173)\n", "", config)
    (tmp_path / "checkov.yaml").write_text(config)
    file = ROOT / "tests/snapshots" / example.name
    done = subprocess.run(
        [SCAN / "checkov", "--config-file", tmp_path / "checkov.yaml", "-f", file, "-o", "json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    answer = json.loads(done.stdout)
    assert [check["check_id"] for check in answer["results"]["failed_checks"]] == []
    assert answer["summary"]["passed"] > 10
    assert answer["summary"]["parsing_errors"] == 0


def test_policy_scan_finds_what_is_wrong(tmp_path: Path) -> None:
    template = template_of(EXAMPLES[0])
    role = of_type(template, "AWS::IAM::Role")["TopicOrdersRole"]
    statement = role["Policies"][0]["PolicyDocument"]["Statement"][0]
    statement |= {"Action": ["*"], "Resource": ["*"]}
    for properties in of_type(template, "AWS::S3::Bucket").values():
        del properties["PublicAccessBlockConfiguration"]
    file = tmp_path / "template.json"
    file.write_text(json.dumps(template))
    done = subprocess.run(
        [SCAN / "checkov", "--config-file", ".checkov.yaml", "-f", file],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1
    assert "CKV_AWS_53" in done.stdout
    assert re.search("CKV_AWS_(63|107|109|111)", done.stdout)


def test_mapping_says_what_the_guarantees_need() -> None:
    template = template_of(ROOT / "docs/deployments/msk-scram.yml")
    mappings = of_type(template, "AWS::Lambda::EventSourceMapping")
    assert [m["Topics"] for m in mappings.values()] == [["orders"], ["clicks"], ["sensors"]]
    orders = mappings["TopicOrdersMapping"]
    assert orders["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert orders["ProvisionedPollerConfig"] == {
        "MinimumPollers": 1,
        "MaximumPollers": 2,
        "PollerGroupName": "silt",
    }
    assert orders["BisectBatchOnFunctionError"] is False
    assert orders["MaximumRetryAttempts"] == 100
    assert orders["MaximumRecordAgeInSeconds"] == -1
    assert orders["StartingPosition"] == "TRIM_HORIZON"
    assert orders["DestinationConfig"] == {
        "OnFailure": {"Destination": {"Fn::GetAtt": ["OnFailureBucket", "Arn"]}}
    }
    assert orders["MetricsConfig"]["Metrics"] == ["EventCount", "ErrorCount", "KafkaMetrics"]
    (access,) = orders["SourceAccessConfigurations"]
    assert access["Type"] == "SASL_SCRAM_512_AUTH"
    assert mappings["TopicClicksMapping"]["ProvisionedPollerConfig"]["MaximumPollers"] == 8
    assert mappings["TopicSensorsMapping"]["MaximumBatchingWindowInSeconds"] == 60
    groups = [
        m["AmazonManagedKafkaEventSourceConfig"]["ConsumerGroupId"] for m in mappings.values()
    ]
    assert groups == ["silt-scram-orders", "silt-scram-clicks", "silt-scram-sensors"]


def test_function_may_be_deployed_without_its_mapping(tmp_path: Path) -> None:
    """Between two consumer groups, since AWS takes no second mapping beside the first."""
    template = template_of(write_example(tmp_path, "mapping: {create: false}\n"))
    assert of_type(template, "AWS::Lambda::EventSourceMapping") == {}
    assert set(of_type(template, "AWS::Lambda::Function")) == {
        "TopicOrdersLambdaFunction",
        "MaintenanceLambdaFunction",
    }
    assert "OrdersMapping" not in json.dumps(template)
    whole = template_of(write_example(tmp_path))
    kept = of_type(whole, "AWS::IAM::Role").keys() | of_type(whole, "AWS::S3::Bucket").keys()
    assert kept <= template["Resources"].keys()


def test_mapping_on_demand_says_nothing_that_needs_provisioned_pollers() -> None:
    template = template_of(ROOT / "docs/deployments/on-demand.yml")
    (mapping,) = of_type(template, "AWS::Lambda::EventSourceMapping").values()
    of_provisioned = {
        *("ProvisionedPollerConfig", "FunctionResponseTypes", "BisectBatchOnFunctionError"),
        *("MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "DestinationConfig"),
        "LoggingConfig",
    }
    assert not of_provisioned & set(mapping)
    assert mapping["MetricsConfig"] == {"Metrics": ["EventCount"]}
    (function,) = of_type(template, "AWS::Lambda::Function").values()
    assert function["Environment"]["Variables"]["SILT_PARTIAL_BATCH_RESPONSE"] == "false"


def test_self_managed_mapping_names_its_secrets_and_its_network() -> None:
    template = template_of(ROOT / "docs/deployments/self-managed-sasl.yml")
    mapping = of_type(template, "AWS::Lambda::EventSourceMapping")["TopicOrdersMapping"]
    assert [access["Type"] for access in mapping["SourceAccessConfigurations"]] == [
        *("SASL_SCRAM_512_AUTH", "SERVER_ROOT_CA_CERTIFICATE"),
        *("VPC_SUBNET", "VPC_SUBNET", "VPC_SECURITY_GROUP"),
    ]
    assert mapping["StartingPositionTimestamp"] == 1795000000
    assert "EventSourceArn" not in mapping


# Every property of shared facts about the mapping that Silt sets or leaves on purpose.
SET_SOMEWHERE = {
    *("AmazonManagedKafkaEventSourceConfig", "BatchSize", "BisectBatchOnFunctionError"),
    *("DestinationConfig", "Enabled", "EventSourceArn", "FilterCriteria", "FunctionName"),
    *(
        "FunctionResponseTypes",
        "KmsKeyArn",
        "LoggingConfig",
        "MaximumBatchingWindowInSeconds",
        "MaximumRecordAgeInSeconds",
    ),
    *("MaximumRetryAttempts", "MetricsConfig", "ProvisionedPollerConfig", "SelfManagedEventSource"),
    *("SelfManagedKafkaEventSourceConfig", "SourceAccessConfigurations", "StartingPosition"),
    *("StartingPositionTimestamp", "Tags", "Topics"),
}


def test_every_property_of_a_kafka_mapping_is_set_by_some_example() -> None:
    found: set[str] = set()
    for example in EXAMPLES:
        for mapping in of_type(template_of(example), "AWS::Lambda::EventSourceMapping").values():
            found |= set(mapping)
    assert found == SET_SOMEWHERE


@each_example
def test_functions_know_their_topics_and_stay_in_their_roles(example: Path) -> None:
    template = template_of(example)
    functions = of_type(template, "AWS::Lambda::Function")
    roles = [function["Role"]["Fn::GetAtt"][0] for function in functions.values()]
    assert len(set(roles)) == len(roles) == len(of_type(template, "AWS::IAM::Role"))
    logs = of_type(template, "AWS::Logs::LogGroup")
    for function in functions.values():
        names = {log["LogGroupName"]: log for log in logs.values()}
        assert names[f"/aws/lambda/{function['FunctionName']}"]["RetentionInDays"] > 0
        variables = function["Environment"]["Variables"]
        assert variables["SILT_TOPICS"]
        assert variables["SILT_RUNTIME_LIMIT_S"] == str(function["Timeout"])


def test_environment_is_one_that_the_functions_start_with() -> None:
    for example in EXAMPLES:
        for function in of_type(template_of(example), "AWS::Lambda::Function").values():
            read_settings(function["Environment"]["Variables"])


@each_example
def test_buckets_are_private_encrypted_and_outlive_the_stack(example: Path) -> None:
    template = template_of(example)
    for key, bucket in of_type(template, "AWS::S3::Bucket").items():
        assert all(bucket["PublicAccessBlockConfiguration"].values())
        assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        # What a first deployment that failed has made goes, or the next would find it there.
        assert template["Resources"][key]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert template["Resources"][key]["UpdateReplacePolicy"] == "Retain"
        policy = template["Resources"][f"{key}Policy"]["Properties"]["PolicyDocument"]
        (statement,) = policy["Statement"]
        assert statement["Effect"] == "Deny"
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    expiring = of_type(template, "AWS::S3::Bucket").get("OnFailureBucket")
    if expiring is not None:
        assert expiring["LifecycleConfiguration"]["Rules"][0]["ExpirationInDays"] == 90


def test_no_alarm_watches_what_is_not_there(tmp_path: Path) -> None:
    """A mapping that is deployed disabled brings no data; on demand it has no metric of its lag."""
    for mapping, gone in (
        ("enabled: false", {"no-data"}),
        ("create: false", {"no-data", "lag-growing", "dropped", "given-up"}),
    ):
        file = write_example(tmp_path, f"mapping: {{{mapping}}}\n")
        deployment = read_deployment(file)
        there = {alarm.anchor for alarm in of_topic(deployment, deployment.topics[0])}
        assert not there & gone
        assert "errors" in there
    template = template_of(write_example(tmp_path, "mapping: {pollers: on_demand}\n"))
    lag = template["Resources"]["TopicOrdersLagGrowingAlarm"]["Properties"]["Metrics"][0]
    assert lag["MetricStat"]["Metric"]["MetricName"] == "OffsetLag"
    deployment = read_deployment(write_example(tmp_path))
    anchors = {alarm.anchor for alarm in of_topic(deployment, deployment.topics[0])}
    assert {"no-data", "lag-growing"} <= anchors


@each_example
def test_alarms_are_within_the_limits_of_cloudwatch(example: Path) -> None:
    for alarm in of_type(template_of(example), "AWS::CloudWatch::Alarm").values():
        period = alarm.get("Period") or alarm["Metrics"][0]["MetricStat"]["Period"]
        limit_s = 7 * 86_400 if period >= 3600 else 86_400
        assert period * alarm["EvaluationPeriods"] <= limit_s
        assert len(alarm["AlarmName"]) <= 255


def rings(alarm: dict[str, Any], every_s: int, count: int) -> bool:
    """Return whether an alarm rings for a breach that comes every so often, so many times."""
    period_s, within = alarm["Period"], alarm["EvaluationPeriods"]
    periods = {i * every_s // period_s for i in range(count)}
    return any(
        len(periods & {*range(end - within, end)}) >= alarm["DatapointsToAlarm"]
        for end in range(1, max(periods) + 2)
    )


@pytest.mark.parametrize("timeout_s", [60, 900])
def test_alarms_go_off_for_what_is_retried_slowly(timeout_s: int, tmp_path: Path) -> None:
    """A partition that is stuck is tried again once an invocation has ended, and once is no
    reason: it is delivered again.
    """
    file = write_example(tmp_path, f"function: {{timeout_s: {timeout_s}}}\n")
    resources = template_of(file)["Resources"]
    for key in ("Unsettled", "Errors", "ContractDrift"):
        alarm = resources[f"TopicOrders{key}Alarm"]["Properties"]
        assert rings(alarm, every_s=timeout_s, count=16)
        assert not rings(alarm, every_s=timeout_s, count=1)


@pytest.mark.parametrize("every_minutes", [1, 5, 60, 120, 1440])
def test_maintenance_that_fails_each_time_rings(every_minutes: int, tmp_path: Path) -> None:
    file = write_example(tmp_path, f"maintenance: {{every_minutes: {every_minutes}}}\n")
    resources = template_of(file)["Resources"]
    errors = resources["MaintenanceErrorsAlarm"]["Properties"]
    runs = 7200 // (60 * every_minutes) + 2
    assert rings(errors, every_s=60 * every_minutes, count=runs)
    assert not rings(errors, every_s=60 * every_minutes, count=1)
    missing = resources["MaintenanceMissingAlarm"]["Properties"]
    assert missing["Period"] >= 60 * every_minutes


def test_every_alarm_has_its_heading_in_the_guide() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    headings = set(re.findall(r"^### (.+)$", guide, re.MULTILINE))
    deployment = read_deployment(ROOT / "docs/deployments/msk-scram.yml")
    wanted = {alarm.anchor for t in deployment.topics for alarm in of_topic(deployment, t)}
    wanted |= {alarm.anchor for alarm in of_maintenance(5)}
    assert {heading.lower().replace(" ", "-") for heading in headings} >= wanted


def test_dashboard_is_json_of_metrics_that_exist() -> None:
    template = template_of(ROOT / "docs/deployments/msk-scram.yml")
    (dashboard,) = of_type(template, "AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    assert len(widgets) == 3 * 3 + 3
    keys = set(template["Resources"])
    text = dashboard["DashboardBody"]["Fn::Sub"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) <= keys


def of_topics(folder: Path, topics: list[str]) -> Deployment:
    """Return a deployment of many topics, each with a contract of its own."""
    for topic in topics:
        write_contract(folder / "schemas", topic, f"plant/{topic}")
    return read_deployment(write_example(folder, contracts="schemas", topics=json.dumps(topics)))


def test_deployment_beyond_the_limits_of_aws_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "long").mkdir()
    many = of_topics(tmp_path / "many", [f"t{i}" for i in range(60)])
    with pytest.raises(DeploymentError, match=rf"takes {RESOURCES_MAX}, of which .* Split"):
        cloudformation(many)
    long = of_topics(tmp_path / "long", [f"{i}{'t' * 240}" for i in range(20)])
    with pytest.raises(DeploymentError) as raised:
        cloudformation(long)
    policy, environment = raised.value.problems
    assert f"and a role takes {POLICY_MAX}" in policy
    assert f"and Lambda takes {ENVIRONMENT_MAX}" in environment
    (tmp_path / "some").mkdir()
    some = cloudformation(of_topics(tmp_path / "some", [f"topic-{i}" for i in range(25)]))
    assert len(some["Resources"]) > 400


def test_hundred_topics_have_no_more_outputs_than_a_stack_takes(tmp_path: Path) -> None:
    deployment = of_topics(tmp_path, [f"t{i}" for i in range(100)])
    file = Path(deployment.file)
    less = "alarms: {enabled: false}\nmaintenance: {enabled: false}\n"
    file.write_text(file.read_text() + less)
    template = serverless(read_deployment(file))["resources"]
    assert (
        len(template["Resources"]) == 302
    )  # role, log and mapping of each, and the bucket of failed batches
    assert len(template["Outputs"]) == 101
    nothing = "mapping: {create: false}\n"
    file.write_text(file.read_text() + nothing)
    assert "Outputs" not in cloudformation(read_deployment(file))


def test_moto_makes_the_stack(tmp_path: Path) -> None:
    """Goal: what CloudFormation would check by making it. Method: moto makes what it knows."""
    template = template_of(ROOT / "docs/deployments/msk-mtls.yml")
    # moto knows no mapping of Kafka, nor what refers to one.
    mappings = of_type(template, "AWS::Lambda::EventSourceMapping")
    for key in list(template["Resources"]):
        text = json.dumps(template["Resources"][key])
        if key in mappings or any(mapping in text for mapping in mappings):
            del template["Resources"][key]
    del template["Outputs"]
    for function in of_type(template, "AWS::Lambda::Function").values():
        function["Code"] = {"S3Bucket": "artifacts", "S3Key": "silt.zip"}
    with warnings.catch_warnings(), mock_aws():
        warnings.filterwarnings("ignore", message="Tried to parse", category=UserWarning)
        region = {"region_name": "eu-central-1"}
        session = boto3.Session("test", "test", **region)
        s3 = session.client("s3")
        s3.create_bucket(
            Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        s3.put_object(Bucket="artifacts", Key="silt.zip", Body=b"zip")
        stacks = session.client("cloudformation")
        stacks.create_stack(
            StackName="silt", TemplateBody=json.dumps(template), Capabilities=["CAPABILITY_IAM"]
        )
        (stack,) = stacks.describe_stacks(StackName="silt")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        functions = session.client("lambda").list_functions()["Functions"]
        assert len(functions) == 3
        roles = session.client("iam").list_roles()["Roles"]
        assert len(roles) == 3


@each_example
def test_apis_accept_alarms_and_mappings_in_shape(example: Path) -> None:
    """moto's CloudFormation makes neither, so they go to the API, whose shapes boto3 checks."""
    template = template_of(example)
    session = boto3.Session("test", "test", region_name="eu-central-1")
    with mock_aws():
        client = session.client("cloudwatch")
        alarms = of_type(template, "AWS::CloudWatch::Alarm")
        for properties in alarms.values():
            client.put_metric_alarm(**filled(properties))
        assert len(client.describe_alarms()["MetricAlarms"]) == len(alarms)
    operation = session.client("lambda").meta.service_model.operation_model(
        "CreateEventSourceMapping"
    )
    for properties in of_type(template, "AWS::Lambda::EventSourceMapping").values():
        answer = filled(properties)
        answer["Tags"] = {tag["Key"]: tag["Value"] for tag in answer.get("Tags", [])}
        if "KmsKeyArn" in answer:  # its name in the API
            answer["KMSKeyArn"] = answer.pop("KmsKeyArn")
        report = ParamValidator().validate(answer, operation.input_shape)
        assert not report.has_errors(), report.generate_report()


def filled(value: Any) -> Any:
    """Return a value of a template with a word instead of each reference."""
    if isinstance(value, dict):
        if set(value) & {"Ref", "Fn::GetAtt", "Fn::Sub"}:
            return "filled"
        return {key: filled(inner) for key, inner in value.items()}
    return [filled(inner) for inner in value] if isinstance(value, list) else value


def test_framework_gets_the_same_functions_and_resources() -> None:
    for example in EXAMPLES:
        deployment = read_deployment(example)
        whole, parts = cloudformation(deployment), serverless(deployment)
        functions = of_type(whole, "AWS::Lambda::Function")
        rest = {k: v for k, v in whole["Resources"].items() if k not in functions}
        assert parts["resources"]["Resources"] == rest
        names = {function["name"] for function in parts["functions"].values()}
        assert names == {function["FunctionName"] for function in functions.values()}
