"""silt dev at the terminal: what it says of rejects, of retries, and of what cannot work."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import KafkaError, KafkaException, Producer

from silt.cli import main
from silt.kafka_options import explain_failure
from silt.local.broker import EmbeddedBroker
from tests.builders import ROOT, SMALL, event, function_for, rows
from tests.reader import rows_of_folder

Dev = Callable[..., int]
BREAKER = SMALL + "circuit_breaker: {ratio: 0.5, min_records: 10}\n"


@pytest.fixture(scope="module")
def cluster() -> EmbeddedBroker:
    return EmbeddedBroker()


@pytest.fixture
def dev(cluster: EmbeddedBroker, tmp_path: Path, request: pytest.FixtureRequest) -> Dev:
    """Produce values to a topic of the test's own, and run the command on it."""
    topic = f"orders-{time.time_ns()}"

    def run(values: list[Any], *more: str, contract: str = SMALL, root: str = "tables") -> int:
        folder = tmp_path / "contracts"
        folder.mkdir(exist_ok=True)
        (folder / "c.yaml").write_text(contract.replace("topic: orders", f"topic: {topic}"))
        producer = Producer({"bootstrap.servers": cluster.servers, "log_level": 0})
        for value in values:
            sent = value if isinstance(value, bytes) else json.dumps(value)
            producer.produce(topic, value=sent, partition=0)
        producer.flush(10)
        return main(
            [
                *["dev", "--bootstrap-servers", cluster.servers, "--topic", topic],
                *["--contracts", str(folder), "--table-root", str(tmp_path / root)],
                *["--group", topic, "--log", str(tmp_path / "log")],
                # On a slow machine too: all in one batch, and no end before the first record.
                *["--window", "2", "--until-idle", "5"],
                *more,
            ]
        )

    return run


def test_dead_letters_are_named_at_the_end_with_the_way_back(
    dev: Dev, tmp_path: Path, capsys: Any
) -> None:
    values = [{"id": i} for i in range(20)] + [{"id": "x"}, {"id": "y"}, b"no JSON"]
    assert dev(values) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "23 records settled by 1 invocation: 20 appended, 3 dead letters, 0 skipped" in out
    assert "wrong_type │ id │ 2 │" in out
    assert "not_json │ │ 1 │" in out
    assert "silt redrive sales/orders" in out
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders")) == 20


