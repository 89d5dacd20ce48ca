"""Maintenance of whole tables, on local disk with the real engine in its own process."""

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from handler import maintenance as module
from handler.delta.patience import Patience, SystemClock
from handler.errors import EngineFailed, EventError, MaintenanceFailed, OutOfTime
from handler.maintenance import METRICS, Maintenance, lambda_handler
from handler.settings import Settings
from handler.upkeep.engine import Engine
from handler.upkeep.lease import LEASE, VACUUMED, Lease
from tests.builders import SMALL, Context, FakeClock, event, function_for, record, rows
from tests.reader import read_folder, rows_of_folder

QUIET = (
    SMALL + "circuit_breaker: {ratio: 1.0}\nmaintenance: {quiet_for: 0m, target_file_size: 1 MiB}\n"
)
PARTED = QUIET.replace("  name:", "  day: {type: integer}\n  name:") + "partition_by: [day]\n"


def maintenance_of(folder: Path, *, clock: Any = None, invoke: Any = None, **settings: Any) -> Any:
    values = {"table_root": str(folder / "tables"), "contracts": str(folder / "contracts")}
    return Maintenance(Settings(**values, **settings), clock=clock or FakeClock(), invoke=invoke)


def table(folder: Path, name: str = "orders") -> Path:
    return folder / "tables" / "sales" / name


def aged(folder: Path, commits: int, contract: str = QUIET) -> Any:
    """Make a table of small commits, each with a row in two partitions and a dead letter."""
    function = function_for(folder, contract)
    for i in range(commits):
        batch = [
            record(3 * i, {"id": 3 * i, "name": "n", "day": 0}),
            record(3 * i + 1, {"id": 3 * i + 1, "name": "n", "day": 1}),
            record(3 * i + 2, b"bad"),
        ]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    return function


def expected(commits: int) -> tuple[list[tuple[int]], list[tuple[int]]]:
    offsets = range(3 * commits)
    return [(o,) for o in offsets if o % 3 != 2], [(o,) for o in offsets if o % 3 == 2]


def check(folder: Path, commits: int) -> None:
    """Compare both tables with what was delivered, by two readers."""
    good, bad = expected(commits)
    for name, column, want in (
        ("orders", "_kafka_offset", good),
        ("orders__dead_letters", '"offset"', bad),
    ):
        assert rows_of_folder(table(folder, name), column) == want
        assert DeltaTable(table(folder, name)).version() == read_folder(table(folder, name)).version


