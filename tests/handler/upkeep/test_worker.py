"""What the engine's process says of a table, and that the engine does what was said of it."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from handler.upkeep import worker
from handler.upkeep.worker import _Bins
from tests.builders import event, function_for, record, rows

PARTED = """
topic: orders
table: sales/orders
columns:
  id: {type: long, required: true}
  day: {type: date}
  site: {type: string}
partition_by: [day, site]
"""


def place(folder: Path, name: str = "orders") -> str:
    return str(folder / "tables" / "sales" / name)


def look(uri: str, *targets: int, **more: Any) -> dict[str, Any]:
    (line,) = worker.look(DeltaTable(uri), {"targets": list(targets), **more})
    return dict(line)


def task(values: dict[str, Any], target: int, sort_by: list[str] | None = None) -> dict[str, Any]:
    return {
        "values": values,
        "target": target,
        "sort_by": sort_by or [],
        "bytes": 1000,
        "rows": 10,
        "interim": False,
        "work_bytes": 0,
    }


def compact(uri: str, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(line) for line in worker.compact(DeltaTable(uri), {"tasks": list(tasks)})]


def test_look_tells_each_partition_from_the_log(tmp_path: Path) -> None:
    function = function_for(tmp_path, PARTED)
    days = ["2026-11-23", "2026-11-24"]
    for i in range(4):
        value = {"id": i, "day": days[i % 2], "site": "a b/c=é" if i < 2 else None}
        function.handle(event([record(i, value), record(i, value, partition=1)]), None)
    told = look(place(tmp_path), 1 << 20, 1, newest="_kafka_timestamp")
    found = {tuple(p["values"].values()): p for p in told["partitions"]}
    assert set(found) == {(d, s) for d in days for s in ("a b/c=é", None)}
    adds = pa.table(DeltaTable(place(tmp_path)).get_add_actions())
    assert sum(p["bytes"] for p in found.values()) == sum(adds["size_bytes"].to_pylist())
    assert {(p["files"], p["rows"]) for p in found.values()} == {(1, 2)}
    assert told["newest_us"] == (1_795_000_000_000 - 100_000 + 3) * 1000
    assert told["version"] == DeltaTable(place(tmp_path)).version()


def test_every_kind_of_partition_value_is_found_again(tmp_path: Path) -> None:
    function = function_for(tmp_path, PARTED)
    sites = ["a b/c=é", "x'y\"%20", "ünïcode ☃", None]
    for i in range(3):
        batch = [
            record(4 * i + k, {"id": i, "day": "0987-11-23", "site": site})
            for k, site in enumerate(sites)
        ]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    parts = look(place(tmp_path), 1 << 20, 1 << 20)["partitions"]
    lines = compact(place(tmp_path), *(task(p["values"], 1 << 20) for p in parts))
    assert lines == [{"added": 1, "removed": 3}] * 4


def test_table_without_files_has_no_partitions(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event([record(0, b"bad")]), None)
    told = look(place(tmp_path), 1 << 20, 1 << 20, newest="_kafka_timestamp")
    assert told["partitions"] == []
    assert told["newest_us"] is None


@pytest.mark.parametrize("sort_by", [[], ["id"]])
def test_compaction_says_what_became_of_the_files(tmp_path: Path, sort_by: list[str]) -> None:
    function = function_for(tmp_path)
    for i in range(4):
        function.handle(event(rows(i, i + 1)), None)
    assert compact(place(tmp_path), task({}, 1 << 20, sort_by)) == [{"added": 1, "removed": 4}]
    assert compact(place(tmp_path), task({}, 1 << 20)) == [{"added": 0, "removed": 0}]


def test_sort_lays_rows_out_by_the_column(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for i in (5, 3, 9, 1):
        function.handle(event([record(i, {"id": i, "name": "n"})]), None)
    compact(place(tmp_path), task({}, 1 << 20, ["id"]))
    (path,) = DeltaTable(place(tmp_path)).file_uris()
    assert pa.parquet.read_table(path)["id"].to_pylist() == [1, 3, 5, 9]


def test_file_that_a_sort_wrote_is_known_by_its_name(tmp_path: Path) -> None:
    """Appended files and those of an interim compaction are not sorted; what a sort wrote is."""

    def unsorted() -> int:
        (part,) = look(place(tmp_path), 1 << 20, 1 << 20)["partitions"]
        return int(part["unsorted_files"])

    function = function_for(tmp_path)
    for i in range(3):
        function.handle(event(rows(i, i + 1)), None)
    assert unsorted() == 3
    compact(place(tmp_path), {**task({}, 1 << 20), "interim": True})
    assert unsorted() == 1
    compact(place(tmp_path), task({}, 1 << 20, ["id"]))
    assert unsorted() == 0
    function.handle(event(rows(3, 4)), None)
    assert unsorted() == 1


def test_rows_of_files_without_statistics_are_not_known(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    function.handle(event(rows(0, 2)), None)
    log = tmp_path / "tables" / "sales" / "orders" / "_delta_log"
    newest = sorted(log.glob("*.json"))[-1]
    lines = [json.loads(line) for line in newest.read_text().splitlines()]
    (add,) = [line for line in lines if "add" in line]
    del add["add"]["stats"]
    bare = {"add": {**add["add"], "path": "another.parquet"}}
    (log / f"{int(newest.stem) + 1:020}.json").write_text(json.dumps(bare) + "\n")
    (part,) = look(place(tmp_path), 1 << 20, 1 << 20)["partitions"]
    assert (part["files"], part["rows"]) == (2, None)


def test_partition_that_fails_is_told_and_the_next_is_done(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for i in range(3):
        function.handle(event(rows(i, i + 1)), None)
    lines = compact(place(tmp_path), task({}, 1 << 20, ["no such column"]), task({}, 1 << 20))
    assert lines[0]["error"] == "DeltaError"
    assert "no such column" in lines[0]["message"]
    assert lines[1] == {"added": 1, "removed": 3}


@given(
    sizes=st.lists(st.sampled_from([1, 3, 20, 60, 120, 400]), min_size=1, max_size=12),
    target_kib=st.sampled_from([2, 8, 16, 40]),
)
def test_what_is_said_to_be_merged_is_what_the_engine_merges(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], target_kib: int
) -> None:
    """If they differed, a table could be found due for ever, and be compacted to no end."""
    uri = str(tmp_path_factory.mktemp("table"))
    for i, size in enumerate(sizes):
        # Incompressible, so that files really are of different sizes.
        texts = [f"{hash((i, k)) & (2**63 - 1):016x}" * 8 for k in range(size)]
        write_deltalake(uri, pa.table({"x": texts}), mode="append")
    target = target_kib << 10
    (part,) = look(uri, target, 1 << 30)["partitions"]
    (line,) = compact(uri, task({}, target))
    saved, _ = part["merges"][0]
    assert line["removed"] - line["added"] == saved


def test_bins_part_at_a_file_that_is_larger_than_the_target() -> None:
    bins = _Bins(100)
    for size in (40, 60, 101, 50, 50, 1, 100):
        bins.add(size)
    bins.close()
    assert (bins.saved_files, bins.merged_bytes) == (2, 200)


def test_row_groups_are_bounded_by_bytes() -> None:
    assert worker._row_group_rows(1000 << 20, 1_000_000) == 16_000
    assert worker._row_group_rows(0, 0) == 8_192
    assert worker._row_group_rows(1, 10**9) == 1 << 20


def test_no_job_vacuums_files_younger_than_a_day(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    with pytest.raises(ValueError, match="younger than 24 hours"):
        list(worker.vacuum(DeltaTable(place(tmp_path)), {"hours": 23, "dry_run": True}))


def test_failure_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "DeltaTable", _broken)
    monkeypatch.setattr("sys.stdin", _Text(json.dumps({"do": "look", "table": "x"})))
    assert worker.main() == 1
    line = json.loads(capsys.readouterr().out)
    assert line == {"failed": True, "error": "OSError", "message": "no such table"}


class _Text:
    def __init__(self, text: str) -> None:
        self._text = text

    def read(self) -> str:
        return self._text


def _broken(_uri: str) -> DeltaTable:
    raise OSError("no such\n  table")
