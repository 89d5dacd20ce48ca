"""What compaction, checks of statistics and expiry make of the files of real tables."""

import datetime as dt
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from msgspec.structs import replace

from handler.delta import rows as reading
from handler.delta.log import new_metadata
from handler.delta.pool import Pool
from handler.delta.retry import SystemClock
from handler.delta.store import Entry, open_store
from handler.delta.types import Field, Primitive
from handler.errors import MaintenanceFailed
from handler.upkeep import checking, compaction
from handler.upkeep.due import Bin
from tests.builders import NOW_MS, SMALL, Context, event, function_for, record
from tests.maintained import PARTED, QUIET, a_minute, aged, by_table, check, maintenance_of, table
from tests.reader import read_folder

OK = {"batchItemFailures": []}
ALONE = {"tables": ["sales/orders"]}
WIDE = QUIET.replace("  name:", "  n: {type: integer}\n  amount: {type: 'decimal(6,2)'}\n  name:")
WIDER = WIDE.replace("integer", "long").replace("(6,2)", "(20,2)") + "evolution: widen\n"


def maintain(folder: Path, **event_keys: Any) -> dict[str, Any]:
    # By the machine's clock: files of the engine are as old as they are.
    answer = maintenance_of(folder, clock=SystemClock()).handle({**ALONE, **event_keys}, None)
    return by_table(answer)["sales/orders"]


def rows_by_engine(folder: Path, *columns: str) -> list[tuple[Any, ...]]:
    read = DeltaTable(table(folder)).to_pyarrow_table(columns=list(columns))
    return sorted(zip(*(read[c].to_pylist() for c in columns), strict=True), key=str)


def stats_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(add["stats"]) for add in read_folder(table(folder)).adds.values()]


# Compaction.


def test_history_names_the_rewrite_and_a_feed_sees_no_change(tmp_path: Path) -> None:
    aged(tmp_path, 5)
    maintain(tmp_path)
    log = sorted((table(tmp_path) / "_delta_log").glob("*.json"))
    (commit,) = [path.read_text() for path in log if '"OPTIMIZE"' in path.read_text()]
    actions = [json.loads(line) for line in commit.splitlines()]
    info = actions[0]["commitInfo"]
    assert info["operationMetrics"]["numRemovedFiles"] == "5"
    assert info["operationMetrics"]["numAddedFiles"] == "1"
    assert {a[k]["dataChange"] for a in actions for k in a if k != "commitInfo"} == {False}
    assert DeltaTable(table(tmp_path)).history()[0]["operation"] in ("OPTIMIZE", "MAINTENANCE")


def test_redelivery_after_a_compaction_doubles_nothing(tmp_path: Path) -> None:
    """Its merged offset ranges lead the look-up to the new file."""
    function = aged(tmp_path, 6)
    maintain(tmp_path)
    (add,) = read_folder(table(tmp_path)).adds.values()
    assert add["tags"]["silt.offsets"] == "0:0-16"
    for sandbox in (function, function_for(tmp_path, QUIET)):
        again = [record(3 * i, {"id": 3 * i}) for i in range(6)]
        assert sandbox.handle(event(again), None) == OK
    check(tmp_path, 6)


