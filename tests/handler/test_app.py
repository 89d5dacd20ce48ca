"""The entry point: health check, one line an invocation, nothing of a record in the log."""

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest

import handler.app as app
from handler import __build__
from handler.delta.retry import SystemClock
from handler.errors import (
    AccountingBroken,
    EventError,
    SettingsError,
    TableMismatch,
    UnknownTopic,
)
from handler.sink.outcomes import Outcome
from handler.sink.response import account
from tests.builders import SMALL, Context, FakeClock, event, function_for, record, rows
from tests.reader import rows_of_folder


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines() if line.startswith('{"level"')]


def test_health_check_reads_each_table_at_cold_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    capsys.readouterr()
    function_for(tmp_path, health_check=True)
    (line,) = lines(capsys.readouterr().out)
    assert (line["message"], line["subject"], line["state"]) == ("health", "sales/orders", "ok")
    assert line["reason"] == "version 1, matches the contract"


@pytest.mark.logs_errors
def test_health_check_says_what_does_not_fit_and_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    capsys.readouterr()
    function_for(tmp_path, SMALL.replace("long", "string"), health_check=True)
    (line,) = lines(capsys.readouterr().out)
    assert line["level"] == "ERROR"
    assert "the table has long, the contract string" in line["reason"]


def test_health_event_is_answered_by_what_was_found_and_writes_no_row(tmp_path: Path) -> None:
    function = function_for(tmp_path, clock=SystemClock())
    function.handle(event(rows(0, 1)), None)
    answer = function.handle({"silt": "health"}, None)
    assert answer["healthy"]
    assert answer["build"] == __build__
    found = [(f["check"], f["subject"], f["state"]) for f in answer["findings"]]
    checks = ("conditional put", "put", "get", "missing object", "list", "clock")
    assert found == [
        ("table", "sales/orders", "ok"),
        *((check, "sales/orders", "ok") for check in checks),
        *((check, "sales/orders__dead_letters", "ok") for check in checks),
    ]
    again = function.handle({"silt": "health"}, None)  # its probe is there already
    assert [f["check"] for f in again["findings"]] == [f["check"] for f in answer["findings"]]
    assert again["healthy"]
    assert function.handle(event(rows(1, 2)), None) == {"batchItemFailures": []}
    assert len(rows_of_folder(tmp_path / "tables/sales/orders")) == 2


def test_health_event_of_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    answer = function_for(tmp_path, dry_run=True).handle({"silt": "health"}, None)
    assert [f["check"] for f in answer["findings"]] == ["table"]
    assert not (tmp_path / "tables").exists()


@pytest.mark.logs_errors
def test_clock_that_is_wrong_is_found(tmp_path: Path) -> None:
    function = function_for(tmp_path)  # its clock is stuck, the disk's does not
    answer = function.handle({"silt": "health"}, None)
    assert not answer["healthy"]
    wrong = {
        finding["check"]: finding for finding in answer["findings"] if finding["state"] == "wrong"
    }
    assert set(wrong) == {"clock"}
    assert "this machine's clock is" in wrong["clock"]["reason"]
    assert "NTP" in wrong["clock"]["fix"]


def test_event_for_silt_that_is_no_health_check_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventError, match="'hello' is not a command of this function"):
        function_for(tmp_path).handle({"silt": "hello"}, None)


def test_only_contracts_of_the_named_topics_count(tmp_path: Path) -> None:
    other = SMALL.replace("orders", "clicks")
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts/clicks.yaml").write_text(other)
    function = function_for(tmp_path, topics=("orders",))
    assert function.handle(event(rows(0, 1)), None) == {"batchItemFailures": []}
    clicks = event([record(0, {"id": 1}, topic="clicks")])
    with pytest.raises(UnknownTopic, match="There are contracts for orders"):
        function_for(tmp_path, topics=("orders",)).run(clicks, None)
    with pytest.raises(SettingsError, match="SILT_TOPICS names 'order', and there are contracts"):
        function_for(tmp_path, topics=("orders", "order"))


@pytest.mark.logs_errors
def test_table_that_does_not_fit_is_counted_as_contract_drift_of_the_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    capsys.readouterr()
    drifted = function_for(tmp_path, SMALL.replace("long", "string"), name="silt-prod")
    with pytest.raises(TableMismatch):
        drifted.handle(event(rows(1, 2)), None)
    (metrics,) = [
        json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line
    ]
    assert metrics["contract_drift"] == [1.0]
    assert (metrics["topic"], metrics["service"]) == ("orders", "silt-prod")


def test_one_line_an_invocation_and_nothing_of_a_record_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "s3cr3t"
    batch = [
        record(0, {"id": 0, "name": secret}, key=secret.encode()),
        record(1, secret.encode()),
        record(2, {"id": secret, secret: 1}, headers=[{secret: [1]}]),
    ]
    function_for(tmp_path).handle(event(batch), None)
    out = capsys.readouterr().out
    assert len(lines(out)) == 1
    assert secret not in out


def test_the_collector_is_as_it_was_afterwards(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    assert gc.isenabled()
    function.handle(event(rows(0, 1)), None)
    assert gc.isenabled()
    gc.disable()
    try:
        function.handle(event(rows(1, 2)), None)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_limit_holds_outside_lambda_and_caps_the_deadline_inside(tmp_path: Path) -> None:
    clock = FakeClock()
    function = function_for(tmp_path, clock=clock, runtime_limit_s=20)
    assert function.run(event(rows(0, 1)), None).tables[0].measures["deadline_left_ms"] == 20_000
    inside = function.run(event(rows(1, 2)), Context(600_000))
    assert inside.tables[0].measures["deadline_left_ms"] == 20_000
    assert (
        function.run(event(rows(2, 3)), Context(13_000)).tables[0].measures["deadline_left_ms"]
        == 10_000
    )


def test_freshness_is_the_age_of_the_oldest_record_appended(tmp_path: Path) -> None:
    clock = FakeClock()
    batch = [
        record(0, b"x", timestamp=clock.epoch_ms() - 90_000),
        record(1, {"id": 1}, timestamp=clock.epoch_ms() - 5_000),
        record(2, {"id": 2}, timestamp=clock.epoch_ms() - 7_000),
    ]
    report = function_for(tmp_path, clock=clock).run(event(batch), None)
    assert report.tables[0].measures["freshness_ms"] == 7_000
    assert report.tables[0].line["cold_start"] is True


def test_counts_that_do_not_add_up_fail_the_invocation() -> None:
    outcomes = bytes([Outcome.APPEND, Outcome.SKIP])
    assert account(outcomes, 1, 3)["duplicates"] == 1
    with pytest.raises(AccountingBroken, match="4 records were delivered"):
        account(outcomes, 1, 4)


def test_entry_point_keeps_one_function_for_the_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "c.yaml").write_text(SMALL)
    monkeypatch.setattr(app, "_function", None)
    with pytest.raises(SettingsError, match="SILT_TABLE_ROOT is not set"):
        app.lambda_handler(event(rows(0, 1)), None)
    monkeypatch.setenv("SILT_TABLE_ROOT", str(tmp_path / "tables"))
    monkeypatch.setenv("SILT_CONTRACTS", str(tmp_path / "contracts"))
    assert app.lambda_handler(event(rows(0, 1)), Context(60_000)) == {"batchItemFailures": []}
    kept = app._function
    del os.environ["SILT_TABLE_ROOT"]
    assert app.lambda_handler(event(rows(1, 2)), Context(60_000)) == {"batchItemFailures": []}
    assert app._function is kept
