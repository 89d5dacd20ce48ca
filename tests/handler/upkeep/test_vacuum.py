"""What maintenance deletes, of data and of the log, and what it keeps."""

import json
import shutil
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from handler.upkeep.cleaning import VACUUMED
from tests.builders import FakeClock, event, function_for, record, rows
from tests.maintained import (
    PARTED,
    QUIET,
    a_minute,
    aged,
    by_table,
    check,
    maintenance_of,
    set_age,
    table,
)
from tests.reader import read_folder


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


def test_retention_of_the_contract_is_set_on_the_table_and_its_dead_letters(
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
    # The term of the contract is there too, and stays: no version has to take the table anew.
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
    run = work.new_run("sales/orders")
    run.look(a_minute())
    run.keep(a_minute(), "now")
    # Nothing before 30 is within ten days, but 30 needs the checkpoint alone.
    left = sorted(int(p.stem) for p in log.glob("*.json"))
    assert left[0] == 30
    assert run.report.log_commits_cleaned == 30
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
    run = work.new_run("sales/orders")
    run.look(a_minute())
    run.keep(a_minute(), "now")
    # Version 25 is five days old and can be travelled to: it takes all commits from 0.
    assert run.report.log_commits_cleaned == 0
    assert DeltaTable(table(tmp_path), version=25).version() == 25


def test_log_of_a_table_that_keeps_less_than_a_day_is_left_alone(tmp_path: Path) -> None:
    """Not by the vacuum either: the engine's own cleans the log as soon as it deletes a file."""
    aged(tmp_path, 3)
    DeltaTable(table(tmp_path)).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 1 hours"}
    )
    DeltaTable(table(tmp_path)).create_checkpoint()
    for path in (table(tmp_path) / "_delta_log").glob("*.json"):
        set_age(path, 40 - int(path.stem))
    (table(tmp_path) / "old.parquet").write_bytes(b"never committed")
    set_age(table(tmp_path) / "old.parquet", 9)
    report = by_table(maintenance_of(tmp_path).handle({}, None))["sales/orders"]
    assert report["files_vacuumed"] == 1
    assert "the log is not cleaned" in report["notes"][0]
    assert (table(tmp_path) / "_delta_log" / f"{0:020}.json").exists()


def test_vacuum_of_partitions_with_any_name_spares_what_is_live(tmp_path: Path) -> None:
    contract = PARTED.replace("day: {type: integer}", "day: {type: string}")
    function = function_for(tmp_path, contract)
    days = ["New York", "a%20b", "東京", "a/b=c", None, "%"]
    batch = [record(i, {"id": i, "day": day}) for i, day in enumerate(days)]
    function.handle(event(batch), None)
    live = list(table(tmp_path).rglob("*.parquet"))
    for path in live:
        set_age(path, 30)
        path.with_name("old.parquet").write_bytes(b"never committed")
        set_age(path.with_name("old.parquet"), 30)
    work = maintenance_of(tmp_path)
    report = by_table(work.handle({"tables": ["sales/orders"]}, None))["sales/orders"]
    assert report["files_vacuumed"] == len(days)
    data = [p for p in table(tmp_path).rglob("*.parquet") if "_delta_log" not in str(p)]
    assert sorted(data) == sorted(live)


def test_sandbox_that_slept_through_a_cleaned_log_reads_the_table_again(tmp_path: Path) -> None:
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
        for path in (table(tmp_path, name) / "_delta_log").glob("*.checkpoint.parquet"):
            set_age(path, 2)
        run = work.new_run(f"sales/{name}")
        run.look(a_minute())
        run.keep(a_minute(), "now")
        assert run.report.log_commits_cleaned > 20
    old = [record(3, {"id": 3}), record(4, {"id": 4}), record(5, b"bad")]
    new = [record(90, {"id": 90}), record(91, {"id": 91}), record(92, b"bad")]
    assert sleeper.handle(event([*old, *new]), None) == {"batchItemFailures": []}
    check(tmp_path, 31)
