"""Cold snapshots: checkpoints of the engine, broken hints, gaps, and look-ups through them."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.errors import BrokenLog
from tests.builders import SMALL, event, function_for, record, rows
from tests.reader import read_folder, rows_of_folder

OK = {"batchItemFailures": []}


def table(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders"


def log(folder: Path, name: str) -> Path:
    return table(folder) / "_delta_log" / name


def fill(folder: Path, commits: int, contract: str = SMALL) -> None:
    function = function_for(folder, contract)
    for i in range(commits):
        function.handle(event(rows(2 * i, 2 * i + 2)), None)


def offsets(folder: Path) -> list[int]:
    return [o for (o,) in rows_of_folder(table(folder), "_kafka_offset")]


def check_goes_on(folder: Path, before: int) -> None:
    """A new sandbox finds what is there, and appends behind it."""
    function = function_for(folder)
    assert function.handle(event(rows(0, before)), None) == OK
    assert function.handle(event(rows(before - 2, before + 2)), None) == OK
    assert offsets(folder) == list(range(before + 2))


def test_engine_checkpoint_with_the_log_before_it_gone(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    for version in range(4):
        log(tmp_path, f"{version:020}.json").unlink()
    check_goes_on(tmp_path, 10)


def test_engine_checkpoint_and_commits_after_it(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    function_for(tmp_path).handle(event(rows(6, 8)), None)
    check_goes_on(tmp_path, 8)


@pytest.mark.parametrize(
    "hint",
    [
        None,
        b"",
        b"{",
        b"[]",
        b'{"version": "x"}',
        b'{"version": 99, "size": 1}',
        b'{"version": -1}',
    ],
)
def test_missing_or_broken_hint_costs_a_listing_and_no_error(
    tmp_path: Path, hint: bytes | None
) -> None:
    fill(tmp_path, 5)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    for version in range(4):
        log(tmp_path, f"{version:020}.json").unlink()
    if hint is None:
        log(tmp_path, "_last_checkpoint").unlink()
    else:
        log(tmp_path, "_last_checkpoint").write_bytes(hint)
    check_goes_on(tmp_path, 10)


def test_hint_beside_an_empty_log_is_refused(tmp_path: Path) -> None:
    """A listing that shows nothing of a log that was cleaned must not begin a new one at 0."""
    fill(tmp_path, 2)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    for path in (table(tmp_path) / "_delta_log").iterdir():
        if path.name != "_last_checkpoint":
            path.unlink()
    function = function_for(tmp_path)
    with pytest.raises(BrokenLog, match="names a checkpoint of version 2, and the listing"):
        function.run(event(rows(0, 2)), None)


class Lagging:
    """A store whose listings lack the newest commits, as those of some stores do for a while."""

    def __init__(self, inner: Any, hides: int) -> None:
        self._inner, self._hides = inner, hides

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def list(self, prefix: str, after: str) -> list[Any]:
        whole = self._inner.list(prefix, after)
        return whole[: max(0, len(whole) - self._hides)]


@pytest.mark.parametrize("hides", [1, 2, 4, 99])
def test_listing_that_lags_behind_is_made_up_for(tmp_path: Path, hides: int) -> None:
    fill(tmp_path, 8)
    function = function_for(tmp_path, open_store=lambda uri: Lagging(open_store(uri), hides))
    assert function.handle(event(rows(0, 18)), None) == OK
    assert offsets(tmp_path) == list(range(18))


def test_hint_that_is_older_than_the_newest_checkpoint(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    old = log(tmp_path, "_last_checkpoint").read_bytes()
    function_for(tmp_path).handle(event(rows(6, 8)), None)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    log(tmp_path, "_last_checkpoint").write_bytes(old)
    check_goes_on(tmp_path, 8)


def test_checkpoint_in_several_parts(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    fill(tmp_path, 6)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    whole = log(tmp_path, f"{6:020}.checkpoint.parquet")
    content = pq.read_table(whole)
    for i in range(3):
        part = content.slice(i * 3, 3 if i < 2 else None)
        name = f"{6:020}.checkpoint.{i + 1:010}.{3:010}.parquet"
        pq.write_table(part, log(tmp_path, name), row_group_size=2)
    whole.unlink()
    for version in range(6):
        log(tmp_path, f"{version:020}.json").unlink()
    check_goes_on(tmp_path, 12)


def test_checkpoint_that_lacks_a_part_is_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    whole = log(tmp_path, f"{3:020}.checkpoint.parquet")
    shutil.copy(whole, log(tmp_path, f"{3:020}.checkpoint.{1:010}.{2:010}.parquet"))
    whole.unlink()
    check_goes_on(tmp_path, 6)


@pytest.mark.logs_errors
def test_gap_in_the_log_is_an_error_that_says_where(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    log(tmp_path, f"{1:020}.json").unlink()
    with pytest.raises(BrokenLog, match="has a gap: after version -1 come versions 0, 2, 3"):
        function_for(tmp_path).handle(event(rows(8, 9)), None)


@pytest.mark.logs_errors
def test_commit_that_is_no_json_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    log(tmp_path, f"{1:020}.json").write_text('{"commitInfo":{}}\nnonsense\n')
    with pytest.raises(BrokenLog, match=r"0001.json, line 2, is not JSON"):
        function_for(tmp_path).handle(event(rows(2, 3)), None)


def test_look_up_through_compacted_and_checkpointed_files(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    engine = DeltaTable(str(table(tmp_path)))
    engine.optimize.compact()
    engine.create_checkpoint()
    check_goes_on(tmp_path, 40)
    assert read_folder(table(tmp_path)).version == 22


def test_look_up_reads_only_files_that_may_hold_the_records(tmp_path: Path) -> None:
    from tests.fakes import Memory

    memory = Memory()
    function = function_for(tmp_path, open_store=memory.open)
    for i in range(10):
        function.handle(event(rows(2 * i, 2 * i + 2)), None)
    memory.requests.clear()
    assert function.handle(event(rows(6, 8)), None) == OK
    read = {key for verb, key in memory.requests if verb == "get_ranges" and "part-" in key}
    assert len(read) == 1


def test_files_without_statistics_are_looked_into(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    path = log(tmp_path, f"{1:020}.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for action in lines:
        if "add" in action:
            del action["add"]["stats"]
    path.write_text("\n".join(map(json.dumps, lines)))
    check_goes_on(tmp_path, 4)


def test_removed_files_do_not_count_as_found(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    DeltaTable(str(table(tmp_path))).delete("_kafka_offset in (2, 3)")
    assert function_for(tmp_path).handle(event(rows(0, 6)), None) == OK
    assert offsets(tmp_path) == list(range(6))


def test_engine_appends_between_ours_are_kept(tmp_path: Path) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    function = function_for(tmp_path)
    function.handle(event([*rows(0, 2), record(2, b"x")]), None)
    engine = DeltaTable(str(table(tmp_path)))
    write_deltalake(
        engine, pa.table({"id": [77], "name": ["by hand"]}), mode="append", schema_mode="merge"
    )
    assert function.handle(event(rows(3, 5)), None) == OK
    assert [i for (i,) in rows_of_folder(table(tmp_path), "id")] == [0, 1, 3, 4, 77]


def test_statistics_of_null_are_no_statistics(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    path = log(tmp_path, f"{1:020}.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for action in lines:
        if "add" in action:
            stats = json.loads(action["add"]["stats"])
            stats["minValues"]["_kafka_partition"] = stats["maxValues"]["_kafka_partition"] = None
            action["add"]["stats"] = json.dumps(stats)
    path.write_text("\n".join(map(json.dumps, lines)))
    check_goes_on(tmp_path, 4)


@pytest.mark.parametrize("tags", [True, False])
def test_refresh_sees_each_commit_also_of_a_store_without_etags(tmp_path: Path, tags: bool) -> None:
    fill(tmp_path, 2)
    store = open_store(str(table(tmp_path)))
    if not tags:
        head = store.head
        store.head = lambda key: head(key) and None  # type: ignore[method-assign]
    known = Table("t", store, Pool())
    deadline = Deadline(SystemClock(), time.monotonic() + 60)
    version = known.read(deadline).version
    assert known.refresh(deadline).version == version
    for more in (1, 5):
        fill_from(tmp_path, 100 * more, more)
        version += more
        assert known.refresh(deadline).version == version
    assert known.reads == (1 if tags else 4)


def test_refresh_reads_a_recreated_table_cold(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    known = Table("t", open_store(str(table(tmp_path))), Pool())
    deadline = Deadline(SystemClock(), time.monotonic() + 60)
    assert known.read(deadline).version == 3
    shutil.rmtree(tmp_path / "tables")
    assert not known.refresh(deadline).exists
    fill(tmp_path, 5)
    assert known.refresh(deadline).version == 5


def fill_from(folder: Path, start: int, commits: int) -> None:
    function = function_for(folder)
    for i in range(start, start + commits):
        function.handle(event(rows(i, i + 1)), None)
