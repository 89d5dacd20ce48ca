"""Maintenance of whole tables, on local disk with the real engine in its own process."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from handler.delta.retry import SystemClock
from handler.errors import EngineFailed, EventError, MaintenanceFailed, OutOfTime
from handler.maintenance import METRICS, lambda_handler
from handler.upkeep.cleaning import VACUUMED
from handler.upkeep.engine import Engine
from tests.builders import SMALL, Context, FakeClock, event, function_for, record, rows
from tests.maintained import (
    PARTED,
    QUIET,
    OwnContext,
    a_minute,
    aged,
    by_table,
    check,
    maintenance_of,
    table,
)
from tests.reader import read_folder


def test_table_and_dead_letters_are_checkpointed_compacted_and_looked_through(
    tmp_path: Path,
) -> None:
    function = aged(tmp_path, 25)
    reports = by_table(maintenance_of(tmp_path).handle({}, None))
    assert set(reports) == {"sales/orders", "sales/orders__dead_letters"}
    for report in reports.values():
        assert report["checkpoint_written"]
        assert report["files"] == report["files_removed"] == 25
        assert report["files_added"] == report["partitions_compacted"] == 1
        assert report["files_vacuumed"] == 0
        assert "stopped" not in report
    assert len(read_folder(table(tmp_path)).adds) == 1
    check(tmp_path, 25)
    # Appends go on as if nothing had been, from a warm sandbox and from a cold one.
    for sandbox in (function, function_for(tmp_path, QUIET)):
        assert sandbox.handle(event(rows(0, 2)), None) == {"batchItemFailures": []}
    check(tmp_path, 25)


def test_second_run_finds_nothing_to_do_and_writes_nothing(tmp_path: Path) -> None:
    aged(tmp_path, 25)
    work = maintenance_of(tmp_path)
    work.handle({}, None)
    before = read_folder(table(tmp_path)).version
    reports = by_table(work.handle({}, None))
    assert reports["sales/orders"]["partitions_due"] == 0
    assert read_folder(table(tmp_path)).version == before


def test_checkpoint_is_written_only_after_more_commits_than_the_contract_says(
    tmp_path: Path,
) -> None:
    contract = SMALL + "maintenance: {checkpoint_commits: 3}\n"
    function = function_for(tmp_path, contract)
    for i in range(4):
        function.handle(event(rows(i, i + 1)), None)
        run = maintenance_of(tmp_path).new_run("sales/orders")
        assert run.look(a_minute())
        assert run.checkpoint_is_due == (i >= 2), i  # the term of the contract is a commit too


def test_partitions_are_compacted_one_by_one(tmp_path: Path) -> None:
    aged(tmp_path, 6, PARTED)
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert (report["partitions"], report["partitions_compacted"]) == (2, 2)
    assert sorted(path.split("/")[0] for path in read_folder(table(tmp_path)).adds) == [
        "day=0",
        "day=1",
    ]
    check(tmp_path, 6)


def test_active_partition_is_left_alone(tmp_path: Path) -> None:
    aged(tmp_path, 6, SMALL + "circuit_breaker: {ratio: 1.0}\n")
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert report["partitions_due"] == 0
    assert len(read_folder(table(tmp_path)).adds) == 6


@pytest.mark.logs_errors
def test_table_of_a_protocol_that_is_not_known_is_not_written_to(tmp_path: Path) -> None:
    """A commit without what the feature asks for would break the table for those who know it."""
    aged(tmp_path, 5)
    log = table(tmp_path) / "_delta_log"
    newest = sorted(log.glob("*.json"))[-1]
    features = {"readerFeatures": [], "writerFeatures": ["inCommitTimestamp"]}
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}
    (log / f"{int(newest.stem) + 1:020}.json").write_text(json.dumps(protocol) + "\n")
    before = sorted(log.iterdir())
    with pytest.raises(MaintenanceFailed, match="uses inCommitTimestamp"):
        maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None)
    assert sorted(log.iterdir()) == before


def test_another_table_is_first_each_time(tmp_path: Path) -> None:
    aged(tmp_path, 1)
    clock = FakeClock()
    work = maintenance_of(tmp_path, clock=clock)
    seen: list[str] = []
    for _ in range(2):
        runs = {name: work.new_run(name) for name in work.names}
        work._run_all(runs, [lambda run, _time: seen.append(run.report.table)], 1e9)
        clock.now_s += 300.001
    assert set(seen[:2]) == set(seen[2:]) == set(work.names)
    assert seen[0] != seen[2]


def test_quiet_partition_is_sorted_once(tmp_path: Path) -> None:
    contract = QUIET.replace("maintenance: {", "maintenance: {sort_by: [id], ")
    function = function_for(tmp_path, contract)
    for i in (5, 1, 9, 3):
        function.handle(event([record(i, {"id": i})]), None)
    work = maintenance_of(tmp_path)
    work.handle({"tables": ["sales/orders"]}, None)
    (path,) = read_folder(table(tmp_path)).adds
    assert pq.read_table(table(tmp_path) / path)["id"].to_pylist() == [1, 3, 5, 9]
    assert by_table(work.handle({}, None))["sales/orders"]["partitions_due"] == 0


def test_sort_whose_files_stay_small_is_not_repeated_forever(tmp_path: Path) -> None:
    contract = QUIET.replace("maintenance: {", "maintenance: {sort_by: [id], ")
    function = function_for(tmp_path, contract)
    text = json.dumps({"currency": "EUR", "channel": "web", "campaign": "autumn"}) * 30
    for i in range(5):
        batch = [record(400 * i + k, {"id": k, "name": f"{text}{k}"}) for k in range(400)]
        function.handle(event(batch), None)
    work = maintenance_of(tmp_path)
    work.handle({"tables": ["sales/orders"]}, None)
    version = read_folder(table(tmp_path)).version
    for _ in range(3):
        report = by_table(work.handle({"tables": ["sales/orders"]}, None))["sales/orders"]
        assert report["partitions_due"] == 0
    assert read_folder(table(tmp_path)).version == version


def test_tables_that_are_named_are_done_alone(tmp_path: Path) -> None:
    aged(tmp_path, 3)
    answer = maintenance_of(tmp_path).handle({"silt": "maintain", "tables": ["sales/orders"]}, None)
    assert set(by_table(answer)) == {"sales/orders"}
    assert len(read_folder(table(tmp_path, "orders__dead_letters")).adds) == 3


def test_table_that_is_not_there_yet_is_no_failure(tmp_path: Path) -> None:
    function_for(tmp_path, QUIET)
    reports = by_table(maintenance_of(tmp_path).handle({}, None))
    assert reports["sales/orders"]["version"] == -1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"silt": "compost"}, "'compost' is not a command of this function"),
        ({"tables": "sales/orders"}, "Expected a list of names"),
        ({"tables": 5}, "Expected a list of names"),
        ({"tables": ["sales/other"]}, "Expected one of sales/orders, sales/orders__dead_letters"),
        ({"silt": "compact"}, "Expected 'maintain', 'due' or 'health'"),
        ({"partitions": {"day": "0"}}, "Expected a list of objects"),
        ({"partitions": []}, "Expected a list of objects"),
        ({"partitions": [{"day": 0}]}, "each from column to text or null"),
    ],
)
def test_event_that_is_not_understood_is_refused(tmp_path: Path, asked: Any, message: str) -> None:
    aged(tmp_path, 1)
    before = read_folder(table(tmp_path)).version
    with pytest.raises(EventError, match=message):
        maintenance_of(tmp_path).handle(asked, None)
    assert read_folder(table(tmp_path)).version == before


def test_event_of_a_schedule_means_all_tables(tmp_path: Path) -> None:
    aged(tmp_path, 1)
    scheduled = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    assert len(maintenance_of(tmp_path).handle(scheduled, None)["tables"]) == 2


def test_disabled_table_is_not_touched(tmp_path: Path) -> None:
    aged(tmp_path, 3, QUIET.replace("maintenance: {", "maintenance: {enabled: false, "))
    assert maintenance_of(tmp_path).handle({}, None) == {"tables": []}
    with pytest.raises(EventError, match="enabled: false"):
        maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None)


def test_dry_run_says_what_is_due_and_does_nothing(tmp_path: Path) -> None:
    aged(tmp_path, 25)
    before = sorted(p.name for p in (tmp_path / "tables").rglob("*"))
    report = by_table(maintenance_of(tmp_path, dry_run=True).handle({}, None))["sales/orders"]
    assert (report["partitions_due"], report["partitions_compacted"]) == (1, 0)
    assert report["commits_since_checkpoint"] > 20
    assert sorted(p.name for p in (tmp_path / "tables").rglob("*")) == before


@pytest.mark.logs_errors
def test_table_that_fails_stops_no_other(tmp_path: Path) -> None:
    aged(tmp_path, 25)
    newest = sorted((table(tmp_path) / "_delta_log").glob("*.json"))[-1]
    newest.write_text("no commit\n")
    with pytest.raises(MaintenanceFailed, match=r"1 table could not.*line 1, is not JSON"):
        maintenance_of(tmp_path).handle({}, None)
    assert len(read_folder(table(tmp_path, "orders__dead_letters")).adds) == 1


def test_run_out_of_time_is_reported_and_the_next_run_continues(tmp_path: Path) -> None:
    aged(tmp_path, 25)
    answer = maintenance_of(tmp_path, clock=None).handle({}, Context(3_300))
    assert all(
        "time was up" in r["stopped"] or "s are left" in r["stopped"] for r in answer["tables"]
    )
    again = by_table(maintenance_of(tmp_path).handle({}, Context(600_000)))
    assert again["sales/orders"]["partitions_compacted"] == 1
    check(tmp_path, 25)


def test_handler_reads_its_settings_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 25)
    monkeypatch.setenv("SILT_TABLE_ROOT", str(tmp_path / "tables"))
    monkeypatch.setenv("SILT_CONTRACTS", str(tmp_path / "contracts"))
    capsys.readouterr()
    assert len(lambda_handler({}, OwnContext())["tables"]) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    records = [line for line in lines if "_aws" in line]
    assert [line["table"] for line in records] == ["sales/orders", "sales/orders__dead_letters"]
    assert set(METRICS) <= set(records[0])
    assert records[0]["files"] == [25.0]
    logged = [line for line in lines if line.get("message") == "maintenance"]
    assert [line["table"] for line in logged] == [line["table"] for line in records]


def test_health_event_looks_at_each_table_by_the_engine_and_does_nothing(tmp_path: Path) -> None:
    aged(tmp_path, 3)
    before = read_folder(table(tmp_path)).version
    answer = maintenance_of(tmp_path, clock=SystemClock()).handle({"silt": "health"}, None)
    assert answer["healthy"]
    checks = ("table", "conditional put", "put", "get", "missing object", "list", "clock")
    assert [(f["check"], f["subject"], f["state"]) for f in answer["findings"]] == [
        (check, name, "ok")
        for name in ("sales/orders", "sales/orders__dead_letters")
        for check in checks
    ]
    assert answer["findings"][0]["reason"] == f"version {before}, read by the engine"
    assert read_folder(table(tmp_path)).version == before
    dry = maintenance_of(tmp_path, dry_run=True).handle({"silt": "health"}, None)
    assert {f["check"] for f in dry["findings"]} == {"table"}


@pytest.mark.logs_errors
def test_health_event_names_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    aged(tmp_path, 2)
    (table(tmp_path) / "_delta_log" / f"{1:020}.json").write_text("no Delta")
    answer = maintenance_of(tmp_path, clock=SystemClock()).handle({"silt": "health"}, None)
    assert not answer["healthy"]
    wrong = [f for f in answer["findings"] if f["state"] == "wrong"]
    assert [f["subject"] for f in wrong] == ["sales/orders"]


def test_run_that_is_out_of_time_speaks_of_the_next_run(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    answer = maintenance_of(tmp_path).handle({}, Context(0))
    for report in answer["tables"]:
        assert "What is not done is done in the next run." in report["stopped"]
        assert "unsettled" not in report["stopped"]


def test_only_the_partitions_that_are_named_are_compacted(tmp_path: Path) -> None:
    aged(tmp_path, 6, PARTED)
    work = maintenance_of(tmp_path)
    due = work.handle({"silt": "due", "tables": ["sales/orders"]}, None)["due"]
    assert due == [{"table": "sales/orders", "partition": {"day": day}} for day in ("0", "1")]
    asked = {"tables": ["sales/orders"], "partitions": [due[1]["partition"]]}
    report = by_table(work.handle({"silt": "maintain", **asked}, None))["sales/orders"]
    assert (report["partitions"], report["partitions_compacted"]) == (1, 1)
    assert not report["checkpoint_written"]
    counts = Counter(path.split("/")[0] for path in read_folder(table(tmp_path)).adds)
    assert counts == {"day=0": 6, "day=1": 1}
    check(tmp_path, 6)


@pytest.mark.logs_errors
def test_file_that_is_gone_holds_up_no_other_partition_and_is_a_failure(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)
    gone = next(p for p in read_folder(table(tmp_path)).adds if p.startswith("day=0"))
    (table(tmp_path) / gone).unlink()
    with pytest.raises(MaintenanceFailed, match="1 partition could not be compacted: day=0: NotF"):
        maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None)
    counts = Counter(path.split("/")[0] for path in read_folder(table(tmp_path)).adds)
    assert counts == {"day=0": 5, "day=1": 1}


def before_vacuum(monkeypatch: pytest.MonkeyPatch, act: Callable[[float], None]) -> None:
    """Let something happen before the engine's vacuum; `act` is given the seconds that it has."""
    do = Engine.do

    def do_after(engine: Engine, job: str, left_s: float, **options: Any) -> Any:
        if job == "vacuum":
            act(left_s)
        return do(engine, job, left_s, **options)

    monkeypatch.setattr(Engine, "do", do_after)


