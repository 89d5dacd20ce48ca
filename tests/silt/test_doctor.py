"""silt doctor: each finding with its fix, on recorded answers, on moto, on a broker, on a disk."""

import copy
import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.validate import ParamValidator
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from moto.server import ThreadedMotoServer

from handler.health import Finding
from silt import broker as broker_module
from silt.cli import main
from silt.deployment.functions import functions_of, lambda_function
from silt.deployment.mappings import event_source_mapping
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment
from silt.doctor import kafka as kafka_module
from silt.doctor.aws import Account, clock
from silt.doctor.kafka import _committed as committed_of
from silt.doctor.kafka import of_topic
from silt.doctor.mapping import of_mapping, of_others
from silt.doctor.resolve import resolved
from tests.builders import ROOT

RECORDED = json.loads((ROOT / "events/aws/event-source-mapping.json").read_text())
"""An answer of ListEventSourceMappings in the shape that the API's model has."""
ON_FAILURE = "silt-onfailurebucket-1abcdefghijkl"
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


def test_clock_is_compared_to_the_second() -> None:
    now = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
    assert clock(now, now + dt.timedelta(seconds=3)).state == "ok"
    late = clock(now, now - dt.timedelta(minutes=5))
    assert (late.state, late.reason) == ("wrong", "300 s behind AWS's")


def test_resources_of_policies_are_resolved_as_cloudformation_does(deployment: Deployment) -> None:
    pseudo = {"AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": "1"}
    made = {"OnFailureBucket": "arn:aws:s3:::made"}
    function = functions_of(deployment)[0]
    arns = {
        resolved(r, pseudo, made) for statement in function.statements for r in statement.resources
    }
    assert "arn:aws:s3:::my-lake/tables/sales/orders/*" in arns
    assert "arn:aws:s3:::made/aws/lambda/*" in arns
    assert not [arn for arn in arns if "{" in arn]


SIMULATED = """<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{}
</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"""


