"""What a commit says of those before it: the newest alone tells what all of them tell."""

import time
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from handler.delta import recent
from handler.delta.change import Change, DataFile, Why, encode_commit
from handler.delta.commit import Committed, Conflict, Transaction, catch_up
from handler.delta.commit_reader import CommitReader
from handler.delta.log import Protocol, Txn, commit_key, new_metadata
from handler.delta.offers import join_offers, parse_offer, write_offer
from handler.delta.pool import Pool
from handler.delta.recent import KEY, RecentCommit, write_note
from handler.delta.retry import Deadline, SystemClock
from handler.delta.tables import Table
from handler.delta.types import Field, Primitive
from handler.errors import Unavailable
from tests.builders import NOW_MS
from tests.fakes import Memory

FIELDS = [Field("a", Primitive("long"))]
METADATA = new_metadata("id", FIELDS, (), None, 0)
POOL = Pool(4)
STREAMS = ("a", "b", "c", "d")


def deadline() -> Deadline:
    return Deadline(SystemClock(), time.monotonic() + 60, lambda: 0.0)


def change(stream: str, version: int, **more: Any) -> Change:
    file = DataFile(f"{stream}-{version}", b"x", 1, 1, {}, "{}", 0)
    return Change(files=(file,), txns={stream: Txn(version)}, **more)


def made(memory: Memory) -> Table:
    """Return a table as a sandbox knows it that has made it."""
    table = Table("t", memory.open("t"), POOL)
    first = Change(
        files=(),
        txns={name: Txn(0) for name in STREAMS},
        metadata=METADATA,
        protocol=Protocol(),
    )
    assert Transaction([table], deadline()).commit_change(table, lambda _: first)
    return table


def others(memory: Memory, count: int) -> list[Table]:
    """Return the table as other sandboxes know it."""
    tables = [Table("t", memory.open("t"), POOL) for _ in range(count)]
    for table in tables:
        table.read(deadline())
    return tables


def append(table: Table, proposal: Change) -> None:
    assert Transaction([table], deadline()).commit_change(table, lambda _: proposal) is not None


def append_in_turns(tables: Sequence[Table], start: int, stop: int) -> None:
    """Let two sandboxes append, each to its own stream."""
    for number in range(start, stop):
        append(tables[number % 2], change("ab"[number % 2], number))


def append_with_guest(table: Table, own: Change, other: Change) -> None:
    """Let a sandbox append, and take the append of another along, if they go together."""
    table.refresh(deadline())
    snapshot, known = table.known(deadline()), list(table.recent)
    data = write_offer(other, f"guest-{snapshot.version}", "owner", snapshot, known, NOW_MS)
    found = [parse_offer(data)] if data is not None else []
    joint = join_offers(own, [o for o in found if o], snapshot, known, lambda *_: {})
    note = write_note("taker", known, joint.guests, collects=True)
    body = joint.body(f"joint-{snapshot.version}", NOW_MS, note)
    table.store.put_if_absent(commit_key(snapshot.version + 1), body)
    table.refresh(deadline())


FOREIGN: dict[str, list[dict[str, Any]]] = {
    "plain": [{"add": {"path": "x", "dataChange": True}}],
    "removes": [{"remove": {"path": "a-1", "dataChange": False}}],
    "metadata": [METADATA.action()],
    "protocol": [replace(Protocol(), min_writer=5).action()],
    "stream": [{"txn": {"appId": "foreign", "version": 3}}],
    "ours": [{"txn": {"appId": "a", "version": 99, "lastUpdated": 5}}],
}
"""Commits of another engine."""


def put_foreign(memory: Memory, table: Table, actions: Sequence[dict[str, Any]], info: Any) -> None:
    version = table.refresh(deadline()).version + 1
    body = encode_commit(info, actions)
    memory.open("t").put_if_absent(commit_key(version), body)


events = st.one_of(
    st.tuples(st.integers(0, 3), st.sampled_from(STREAMS)),
    st.tuples(st.integers(0, 3), st.sampled_from(STREAMS), st.sampled_from(STREAMS)),
    st.sampled_from(sorted(FOREIGN)),
    st.sampled_from([{KEY: 5}, {KEY: {"writer": 1}}, {KEY: {"writer": "w", "before": [[1]]}}]),
)


def history(memory: Memory, happened: Sequence[Any]) -> None:
    tables = others(memory, 4)
    for number, each in enumerate(happened, 1):
        if isinstance(each, tuple) and len(each) == 2:
            append(tables[each[0]], change(each[1], number))
        elif isinstance(each, tuple):
            append_with_guest(tables[each[0]], change(each[1], number), change(each[2], number))
        elif isinstance(each, str):
            put_foreign(memory, tables[0], FOREIGN[each], {"timestamp": NOW_MS})
        else:
            put_foreign(memory, tables[0], FOREIGN["plain"], each)