def test_vacuum_that_does_not_fit_into_a_run_does_not_starve_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets half of the time, is reported, and is tried again by the next run."""
    aged(tmp_path, 5)
    shares = list[float]()

    def slow(left_s: float) -> None:
        shares.append(left_s)
        raise OutOfTime("the vacuum was late")

    before_vacuum(monkeypatch, slow)
    asked = {"tables": ["sales/orders"]}
    report = by_table(maintenance_of(tmp_path).handle(asked, Context(600_000)))["sales/orders"]
    assert report["stopped"] == "the vacuum was late"
    assert report["partitions_compacted"] == 1
    assert 250 < shares[0] < 300
    assert VACUUMED not in read_folder(table(tmp_path)).txns
    monkeypatch.undo()
    report = by_table(maintenance_of(tmp_path).handle(asked, Context(600_000)))["sales/orders"]
    assert "stopped" not in report
    assert read_folder(table(tmp_path)).txns[VACUUMED] == 1
    check(tmp_path, 5)


@pytest.mark.logs_errors
def test_vacuum_that_the_engine_cannot_do_fails_the_run_after_the_compaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(tmp_path, 5)

    def broken(_left_s: float) -> None:
        raise EngineFailed("vacuum", "t", "DeltaError", "no")

    before_vacuum(monkeypatch, broken)
    with pytest.raises(MaintenanceFailed, match="could not vacuum"):
        maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None)
    assert len(read_folder(table(tmp_path)).adds) == 1
    check(tmp_path, 5)


def test_table_that_is_recreated_in_between_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit put as the old log's next version would leave a gap in the new one."""
    aged(tmp_path, 5)

    def made_anew(_left_s: float) -> None:
        shutil.rmtree(tmp_path / "tables")
        aged(tmp_path, 2)

    run = maintenance_of(tmp_path).new_run("sales/orders")
    run.look(a_minute())
    before_vacuum(monkeypatch, made_anew)
    run.keep(a_minute())
    check(tmp_path, 2)
