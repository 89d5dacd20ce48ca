"""The command: what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest

from silt import output
from silt.cli import COMMANDS, main
from silt.local.s3 import LocalS3
from tests.builders import ROOT
from tests.deployments import write_example
from tests.reader import rows_of_folder


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)
    assert main([]) == 2


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_of_each_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"silt {command}" in capsys.readouterr().out.split("example")[1]


def test_check_of_good_and_bad_contracts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "schemas"]) == 0
    assert "3 contracts and deploy.yml, no problems" in capsys.readouterr().out
    (tmp_path / "x.yaml").write_text("topic: t\ntable: t\ncolumns: {a: {type: strng}}\n")
    assert main(["check", str(tmp_path)]) == 1
    assert "Did you mean 'string'?" in capsys.readouterr().err
    assert main(["check", str(tmp_path), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_replay_of_every_sample_and_golden_event(tmp_path: Path) -> None:
    for file in sorted(
        [*(ROOT / "events").glob("*.json"), *(ROOT / "events/golden").glob("*.json")]
    ):
        root = str(tmp_path / file.stem)
        assert main(["replay", str(file), "--table-root", root, "--dry-run"]) == 0
        assert not (tmp_path / file.stem).exists()
        for _ in range(2):
            assert main(["replay", str(file), "--table-root", root]) == 0


def test_replay_says_what_would_be_and_then_what_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["replay", "events/orders.json", "--table-root", str(tmp_path), "--json"]
    assert main([*arguments, "--dry-run"]) == 0
    (dry,) = json.loads(capsys.readouterr().out)
    assert dry["would"] == {"append": 5, "dead_letter": 1, "leave_unsettled": 0}
    assert [r["code"] for r in dry["rejects"]] == ["bad_decimal", "wrong_type"]
    assert main(arguments) == 0
    (done,) = json.loads(capsys.readouterr().out)
    assert (done["appended"], done["dead_lettered"], done["skipped_by_rule"]) == (5, 1, 1)
    assert main(arguments) == 0
    (again,) = json.loads(capsys.readouterr().out)
    assert (again["appended"], again["duplicates"], again["versions"]) == (0, 6, {})
    assert len(rows_of_folder(tmp_path / "sales" / "orders")) == 5


def test_replay_of_a_failure_record_of_aws(tmp_path: Path) -> None:
    file = "events/golden/on-failure-s3.json"
    assert main(["replay", file, "--table-root", str(tmp_path)]) == 0
    assert rows_of_folder(tmp_path / "sales" / "orders", "order_id") == [("g-1",)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["replay", "events/orders.json", "--table-root", "t", "--generation", "x"],
            "SILT_GENERATION is 'x'",
        ),
        (["check", "nowhere"], "there is no contract here"),
        (["replay", "events/orders.json", "--table-root", "s3://b/p"], "no AWS credentials"),
    ],
)
def test_wrong_input_is_named(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


def test_dev_refuses_wrong_settings(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["dev", "--bootstrap-servers", "127.0.0.1:1", "--topic"]
    assert main([*base, "nothing"]) == 2
    assert "There is no contract for 'nothing'" in capsys.readouterr().err
    assert main([*base, "orders", "--batch-size", "0"]) == 2
    assert "BatchSize is from 1" in capsys.readouterr().err


def test_profiles_of_boto_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    from silt.credentials import use_credentials_for

    config = tmp_path / "credentials"
    config.write_text(
        "[work]\naws_access_key_id = K\naws_secret_access_key = S\naws_session_token = T\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    use_credentials_for("/local/path")
    assert "AWS_ACCESS_KEY_ID" not in os.environ
    use_credentials_for("s3://lake/x")
    assert os.environ["AWS_ACCESS_KEY_ID"] == "K"
    assert os.environ["AWS_SESSION_TOKEN"] == "T"
    assert os.environ["AWS_REGION"] == "eu-west-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "x.json: this is not an event"),
        ('{"a":' + "9" * 5000 + "}", "x.json: this is not an event"),
        ('{"payload":"{"}', "x.json: payload: this is not valid JSON"),
    ],
)
def test_odd_files_are_named(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.json").write_text(text)
    assert main(["replay", str(tmp_path / "x.json"), "--table-root", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def deployment(s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the deployment of a self-managed cluster, with its tables on the local S3."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    root = f"s3://{s3.bucket}/{tmp_path.name}"
    return write_example(tmp_path, example="self-managed-sasl", table_root=root)


def test_replay_for_a_deployment_is_as_its_functions_are(
    s3: LocalS3, deployment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = deployment.read_text()
    deployment.write_text(text + "function: {generation: 3}\n")
    command = ["replay", "events/golden/self-managed.json", "--json"]
    command += ["--deployment", str(deployment)]
    assert main(command) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["appended"] + answer["dead_lettered"] == answer["delivered"] == 1
    listed = s3.client().list_objects_v2(Bucket=s3.bucket, Prefix=tmp_path.name)["Contents"]
    commits = [o["Key"] for o in listed if o["Key"].endswith(".json")]
    log = "".join(
        s3.client().get_object(Bucket=s3.bucket, Key=key)["Body"].read().decode() for key in commits
    )
    assert '"warehouse/orders/0/3"' in log  # the cluster's name, and the generation
    other = "{topic: sensors, function: {generation: 1}}"
    mixed = text.replace("[orders, sensors]", f"[orders, {other}]")
    deployment.write_text(mixed)
    assert main(command) == 2
    assert "have the generations 0, 1. Replay topic by topic" in capsys.readouterr().err
    assert main([*command, "--generation", "3"]) == 0


@pytest.mark.parametrize("command", ["status", "audit", "maintain"])
def test_tables_of_a_deployment_are_where_it_says(
    command: str, deployment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = ["--deployment", str(deployment)]
    assert main(["replay", "events/golden/self-managed.json", *answer]) == 0
    capsys.readouterr()
    assert main([command, "sales/orders", *answer, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["version"] >= 0


def test_places_are_by_option_then_deployment_then_environment(
    deployment: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SILT_TABLE_ROOT", "/environment")
    monkeypatch.setenv("SILT_CONTRACTS", str(ROOT / "schemas"))
    answer = ["--deployment", str(deployment)]
    where = []
    for given in ([*answer, "--table-root", "/option"], answer, []):
        assert main(["status", "sales/orders", "--json", *given]) == 1  # no table is there yet
        (found,) = json.loads(capsys.readouterr().out)
        where.append(found["uri"])
    in_bucket = f"s3://lake/{deployment.parent.name}/sales/orders"
    assert where == ["/option/sales/orders", in_bucket, "/environment/sales/orders"]
    monkeypatch.delenv("SILT_TABLE_ROOT")
    monkeypatch.chdir(deployment.parent)
    assert main(["maintain"]) == 0
    captured = capsys.readouterr()
    assert "Tables in .silt/tables (the default)." in captured.err
    assert "there is no table yet" in captured.out


def test_what_is_printed_is_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Names with colons are no pictures, and brackets are no colors."""
    text = "topic:x:y[red], :key:"
    output.say(text)
    output.complain(text)
    output.table("t", ["name"], [[text]])
    answer = capsys.readouterr()
    assert answer.out.count(text) == 2
    assert answer.err == text + "\n"