def test_memory_is_bounded_by_batches_and_files_by_the_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With small limits every path is taken: parts, row groups, several files of one bin."""
    monkeypatch.setattr(reading, "FETCH_BYTES", 2_000)
    monkeypatch.setattr(reading, "BATCH_BYTES", 500)
    monkeypatch.setattr(compaction, "ROW_GROUP_ARROW_BYTES", 4_000)
    monkeypatch.setattr(compaction, "SORT_BYTES", 2_000)
    contract = QUIET.replace("maintenance: {", "maintenance: {sort_by: [name, id], ")
    function = function_for(tmp_path, contract)
    for i in range(6):
        value = [{"id": 300 * i + k, "name": f"n{k * 7919 % 100:03}"} for k in range(300)]
        batch = [record(v["id"], v) for v in value]
        assert function.handle(event(batch), None) == OK
    report = maintain(tmp_path)
    assert (report["files_removed"], report["files_added"]) == (6, 1)
    (path,) = read_folder(table(tmp_path)).adds
    made = pq.ParquetFile(table(tmp_path) / path)
    assert made.metadata.num_row_groups > 5
    names = made.read()["name"].to_pylist()
    assert names == sorted(names)
    (stats,) = stats_of(tmp_path)
    assert (stats["numRecords"], stats["maxValues"]["id"]) == (1800, 1799)
    assert len(rows_by_engine(tmp_path, "id")) == 1800


def test_bin_above_the_target_becomes_several_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ARROW_BYTES", 1)
    function = aged(tmp_path, 3)
    run = maintenance_of(tmp_path).new_run("sales/orders")
    run.look(a_minute())
    work = run._compaction()
    work.upkeep = replace(work.upkeep, target_file_size=1)
    work.run([Bin({}, tuple(run.files))], a_minute())
    assert (run.report.files_removed, run.report.files_added) == (3, 3)
    check(tmp_path, 3)
    assert function.handle(event([record(9, {"id": 9}), record(10, {"id": 10})]), None) == OK


def test_time_that_is_up_commits_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function = function_for(tmp_path, PARTED)
    for i in range(5):
        batch = [record(10 * i + k, {"id": 10 * i + k, "day": k}) for k in range(10)]
        assert function.handle(event(batch), None) == OK
    work = maintenance_of(tmp_path)
    clock, written = work._clock, list[str]()
    write = compaction.Compaction._write

    def slow(self: Any, each: Any, deadline: Any) -> Any:
        files = list(write(self, each, deadline))
        written.append(each.where)
        clock.now_s += 8
        return files

    monkeypatch.setattr(compaction.Compaction, "_write", slow)
    report = by_table(work.handle(ALONE, Context(63_000)))["sales/orders"]
    assert "s are left" in report["stopped"]
    assert report["partitions_compacted"] == len(written)
    assert 2 < len(written) < 9
    monkeypatch.undo()
    assert maintain(tmp_path)["partitions_compacted"] == 10 - len(written)
    assert sorted(rows_by_engine(tmp_path, "id")) == [(i,) for i in range(50)]


@pytest.mark.logs_errors
def test_disk_that_is_full_is_a_failure_of_that_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(tmp_path, 5)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compaction.DataFileWriter, "write", full)
    with pytest.raises(MaintenanceFailed, match="No space left on device"):
        maintain(tmp_path)
    check(tmp_path, 5)


# Types that were widened.


def test_files_of_a_narrow_type_are_rewritten_first_and_counted(tmp_path: Path) -> None:
    function = function_for(tmp_path, WIDE)
    assert function.handle(event([record(0, {"id": 0, "n": 5, "amount": "1.50"})]), None) == OK
    assert maintain(tmp_path)["narrow_files"] == 0
    wider = function_for(tmp_path, WIDER)
    amount = "123456789012345678.90"
    value = {"id": 1, "n": 1 << 40, "amount": amount}
    assert wider.handle(event([record(1, value)]), None) == OK
    tags = [add["tags"]["silt.types"] for add in read_folder(table(tmp_path)).adds.values()]
    assert sorted(tags) == ["0", "1"]
    run = maintenance_of(tmp_path).new_run("sales/orders")
    run.look(a_minute())
    assert [each.forced for each in run.plan(a_minute())] == [True]
    assert run.figures.narrow_files == 1
    report = maintain(tmp_path)
    assert report["files_removed"] >= 1
    types = {
        (schema.field("n").type, schema.field("amount").type)
        for path in read_folder(table(tmp_path)).adds
        for schema in [pq.read_schema(table(tmp_path) / path)]
    }
    assert types == {(pa.int64(), pa.decimal128(20, 2))}
    assert maintain(tmp_path)["narrow_files"] == 0
    assert rows_by_engine(tmp_path, "id", "n", "amount") == [
        (0, 5, Decimal("1.50")),
        (1, 1 << 40, Decimal(amount)),
    ]


# Statistics of other writers.

AMOUNTS = ["12345678901234567.89", "-98765432109876543.21", "0.01"]
ENGINE = QUIET.replace(
    "  name:", "  amount: {type: 'decimal(20,2)'}\n  paid: {type: boolean}\n  name:"
)


def by_the_engine(folder: Path) -> None:
    """Make a table whose files an engine compacted: bounds of decimals are rounded by that."""
    function = function_for(folder, ENGINE)
    for i, amount in enumerate(AMOUNTS):
        value = {"id": i, "amount": amount, "paid": i == 1, "name": "n"}
        assert function.handle(event([record(i, value)]), None) == OK
    DeltaTable(table(folder)).optimize.compact()


def test_rounded_bounds_of_an_engine_are_made_exact_without_a_rewrite(tmp_path: Path) -> None:
    by_the_engine(tmp_path)
    (before,) = read_folder(table(tmp_path)).adds.values()
    assert AMOUNTS[0] not in before["stats"]
    report = maintain(tmp_path)
    assert (report["files_checked"], report["files_removed"]) == (1, 0)
    (after,) = read_folder(table(tmp_path)).adds.values()
    assert after["path"] == before["path"]
    assert not after["dataChange"]
    assert f'"amount":{AMOUNTS[0]}' in after["stats"]
    assert f'"amount":{AMOUNTS[1]}' in after["stats"]
    (stats,) = stats_of(tmp_path)
    assert (stats["minValues"]["paid"], stats["maxValues"]["paid"]) == (False, True)
    version = DeltaTable(table(tmp_path)).version()
    assert maintain(tmp_path)["unchecked_files"] == 0
    assert DeltaTable(table(tmp_path)).version() == version
    for amount in AMOUNTS:
        found = DeltaTable(table(tmp_path)).to_pyarrow_table(
            filters=[("amount", "=", Decimal(amount))]
        )
        assert found.num_rows == 1
    assert rows_by_engine(tmp_path, "amount") == sorted([(Decimal(a),) for a in AMOUNTS], key=str)


def test_check_goes_on_in_the_next_run_and_loses_nothing_of_an_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some files a commit; a file that another removes meanwhile is not added again."""
    monkeypatch.setattr(checking, "FOOTERS_AT_ONCE", 1)
    monkeypatch.setattr(checking, "COMMIT_FILES", 1)
    by_the_engine(tmp_path)
    read = checking.read_footers

    def deleted_meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(checking, "read_footers", read)
        DeltaTable(table(tmp_path)).delete("id = 1")
        return read(*arguments)

    monkeypatch.setattr(checking, "read_footers", deleted_meanwhile)
    assert maintain(tmp_path)["files_checked"] == 0
    assert rows_by_engine(tmp_path, "id") == [(0,), (2,)]
    assert maintain(tmp_path)["files_checked"] == 1
    assert rows_by_engine(tmp_path, "id") == [(0,), (2,)]