def by_table(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {report["table"]: report for report in answer["tables"]}


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
        assert keeper_.look(_patience())
        assert keeper_.checkpoint_is_due == (i >= 2), i  # the term of the contract is a commit too


def _patience() -> Patience:
    return Patience(SystemClock(), time.monotonic() + 60)


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
    keeper_.look(_patience())
    clock = FakeClock()
    patience = Patience(clock, clock.now_s + 60)
    lease = Lease.take(keeper_._table, patience)
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
    keeper_.look(_patience())
    with pytest.raises(type(error)):
        keeper_.keep(_patience())
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
    keeper_.look(_patience())
    with pytest.raises(OutOfTime):
        keeper_.keep(_patience())
    assert LEASE not in read_folder(table(tmp_path)).txns
    check(tmp_path, 2)


# What is no longer part of the table.


def set_age(path: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


def test_vacuum_deletes_what_no_snapshot_names_and_is_old_enough(tmp_path: Path) -> None:
    """A zombie's file, put and never committed, an old one and a young one."""
    aged(tmp_path, 3)
    for name, days in (("old", 8.0), ("young", 6.0), ("now", 0.0)):
        (table(tmp_path) / f"{name}.parquet").write_bytes(b"never committed")
        set_age(table(tmp_path) / f"{name}.parquet", days)
    reports = by_table(maintenance_of(tmp_path, clock=RealEpoch()).handle({}, None))
    report = reports["sales/orders"]
    assert report["files_vacuumed"] == 1
    assert report["retain_hours"] == 168
    assert report["oldest_unreferenced_hours"] == pytest.approx(6 * 24, abs=0.1)
    left = {path.name for path in table(tmp_path).glob("*.parquet")}
    assert {"young.parquet", "now.parquet"} < left
    assert "old.parquet" not in left
    check(tmp_path, 3)


class RealEpoch(FakeClock):
    """A clock whose epoch is the machine's, as the files' times are."""

    def epoch_ms(self) -> int:
        return time.time_ns() // 1_000_000


def test_folder_with_another_table_within_is_not_vacuumed(tmp_path: Path) -> None:
    """The other table's live files are in no snapshot of this one."""
    aged(tmp_path, 2)
    inner = table(tmp_path) / "inner"
    shutil.copytree(table(tmp_path), inner)
    for path in inner.rglob("*.parquet"):
        set_age(path, 30)
    before = sorted(inner.rglob("*"))
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert report["notes"] == ["no vacuum: another table lies within, at inner"]
    assert sorted(inner.rglob("*")) == before


def test_live_deletion_vectors_are_not_vacuumed(tmp_path: Path) -> None:
    """The engine's full vacuum would delete them: it knows data files alone."""
    aged(tmp_path, 2)
    log = table(tmp_path) / "_delta_log"
    newest = sorted(log.glob("*.json"))[-1]
    features = {"readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}
    protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}
    (log / f"{int(newest.stem) + 1:020}.json").write_text(json.dumps(protocol) + "\n")
    vector = table(tmp_path) / "deletion_vector_c839dc81-af3e-400d-8c03-7e9f33c206eb.bin"
    vector.write_bytes(b"as delta-spark writes it")
    set_age(vector, 30)
    assert vector.name in DeltaTable(table(tmp_path)).vacuum(168, dry_run=True, full=True)
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert report["files_vacuumed"] == 0
    assert vector.exists()


def test_vacuum_is_done_once_a_day(tmp_path: Path) -> None:
    aged(tmp_path, 3)
    clock = FakeClock()
    work = maintenance_of(tmp_path, clock=clock)
    for hours, done in ((0, 1), (1, 1), (21, 1), (1, 2)):
        clock.now_s += hours * 3600
        work.handle({}, None)
        assert read_folder(table(tmp_path)).txns[VACUUMED] == done, hours


def test_retention_of_the_contract_is_told_to_the_table_and_to_its_dead_letters(
    tmp_path: Path,
) -> None:
    contract = QUIET.replace(
        "maintenance: {",
        "maintenance: {retain: 2d, log_retain: 5d, dead_letters: {retain: 14d}, ",
    )
    function = aged(tmp_path, 3, contract)
    before = read_folder(table(tmp_path)).metadata["configuration"]
    reports = by_table(maintenance_of(tmp_path).handle({}, None))
    assert reports["sales/orders"]["retain_hours"] == 48
    assert reports["sales/orders__dead_letters"]["retain_hours"] == 14 * 24
    properties = {
        "delta.deletedFileRetentionDuration": "interval 48 hours",
        "delta.logRetentionDuration": "interval 120 hours",
    }
    # The term of the contract stands there too, and stays: no version has to take the table anew.
    assert read_folder(table(tmp_path)).metadata["configuration"] == {**before, **properties}
    version = read_folder(table(tmp_path)).version
    function.handle(event([record(9, {"id": 9}), record(10, {"id": 10})]), None)
    assert read_folder(table(tmp_path)).version == version + 1
    dead = read_folder(table(tmp_path, "orders__dead_letters")).metadata["configuration"]
    assert dead["delta.deletedFileRetentionDuration"] == "interval 336 hours"


def test_log_is_cleaned_behind_a_checkpoint_and_time_travel_stays_for_its_time(
    tmp_path: Path,
) -> None:
    contract = QUIET.replace("maintenance: {", "maintenance: {log_retain: 10d, ")
    function = aged(tmp_path, 30, contract)
    work = maintenance_of(tmp_path)
    work.handle({"tables": ["sales/orders"]}, None)  # its checkpoint is of version 30
    log = table(tmp_path) / "_delta_log"
    for path in log.glob("*.json"):
        version = int(path.stem)
        set_age(path, 40 - version)
    set_age(log / f"{30:020}.checkpoint.parquet", 9.5)
    keeper_ = work.keeper("sales/orders")
    keeper_.look(_patience())
    keeper_.keep(_patience(), "now")
    # Nothing before 30 is within ten days, but 30 needs the checkpoint alone.
    left = sorted(int(p.stem) for p in log.glob("*.json"))
    assert left[0] == 30
    assert keeper_.report.log_files_cleaned == 30
    assert DeltaTable(table(tmp_path), version=30).version() == 30
    for sandbox in (function, function_for(tmp_path, contract)):
        assert sandbox.handle(event(rows(0, 2)), None) == {"batchItemFailures": []}
    check(tmp_path, 30)


def test_log_is_not_cleaned_where_a_version_within_the_retention_needs_it(tmp_path: Path) -> None:
    contract = QUIET.replace("maintenance: {", "maintenance: {log_retain: 10d, ")
    aged(tmp_path, 30, contract)
    work = maintenance_of(tmp_path)
    work.handle({"tables": ["sales/orders"]}, None)
    log = table(tmp_path) / "_delta_log"
    for path in log.glob("*.json"):
        set_age(path, 40 - int(path.stem) if int(path.stem) < 25 else 5)
    keeper_ = work.keeper("sales/orders")
    keeper_.look(_patience())
    keeper_.keep(_patience(), "now")
    # Version 25 is five days old and can be travelled to: it takes all commits from 0.
    assert keeper_.report.log_files_cleaned == 0
    assert DeltaTable(table(tmp_path), version=25).version() == 25


def test_log_of_a_table_that_keeps_less_than_a_day_is_left_alone(tmp_path: Path) -> None:
    aged(tmp_path, 3)
    DeltaTable(table(tmp_path)).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 1 hours"}
    )
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert "the log is not cleaned" in report["notes"][0]


def test_sandbox_that_slept_through_a_cleaned_log_reads_the_table_anew(tmp_path: Path) -> None:
    """Its snapshot is of a version whose commit is gone: nobody would see what it put there."""
    contract = QUIET.replace("maintenance: {", "maintenance: {log_retain: 1d, ")
    sleeper = aged(tmp_path, 2, contract)
    other = function_for(tmp_path, contract)
    for i in range(2, 30):
        batch = [record(3 * i, {"id": 3 * i}), record(3 * i + 1, {"id": 3 * i + 1})]
        other.handle(event([*batch, record(3 * i + 2, b"bad")]), None)
    work = maintenance_of(tmp_path)
    work.handle({}, None)
    for name in ("orders", "orders__dead_letters"):
        for path in (table(tmp_path, name) / "_delta_log").glob("*.json"):
            set_age(path, 40 - int(path.stem))
        keeper_ = work.keeper(f"sales/{name}")
        keeper_.look(_patience())
        keeper_.keep(_patience(), "now")
        assert keeper_.report.log_files_cleaned > 20
    old = [record(3, {"id": 3}), record(4, {"id": 4}), record(5, b"bad")]
    new = [record(90, {"id": 90}), record(91, {"id": 91}), record(92, b"bad")]
    assert sleeper.handle(event([*old, *new]), None) == {"batchItemFailures": []}
    check(tmp_path, 31)


# Beyond one invocation.


class OwnContext:
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:silt-maintenance:7"

    def get_remaining_time_in_millis(self) -> int:
        return 600_000


@pytest.fixture
def small_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let very little be too much for one invocation."""
    monkeypatch.setattr(module, "DELEGATE_FROM_BYTES", 1)


@pytest.mark.usefixtures("small_share")
def test_partitions_are_handed_out_and_done_under_one_lease(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)
    sent: list[bytes] = []
    work = maintenance_of(tmp_path, invoke=sent.append)
    report = by_table(work.handle({"tables": ["sales/orders"]}, None))["sales/orders"]
    assert (report["partitions_delegated"], report["partitions_compacted"]) == (2, 0)
    assert len(sent) == 2
    # Another run finds that the table is being worked at.
    report = by_table(maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None))
    assert "holds the lease" in report["sales/orders"]["stopped"]
    for text in sent:
        answer = by_table(maintenance_of(tmp_path).handle(json.loads(text), None))
        assert answer["sales/orders"]["partitions_compacted"] == 1
    assert len(read_folder(table(tmp_path)).adds) == 2
    check(tmp_path, 5)


@pytest.mark.usefixtures("small_share")
def test_partition_that_was_handed_out_too_long_ago_is_left_alone(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)
    sent: list[bytes] = []
    clock = FakeClock()
    maintenance_of(tmp_path, clock=clock, invoke=sent.append).handle(
        {"tables": ["sales/orders"]}, None
    )
    clock.now_s += 3600
    # The lease ran out, another run took it and did the work.
    maintenance_of(tmp_path, clock=clock).handle({"tables": ["sales/orders"]}, None)
    version = read_folder(table(tmp_path)).version
    answer = by_table(maintenance_of(tmp_path, clock=clock).handle(json.loads(sent[0]), None))
    assert "is over" in answer["sales/orders"]["stopped"]
    assert read_folder(table(tmp_path)).version == version
    check(tmp_path, 5)


@pytest.fixture
def lambda_api() -> Iterator[tuple[str, list[tuple[str, str | None, Any]]]]:
    """Yield the address of what takes invocations as AWS does, and those that came."""
    came: list[tuple[str, str | None, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            came.append((unquote(self.path), self.headers["X-Amz-Invocation-Type"], body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", came
        server.shutdown()


@pytest.mark.usefixtures("small_share")
def test_function_invokes_its_own_version_asynchronously(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lambda_api: Any
) -> None:
    endpoint, came = lambda_api
    aged(tmp_path, 5, PARTED)
    for name, value in (
        ("SILT_TABLE_ROOT", str(tmp_path / "tables")),
        ("SILT_CONTRACTS", str(tmp_path / "contracts")),
        ("SILT_FAN_OUT", "true"),
        ("AWS_ENDPOINT_URL_LAMBDA", endpoint),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    lambda_handler({"tables": ["sales/orders"]}, OwnContext())
    paths, kinds, events = zip(*came, strict=True)
    path = f"/2015-03-31/functions/{OwnContext.invoked_function_arn}/invocations"
    assert set(paths) == {path}
    assert kinds == ("Event", "Event")
    for sent in events:
        lambda_handler(sent, OwnContext())
    assert len(read_folder(table(tmp_path)).adds) == 2
    check(tmp_path, 5)


@pytest.mark.logs_errors
@pytest.mark.usefixtures("small_share")
def test_what_cannot_be_handed_out_is_done_by_the_run_itself(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)

    def denied(_event: bytes) -> None:
        raise RuntimeError("AccessDeniedException: not allowed to invoke")

    work = maintenance_of(tmp_path, invoke=denied)
    report = by_table(work.handle({"tables": ["sales/orders"]}, None))["sales/orders"]
    assert (report["partitions_delegated"], report["partitions_compacted"]) == (0, 2)
    assert read_folder(table(tmp_path)).txns[LEASE] == 2
    check(tmp_path, 5)


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