class LambdaApi:
    """The APIs of Lambda and of IAM's simulator over HTTP, in the shapes of their models.

    `denied` are actions that the simulator denies; `simulator` is its status.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        for function in functions_of(deployment):
            made = lambda_function(deployment.model, function)["Properties"]
            role = f"arn:aws:iam::123456789012:role/{function.key}"
            own = {"State": "Active", "LastUpdateStatus": "Successful", "Role": role}
            self.functions[function.name] = {**made, **own}
        self.mappings = copy.deepcopy(RECORDED["EventSourceMappings"])
        self.health: dict[str, Any] = {
            "build": "0.1.0+abc",
            "healthy": True,
            "findings": [Finding("table", "sales/orders", "ok", "version 3").as_json()],
        }
        self.error = False
        self.invoked: list[str] = []
        self.denied: set[str] = set()
        self.simulator = 200
        self.simulated: list[dict[str, list[str]]] = []

    def simulate(self, body: bytes) -> bytes:
        form = parse_qs(body.decode())
        self.simulated.append(form)
        members = ""
        for key, (action,) in form.items():
            if key.startswith("ActionNames"):
                decision = "implicitDeny" if action in self.denied else "allowed"
                resource = form["ResourceArns.member.1"][0]
                members += (
                    f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}"
                    f"</EvalResourceName><EvalDecision>{decision}</EvalDecision></member>"
                )
        return SIMULATED.format(members).encode()

    def answer(self, path: str) -> tuple[int, Any]:
        parts = urlsplit(path)
        match parts.path.strip("/").split("/"):
            case [_, "event-source-mappings"]:
                return 200, {"EventSourceMappings": self.mappings}
            case [_, "functions", name, "configuration"] if name in self.functions:
                return 200, self.functions[name]
            case [_, "functions", name, "invocations"]:
                self.invoked.append(name)
                return 200, self.health
        return 404, {"Type": "User", "Message": f"Function not found: {parts.path}"}


@pytest.fixture
def api(deployment: Deployment) -> Iterator[tuple[LambdaApi, str]]:
    told = LambdaApi(deployment)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = told.answer(self.path)
            self._reply(status, json.dumps(body).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/":
                self._reply(told.simulator, told.simulate(body))
            else:
                self.do_GET()

        def _reply(self, status: int, payload: bytes) -> None:
            self.send_response(status)
            if status == 404:
                self.send_header("x-amzn-ErrorType", "ResourceNotFoundException")
            if told.error and self.path.endswith("invocations"):
                self.send_header("X-Amz-Function-Error", "Unhandled")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield told, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def account(
    api: tuple[LambdaApi, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LambdaApi, Any]]:
    """Yield an account: moto is STS, S3 and CloudWatch; Lambda and IAM give recorded answers."""
    told, endpoint = api
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL_LAMBDA": endpoint,
        "AWS_ENDPOINT_URL_IAM": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    session = boto3.Session(region_name="eu-central-1")
    for bucket in ("my-lake", ON_FAILURE):
        session.client("s3").create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
    session.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {
                "MetricName": "MaxOffsetLag",
                "Dimensions": [
                    {"Name": "EventSourceMappingUUID", "Value": told.mappings[0]["UUID"]}
                ],
                "Timestamp": dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2),
                "Value": 1234,
            }
        ],
    )
    yield told, session
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    server.stop()


def test_mappings_that_cannot_be_listed_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what filters them needed for that: a cluster of one's own has no ARN."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for filters in ({}, {"FunctionName": "silt-orders"}):
        found = Account("eu-central-1").mappings(**filters)
        assert isinstance(found, Finding)
        assert found.state == "unknown"


def doctor(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Run the command; return its exit code and its findings by check."""
    example = str(ROOT / "docs/deployments/msk-iam.yml")
    code = main(["doctor", example, "--json", *arguments])
    found: dict[str, list[dict[str, Any]]] = {}
    told = json.loads(capsys.readouterr().out)
    for finding in told["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    assert told["healthy"] == (code == 0)
    return code, found


def test_doctor_finds_a_deployment_well(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    code, found = doctor(capsys)
    states = {c: [f["state"] for f in each] for c, each in found.items()}
    assert code == 0, found
    assert states["credentials"] == states["clock"] == ["ok"]
    buckets = {f["subject"]: f["reason"] for f in found["bucket"]}
    assert buckets == dict.fromkeys(("my-lake", ON_FAILURE), "in eu-central-1")
    assert states["function"] == ["ok", "ok"]
    assert states["mapping"] == states["partial responses"] == ["ok"]
    assert found["lag"][0]["reason"] == "1,234 records behind at most"
    assert told.invoked == ["silt-orders", "silt--maintenance"]
    assert [f["reason"] for f in found["build"]] == ["0.1.0+abc"] * 2
    assert [f["state"] for f in found["role"]] == ["ok", "ok"]
    asked = {arn for form in told.simulated for key, (arn,) in form.items() if "Resource" in key}
    assert "arn:aws:s3:::my-lake/tables/sales/orders/x" in asked
    assert "arn:aws:s3:::silt-onfailurebucket-1abcdefghijkl/aws/lambda/x" in asked


def test_doctor_names_everything_that_is_wrong_with_a_fix(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    function = told.functions["silt-orders"]
    function["MemorySize"] = 512
    function["Environment"]["Variables"] = {
        **function["Environment"]["Variables"],
        "SILT_GENERATION": "7",
        "SILT_EXTRA": "x",
    }
    told.mappings[0]["FunctionResponseTypes"] = []
    told.mappings[0]["State"] = "Disabled"
    told.health["findings"] = [
        Finding("put", "sales/orders", "wrong", "403", "Allow s3:PutObject").as_json()
    ]
    code, found = doctor(capsys)
    assert code == 1
    reasons = [f["reason"] for f in found["function settings"]]
    assert "MemorySize is 512, and deploy.yml makes it 1769" in reasons
    assert "SILT_GENERATION is '7', and deploy.yml makes it '0'" in reasons
    assert "SILT_EXTRA is 'x', and deploy.yml makes it None" in reasons
    assert found["partial responses"][0]["state"] == "wrong"
    assert found["mapping"][0]["state"] == "wrong"
    assert found["put"][0]["fix"] == "Allow s3:PutObject"
    for findings in found.values():
        assert all("fix" in f for f in findings if f["state"] not in ("ok",)), findings


def test_doctor_names_what_a_role_may_not_do(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    told.denied = {"s3:PutObject"}
    code, found = doctor(capsys)
    assert code == 1
    denied = [f for f in found["role"] if f["state"] == "wrong"]
    assert denied[0]["reason"].startswith("s3:PutObject on arn:aws:s3:::my-lake/tables/")
    assert "puts data files and commits" in denied[0]["fix"]


def test_doctor_that_may_not_simulate_says_what_to_allow(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    told.simulator = 403
    code, found = doctor(capsys, "--no-invoke")
    assert code == 0
    assert {f["state"] for f in found["role"]} == {"unknown"}
    assert "iam:SimulatePrincipalPolicy" in found["role"][0]["fix"]
    assert told.invoked == []
    assert {f["state"] for f in found["conditional put"]} == {"ok"}  # from this machine instead


def test_doctor_tells_a_function_that_cannot_start(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    told.error = True
    told.health = {"errorType": "SettingsError", "errorMessage": "SILT_TABEL_ROOT"}
    code, found = doctor(capsys)
    assert code == 1
    assert found["health"][0]["reason"] == "SettingsError: SILT_TABEL_ROOT"


def test_doctor_before_the_first_deployment_tries_the_bucket_from_this_machine(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, session = account
    told.functions.clear()
    code, found = doctor(capsys)
    assert code == 1
    assert [f["reason"] for f in found["function"]] == ["it is not deployed"] * 2
    assert {f["state"] for f in found["conditional put"]} == {"ok"}
    keys = [o["Key"] for o in session.client("s3").list_objects(Bucket="my-lake")["Contents"]]
    assert keys == [f"tables/sales/orders{s}/_silt_probe/probe" for s in ("", "__dead_letters")]
    assert told.invoked == []


def test_doctor_without_a_bucket_says_how_to_make_one(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _told, session = account
    session.client("s3").delete_bucket(Bucket="my-lake")
    code, found = doctor(capsys)
    assert code == 1
    assert found["bucket"][0]["reason"] == "there is no such bucket"
    assert "create_bucket" in found["bucket"][0]["fix"]


def test_doctor_expects_no_mapping_where_none_is_to_be_made(
    account: tuple[LambdaApi, Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    told, _session = account
    text = (ROOT / "docs/deployments/msk-iam.yml").read_text()
    text = text.replace("../../schemas", str(ROOT / "schemas"))
    file = tmp_path / "deploy.yml"
    file.write_text(text + "mapping: {create: false}\n")
    told.mappings.clear()
    assert main(["doctor", str(file), "--json"]) == 0
    told_of = {f["check"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert "mapping" not in told_of
    told.mappings += RECORDED["EventSourceMappings"]
    assert main(["doctor", str(file), "--json"]) == 1
    reasons = [f["reason"] for f in json.loads(capsys.readouterr().out)["findings"]]
    assert "1 mappings give this topic to silt-orders; expected none" in reasons


def test_lag_on_demand_is_the_functions(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _told, session = account
    session.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {
                "MetricName": "OffsetLag",
                "Dimensions": [{"Name": "FunctionName", "Value": "silt-orders"}],
                "Timestamp": dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2),
                "Value": 77,
            }
        ],
    )
    text = (ROOT / "docs/deployments/msk-iam.yml").read_text()
    file = tmp_path / "deploy.yml"
    file.write_text(
        text.replace("../../schemas", str(ROOT / "schemas")) + "mapping: {pollers: on_demand}\n"
    )
    main(["doctor", str(file), "--json"])
    (lag,) = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["check"] == "lag"]
    assert lag["reason"] == "77 records behind at most"


def test_doctor_with_a_profile_that_is_not_there_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    code, found = doctor(capsys)
    assert code == 1
    assert "nobody" in found["credentials"][0]["reason"]


@pytest.mark.parametrize(
    "body", [None, {}, {"batchItemFailures": []}, {"build": "1", "findings": [1]}]
)
def test_doctor_takes_no_answer_of_another_kind_for_health(
    body: Any, account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    told.health = body
    code, found = doctor(capsys)
    assert code == 0
    assert {f["state"] for f in found["health"]} == {"unknown"}


def test_doctor_says_where_the_environment_may_not_be_read(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    told.functions["silt-orders"]["Environment"] = {
        "Error": {"ErrorCode": "AccessDeniedException", "Message": "kms:Decrypt"}
    }
    code, found = doctor(capsys)
    assert code == 0
    assert found["function settings"][0]["state"] == "unknown"
    assert found["partial responses"][0]["state"] == "ok"


def test_bucket_of_another_region_is_a_warning(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _told, session = account
    session.client("s3").delete_bucket(Bucket="my-lake")
    boto3.Session(region_name="us-west-2").client("s3").create_bucket(
        Bucket="my-lake", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    _code, found = doctor(capsys)
    assert found["bucket"][0]["state"] == "warning"
    assert found["bucket"][0]["reason"].startswith(
        "it is in us-west-2, the functions in eu-central"
    )


def test_doctor_counts_mappings(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    told, _session = account
    told.mappings *= 2
    code, found = doctor(capsys)
    assert code == 1
    assert found["mapping"][0]["reason"] == (
        "2 mappings give this topic to silt-orders; expected one"
    )


def test_doctor_without_credentials_asks_nothing_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    code, found = doctor(capsys)
    assert code == 1
    assert set(found) == {"deployment", "credentials", "kafka"}
    assert found["kafka"][0]["state"] == "unknown"
    assert "aws sso login" in found["credentials"][0]["fix"]


def test_doctor_of_tables_on_a_disk(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["doctor", "--table-root", str(tmp_path), "--topic", "orders"]) == 0
    out = capsys.readouterr().out
    assert "ok  table, sales/orders: not there yet; the first record makes it" in out
    assert "clicks" not in out
    log = tmp_path / "sales/orders/_delta_log"
    log.mkdir()
    (log / f"{0:020}.json").write_text("no Delta")
    assert main(["doctor", "--table-root", str(tmp_path), "--topic", "orders"]) == 1
    out = capsys.readouterr().out
    assert "WRONG  table, sales/orders:" in out
    assert "-> Mend the contract or the table." in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yml"], "nowhere.yml cannot be read"),
        (["docs/deployments/msk-iam.yml", "--topic", "clicks"], "has no topic clicks, only orders"),
        (["docs/deployments/msk-iam.yml", "--table-root", "x"], "Give either --table-root alone"),
        (["--table-root", "x", "--bootstrap-servers", "k:1"], "Give either --table-root alone"),
        (["--kafka-option", "x"], "--kafka-option 'x' is no NAME=VALUE"),
        (["--table-root", "x", "--topic", "nothing"], "There is no contract for nothing"),
    ],
)
def test_doctor_used_wrongly_ends_with_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["doctor", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_doctor_of_a_broken_deployment_names_its_problems(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "deploy.yml").write_text("name: silt\n")
    assert main(["doctor", str(tmp_path / "deploy.yml")]) == 1
    assert "`region` is missing" in capsys.readouterr().out


def test_broker_topic_group_and_lag_are_told(servers: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for number in range(10):
        producer.produce("orders", b"x", partition=number % 2)
    producer.flush(10)

    def look(limit: int = 5) -> dict[str, Finding]:
        return {f.check: f for f in of_topic(servers, "orders", "silt-orders", limit, {})}

    found = look()
    assert found["kafka"].state == found["topic"].state == "ok", found
    assert found["topic"].reason == "4 partitions"
    assert found["group"].state == "warning"
    assert found["group"].reason == "silt-orders has committed nothing yet; 10 records wait"
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "silt-orders"})
    places = [TopicPartition("orders", 0, 2), TopicPartition("orders", 1, 5)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    assert look()["group"].reason == "silt-orders is 3 records behind, in 2 of 4 partitions"
    assert look(limit=2)["group"].state == "warning"


def test_topic_that_is_not_there_is_told(whole_kafka: str) -> None:
    found = {f.check: f for f in of_topic(whole_kafka, "no-such-topic", "g", 5, {})}
    assert found["topic"].state == "wrong"
    assert "Make the topic" in found["topic"].fix


def test_coordinator_that_is_being_found_is_waited_for() -> None:
    """A group's first look-up makes a broker find, or make, its coordinator."""

    class Waiting:
        def __init__(self, *answers: int | None) -> None:
            self.answers = list(answers)

        def committed(self, places: list[Any], timeout: float) -> list[Any]:
            code = self.answers.pop(0)
            if code is not None:
                raise KafkaException(KafkaError(code))
            return places

    places = [TopicPartition("orders", 0, 3)]
    late = Waiting(KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, None)
    assert committed_of(late, places) == places
    with pytest.raises(KafkaException):
        committed_of(Waiting(KafkaError.GROUP_AUTHORIZATION_FAILED), places)


def test_setting_of_the_client_that_is_none_is_told() -> None:
    (finding,) = of_topic("127.0.0.1:9", "orders", "g", 5, {"foo": "bar"})
    assert (finding.check, finding.state) == ("kafka", "wrong")
    assert "foo" in finding.reason


def test_broker_out_of_reach_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_module, "METADATA_LIMIT_S", 1.0)
    assert broker_module.METADATA_LIMIT_S > 1.0
    (finding,) = of_topic("127.0.0.1:9", "orders", "g", 5, {})
    assert (finding.check, finding.state) == ("kafka", "wrong")
    assert "--kafka-option" in finding.fix