def test_file_with_a_narrow_type_of_before_is_rewritten(tmp_path: Path) -> None:
    """A release before this one widened the table: no number says which files are narrow."""
    function = function_for(tmp_path, WIDE)
    assert function.handle(event([record(0, {"id": 0, "n": 5})]), None) == OK
    log = table(tmp_path) / "_delta_log"
    for path in log.glob("*.json"):
        path.write_text(path.read_text().replace('"silt.types":"0"', '"by":"another"'))
    wider = function_for(tmp_path, WIDER)
    assert wider.handle(event([record(1, {"id": 1, "n": 1 << 40})]), None) == OK
    for path in log.glob("*.json"):
        path.write_text(path.read_text().replace('"silt.types":"1"', '"by":"another"'))
    assert maintain(tmp_path)["files_removed"] >= 1
    schemas = {
        pq.read_schema(table(tmp_path) / path).field("n").type
        for path in read_folder(table(tmp_path)).adds
    }
    assert schemas == {pa.int64()}
    assert rows_by_engine(tmp_path, "id", "n") == [(0, 5), (1, 1 << 40)]


def test_file_that_cannot_be_read_is_named_once_and_stops_nothing(tmp_path: Path) -> None:
    by_the_engine(tmp_path)
    (path,) = read_folder(table(tmp_path)).adds
    (table(tmp_path) / path).write_bytes(b"not Parquet")
    report = maintain(tmp_path)
    assert report["files_checked"] == 0
    (note,) = [note for note in report["notes"] if "cannot be checked" in note]
    assert path in note


# Folders of an older release.


