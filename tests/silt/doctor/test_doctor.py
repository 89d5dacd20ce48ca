"""silt doctor on an account (moto, recorded answers) and on a disk: each finding with its fix."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from handler.health import Finding
from silt.cli import main
from silt.deployment.functions import functions_of
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment
from silt.doctor.aws import Account, clock
from silt.doctor.resolve import resolved
from tests.builders import ROOT, SMALL, event, function_for, record
from tests.deployments import write_example
from tests.lambda_api import RECORDED, LambdaApi, served
from tests.moto_account import moto_account

ON_FAILURE = "silt-onfailurebucket-1abcdefghijkl"


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return read_deployment(ROOT / "docs/deployments/msk-iam.yml")


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


@pytest.fixture
def api(deployment: Deployment) -> Iterator[tuple[LambdaApi, str]]:
    answer = LambdaApi(deployment)
    with served(answer) as endpoint:
        yield answer, endpoint


@pytest.fixture
def account(
    api: tuple[LambdaApi, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[LambdaApi, Any]]:
    """Yield an account: moto is STS, S3 and CloudWatch; Lambda and IAM give recorded answers."""
    answer, endpoint = api
    recorded = {"AWS_ENDPOINT_URL_LAMBDA": endpoint, "AWS_ENDPOINT_URL_IAM": endpoint}
    with moto_account() as variables:
        for name, value in {**variables, **recorded}.items():
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
                        {"Name": "EventSourceMappingUUID", "Value": answer.mappings[0]["UUID"]}
                    ],
                    "Timestamp": dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2),
                    "Value": 1234,
                }
            ],
        )
        yield answer, session


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
    answer = json.loads(capsys.readouterr().out)
    for finding in answer["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    assert answer["healthy"] == (code == 0)
    return code, found


def test_doctor_finds_nothing_wrong_with_a_deployment(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    code, found = doctor(capsys)
    states = {c: [f["state"] for f in each] for c, each in found.items()}
    assert code == 0, found
    assert states["credentials"] == states["clock"] == ["ok"]
    buckets = {f["subject"]: f["reason"] for f in found["bucket"]}
    assert buckets == dict.fromkeys(("my-lake", ON_FAILURE), "in eu-central-1")
    assert states["function"] == ["ok", "ok"]
    assert states["mapping"] == states["partial responses"] == ["ok"]
    assert found["lag"][0]["reason"] == "1,234 records behind at most"
    assert answer.invoked == ["silt-orders", "silt--maintenance"]
    assert [f["reason"] for f in found["build"]] == ["0.1.0+abc"] * 2
    assert [f["state"] for f in found["role"]] == ["ok", "ok"]
    asked = {arn for form in answer.simulated for key, (arn,) in form.items() if "Resource" in key}
    assert "arn:aws:s3:::my-lake/tables/sales/orders/x" in asked
    assert "arn:aws:s3:::silt-onfailurebucket-1abcdefghijkl/aws/lambda/x" in asked


def test_doctor_names_everything_that_is_wrong_with_a_fix(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    function = answer.functions["silt-orders"]
    function["MemorySize"] = 1024
    function["Environment"]["Variables"] = {
        **function["Environment"]["Variables"],
        "SILT_GENERATION": "7",
        "SILT_EXTRA": "x",
    }
    answer.mappings[0]["FunctionResponseTypes"] = []
    answer.mappings[0]["State"] = "Disabled"
    answer.health["findings"] = [
        Finding("put", "sales/orders", "wrong", "403", "Allow s3:PutObject").as_json()
    ]
    code, found = doctor(capsys)
    assert code == 1
    reasons = [f["reason"] for f in found["function settings"]]
    assert "MemorySize is 1024, and deploy.yml makes it 512" in reasons
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
    answer, _session = account
    answer.denied = {"s3:PutObject"}
    code, found = doctor(capsys)
    assert code == 1
    denied = [f for f in found["role"] if f["state"] == "wrong"]
    assert denied[0]["reason"].startswith("s3:PutObject on arn:aws:s3:::my-lake/tables/")
    assert "writes data files and commits" in denied[0]["fix"]


def test_doctor_that_may_not_simulate_says_what_to_allow(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    answer.simulator = 403
    code, found = doctor(capsys, "--no-invoke")
    assert code == 0
    assert {f["state"] for f in found["role"]} == {"unknown"}
    assert "iam:SimulatePrincipalPolicy" in found["role"][0]["fix"]
    assert answer.invoked == []
    assert {f["state"] for f in found["conditional put"]} == {"ok"}  # from this machine instead


def test_doctor_reports_a_function_that_cannot_start(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    answer.error = True
    answer.health = {"errorType": "SettingsError", "errorMessage": "SILT_TABEL_ROOT"}
    code, found = doctor(capsys)
    assert code == 1
    assert found["health"][0]["reason"] == "SettingsError: SILT_TABEL_ROOT"


def test_doctor_before_the_first_deployment_tries_the_bucket_from_this_machine(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, session = account
    answer.functions.clear()
    code, found = doctor(capsys)
    assert code == 1
    assert [f["reason"] for f in found["function"]] == ["it is not deployed"] * 2
    assert {f["state"] for f in found["conditional put"]} == {"ok"}
    keys = [o["Key"] for o in session.client("s3").list_objects(Bucket="my-lake")["Contents"]]
    assert keys == [f"tables/sales/orders{s}/_silt_probe/probe" for s in ("", "__dead_letters")]
    assert answer.invoked == []


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
    answer, _session = account
    file = write_example(tmp_path, "mapping: {create: false}\n")
    answer.mappings.clear()
    assert main(["doctor", str(file), "--json"]) == 0
    told_of = {f["check"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert "mapping" not in told_of
    answer.mappings += RECORDED["EventSourceMappings"]
    assert main(["doctor", str(file), "--json"]) == 1
    reasons = [f["reason"] for f in json.loads(capsys.readouterr().out)["findings"]]
    assert "1 mapping from this topic to silt-orders; expected none" in reasons


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
    file = write_example(tmp_path, "mapping: {pollers: on_demand}\n")
    main(["doctor", str(file), "--json"])
    (lag,) = [f for f in json.loads(capsys.readouterr().out)["findings"] if f["check"] == "lag"]
    assert lag["reason"] == "77 records behind at most"


def test_next_deployment_is_looked_at_alone(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    code, found = doctor(capsys, "--before-deploy")
    assert code == 0
    assert set(found) == {"credentials"}
    assert answer.invoked == answer.simulated == []
    answer.mappings[0]["StartingPosition"] = "LATEST"
    code, found = doctor(capsys, "--before-deploy")
    assert code == 1
    assert "recreate-a-mapping" in found["starting position"][0]["fix"]
    answer.functions.clear()  # nothing is deployed yet
    code, found = doctor(capsys, "--before-deploy")
    assert code == 0
    assert set(found) == {"credentials"}


def test_next_deployment_that_cannot_be_looked_at_is_stopped(
    account: tuple[LambdaApi, Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:9")
    code, found = doctor(capsys, "--before-deploy")
    assert code == 1
    (finding,) = found["function"]
    assert finding["state"] == "wrong"
    assert "--param=look=false" in finding["fix"]


def test_next_deployment_is_looked_at_in_its_own_account(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    _told, _session = account
    assert doctor(capsys, "--before-deploy", "--account", "123456789012")[0] == 0
    code, found = doctor(capsys, "--before-deploy", "--account", "210987654321")
    assert code == 1
    assert "what deploys uses 210987654321" in found["credentials"][-1]["reason"]


def test_what_topics_share_is_reported_once(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer, _session = account
    file = write_example(tmp_path, topics="[orders, sensors]")
    answer.functions |= LambdaApi(read_deployment(file)).functions
    answer.mappings.append({**answer.mappings[0], "Topics": ["sensors"]})
    main(["doctor", str(file), "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {f["subject"] for f in findings if f["check"] == "mapping"} >= {"orders", "sensors"}
    buckets = [f["subject"] for f in findings if f["check"] == "bucket"]
    assert buckets == ["my-lake", ON_FAILURE]


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
    answer, _session = account
    answer.health = body
    code, found = doctor(capsys)
    assert code == 0
    assert {f["state"] for f in found["health"]} == {"unknown"}


def test_doctor_says_where_the_environment_may_not_be_read(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    answer.functions["silt-orders"]["Environment"] = {
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
        "it is in us-west-2, the functions are in eu-central"
    )


def test_doctor_counts_mappings(
    account: tuple[LambdaApi, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, _session = account
    answer.mappings *= 2
    code, found = doctor(capsys)
    assert code == 1
    assert found["mapping"][0]["reason"] == (
        "2 mappings from this topic to silt-orders; expected one"
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
    assert "ok  table, sales/orders: does not exist yet; the first record creates it" in out
    assert "clicks" not in out
    log = tmp_path / "sales/orders/_delta_log"
    log.mkdir()
    (log / f"{0:020}.json").write_text("no Delta")
    assert main(["doctor", "--table-root", str(tmp_path), "--topic", "orders"]) == 1
    out = capsys.readouterr().out
    assert "WRONG  table, sales/orders:" in out
    assert "-> Fix the contract or the table." in out


@pytest.mark.parametrize(("sites", "warned"), [(10, False), (11, True)])
def test_doctor_warns_of_appends_with_many_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sites: int, warned: bool
) -> None:
    contract = SMALL + "  site: {type: string}\npartition_by: [site]\n"
    function = function_for(tmp_path, contract)
    for start in range(0, 200, 50):
        batch = [record(i, {"id": i, "site": f"s{i % sites}"}) for i in range(start, start + 50)]
        batch.append(record(start, b"a reject's file is not of a partition", partition=1))
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    rejects = [record(200, b"no row at all", partition=1)]
    assert function.handle(event(rejects), None) == {"batchItemFailures": []}
    logged = capsys.readouterr().out
    assert ('"many_files":[11.0]' in logged) is warned
    where = ["--table-root", str(tmp_path / "tables"), "--contracts", str(tmp_path / "contracts")]
    assert main(["doctor", *where]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert ("files, sales/orders: in the median its last 4 appends put 11 files" in out) is warned
    assert ("Partition by something that few values" in out) is warned


def test_files_of_batches_that_were_committed_together_count_for_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    contract = SMALL + "  site: {type: string}\npartition_by: [site]\n"
    function = function_for(tmp_path, contract)
    for start in (0, 50):
        batch = [record(i, {"id": i, "site": f"s{i % 12}"}) for i in range(start, start + 50)]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    for path in (tmp_path / "tables/sales/orders/_delta_log").glob("*.json"):
        path.write_text(path.read_text().replace('"silt":{', '"silt":{"batches":2,'))
    where = ["--table-root", str(tmp_path / "tables"), "--contracts", str(tmp_path / "contracts")]
    assert main(["doctor", *where]) == 0
    assert "appends put" not in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yml"], "nowhere.yml cannot be read"),
        (["docs/deployments/msk-iam.yml", "--topic", "clicks"], "has no topic clicks, only orders"),
        (["docs/deployments/msk-iam.yml", "--table-root", "x"], "Give either --table-root alone"),
        (["--table-root", "x", "--bootstrap-servers", "k:1"], "Give either --table-root alone"),
        (["--kafka", "x"], "--kafka takes NAME=VALUE"),
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
