"""Our commits beside the Delta engine's: checkpointed, compacted, read by time travel; appends of
both from stale snapshots; tables that the engine made.
"""

import contextlib
import datetime as dt
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, QueryBuilder, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from handler import __build__
from handler.delta.active import ActiveFiles
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.errors import UnsupportedTable
from handler.upkeep import worker
from tests.builders import NOW_MS, ROOT, SMALL, event, function_for, record, rows
from tests.reader import read_folder, rows_of_folder

OK = {"batchItemFailures": []}


def place(folder: Path) -> str:
    return str(folder / "tables" / "sales" / "orders")


def by_engine(uri: str, version: int | None = None) -> list[int]:
    table = DeltaTable(uri, version=version)
    read = QueryBuilder().register("t", table).execute('select "_kafka_offset" as o from t')
    return sorted(pa.table(read.read_all())["o"].to_pylist())


def by_own_reader(uri: str) -> list[int]:
    return [o for (o,) in rows_of_folder(Path(uri), "_kafka_offset")]


def ours(offsets: range) -> pa.Table:
    """Return rows in the schema of our table, as another writer would append them."""
    return pa.table(
        {
            "_kafka_partition": pa.array([9] * len(offsets), pa.int32()),
            "_kafka_offset": pa.array(offsets, pa.int64()),
            "_kafka_timestamp": pa.array([NOW_MS * 1000] * len(offsets), pa.timestamp("us", "UTC")),
            "id": pa.array(offsets, pa.int64()),
            "name": pa.array(["x"] * len(offsets)),
        }
    )


def test_every_version_is_read_by_time_travel(tmp_path: Path) -> None:
    """Before and after a checkpoint and a compaction of the engine, each version as it was."""
    function = function_for(tmp_path)
    expected: dict[int, list[int]] = {}
    for i in range(6):
        assert function.handle(event(rows(3 * i, 3 * i + 3)), None) == OK
        expected[DeltaTable(place(tmp_path)).version()] = list(range(3 * i + 3))
        if i == 2:
            DeltaTable(place(tmp_path)).create_checkpoint()
        if i == 3:
            DeltaTable(place(tmp_path)).optimize.compact()
            expected[DeltaTable(place(tmp_path)).version()] = list(range(3 * i + 3))
    for version, offsets in expected.items():
        assert by_engine(place(tmp_path), version) == offsets
    assert by_own_reader(place(tmp_path)) == list(range(18))