def test_rename_moves_rows_to_the_folders_of_today(tmp_path: Path) -> None:
    contract = QUIET.replace("  name:", "  city: {type: string}\n  name:")
    contract += "partition_by: [city]\n"
    function = function_for(tmp_path, contract)
    cities = ["New York", "東京", None, "plain"]
    batch = [record(i, {"id": i, "city": city}) for i, city in enumerate(cities)]
    assert function.handle(event(batch), None) == OK
    # As an older release named them: every byte that is not plain is an underscore.
    old = {"New York": "New_York", "東京": "__", None: "__HIVE_DEFAULT_PARTITION__"}
    log = table(tmp_path) / "_delta_log"
    for folder in list(table(tmp_path).glob("city=*")):
        for city, name in old.items():
            add = next(
                a
                for a in read_folder(table(tmp_path)).adds.values()
                if a["path"].rpartition("/")[2] == next(folder.iterdir()).name
            )
            if add["partitionValues"]["city"] == city:
                folder.rename(table(tmp_path) / f"city={name}")
                for path in log.glob("*.json"):
                    text = path.read_text()
                    new = add["path"].replace(add["path"].split("/")[0], f"city={name}")
                    path.write_text(text.replace(add["path"], new))
                break
    assert maintain(tmp_path)["partitions_due"] == 0
    run = maintenance_of(tmp_path).new_run("sales/orders", rename=True)
    run.look(a_minute())
    run.keep(a_minute())
    assert run.report.files_removed == 2
    names = {path.split("/")[0] for path in read_folder(table(tmp_path)).adds}
    assert names == {
        "city=New%20York",
        "city=%E6%9D%B1%E4%BA%AC",
        "city=__HIVE_DEFAULT_PARTITION__",
        "city=plain",
    }
    again = maintenance_of(tmp_path).new_run("sales/orders", rename=True)
    again.look(a_minute())
    assert again.plan(a_minute()) == []
    assert rows_by_engine(tmp_path, "city") == sorted([(c,) for c in cities], key=str)


# Dead letters.

EXPIRE = QUIET.replace("maintenance: {", "maintenance: {dead_letters: {expire: 90d}, ")


def redriven(folder: Path, days: dict[int, float], dropped: int = -1) -> None:
    """Mark dead letters as redriven so many days ago, by offset; one of them was dropped."""
    for offset, age in days.items():
        moment = dt.datetime.fromtimestamp(time.time() - age * 86_400, dt.UTC)
        DeltaTable(table(folder, "orders__dead_letters")).update(
            updates={
                "redriven_at": f"TIMESTAMP '{moment:%Y-%m-%dT%H:%M:%SZ}'",
                "redriven_as": "'on_tombstone'" if offset == dropped else "'row'",
            },
            predicate=f'"offset" = {offset}',
        )


def dead_letters(folder: Path) -> list[int]:
    read = DeltaTable(table(folder, "orders__dead_letters")).to_pyarrow_table(columns=["offset"])
    return sorted(read["offset"].to_pylist())


def test_dead_letters_that_were_redriven_long_ago_expire(tmp_path: Path) -> None:
    function = function_for(tmp_path, EXPIRE)
    for i in range(3):
        batch = [record(4 * i + k, b"bad") for k in range(4)]
        assert function.handle(event(batch), None) == OK
    redriven(tmp_path, {0: 91, 1: 89, 4: 200, 5: 100, 6: 95, 7: 90.5}, dropped=5)
    work = maintenance_of(tmp_path, clock=SystemClock())
    name = "sales/orders__dead_letters"
    report = by_table(work.handle({"tables": [name]}, None))[name]
    # The first run checks the statistics of what the engine wrote, the second sees what is old.
    report = by_table(work.handle({"tables": [name]}, None))[name]
    assert dead_letters(tmp_path) == [1, 2, 3, 8, 9, 10, 11]
    report = by_table(work.handle({"tables": [name]}, None))[name]
    assert report["rows_expired"] == 0
    # The rest is not delivered again either.
    assert function.handle(event([record(8, b"bad")]), None) == OK
    assert dead_letters(tmp_path) == [1, 2, 3, 8, 9, 10, 11]


