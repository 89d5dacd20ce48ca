"""Tables that are damaged or worn: what can go on goes on, the rest names what it needs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from handler.delta.checkpoint import complete_checkpoints
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import Entry, open_store
from handler.errors import BrokenLog, DataFileMissing, MaintenanceFailed
from silt.cli import main
from tests.builders import SMALL, event, function_for, record, rows
from tests.maintained import maintenance_of
from tests.reader import read_folder, rows_of_folder

OK = {"batchItemFailures": []}
CHECKPOINT = "_delta_log/{:020}.checkpoint.parquet"
HINT = "_delta_log/_last_checkpoint"


def table(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders"


def offsets(folder: Path) -> list[int]:
    return sorted(o for (o,) in rows_of_folder(table(folder), "_kafka_offset"))


def with_checkpoints(folder: Path) -> Path:
    """Make a table with checkpoints at 3 and at 6, and commits up to 8."""
    for i in range(8):
        function_for(folder).handle(event(rows(10 * i, 10 * i + 10)), None)
        if i in (3, 6):
            DeltaTable(str(table(folder))).create_checkpoint()
    return table(folder)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def garble(path: Path) -> None:
    path.write_bytes(b"PAR1" + bytes(range(256)) * 20 + b"PAR1")


def replace_by_other_parquet(path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2, 3]}), path)


def drop_metadata(path: Path) -> None:
    pq.write_table(pq.read_table(path).drop_columns(["metaData"]), path)


def garble_schema(path: Path) -> None:
    checkpoint = pq.read_table(path)
    made = [
        {**row, "metaData": {**row["metaData"], "schemaString": "{"}} if row["metaData"] else row
        for row in checkpoint.to_pylist()
    ]
    pq.write_table(pa.Table.from_pylist(made, checkpoint.schema), path)


def keep_the_end(path: Path) -> None:
    """Leave a footer that can be read, and names bytes that are not there."""
    path.write_bytes(path.read_bytes()[-(footer_bytes(path) + 200) :])


def footer_bytes(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[-8:-4], "little") + 8


def garble_files(path: Path) -> None:
    """Break what only a look-up and the engine read."""
    group = pq.read_metadata(path).row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    (chunk,) = [c for c in chunks if c.path_in_schema == "add.path"]
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + chunk.total_compressed_size] = b"\xa5" * chunk.total_compressed_size
    path.write_bytes(bytes(data))


DAMAGES = [
    keep_the_end,
    garble_files,
    empty,
    cut,
    garble,
    replace_by_other_parquet,
    drop_metadata,
    garble_schema,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("broken", [(6,), (3, 6)], ids=str)
def test_broken_checkpoint_stops_no_append_and_maintenance_writes_a_good_one(
    damage: Callable[[Path], None], broken: tuple[int, ...], tmp_path: Path, capsys
) -> None:
    folder = with_checkpoints(tmp_path)
    last = DeltaTable(str(folder)).version()
    versions = sorted(int(p.name[:20]) for p in folder.glob("_delta_log/*.checkpoint.parquet"))
    assert len(versions) == 2
    for index, version in enumerate(versions):
        if (3, 6)[index] in broken:
            damage(folder / CHECKPOINT.format(version))
    assert function_for(tmp_path).handle(event(rows(75, 85)), None) == OK
    assert offsets_by_commits(folder) == list(range(85))
    out = capsys.readouterr().out
    assert "a checkpoint cannot be read and is skipped" in out
    assert CHECKPOINT.format(versions[-1]) in out
    maintenance_of(tmp_path, clock=SystemClock()).handle({}, None)
    assert DeltaTable(str(folder)).version() >= last + 1
    assert offsets(tmp_path) == list(range(85))
    capsys.readouterr()
    function_for(tmp_path).handle(event(rows(80, 90)), None)
    assert "is skipped" not in capsys.readouterr().out
    aside = sorted(p.name for p in folder.glob("_delta_log/*.broken"))
    assert len(aside) == len(broken)


def offsets_by_commits(folder: Path) -> list[int]:
    """Read a table whose checkpoints are broken: all commits are still there."""
    paths: dict[str, None] = {}
    for commit in sorted(folder.glob("_delta_log/*.json")):
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                paths[action["add"]["path"]] = None
    tables = [pq.read_table(folder / path, partitioning=None) for path in paths]
    return sorted(o for t in tables for o in t["_kafka_offset"].to_pylist())


def test_part_of_a_checkpoint_that_is_missing_or_empty_is_not_read_around(tmp_path: Path) -> None:
    folder = with_checkpoints(tmp_path)
    (newest, *_), log = (
        sorted(folder.glob("_delta_log/*.checkpoint.parquet"), reverse=True),
        (folder / "_delta_log"),
    )
    whole = pq.read_table(newest)
    half = whole.num_rows // 2
    version = newest.name[:20]
    first = log / f"{version}.checkpoint.0000000001.0000000002.parquet"
    second = log / f"{version}.checkpoint.0000000002.0000000002.parquet"
    pq.write_table(whole.slice(0, half), first)
    newest.unlink()
    # One part is missing: the older checkpoint and the commits after it are read.
    assert function_for(tmp_path).handle(event(rows(0, 85)), None) == OK
    pq.write_table(whole.slice(half), second)
    assert function_for(tmp_path).handle(event(rows(0, 90)), None) == OK
    empty(second)
    assert function_for(tmp_path).handle(event(rows(0, 95)), None) == OK
    assert offsets_by_commits(folder) == list(range(95))


def test_only_complete_checkpoints_count() -> None:
    def entry(version: int, part: str = "") -> Entry:
        return Entry(f"_delta_log/{version:020}.checkpoint{part}.parquet", 1)

    of_two = [entry(7, f".{i:010}.0000000002") for i in (1, 2)]
    found = complete_checkpoints([entry(5), *of_two, entry(9, ".0000000001.0000000002")])
    assert [(c.version, len(c.parts)) for c in found] == [(7, 2), (5, 1)]
    assert [c.version for c in complete_checkpoints([of_two[1]])] == []
    twice = complete_checkpoints([entry(7), *of_two])
    assert [len(c.parts) for c in twice] == [1, 2]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version":"x"}', b'{"version":99}'])
def test_wrong_hint_stops_nothing_and_maintenance_repairs_it(
    content: bytes, tmp_path: Path
) -> None:
    folder = with_checkpoints(tmp_path)
    (folder / HINT).write_bytes(content)
    assert function_for(tmp_path).handle(event(rows(75, 85)), None) == OK
    maintenance_of(tmp_path, clock=SystemClock()).handle({}, None)
    assert DeltaTable(str(folder)).version() == read_folder(folder).version
    assert json.loads((folder / HINT).read_bytes())["version"] >= 8
    assert offsets(tmp_path) == list(range(85))


@pytest.mark.logs_errors
def test_log_of_which_nothing_is_complete_names_the_object(tmp_path: Path) -> None:
    folder = with_checkpoints(tmp_path)
    for path in sorted(folder.glob("_delta_log/*.json"))[:2]:
        path.unlink()
    paths = sorted(folder.glob("_delta_log/*.checkpoint.parquet"))
    for path in paths:
        empty(path)
    with pytest.raises(BrokenLog) as error:
        function_for(tmp_path).handle(event(rows(75, 85)), None)
    for path in paths:
        assert path.name in str(error.value)
    assert "Nothing was written" in str(error.value)
    assert "Broken(" not in str(error.value), "the reason, not how Python prints it"


@pytest.mark.logs_errors
@pytest.mark.parametrize("name", ["orders", "orders__dead_letters"])
def test_broken_table_keeps_maintenance_from_no_other(name: str, tmp_path: Path) -> None:
    function_for(tmp_path).handle(event([*rows(0, 3), record(3, b"x")]), None)
    log = tmp_path / "tables/sales" / name / "_delta_log"
    shutil.copy(log / f"{0:020}.json", log / f"{7:020}.json")
    (log / f"{0:020}.json").write_text('{"metaData":{"schemaString":7}}')
    maintenance = maintenance_of(tmp_path, clock=SystemClock())
    with pytest.raises(MaintenanceFailed, match="1 table ") as error:
        maintenance.handle({}, None)
    assert f"sales/{name}: " in str(error.value)


def test_repair_goes_on_after_a_kill_and_beside_another_run(tmp_path: Path) -> None:
    folder = with_checkpoints(tmp_path)
    newest = max(folder.glob("_delta_log/*.checkpoint.parquet"))
    cut(newest)
    # Killed after the copy, before the delete; then after the delete, before the hint.
    shutil.copy(newest, f"{newest}.broken")
    maintenance_of(tmp_path, clock=SystemClock()).handle({}, None)
    assert not newest.exists() or pq.read_metadata(newest)
    cut(max(folder.glob("_delta_log/*.checkpoint.parquet")))
    max(folder.glob("_delta_log/*.checkpoint.parquet")).unlink()
    maintenance_of(tmp_path, clock=SystemClock()).handle({}, None)
    assert DeltaTable(str(folder)).version() == read_folder(folder).version
    assert offsets(tmp_path) == list(range(80))


def test_repair_leaves_what_another_run_has_replaced(tmp_path: Path) -> None:
    """A run that slept between its look and its repair must not set a good checkpoint aside."""
    folder = with_checkpoints(tmp_path)
    newest = max(folder.glob("_delta_log/*.checkpoint.parquet"))
    good, hint = newest.read_bytes(), (folder / HINT).read_bytes()
    cut(newest)
    sleeper = maintenance_of(tmp_path, clock=SystemClock()).new_run("sales/orders")
    time = Deadline(SystemClock(), SystemClock().monotonic() + 60)
    assert sleeper.look(time)
    newest.write_bytes(good)
    (folder / HINT).write_bytes(hint + b" ")
    sleeper.repair(time)
    assert newest.read_bytes() == good
    assert (folder / HINT).exists()
    assert not list(folder.glob("_delta_log/*.broken"))


def test_silt_maintain_repairs_and_says_so(tmp_path: Path, capsys) -> None:
    folder = with_checkpoints(tmp_path)
    cut(max(folder.glob("_delta_log/*.checkpoint.parquet")))
    place = ["--table-root", str(tmp_path / "tables"), "--contracts", str(tmp_path / "contracts")]
    assert main(["maintain", "sales/orders", *place]) == 0
    assert "cannot be read and was moved to" in capsys.readouterr().out
    assert DeltaTable(str(folder)).version() == read_folder(folder).version


# Data files --------------------------------------------------------------------------------------


def files_of(folder: Path, commit: int) -> list[Path]:
    log = folder / "_delta_log" / f"{commit:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    return [folder / a["add"]["path"] for a in actions if "add" in a]


@pytest.mark.logs_errors
@pytest.mark.parametrize("checkpoint", [False, True])
def test_file_that_is_gone_fails_only_the_look_up_that_needs_it(
    checkpoint: bool, tmp_path: Path
) -> None:
    folder = with_checkpoints(tmp_path)
    if checkpoint:
        DeltaTable(str(folder)).create_checkpoint()
    commits = sorted(folder.glob("_delta_log/*.json"))
    holders = {f: int(c.name[:20]) for c in commits for f in files_of(folder, int(c.name[:20]))}
    first, *_ = sorted(holders, key=holders.__getitem__)
    first.unlink()
    assert function_for(tmp_path).handle(event(rows(70, 90)), None) == OK
    assert function_for(tmp_path).handle(event(rows(10, 20)), None) == OK
    with pytest.raises(DataFileMissing) as error:
        function_for(tmp_path).handle(event(rows(5, 12)), None)
    assert first.name in str(error.value)
    assert "restore the object" in str(error.value)


class Counting:
    """A store that notes the data files of which something was read."""

    def __init__(self, inner: Any, read: set[str]) -> None:
        self._inner = inner
        self._read = read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_ranges(self, key: str, ranges: Any) -> list[bytes]:
        if "_delta_log" not in key:
            self._read.add(key)
        return self._inner.get_ranges(key, ranges)


def reads(folder: Path, batch: dict[str, Any], contract: str = SMALL) -> int:
    read: set[str] = set()
    function = function_for(
        folder, contract, open_store=lambda uri: Counting(open_store(uri), read)
    )
    assert function.handle(batch, None) == OK
    return len(read)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_redelivery_reads_only_files_whose_ranges_can_hold_its_records(
    checkpoint: bool, tmp_path: Path
) -> None:
    """Two partitions whose offsets are far apart: the bounds of each file span all of them."""
    contract = SMALL + "partition_by: [name]\n"
    function = function_for(tmp_path, contract)
    for i in range(12):
        both = [*rows(10 * i, 10 * i + 10), *rows(10**6 + i, 10**6 + i + 1, partition=1)]
        batch = [{**r, "value": record(0, {"id": 1, "name": "x"})["value"]} for r in both]
        assert function.handle(event(batch), None) == OK
    if checkpoint:
        DeltaTable(str(table(tmp_path))).create_checkpoint()
    again = [{**r, "value": record(0, {"id": 1, "name": "x"})["value"]} for r in rows(35, 55)]
    assert reads(tmp_path, event(again), contract) == 3
    newest = {**rows(10**6 + 11, 10**6 + 12, partition=1)[0]}
    assert reads(tmp_path, event([newest]), contract) == 1


def test_redelivery_of_the_newest_batch_reads_at_most_its_own_files(tmp_path: Path) -> None:
    contract = SMALL.replace("  name:", "  day: {type: long}\n  name:") + "partition_by: [day]\n"
    function = function_for(tmp_path, contract)
    batches = [
        event([record(10 * i + k, {"id": k, "day": k % 3}) for k in range(10)]) for i in range(6)
    ]
    for batch in batches:
        assert function.handle(batch, None) == OK
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    assert reads(tmp_path, batches[-1], contract) <= 3


def test_files_of_others_and_old_files_fall_back_to_their_bounds(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for i in range(4):
        function.handle(event(rows(10 * i, 10 * i + 10)), None)
    folder = table(tmp_path)
    for commit in sorted(folder.glob("_delta_log/*.json")):
        lines = [json.loads(line) for line in commit.read_text().splitlines()]
        for action in lines:
            action.get("add", {}).pop("tags", None)
        commit.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert reads(tmp_path, event(rows(5, 12))) == 2
    assert offsets(tmp_path) == list(range(40))


def test_file_of_another_writer_without_our_columns_is_no_hindrance(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    folder = table(tmp_path)
    version = read_folder(folder).version + 1
    for number, columns in enumerate(
        ({"id": [7]}, {"_kafka_partition": [0], "_kafka_offset": [9]})
    ):
        name = f"foreign-{number}.parquet"
        types = {"_kafka_partition": pa.int32()}
        pq.write_table(
            pa.table({n: pa.array(v, types.get(n, pa.int64())) for n, v in columns.items()}),
            folder / name,
        )
        size = (folder / name).stat().st_size
        add = {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1}
        commit = folder / f"_delta_log/{version + number:020}.json"
        commit.write_text(json.dumps({"add": {**add, "dataChange": True}}) + "\n")
    assert function_for(tmp_path).handle(event(rows(0, 5)), None) == OK
    assert reads(tmp_path, event(rows(1, 4))) >= 1