def check_same(memory: Memory, version: int) -> None:
    """Follow the log from a version in both ways, and compare."""
    seen = []
    for read in (CommitReader.commits_after, CommitReader.newest_commits):
        (table,) = others(memory, 1)
        newest = table.known(deadline()).version
        table.snapshot = None
        reader = table.log
        whole = reader.commits_after(-1, deadline())
        assert whole is not None
        known = Table("t", memory.open("t"), POOL)
        known.read(deadline())
        known.snapshot = replace(known.known(deadline()), version=-1, txns={}, metadata=None)
        known.snapshot = replace(known.snapshot, protocol=None)
        for each in whole[: version + 1]:
            known.follow(each)
        conflicts = {}
        found = read(reader, version, deadline())
        assert found is not None
        assert [each.version for each in found] == list(range(version + 1, newest + 1))
        for stream in (*STREAMS, "foreign"):
            proposal, snapshot = change(stream, 0), known.known(deadline())
            conflicts[stream] = [proposal.conflict(each.actions, snapshot) for each in found]
        for each in found:
            known.follow(each)
        ids = [recent.commit_ids_of(each.actions) for each in found]
        seen.append((known.snapshot, conflicts, ids))
    assert seen[0] == seen[1]


@given(st.lists(events, min_size=1, max_size=12), st.data())
def test_reading_the_newest_commit_gives_the_same_as_reading_all(
    happened: list[Any], data: st.DataObject
) -> None:
    memory = Memory()
    made(memory)
    history(memory, happened)
    check_same(memory, data.draw(st.integers(0, len(happened))))


BROKEN = {
    "no watermarks": lambda each: replace(each, txns=()),
    "no ids": lambda each: replace(each, commit_id=None),
    "no guests": lambda each: replace(each, guests=()),
    "other watermarks": lambda each: replace(
        each, txns=tuple({**txn, "version": 0} for txn in each.txns)
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_copy_that_says_something_else_is_caught(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    made(memory)
    tables = others(memory, 3)
    original = recent.summarize

    def summarize(actions: Any) -> RecentCommit | None:
        summary = original(actions)
        return BROKEN[what](summary) if summary is not None else None

    monkeypatch.setattr("handler.delta.tables.summarize", summarize)
    for number in range(1, 9):
        append(tables[number % 3], change("abc"[number % 3], number))
        append_with_guest(tables[0], change("a", number), change("d", number))
    with pytest.raises(AssertionError):
        check_same(memory, 1)


def test_writer_that_is_behind_makes_three_requests() -> None:
    memory = Memory()
    behind = made(memory)
    tables = others(memory, 2)
    append_in_turns(tables, 1, 21)
    memory.requests.clear()
    found = behind.log.newest_commits(0, deadline())
    assert found is not None
    assert len(found) == 20
    assert [verb for verb, _ in memory.requests] == ["list", "get", "get"]


def test_commit_that_changes_the_schema_is_read_and_seen() -> None:
    memory = Memory()
    behind = made(memory)
    tables = others(memory, 2)
    append_in_turns(tables, 1, 4)
    wider = replace(METADATA, fields=(*FIELDS, Field("b", Primitive("long"))))
    append(tables[0], change("a", 4, metadata=wider.with_fields(wider.fields)))
    append_in_turns(tables, 5, 9)
    outcome = catch_up(behind, change("c", 1), "me", deadline())
    assert isinstance(outcome, Conflict)
    assert outcome.why is Why.METADATA
    assert len(behind.known(deadline()).metadata.fields) == 2


def test_own_commit_whose_answer_was_lost_is_found_behind_those_of_others() -> None:
    """It landed as version 1, and six others came before the sandbox looked."""
    memory = Memory()
    table = made(memory)
    tables = others(memory, 2)

    def lose(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            memory.after = lambda _verb, _key: None
            append_in_turns(tables, 1, 7)
            raise Unavailable("the answer was lost")

    memory.after = lose
    outcome = Transaction([table], deadline()).commit(table, change("c", 7))
    assert isinstance(outcome, Committed)
    assert outcome.version == 1
    assert table.known(deadline()).version == 7
    text = [memory.open("t").get(commit_key(v)).data for v in range(8)]
    assert sum(b'"c-7"' in body for body in text) == 1


def test_commits_of_a_single_writer_have_no_summaries() -> None:
    memory = Memory()
    table = made(memory)
    for number in range(1, 6):
        append(table, change("a", number))
    (info, *_) = memory.open("t").get(commit_key(5)).data.splitlines()
    assert orjson.loads(info)["commitInfo"][KEY] == {"writer": table.writer}


def test_note_is_bounded_and_has_no_gap() -> None:
    txns = tuple({"appId": f"stream-{i}", "version": i} for i in range(40))
    known = [RecentCommit(f"id-{i}", f"w{i % 2}", txns) for i in range(24)]
    said = write_note("w0", known)[KEY]["before"]
    assert 2 < len(said) < 24
    assert [each[0] for each in said] == [f"id-{i}" for i in range(24 - len(said), 24)]
    assert len(orjson.dumps(said)) <= recent.BYTES_MAX + 100
    with_gap = [*known[:20], None, *known[21:]]
    assert [each[0] for each in write_note("w0", with_gap)[KEY]["before"]] == [
        "id-21",
        "id-22",
        "id-23",
    ]


def test_commits_that_a_late_listing_lacks_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    table = made(memory)
    (other,) = others(memory, 1)
    append(other, change("a", 1))
    append(other, change("a", 2))
    monkeypatch.setattr(CommitReader, "list_log", lambda *_: [])
    found = table.log.newest_commits(0, deadline())
    assert found is not None
    assert [each.version for each in found] == [1, 2]


def test_gap_in_the_log_is_reported() -> None:
    memory = Memory()
    table = made(memory)
    (other,) = others(memory, 1)
    for number in range(1, 5):
        append(other, change("a", number))
    memory.open("t")._inner.delete(commit_key(2))
    assert table.log.newest_commits(0, deadline()) is None