def test_without_the_key_no_dead_letter_expires(tmp_path: Path) -> None:
    function = function_for(tmp_path, QUIET)
    assert function.handle(event([record(0, b"bad")]), None) == OK
    redriven(tmp_path, {0: 5_000})
    for _ in range(2):
        maintenance_of(tmp_path).handle({}, None)
    assert dead_letters(tmp_path) == [0]


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("property_name", "feature"),
    [("delta.appendOnly", "appendOnly"), ("delta.enableChangeDataFeed", "changeDataFeed")],
)
def test_tables_whose_rows_may_not_be_replaced_are_refused_by_name(
    tmp_path: Path, property_name: str, feature: str
) -> None:
    """Compaction changes no row: it goes on."""
    function = function_for(tmp_path, EXPIRE)
    for i in range(5):
        assert function.handle(event([record(i, b"bad")]), None) == OK
    redriven(tmp_path, {0: 200})
    dead = table(tmp_path, "orders__dead_letters")
    DeltaTable(dead).alter.set_table_properties({property_name: "true"})
    work = maintenance_of(tmp_path, clock=SystemClock())
    asked = {"tables": ["sales/orders__dead_letters"]}
    with pytest.raises(MaintenanceFailed, match=rf"{feature} \({property_name}\)"):
        work.handle(asked, None)
    assert len(read_folder(dead).adds) == 1
    assert dead_letters(tmp_path) == list(range(5))


# Files of other writers.


def test_files_that_an_engine_wrote_are_merged_with_ours(tmp_path: Path) -> None:
    """Other types of Arrow, a column that the contract does not name, nested columns."""
    contract = SMALL + (
        "  tags: {type: map, values: {type: string}}\n"
        "  items: {type: array, items: {type: struct, fields: {a: {type: integer}}}}\n"
        "circuit_breaker: {ratio: 1.0}\n"
        "maintenance: {quiet_for: 0m, target_file_size: 1 MiB}\n"
    )
    function = function_for(tmp_path, contract)
    value = {"id": 0, "name": "é", "tags": {"k": "v"}, "items": [{"a": 1}, {"a": None}]}
    assert function.handle(event([record(0, value)]), None) == OK
    engine = pa.table(
        {
            "_kafka_partition": pa.array([7] * 4, pa.int32()),
            "_kafka_offset": pa.array(range(4), pa.int64()),
            "_kafka_timestamp": pa.array([NOW_MS * 1000] * 4, pa.timestamp("us", "UTC")),
            "id": pa.array(range(10, 14), pa.int64()),
            "note": pa.array(["x", None, "y", "z"], pa.large_string()),
        }
    )
    for i in range(4):
        write_deltalake(table(tmp_path), engine.slice(i, 1), mode="append", schema_mode="merge")
    expected = rows_by_engine(tmp_path, "id", "name", "note", "tags", "items")
    report = maintain(tmp_path)
    assert (report["files_removed"], report["files_added"]) == (5, 1)
    assert rows_by_engine(tmp_path, "id", "name", "note", "tags", "items") == expected
    (add,) = read_folder(table(tmp_path)).adds.values()
    assert add["tags"]["silt.offsets"] == "0:0-0,7:0-3"
    assert function_for(tmp_path, contract).handle(event([record(0, value)]), None) == OK
    assert rows_by_engine(tmp_path, "id", "name", "note", "tags", "items") == expected


NUMBERS = QUIET.replace("  name:", "  d: {type: double}\n  at: {type: timestamp}\n  name:")


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("files", [1, 4])
def test_row_of_an_engine_that_has_no_bound_hides_no_row_of_ours(
    tmp_path: Path, odd: float, files: int
) -> None:
    """By checking alone, and by a compaction with ours: both bounds, or none."""
    function = function_for(tmp_path, NUMBERS)
    for i in range(files):
        assert function.handle(event([record(i, {"id": i, "d": 1.5 + i})]), None) == OK
    foreign = pa.table(
        {
            "_kafka_partition": pa.array([7] * 2, pa.int32()),
            "_kafka_offset": pa.array(range(2), pa.int64()),
            "_kafka_timestamp": pa.array([NOW_MS * 1000] * 2, pa.timestamp("us", "UTC")),
            "id": pa.array([10, 11], pa.int64()),
            "d": [2.0, odd],
        }
    )
    write_deltalake(table(tmp_path), foreign, mode="append", schema_mode="merge")
    maintain(tmp_path)
    for stats in stats_of(tmp_path):
        bounds = stats["minValues"].get("d"), stats["maxValues"].get("d")
        assert (bounds[0] is None) == (bounds[1] is None)
    found = pa.table(
        QueryBuilder()
        .register("t", DeltaTable(table(tmp_path)))
        .execute("select id from t where d < 3 and d > 0")
        .read_all()
    )["id"].to_pylist()
    assert sorted(found) == [*(i for i in range(files) if 1.5 + i < 3), 10]


