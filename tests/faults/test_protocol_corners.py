"""Corners of the protocol that a one-line change would break without another test noticing.

Each test names the mutation that it catches: they come from a run of one-line mutations of the
protocol's code.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from handler.delta.change import Change, Why, conflict_with
from handler.delta.commit import Transaction
from handler.delta.log import Protocol, Snapshot, Txn, commit_key, new_metadata
from handler.delta.look_up import Keys, Query
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.delta.types import Field, Primitive
from handler.errors import BrokenLog, Superseded, TableMismatch, UnsupportedTable
from handler.sink.outcomes import Outcome, Plan, replan
from tests.builders import (
    NOW_MS,
    SMALL,
    FakeClock,
    checkpoint_bytes,
    event,
    function_for,
    record,
    rows,
)
from tests.fakes import Memory, nothing
from tests.reader import read_folder, rows_of_folder, rows_of_memory

OK = {"batchItemFailures": []}
ROW_KEYS = Keys("_kafka_partition", "_kafka_offset", "_kafka_timestamp")
VERSION_2 = SMALL.replace("{type: string}", "{type: string, max_length: 1000}")


def folder_of(base: Path) -> Path:
    return base / "tables" / "sales" / "orders"


def offsets(base: Path) -> list[int]:
    return sorted(o for (o,) in rows_of_folder(folder_of(base), "_kafka_offset"))


def deadline() -> Deadline:
    clock = FakeClock()
    return Deadline(clock, clock.monotonic() + 600, lambda: 0.5)


def table_of(folder: Path) -> Table:
    return Table("t", open_store(str(folder)), Pool(), ROW_KEYS)


def clean(folder: Path, first: int) -> None:
    """Write a checkpoint of version `first` and remove the commits up to it."""
    log = folder / "_delta_log"
    whole = b"".join((log / f"{v:020}.json").read_bytes() for v in range(first + 1))
    (log / f"{first:020}.checkpoint.parquet").write_bytes(checkpoint_bytes(whole))
    (log / "_last_checkpoint").write_text(json.dumps({"version": first, "size": 1}))
    for version in range(first + 1):
        (log / f"{version:020}.json").unlink()


def nothing_but_a_txn(app_id: str, metadata: bool = False) -> Change:
    made = new_metadata("id", (Field("a", Primitive("long")),), (), None, NOW_MS)
    return Change(
        files=(),
        txns={app_id: Txn(1)},
        metadata=made if metadata else None,
        protocol=Protocol() if metadata else None,
    )


@pytest.fixture
def interrupted(tmp_path: Path) -> tuple[Memory, Memory, str, str]:
    """Two clients of one store, the root of its tables, and the address of the table."""
    shared = Memory()
    root = str(tmp_path / "tables")
    return shared, Memory(stores=shared.stores), root, str(folder_of(tmp_path))


def test_sandbox_that_knew_no_table_puts_no_version_0_under_a_cleaned_log(tmp_path: Path) -> None:
    """Mutation: where the snapshot says that there is no table, nothing is looked at."""
    idle = table_of(folder_of(tmp_path))
    assert not idle.read(deadline()).exists
    for i in range(4):
        function_for(tmp_path).handle(event(rows(i, i + 1)), None)
    clean(folder_of(tmp_path), 3)
    seen: list[int] = []

    def propose(snapshot: Snapshot) -> Change:
        seen.append(snapshot.version)
        return nothing_but_a_txn("x", metadata=not snapshot.exists)

    Transaction([idle], deadline()).commit_change(idle, propose)
    assert seen == [-1, 4]
    assert not (folder_of(tmp_path) / commit_key(0)).exists()
    assert (folder_of(tmp_path) / commit_key(5)).exists()


@pytest.mark.parametrize("what", ["recreated", "cleaned"])
def test_look_up_keeps_the_snapshot_that_it_read(what: str, tmp_path: Path) -> None:
    """Mutation: the look-up's snapshot is not kept, and its answer is taken for the old one's."""
    function_for(tmp_path).handle(event(rows(0, 6)), None)
    folder = folder_of(tmp_path)
    idle = table_of(folder)
    before = idle.read(deadline())
    transaction, reads = Transaction([idle], deadline()), idle.reads
    if what == "recreated":
        shutil.rmtree(tmp_path / "tables")
        function_for(tmp_path).handle(event(rows(0, 4)), None)
    else:
        function_for(tmp_path).handle(event(rows(6, 8)), None)
        clean(folder, read_folder(folder).version - 1)
    found = idle.look_up({0: Query(range(10))}, deadline())
    assert idle.snapshot is not None
    assert idle.snapshot.e_tag != before.e_tag
    assert idle.snapshot.version == read_folder(folder).version
    assert idle.reads == reads + 1
    assert transaction.confirm([idle]) is None
    assert {o for _, o in found.rows} == set(offsets(tmp_path))


@pytest.mark.parametrize("what", ["recreated", "cleaned"])
def test_redelivery_that_first_meets_another_log_is_settled_in_it(
    what: str, tmp_path: Path
) -> None:
    idle = function_for(tmp_path)
    idle.handle(event(rows(0, 6)), None)
    folder = folder_of(tmp_path)
    if what == "recreated":
        shutil.rmtree(tmp_path / "tables")
        function_for(tmp_path).handle(event(rows(0, 4)), None)
    else:
        function_for(tmp_path).handle(event(rows(6, 8)), None)
        clean(folder, read_folder(folder).version - 1)
    assert idle.handle(event(rows(2, 8)), None) == OK
    assert offsets(tmp_path) == list(range(8))


@pytest.mark.logs_errors
def test_gap_in_the_commits_that_follow_is_not_filled(tmp_path: Path) -> None:
    """Mutation: a gap in the listing is passed over, and our commit is put into it."""
    idle = function_for(tmp_path)
    idle.handle(event(rows(0, 1)), None)
    folder = folder_of(tmp_path)
    version = read_folder(folder).version
    for i in range(6):
        function_for(tmp_path).handle(event(rows(10 * i, 10 * i + 1, partition=1)), None)
    (folder / commit_key(version + 5)).unlink()
    with pytest.raises(BrokenLog, match="has a gap"):
        idle.handle(event(rows(1, 2)), None)
    assert not (folder / commit_key(version + 5)).exists()


@pytest.mark.logs_errors
def test_gap_in_a_cold_listing_is_refused(tmp_path: Path) -> None:
    for i in range(6):
        function_for(tmp_path).handle(event(rows(i, i + 1)), None)
    (folder_of(tmp_path) / commit_key(3)).unlink()
    with pytest.raises(BrokenLog, match="after version -1 come versions 0, 1, 2, 4"):
        function_for(tmp_path).handle(event(rows(9, 10)), None)


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, Why.PROTOCOL),
        ({"metaData": {}}, Why.METADATA),
        ({"txn": {"appId": "ours", "version": 1}}, Why.STREAM),
        ({"txn": {"appId": "never seen", "version": 2}}, Why.NEW_STREAM),
        ({"txn": {"appId": "another", "version": 2}}, None),
        ({"add": {}}, None),
    ],
)
def test_why_a_foreign_commit_makes_a_decision_void(
    action: dict[str, object], why: Why | None
) -> None:
    """Mutation: a foreign commit of only a protocol action does not void the decision."""
    snapshot = Snapshot(3, txns={"another": Txn(1)})
    assert conflict_with([{"commitInfo": {}}, action], snapshot, {"ours"}) is why


@pytest.mark.logs_errors
def test_protocol_that_changes_under_way_is_seen_before_the_commit(tmp_path: Path) -> None:
    memory = Memory()
    uri = str(folder_of(tmp_path))
    function = function_for(tmp_path, open_store=memory.open)
    function.handle(event(rows(0, 1)), None)

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            memory.before = lambda _verb, _key: None
            features = {"readerFeatures": ["unheard"], "writerFeatures": ["unheard"]}
            protocol = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, **features}}
            memory.stores[uri].put_if_absent(key, json.dumps(protocol).encode())

    memory.before = before
    with pytest.raises(UnsupportedTable, match="unheard"):
        function.handle(event(rows(1, 2)), None)
    assert rows_of_memory(memory, uri, ["_kafka_offset"]) == [(0,)]


def test_one_offset_in_both_tables_with_two_timestamps_is_known_by_both(tmp_path: Path) -> None:
    """Mutation: what one table holds of an offset hides what the other holds."""
    good, bad = record(4, {"id": 4}), record(4, b"x", timestamp=NOW_MS + 7)
    function_for(tmp_path).handle(event([good]), None)
    later = function_for(tmp_path, generation=1)
    assert later.handle(event([bad]), None) == OK
    for batch in ([good], [bad], [good], [bad]):
        # A neighbor of the other's time, so that no file is passed over by its times.
        for other in (record(3, {"id": 3}), record(5, {"id": 5}, timestamp=NOW_MS + 8)):
            assert later.handle(event([*batch, other]), None) == OK
    assert offsets(tmp_path) == [3, 4, 5]
    dead = folder_of(tmp_path).with_name("orders__dead_letters")
    assert rows_of_folder(dead, '"offset"') == [(4,)]


def test_earlier_generation_that_commits_under_way_is_seen_before_ours(
    tmp_path: Path, interrupted: tuple[Memory, Memory, str, str]
) -> None:
    """Mutation: a commit of the earlier generation does not void the decision of the later one."""
    shared, ours, root, uri = interrupted
    old = function_for(tmp_path / "a", open_store=shared.open, table_root=root)
    new = function_for(tmp_path / "b", open_store=ours.open, table_root=root, generation=1)
    old.handle(event(rows(0, 1)), None)

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            ours.before = lambda _verb, _key: None
            assert old.handle(event(rows(1, 3)), None) == OK

    ours.before = before
    assert new.handle(event(rows(0, 4)), None) == OK
    assert sorted(rows_of_memory(shared, uri, ["_kafka_offset"])) == [(0,), (1,), (2,), (3,)]


@pytest.mark.logs_errors
def test_rows_of_a_term_that_is_over_are_not_appended_in_a_new_one(
    tmp_path: Path, interrupted: tuple[Memory, Memory, str, str]
) -> None:
    """Mutation: it goes on in a new term of its own version, after another version's was between.

    The dead letters were decided in the term that is over: the other version may have made a row of
    one of them.
    """
    shared, ours, root, uri = interrupted

    def sandbox(memory: Memory, contract: str, name: str) -> Any:
        return function_for(tmp_path / name, contract, open_store=memory.open, table_root=root)

    first = sandbox(ours, SMALL, "one")
    first.handle(event(rows(0, 1)), None)

    def after(verb: str, key: str) -> None:
        if verb == "put_if_absent":  # the dead letters are committed: both versions come between
            ours.after = lambda _verb, _key: None
            sandbox(shared, VERSION_2, "two").handle(event(rows(20, 21)), None)
            sandbox(shared, SMALL, "three").handle(event(rows(21, 22)), None)

    ours.after = after
    with pytest.raises(Superseded):
        first.handle(event([*rows(1, 3), record(3, b"x")]), None)
    held = [o for (o,) in rows_of_memory(shared, uri, ["_kafka_offset"])]
    assert held == [0, 20, 21]
    first.handle(event([*rows(1, 3), record(3, b"x")]), None)
    held = [o for (o,) in rows_of_memory(shared, uri, ["_kafka_offset"])]
    assert sorted(held) == [0, 1, 2, 20, 21]


def test_dead_letters_stay_dead_letters_after_a_lost_race(
    tmp_path: Path, interrupted: tuple[Memory, Memory, str, str]
) -> None:
    """Mutation: deciding again, our own dead letters are found and counted as duplicates."""
    shared, ours, root, uri = interrupted
    function = function_for(tmp_path / "a", open_store=ours.open, table_root=root)
    other = function_for(tmp_path / "b", open_store=shared.open, table_root=root)
    function.handle(event(rows(0, 1)), None)
    commits: list[str] = []

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            commits.append(key)
            if len(commits) == 2:  # of the rows: the dead letters are committed
                other.handle(event(rows(1, 3)), None)

    ours.before = before
    report = function.run(event([*rows(1, 5), record(5, b"x"), record(6, b"y")]), None)
    assert report.tables[0].counts == {
        "delivered": 6,
        "appended": 2,
        "dead_lettered": 2,
        "duplicates": 2,
        "skipped_by_rule": 0,
        "unsettled": 0,
    }
    log = shared.stores[uri]
    last = max(e.key for e in log.list("_delta_log", "_delta_log/"))
    info = json.loads(log.get(last).data.splitlines()[0])["commitInfo"]["silt"]
    assert (info["appended"], info["dead_lettered"], info["duplicates"]) == (2, 2, 2)
    (stream,) = info["streams"]
    assert (stream["appended"], stream["dead_lettered"], stream["duplicates"]) == (2, 2, 2)


def test_replan_takes_out_rows_alone() -> None:
    every = bytes(range(len(Outcome)))
    again = replan(Plan(every, {}), range(len(Outcome)))
    assert list(again.outcomes) == [
        Outcome.DUPLICATE,
        *(outcome for outcome in Outcome if outcome != Outcome.APPEND),
    ]


@pytest.mark.logs_errors
def test_snapshot_of_a_table_that_was_refused_is_read_again(tmp_path: Path) -> None:
    """Mutation: a stuck snapshot is never dropped, and the sandbox fails until it is recycled."""
    other = SMALL.replace("id: {type: long, required: true}", "id: {type: string}")
    function_for(tmp_path, other).handle(event([record(0, {"id": "x"})]), None)
    function = function_for(tmp_path)
    for _ in range(2):
        with pytest.raises(TableMismatch):
            function.handle(event(rows(0, 1)), None)
    shutil.rmtree(tmp_path / "tables")
    assert function.handle(event(rows(0, 2)), None) == OK
    assert offsets(tmp_path) == [0, 1]


@pytest.mark.logs_errors
def test_snapshot_of_a_broken_log_is_read_again(tmp_path: Path) -> None:
    memory = Memory()
    uri = str(folder_of(tmp_path))
    function = function_for(tmp_path, open_store=memory.open)
    function.handle(event(rows(0, 1)), None)
    store = memory.stores[uri]
    version = 1 + max(int(e.key[-25:-5]) for e in store.list("_delta_log", "_delta_log/"))
    store.put(commit_key(version), b"{")
    with pytest.raises(BrokenLog):
        function.handle(event(rows(1, 2)), None)
    obstore.delete(store._store, commit_key(version))
    assert function.handle(event(rows(1, 2)), None) == OK
    assert sorted(rows_of_memory(memory, uri, ["_kafka_offset"])) == [(0,), (1,)]


@pytest.mark.logs_errors
def test_data_files_are_put_again_where_the_table_is_deleted_while_they_are_staged(
    tmp_path: Path,
) -> None:
    """A recursive delete takes the log first, and what was put meanwhile a moment later.

    Mutation: files that were put before a conflict with a deleted log are not put again, so rows
    are committed whose file is missing.
    """
    memory = Memory()
    function = function_for(tmp_path, open_store=memory.open)
    assert function.handle(event(rows(0, 3)), None) == {"batchItemFailures": []}

    def wipe(is_gone: Callable[[str], bool]) -> None:
        for store in memory.stores.values():
            for entry in list(store.scan("")):
                if is_gone(entry.key):
                    store.delete(entry.key)

    staged: list[str] = []

    def after(verb: str, key: str) -> None:
        if verb == "put" and key.endswith(".parquet"):
            staged.append(key)

    def before(verb: str, key: str) -> None:
        if staged and verb == "get" and key.endswith("_last_checkpoint"):
            memory.before = nothing
            wipe(lambda key: key.endswith(".parquet"))

    wipe(lambda key: key.startswith("_delta_log/"))
    memory.before, memory.after = before, after
    assert function.handle(event(rows(3, 6)), None) == {"batchItemFailures": []}
    uri = str(folder_of(tmp_path))
    assert [o for (o,) in rows_of_memory(memory, uri, ["_kafka_offset"])] == [3, 4, 5]
