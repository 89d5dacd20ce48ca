"""Maintenance of whole tables, on local disk with the real engine in its own process."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from handler.delta.patience import Patience, SystemClock
from handler.errors import EngineFailed, EventError, MaintenanceFailed, OutOfTime
from handler.maintenance import METRICS, lambda_handler
from handler.upkeep.engine import Engine
from handler.upkeep.lease import LEASE, VACUUMED, Lease
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
        keeper_ = maintenance_of(tmp_path).keeper("sales/orders")
        assert keeper_.look(a_minute())
        assert keeper_.checkpoint_is_due == (i >= 2), i  # the term of the contract is a commit too


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


def test_table_that_was_not_cleaned_for_long_is_cleaned_before_it_is_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a table that always has more to compact than fits would never be."""
    aged(tmp_path, 5)
    ask = Engine.ask

    def out_of_time(engine: Engine, do: str, left_s: float, **job: Any) -> Iterator[Any]:
        if do == "compact":
            raise OutOfTime("late")
        return (yield from ask(engine, do, left_s, **job))

    monkeypatch.setattr(Engine, "ask", out_of_time)
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert report["stopped"] == "late"
    assert read_folder(table(tmp_path)).txns[VACUUMED] == 1


def test_another_table_is_first_each_time(tmp_path: Path) -> None:
    aged(tmp_path, 1)
    clock = FakeClock()
    work = maintenance_of(tmp_path, clock=clock)
    seen: list[str] = []
    for _ in range(2):
        work._run(work.names, [lambda keeper, _time: seen.append(keeper.report.table)], 1e9)
        clock.now_s += 300.001
    assert set(seen[:2]) == set(seen[2:]) == set(work.names)
    assert seen[0] != seen[2]


def test_dry_run_compacts_nothing_that_was_handed_out_either(tmp_path: Path) -> None:
    aged(tmp_path, 3)
    task = {"values": {}, "target": 1, "sort_by": [], "bytes": 1, "rows": 1, "interim": False}
    asked = {"silt": "compact", "table": "sales/orders", "lease": 1}
    maintenance_of(tmp_path, dry_run=True).handle(
        {**asked, "task": {**task, "work_bytes": 1}}, None
    )
    assert len(read_folder(table(tmp_path)).adds) == 3


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


def test_sort_whose_files_stay_small_is_not_repeated_for_ever(tmp_path: Path) -> None:
    """The engine closes files by a size that it estimates, of what is not compressed yet."""
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
        ({"silt": "compost"}, "'compost' is nothing to maintain"),
        ({"tables": "sales/orders"}, "Expected a list of names"),
        ({"tables": 5}, "Expected a list of names"),
        ({"tables": ["sales/other"]}, "Expected one of sales/orders, sales/orders__dead_letters"),
        ({"silt": "compact", "table": "sales/orders"}, "does not say which"),
        (
            {"silt": "compact", "table": "sales/orders", "lease": 1, "task": {}},
            "does not say which",
        ),
    ],
)
def test_event_that_asks_for_nothing_known_is_refused(
    tmp_path: Path, asked: Any, message: str
) -> None:
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
    with pytest.raises(MaintenanceFailed, match=r"1 tables could not.*line 1, is no JSON"):
        maintenance_of(tmp_path).handle({}, None)
    assert len(read_folder(table(tmp_path, "orders__dead_letters")).adds) == 1


@pytest.mark.logs_errors
def test_partition_that_kills_the_engine_holds_up_no_other_and_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(tmp_path, 5, PARTED)
    asked: list[str] = []
    ask = Engine.ask

    def dies_at_day_0(engine: Engine, do: str, left_s: float, **job: Any) -> Iterator[Any]:
        asked.append(do)
        if do == "compact" and job["tasks"][0]["values"] == {"day": "0"}:
            raise EngineFailed(do, "t", "ended", "its process ended with -9")
        return (yield from ask(engine, do, left_s, **job))

    monkeypatch.setattr(Engine, "ask", dies_at_day_0)
    with pytest.raises(
        MaintenanceFailed, match="1 partitions could not be compacted: day=0: ended"
    ):
        maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None)
    assert (
        len([path for path in read_folder(table(tmp_path)).adds if path.startswith("day=1")]) == 1
    )
    assert asked.count("compact") == 2
    check(tmp_path, 5)


def test_time_that_is_up_is_told_and_the_next_run_goes_on(tmp_path: Path) -> None:
    aged(tmp_path, 25)
    answer = maintenance_of(tmp_path, clock=None).handle({}, Context(3_300))
    assert all(
        "time was up" in r["stopped"] or "s are left" in r["stopped"] for r in answer["tables"]
    )
    again = by_table(maintenance_of(tmp_path).handle({}, Context(600_000)))
    assert again["sales/orders"]["partitions_compacted"] == 1
    check(tmp_path, 25)


def test_lease_of_another_run_is_respected(tmp_path: Path) -> None:
    aged(tmp_path, 5)
    work = maintenance_of(tmp_path)
    keeper_ = work.keeper("sales/orders")
    keeper_.look(a_minute())
    clock = FakeClock()
    patience = Patience(clock, clock.now_s + 60)
    lease = Lease.take(keeper_.table, patience)
    assert lease is not None
    report = by_table(work.handle({}, None))["sales/orders"]
    assert report["stopped"] == "another run holds the lease of the table"
    assert len(read_folder(table(tmp_path)).adds) == 5
    lease.release(patience)
    assert "stopped" not in by_table(work.handle({}, None))["sales/orders"]
    check(tmp_path, 5)


@pytest.mark.parametrize(
    "error",
    [EngineFailed("compact", "t", "DeltaError", "no"), OutOfTime("late"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_lease_is_given_back_whatever_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    aged(tmp_path, 5)

    def broken(engine: Engine, do: str, left_s: float, **job: Any) -> Iterator[Any]:
        if do == "compact":
            raise error
        return (yield from ask(engine, do, left_s, **job))

    ask = Engine.ask
    monkeypatch.setattr(Engine, "ask", broken)
    keeper_ = maintenance_of(tmp_path).keeper("sales/orders")
    keeper_.look(a_minute())
    with pytest.raises(type(error)):
        keeper_.keep(a_minute())
    assert read_folder(table(tmp_path)).txns[LEASE] == 2


def test_table_that_is_made_anew_meanwhile_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release put as the old log's next version would leave a gap in the new one."""
    aged(tmp_path, 5)
    ask = Engine.ask

    def made_anew(engine: Engine, do: str, left_s: float, **job: Any) -> Iterator[Any]:
        if do == "compact":
            shutil.rmtree(tmp_path / "tables")
            aged(tmp_path, 2)
            raise OutOfTime("late")
        return (yield from ask(engine, do, left_s, **job))

    monkeypatch.setattr(Engine, "ask", made_anew)
    keeper_ = maintenance_of(tmp_path).keeper("sales/orders")
    keeper_.look(a_minute())
    with pytest.raises(OutOfTime):
        keeper_.keep(a_minute())
    assert LEASE not in read_folder(table(tmp_path)).txns
    check(tmp_path, 2)


# What is no longer part of the table.


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