def test_bounds_of_a_time_without_a_zone_are_left_out_of_a_column_with_one(tmp_path: Path) -> None:
    """A reader would take them in its own zone, and pass the file over."""
    footers = []
    for zone in (None, "UTC"):
        sink = pa.BufferOutputStream()
        column = pa.array([NOW_MS * 1000], pa.timestamp("us", zone))
        pq.write_table(pa.table({"at": column}), sink)
        footers.append(pq.read_metadata(pa.BufferReader(sink.getvalue())))
    metadata = new_metadata("id", (Field("at", Primitive("timestamp")),), (), None, 0)
    naive, zoned = (json.loads(checking.exact_statistics(None, f, metadata)) for f in footers)
    assert naive["minValues"] == naive["maxValues"] == {}
    assert zoned["minValues"]["at"].endswith("Z")


def test_long_text_that_every_row_has_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet stores it once: what a batch takes is known when its first rows are decoded."""
    text = "x" * 20_000
    rows_, path = pa.table({"s": [text] * 2_000}), tmp_path / "f.parquet"
    pq.write_table(rows_, path)
    assert path.stat().st_size < 50_000
    store = open_store(str(tmp_path))
    monkeypatch.setattr(reading, "BATCH_BYTES", 1 << 20)
    entry = Entry("f.parquet", path.stat().st_size)
    sizes = [
        part.nbytes for part in reading.read_rows(store, [entry], rows_.schema, Pool(), a_minute())
    ]
    assert max(sizes) < 2 << 20
    assert sum(sizes) >= 2_000 * 20_000


@pytest.mark.logs_errors
def test_partitions_that_are_asked_for_are_all_that_is_touched(tmp_path: Path) -> None:
    """No file of another partition is checked, and a column that is not there is an error."""
    function = function_for(tmp_path, PARTED)
    for i in range(2):
        batch = [record(2 * i + k, {"id": k, "day": k}) for k in range(2)]
        assert function.handle(event(batch), None) == OK
    DeltaTable(table(tmp_path)).optimize.compact()
    assert maintain(tmp_path, partitions=[{"day": "1"}])["files_checked"] == 1
    with pytest.raises(MaintenanceFailed, match="is not partitioned by 'dya', but by day"):
        maintain(tmp_path, partitions=[{"dya": None}])


def test_sort_by_a_partition_column_does_not_rewrite_forever(tmp_path: Path) -> None:
    """A contract that was edited: appends refuse the table, maintenance goes on."""
    function = function_for(tmp_path, PARTED)
    for i in range(5):
        batch = [record(2 * i + k, {"id": k, "day": k}) for k in range(2)]
        assert function.handle(event(batch), None) == OK
    edited = PARTED.replace("partition_by: [day]\n", "").replace(
        "maintenance: {", "maintenance: {sort_by: [day], "
    )
    (tmp_path / "contracts" / "contract.yaml").write_text(edited)
    assert maintain(tmp_path)["files_removed"] == 10
    assert maintain(tmp_path)["files_removed"] == 0


@pytest.mark.logs_errors
def test_file_whose_column_differs_in_case_is_not_filled_with_nulls(tmp_path: Path) -> None:
    aged(tmp_path, 5)
    (path, *_) = read_folder(table(tmp_path)).adds
    rows_ = pq.read_table(table(tmp_path) / path)
    pq.write_table(
        rows_.rename_columns(["Name" if n == "name" else n for n in rows_.column_names]),
        table(tmp_path) / path,
    )
    size = (table(tmp_path) / path).stat().st_size
    for commit in (table(tmp_path) / "_delta_log").glob("*.json"):
        lines = [json.loads(line) for line in commit.read_text().splitlines()]
        for line in lines:
            if line.get("add", {}).get("path") == path:
                line["add"]["size"] = size
        commit.write_text("\n".join(map(json.dumps, lines)) + "\n")
    with pytest.raises(MaintenanceFailed, match="'Name' for 'name': only the case differs"):
        maintain(tmp_path)
    assert len(read_folder(table(tmp_path)).adds) == 5