@pytest.mark.nightly
def test_summary_is_json_for_scripts(dev: Dev, capsys: Any) -> None:
    assert dev([{"id": 1}, {"id": "x"}], "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["records"], summary["appended"], summary["dead_lettered"]) == (2, 1, 1)
    (reject,) = summary["rejects"]
    assert (reject["code"], reject["path"], reject["records"]) == ("wrong_type", "id", 1)
    assert reject["example"].endswith("-0:1")


def test_batch_that_fails_alike_three_times_ends_it_with_the_reason(
    dev: Dev, tmp_path: Path, capsys: Any
) -> None:
    assert dev([{"id": "x"} for _ in range(19)] + [{"id": 1}], contract=BREAKER) == 1
    err = " ".join(capsys.readouterr().err.split())
    reason = "circuit_breaker: 19 of 20 records rejected: 19 wrong_type at id ("
    assert f"20 of 20 records will be retried: {reason}" in err
    assert err.count("will be retried") == 3
    assert "The same records failed 3 times for the reason above" in err
    assert "raise the ratio of circuit_breaker" in err
    assert "Nothing is lost" in err
    assert not list((tmp_path / "tables").rglob("*.parquet"))


def test_stream_that_stops_by_its_contract_says_so(dev: Dev, capsys: Any) -> None:
    values = [{"id": 1}, {"id": "x"}, {"id": 2}]
    assert dev(values, contract=SMALL + "on_invalid: fail\n") == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "2 of 3 records will be retried: on_invalid: 1 of 3 records rejected" in err
    assert "2 of 2 records will be retried: on_invalid: 1 of 2 records rejected" in err


@pytest.mark.nightly
def test_batch_that_is_given_up_is_not_stuck(dev: Dev, tmp_path: Path, capsys: Any) -> None:
    values = [{"id": "x"} for _ in range(20)]
    more = ["--retries", "4", "--on-failure", str(tmp_path / "given-up")]
    assert dev(values, *more, contract=BREAKER) == 1
    assert "given up (RetryAttemptsExhausted)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.nightly
def test_dry_run_shows_what_would_happen_and_keeps_no_offset(
    dev: Dev, tmp_path: Path, capsys: Any
) -> None:
    values = [{"id": 1}, {"id": "x"}, None, {"id": 2}]
    assert dev([v for v in values if v], "--dry-run", "--no-partial-responses") == 0
    captured = capsys.readouterr()
    out = " ".join(captured.out.split())
    assert "Dry run: nothing was committed, and no offset was kept. 1 invocation tried 3" in out
    assert "2 appended, 1 dead letters" in out
    assert "wrong_type │ id │ 1 │" in out
    assert "redrive" not in out
    assert not (tmp_path / "tables").exists()
    # What was tried is still there to be read.
    assert dev([], "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["records"], summary["appended"], summary["dry_run"]) == (3, 2, False)


@pytest.mark.nightly
def test_dry_run_says_what_would_block(dev: Dev, capsys: Any) -> None:
    values = [{"id": 1}, {"id": "x"}, {"id": 2}]
    assert dev(values, "--dry-run", contract=SMALL + "on_invalid: fail\n") == 1
    captured = capsys.readouterr()
    assert "2 records would stay unsettled" in " ".join(captured.err.split())
    assert "Records that would be rejected" in captured.out


@pytest.mark.nightly
def test_edited_contract_is_used_for_the_batch_that_failed(
    dev: Dev, tmp_path: Path, capsys: Any
) -> None:
    """A broken edit is named and not used; the next one frees the batch. No restart is needed."""
    file = tmp_path / "contracts" / "c.yaml"

    def edit() -> None:
        while not (tmp_path / "log").exists():
            time.sleep(0.1)
        time.sleep(3)
        text = file.read_text()
        file.write_text(text.replace("long", "lnog"))
        time.sleep(1.5)
        file.write_text(text.replace("long", "string"))

    editor = threading.Thread(target=edit)
    editor.start()
    values = [{"id": "x"} for _ in range(20)]
    assert dev(values, "--reload", contract=BREAKER) == 0
    editor.join()
    captured = capsys.readouterr()
    err, out = " ".join(captured.err.split()), " ".join(captured.out.split())
    assert "circuit_breaker: 20 of 20 records rejected" in err
    assert "The contract was changed, and is not used: 1 problem: " in err
    assert "Did you mean 'long'" in err
    assert "The contract was changed: the next batch goes by it." in out
    assert "20 appended, 0 dead letters" in out
    # What the function warns of is shown, too: the table was made by the first contract.
    assert "has no rows, so it takes the schema of the contract" in err
    assert rows_of_folder(tmp_path / "tables/sales/orders", "id") == [("x",)] * 20


@pytest.mark.nightly
def test_reasons_for_rejects_are_shown_while_it_runs(dev: Dev, capsys: Any) -> None:
    values = [{"id": i} for i in range(40)] + [{"id": "x"}, {"id": 1, "name": 7}]
    assert dev(values) == 0
    err = " ".join(capsys.readouterr().err.split())
    assert "rejected: 1 wrong_type at id (orders-" in err
    assert "1 wrong_type at name (orders-" in err


def test_table_of_another_source_is_named_with_the_way_out(
    dev: Dev, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `silt replay` of a saved event into the same table."""
    function_for(tmp_path / "replayed").handle(event(rows(0, 2)), None)
    assert dev([{"id": 1}], root="replayed/tables") == 1
    err = " ".join(capsys.readouterr().err.split())
    assert "SourceMismatch: Table sales/orders is fed by demo-uuid-1/orders" in err
    assert "The same records failed 3 times for the reason above" in err


def test_deployment_names_the_streams(tmp_path: Path, cluster: EmbeddedBroker) -> None:
    """Its source and its generation, so that the function there and here are one."""
    deployed = yaml.safe_load((ROOT / "docs/deployments/self-managed-sasl.yml").read_text())
    text = SMALL.replace("topic: orders", "topic: deployed")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/c.yaml").write_text(text)
    deployed |= {"contracts": "schemas", "topics": ["deployed"], "function": {"generation": 2}}
    file = tmp_path / "deploy.yml"
    file.write_text(yaml.safe_dump(deployed))
    producer = Producer({"bootstrap.servers": cluster.servers, "log_level": 0})
    producer.produce("deployed", value=b'{"id": 1}', partition=0)
    producer.flush(10)
    arguments = ["--bootstrap-servers", cluster.servers, "--topic", "deployed"]
    arguments += ["--deployment", str(file), "--table-root", str(tmp_path / "tables")]
    arguments += ["--log", str(tmp_path / "log"), "--until-idle", "4", "--window", "0.2"]
    assert main(["dev", *arguments]) == 0
    commits = (tmp_path / "tables/sales/orders/_delta_log").glob("*.json")
    assert any('"stream":"warehouse/deployed/0/2"' in commit.read_text() for commit in commits)


@pytest.mark.nightly
def test_source_of_the_environment_counts(
    dev: Dev, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SILT_SOURCE", "lab")
    assert dev([{"id": 1}]) == 0
    commits = (tmp_path / "tables/sales/orders/_delta_log").glob("*.json")
    assert any('"stream":"lab/orders-' in commit.read_text() for commit in commits)


def test_place_where_no_table_can_be_is_refused_at_once(
    dev: Dev, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "file").write_text("")
    assert dev([], root="file") == 2
    assert "No table can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("no.such.thing=1", 'No such configuration property: "no.such.thing"'),
        ("security.protocol=nonsense", "Invalid value ... for configuration property"),
        ("sasl.pasword=hunter2", "--kafka sasl.pasword: No such configuration property"),
        ("error_cb=x", "--kafka error_cb: it takes no text"),
        ("security.protocol", "--kafka takes NAME=VALUE"),
    ],
)
def test_unknown_option_of_the_client_is_named(
    dev: Dev, capsys: Any, option: str, message: str
) -> None:
    assert dev([], "--kafka", option) == 2
    err = " ".join(capsys.readouterr().err.split())
    assert message in err
    assert "hunter2" not in err


def test_failures_of_a_broker_are_told_apart() -> None:
    unknown = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    assert "There is no topic 'orders' on Kafka at k:9092" in str(
        explain_failure("k:9092", "orders", unknown)
    )
    down = KafkaException(KafkaError(KafkaError._TRANSPORT))
    assert "does not answer for orders" in str(explain_failure("k:9092", "orders", down))