def test_history_of_the_engine_shows_who_wrote_what(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    DeltaTable(place(tmp_path)).optimize.compact()
    newest = DeltaTable(place(tmp_path)).history(1)[0]
    assert newest["engineInfo"] == f"silt/{__build__}"
    assert newest["operation"] == "WRITE"


def test_stale_engine_appends_after_ours_and_ours_after_it(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    function.handle(event(rows(0, 2)), None)
    stale = DeltaTable(place(tmp_path))
    function.handle(event(rows(2, 4)), None)  # the engine has not seen this
    write_deltalake(stale, ours(range(100, 103)), mode="append")
    assert function.handle(event(rows(4, 6)), None) == OK  # nor we that
    expected = [*range(6), 100, 101, 102]
    assert by_engine(place(tmp_path)) == by_own_reader(place(tmp_path)) == expected


def test_stale_engine_compaction_beside_our_appends_loses_nothing(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for i in range(4):
        function.handle(event(rows(i, i + 1)), None)
    stale = DeltaTable(place(tmp_path))
    function.handle(event(rows(4, 5)), None)
    stale.optimize.compact()
    assert function.handle(event(rows(0, 6)), None) == OK
    assert by_engine(place(tmp_path)) == by_own_reader(place(tmp_path)) == list(range(6))


def test_stale_engine_transaction_on_a_stream_of_ours_is_refused(tmp_path: Path) -> None:
    """The watermark is the protocol's own: another writer that names our stream meets it."""
    function = function_for(tmp_path)
    function.handle(event(rows(0, 2)), None)
    stale = DeltaTable(place(tmp_path))
    (app_id,) = read_folder(Path(place(tmp_path))).txns
    function.handle(event(rows(2, 4)), None)
    properties = CommitProperties(app_transactions=[Transaction(app_id, 9)])
    with pytest.raises(CommitFailedError):
        write_deltalake(stale, ours(range(100, 101)), mode="append", commit_properties=properties)
    assert by_engine(place(tmp_path)) == [0, 1, 2, 3]


def test_engine_deletes_rows_with_ours_beside_it(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for i in range(4):
        function.handle(event(rows(2 * i, 2 * i + 2)), None)
    DeltaTable(place(tmp_path)).delete("_kafka_offset in (1, 5)")
    assert function.handle(event(rows(8, 10)), None) == OK
    assert by_engine(place(tmp_path)) == by_own_reader(place(tmp_path)) == [0, 2, 3, 4, 6, 7, 8, 9]
    # A redelivery finds them missing: to the look-up they are holes, and come back.
    assert function.handle(event(rows(0, 10)), None) == OK
    assert by_engine(place(tmp_path)) == list(range(10))


@pytest.mark.parametrize("partitioned", [False, True])
def test_table_that_the_engine_made_is_taken_over(tmp_path: Path, partitioned: bool) -> None:
    contract = SMALL + "evolution: add_columns\n"
    if partitioned:
        contract += "partition_by: [name]\n"
    extra = ours(range(50, 53)).append_column("note", pa.array(["a", None, "c"]))
    write_deltalake(
        place(tmp_path), extra, partition_by=["name"] if partitioned else None,
        description="made by the engine",
    )  # fmt: skip
    function = function_for(tmp_path, contract)
    assert function.handle(event(rows(0, 4)), None) == OK
    assert by_engine(place(tmp_path)) == [*range(4), 50, 51, 52]
    assert by_own_reader(place(tmp_path)) == [*range(4), 50, 51, 52]
    table = DeltaTable(place(tmp_path))
    assert table.metadata().description == "made by the engine"
    assert "note" in {f.name for f in table.schema().fields}


def test_table_of_the_engine_with_constraints_is_refused(tmp_path: Path) -> None:
    write_deltalake(place(tmp_path), ours(range(2)))
    DeltaTable(place(tmp_path)).alter.add_constraint({"positive": "id >= 0"})
    with pytest.raises(UnsupportedTable, match="check constraint positive"):
        function_for(tmp_path).run(event(rows(0, 1)), None)


def test_page_says_what_the_engines_own_compaction_does_when_two_meet(tmp_path: Path) -> None:
    """deltalake 1.6.4 to 1.6.6 let both commit, which doubles rows; Silt does not use it."""
    function = function_for(tmp_path)
    for i in range(5):
        function.handle(event(rows(i, i + 1)), None)
    first, second = DeltaTable(place(tmp_path)), DeltaTable(place(tmp_path))
    first.optimize.compact()
    with contextlib.suppress(CommitFailedError):
        second.optimize.compact()
    doubles = by_engine(place(tmp_path)) != list(range(5))
    page = (ROOT / "docs/maintenance.md").read_text()
    assert (f"OPTIMIZE by deltalake {deltalake.__version__} beside it doubles rows" in page) == (
        doubles
    )


@pytest.mark.parametrize("job", ["checkpoint", "vacuum"])
def test_two_of_what_the_engine_does_for_us_at_once(tmp_path: Path, job: str) -> None:
    """From one stale snapshot, with appends before, between and after: nothing is lost, and both
    readers, cold sandboxes and watermarks go on."""
    function = function_for(tmp_path)
    folder = Path(place(tmp_path))
    for i in range(20):
        function.handle(event(rows(i, i + 1)), None)
    DeltaTable(place(tmp_path)).create_checkpoint()
    for path in (folder / "_delta_log").glob("*.json"):
        os.utime(path, (time.time() - 40 * 86_400 + int(path.stem),) * 2)
    for i in range(20, 25):
        function.handle(event(rows(i, i + 1)), None)
    for name, age_days in (("old", 9), ("young", 1)):
        (folder / f"{name}.parquet").write_bytes(b"never committed")
        os.utime(folder / f"{name}.parquet", (time.time() - age_days * 86_400,) * 2)
    tables = [DeltaTable(place(tmp_path)) for _ in range(3)]
    function.handle(event(rows(25, 26)), None)

    def do(table: DeltaTable) -> None:
        answer = worker.JOBS[job](table, {"hours": 168})
        if job == "vacuum":
            assert set(answer["files"]) <= {"old.parquet"}
            open_store(place(tmp_path)).delete_all(answer["files"])

    with ThreadPoolExecutor(3) as pool:
        at_once = [pool.submit(do, table) for table in tables[:2]]
        at_once.append(pool.submit(function.handle, event(rows(26, 27)), None))
        for done in at_once:
            done.result()
    do(tables[2])  # a third, long after
    assert (folder / "young.parquet").exists()
    assert (folder / "old.parquet").exists() == (job != "vacuum")
    assert (folder / "_delta_log" / f"{0:020}.json").exists(), "the engine cleaned the log"
    for sandbox in (function, function_for(tmp_path)):
        assert sandbox.handle(event(rows(0, 30)), None) == OK
    assert by_engine(place(tmp_path)) == by_own_reader(place(tmp_path)) == list(range(30))
    assert read_folder(folder).txns["demo-uuid-1/orders/0"] == 29


def test_checkpoint_of_the_engine_keeps_what_we_rely_on(tmp_path: Path) -> None:
    """Watermarks with their times, tags, partition values, and the exact text of statistics."""
    contract = SMALL + "  amount: {type: 'decimal(38,9)'}\npartition_by: [name]\n"
    function = function_for(tmp_path, contract)
    amount = "12345678901234567890123456789.123456789"
    names = ["New York", "東京", None, "a/b=c%20"]
    batch = [record(i, {"id": i, "name": n, "amount": amount}) for i, n in enumerate(names)]
    assert function.handle(event(batch), None) == OK
    before = function_for(tmp_path, contract)
    snapshots = []
    for sandbox in (before, function_for(tmp_path, contract)):
        if sandbox is not before:
            DeltaTable(place(tmp_path)).create_checkpoint()
            for path in (Path(place(tmp_path)) / "_delta_log").glob("*.json"):
                path.unlink()
        files = ActiveFiles()
        table = Table("t", open_store(place(tmp_path)), Pool(), new_files=lambda files=files: files)
        snapshot = table.read(Deadline(SystemClock(), time.monotonic() + 60))
        snapshots.append((snapshot.txns, snapshot.protocol, snapshot.metadata, list(table.files)))
    assert snapshots[0][:2] == snapshots[1][:2]
    assert snapshots[0][2].fields == snapshots[1][2].fields
    assert snapshots[0][2].configuration == snapshots[1][2].configuration
    by_path = [sorted(files, key=lambda file: file.path) for *_, files in snapshots]
    assert by_path[0] == by_path[1]
    adds = read_folder(Path(place(tmp_path))).adds.values()
    assert len(adds) == 4
    for add in adds:
        assert f'"amount":{amount}' in add["stats"]
        assert dict(add["tags"])["silt.types"] == "0"


def test_vacuum_of_the_engine_leaves_live_files_and_watermarks(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for i in range(4):
        function.handle(event(rows(i, i + 1)), None)
    table = DeltaTable(place(tmp_path))
    table.optimize.compact()
    removed = DeltaTable(place(tmp_path)).vacuum(
        retention_hours=0, dry_run=False, enforce_retention_duration=False
    )
    assert len(removed) == 4
    assert function.handle(event(rows(0, 6)), None) == OK
    assert by_engine(place(tmp_path)) == by_own_reader(place(tmp_path)) == list(range(6))


def test_statistics_that_we_write_never_hide_a_row_from_the_engine(tmp_path: Path) -> None:
    """A filter at the bounds of every file finds its rows: at cut strings and rounded times too."""
    contract = (
        "topic: orders\ntable: sales/orders\ncolumns:\n  id: {type: long}\n"
        "  name: {type: string}\n  at: {type: timestamp}\n"
    )
    function = function_for(tmp_path, contract)
    names = ["a" * 40, "a" * 32 + "\U0010ffff", "é" * 33, "zz"]
    times = ["2026-05-01T10:00:00.000001Z", "2026-05-01T10:00:00.999999Z"]
    for i, name in enumerate(names):
        value = {"id": i, "name": name, "at": times[i % 2]}
        assert function.handle(event([record(i, value)]), None) == OK
    for i, name in enumerate(names):
        query = QueryBuilder().register("t", DeltaTable(place(tmp_path)))
        moment = dt.datetime.fromisoformat(times[i % 2].replace("Z", "+00:00"))
        found = pa.table(
            query.execute(
                f"select id from t where name = '{name}' and at = '{moment.isoformat()}'"
            ).read_all()
        )
        assert found["id"].to_pylist() == [i]
