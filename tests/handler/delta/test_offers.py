"""Appends that other writers take along: which, and how the commit says so."""

import time
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from handler.delta import offer_folder, offers, turn
from handler.delta.change import Change, DataFile
from handler.delta.commit import Committed, Transaction
from handler.delta.log import TXN_RETENTION, Protocol, Snapshot, Txn, commit_key, new_metadata
from handler.delta.offer_folder import FOLDER, offer_key
from handler.delta.offers import Offer, is_valid, join_offers, parse_offer, write_offer
from handler.delta.pool import Pool
from handler.delta.recent import KEY, RecentCommit, commits_before, summarize
from handler.delta.retry import Deadline, SystemClock
from handler.delta.tables import Crowd, Table
from handler.delta.turn import Turn
from handler.delta.types import Field, Primitive
from handler.errors import AccessDenied, StoreError, Unavailable
from tests.builders import NOW_MS, FakeClock
from tests.fakes import Memory

METADATA = new_metadata("id", [Field("a", Primitive("long"))], (), None, 0)
POOL = Pool(4)
STREAMS = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def two_writers_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_MANY", 1)
    monkeypatch.setattr(turn, "_BUSY", 1e6)  # the store of these tests answers in no time


def deadline() -> Deadline:
    return Deadline(SystemClock(), time.monotonic() + 60, lambda: 0.0)


def change(stream: str, version: int, **more: Any) -> Change:
    file = DataFile(f"{stream}-{version}", b"xyz", 3, 2, {}, "{}", 0)
    return Change(files=(file,), txns={stream: Txn(version, NOW_MS)}, **more)


def join_info(one: Any, other: Any) -> Any:
    return {"batches": one.get("batches", 1) + other.get("batches", 1)}


def sandbox(memory: Memory, *, shares: bool = True) -> Table:
    """Return the table as a sandbox knows it that meets others all the time."""
    table = Table("t", memory.open("t"), POOL, merge_info=join_info if shares else None)
    table.read(deadline())
    table.crowd = Crowd(alone=0, ended_s=time.monotonic() + 1000, request_s=0.001)
    return table


def made(memory: Memory) -> None:
    table = Table("t", memory.open("t"), POOL)
    txns = {name: Txn(0) for name in STREAMS}
    first = Change(files=(), txns=txns, metadata=METADATA, protocol=Protocol())
    assert Transaction([table], deadline()).commit_change(table, lambda _: first)


def commit(table: Table, proposal: Change) -> Committed:
    transaction = Transaction([table], deadline())
    assert transaction.stage([(table, proposal)]) is None
    outcome = transaction.commit(table, proposal)
    assert isinstance(outcome, Committed)
    return outcome


def info_of(memory: Memory, version: int) -> Any:
    body = memory.open("t")._inner.get(commit_key(version)).data
    return orjson.loads(body.splitlines()[0])["commitInfo"]


def offer_of(table: Table, proposal: Change, commit_id: str = "offered") -> bytes:
    """Return what a sandbox puts to offer an append after its newest commit."""
    table.refresh(deadline())
    data = write_offer(proposal, commit_id, "owner", table.known(deadline()), list(table.recent), 0)
    assert data is not None
    return data


def offered(table: Table, proposal: Change, commit_id: str = "offered") -> Offer:
    offer = parse_offer(offer_of(table, proposal, commit_id))
    assert offer is not None
    return offer


def collecting(memory: Memory) -> Table:
    """Return the table as a sandbox knows it that looks for offers before its next commit."""
    table = sandbox(memory)
    commit(table, change("a", 1))
    assert table.collector == table.writer
    return table


def test_append_of_another_is_taken_along_and_found_by_its_owner() -> None:
    memory = Memory()
    made(memory)
    owner, collector = sandbox(memory), collecting(memory)
    taken = []

    def take(verb: str, key: str) -> None:
        if verb == "put" and key.startswith(FOLDER):
            memory.after = lambda _verb, _key: None
            taken.append(commit(collector, change("a", 2)).version)

    memory.after = take
    owner.refresh(deadline())
    outcome = commit(owner, change("b", 7))
    assert [outcome.version] == taken == [2]
    info = info_of(memory, 2)
    assert info[KEY]["guests"] == [[info[KEY]["guests"][0][0], owner.writer]]
    assert info["batches"] == 2
    assert info["operationMetrics"] == {
        "numFiles": "2", "numOutputRows": "4", "numOutputBytes": "6"
    }  # fmt: skip
    for table in (collector, owner):
        txns = table.known(deadline()).txns
        assert (txns["a"].version, txns["b"].version) == (2, 7)
    assert table.refresh(deadline()).version == 2


def test_append_that_nobody_takes_along_is_committed_by_its_owner() -> None:
    memory = Memory()
    made(memory)
    owner = sandbox(memory)
    collecting(memory)
    owner.refresh(deadline())
    memory.requests.clear()
    assert commit(owner, change("b", 1)).version == 2
    own_key = offer_key(owner.writer or "")
    assert [key for verb, key in memory.requests if verb == "put"] == ["b-1", own_key]
    assert info_of(memory, 2)[KEY].get("guests") is None


@pytest.mark.parametrize("verb", ["put", "list", "get"])
@pytest.mark.parametrize("error", [AccessDenied("no"), Unavailable("slow")])
def test_offers_that_cannot_be_written_or_read_stop_nobody(verb: str, error: StoreError) -> None:
    memory = Memory()
    made(memory)
    collector = collecting(memory)
    memory.open("t")._inner.put(f"{FOLDER}/x.json", b"{}")

    refused = []

    def refuse(v: str, key: str) -> None:
        if v == verb and key.startswith(FOLDER):
            refused.append(key)
            raise error

    memory.before = refuse
    owner = sandbox(memory)
    commit(collector, change("a", 2))
    assert commit(owner, change("b", 1)).version == 3  # it met the collector, and lost
    commit(collector, change("a", 3))
    owner.refresh(deadline())
    assert commit(owner, change("b", 2)).version == 5
    assert refused


def test_single_writer_makes_no_requests_for_offers() -> None:
    memory = Memory()
    made(memory)
    table = Table("t", memory.open("t"), POOL, merge_info=join_info)
    table.read(deadline())
    for number in range(1, 6):
        memory.requests.clear()
        commit(table, change("a", number))
        assert len(memory.requests) == 3
        assert "collects" not in info_of(memory, number)[KEY]


def test_writer_without_a_merge_takes_nothing_along_and_offers_nothing() -> None:
    memory = Memory()
    made(memory)
    collecting(memory)
    table = sandbox(memory, shares=False)
    memory.requests.clear()
    table.refresh(deadline())
    commit(table, change("b", 1))
    assert not [key for _, key in memory.requests if key.startswith(FOLDER)]
    assert table.collector is None


HAPPENS = st.one_of(
    st.sampled_from([*STREAMS, "new"]),
    st.sampled_from(["metadata", "foreign", "without a name"]),
)


def happen(memory: Memory, table: Table, what: str, number: int) -> None:
    if what == "metadata":
        commit(table, Change(files=(), txns={}, metadata=METADATA))
    elif what in ("foreign", "without a name"):
        txn = {"txn": {"appId": "a", "version": number}}
        actions = [txn] if what == "foreign" else [{"commitInfo": {}}, txn]
        version = table.refresh(deadline()).version + 1
        body = b"\n".join(map(orjson.dumps, actions))
        memory.open("t").put_if_absent(commit_key(version), body)
        table.refresh(deadline())
    else:
        commit(table, change(what, number))


@given(
    before=st.lists(HAPPENS, max_size=3),
    since=st.lists(HAPPENS, max_size=4),
    stream=st.sampled_from([*STREAMS, "new", "newer"]),
    depends_on=st.sets(st.sampled_from(STREAMS), max_size=2),
)
def test_offer_is_valid_only_where_its_owner_can_commit_it(
    before: Sequence[str], since: Sequence[str], stream: str, depends_on: set[str]
) -> None:
    memory = Memory()
    made(memory)
    writer = sandbox(memory, shares=False)
    commit(writer, change("d", 1))
    for number, what in enumerate(before, 2):
        happen(memory, writer, what, number)
    snapshot, recent = writer.known(deadline()), list(writer.recent)
    proposal = change(stream, 50, depends_on=frozenset(depends_on))
    data = write_offer(proposal, "x", "owner", snapshot, recent, NOW_MS)
    has_name = before[-1:] not in (["metadata"], ["foreign"], ["without a name"])
    assert (data is not None) == has_name
    if data is None:
        return
    offer = parse_offer(data)
    assert offer is not None
    for number, what in enumerate(since, 10):
        happen(memory, writer, what, number)
    log = writer.log.commits_after(snapshot.version, deadline())
    assert log is not None
    now, known = snapshot, []
    reasons = []
    for each in log:
        reasons.append(proposal.conflict(each.actions, snapshot))
        known.append(summarize(each.actions))
    now = writer.known(deadline())
    is_possible = not any(reasons)
    assert is_valid(offer, now, [*recent, *known]) == is_possible
    assert not is_valid(offer, now, [None, *known])
    assert not is_valid(offer, now, known)


def kept(snapshot: Snapshot, **properties: str) -> Snapshot:
    assert snapshot.metadata is not None
    return replace(snapshot, metadata=snapshot.metadata.with_configuration(properties))


def test_what_only_its_owner_can_commit_is_not_offered() -> None:
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    snapshot, recent = table.known(deadline()), list(table.recent)

    def offer(proposal: Change, snapshot: Snapshot, recent: Sequence[RecentCommit | None]) -> Any:
        return write_offer(proposal, "x", "owner", snapshot, recent, 0)

    assert offer(change("b", 1), snapshot, recent) is not None
    assert offer(change("b", 1, metadata=METADATA), snapshot, recent) is None
    assert offer(change("b", 1, protocol=Protocol()), snapshot, recent) is None
    assert offer(change("b", 1, replaces_schema=True), snapshot, recent) is None
    assert offer(replace(change("b", 1), txns={}), snapshot, recent) is None
    assert offer(change("b", 1, info={"x": "x" * offers.BYTES_MAX}), snapshot, recent) is None
    assert offer(change("b", 1), snapshot, []) is None
    assert offer(change("b", 1), snapshot, [None]) is None
    forgets = kept(snapshot, **{TXN_RETENTION: "interval 1 days"})
    assert offer(change("b", 1), forgets, recent) is None


def test_offer_of_another_table_or_a_table_that_forgets_is_not_valid() -> None:
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    offer = offered(table, change("b", 1))
    snapshot, recent = table.known(deadline()), list(table.recent)
    assert is_valid(offer, snapshot, recent)
    assert not is_valid(replace(offer, base_id="another"), snapshot, recent)
    assert not is_valid(replace(offer, base=offer.base + 1), snapshot, recent)
    assert not is_valid(replace(offer, base=offer.base - 1), snapshot, recent)
    assert not is_valid(replace(offer, streams=3), snapshot, recent)
    forgets = kept(snapshot, **{TXN_RETENTION: "interval 1 days"})
    assert not is_valid(offer, forgets, recent)


def test_offers_that_exclude_each_other_are_not_committed_together() -> None:
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    found = [
        offered(table, change("b", 5), "first"),
        offered(table, change("b", 6), "same stream"),
        offered(table, change("c", 5, depends_on=frozenset("b")), "depends on it"),
        offered(table, change("a", 9), "the stream of who takes along"),
        offered(table, change("new", 1), "a new stream"),
        offered(table, change("d", 1), "after a new stream"),
    ]

    def joined(order: Sequence[Offer], own: Change) -> list[str]:
        snapshot, recent = table.known(deadline()), list(table.recent)
        joint = join_offers(own, order, snapshot, recent, join_info)
        return [guest.commit_id for guest in joint.guests]

    own = change("a", 2)
    assert joined(found, own) == ["first", "a new stream"]
    assert joined(found[::-1], own) == ["after a new stream", "a new stream"]
    assert joined(found, change("newest", 1)) == []
    assert joined([found[0]] * 3, own) == ["first"]
    snapshot, recent = table.known(deadline()), list(table.recent)
    assert not join_offers(own, found, snapshot, recent, lambda *_: None).offers


def test_at_most_so_many_are_taken_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "OFFERS_MAX", 2)
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    void = [replace(offered(table, change("b", 4)), base_id="another")] * 3
    found = [*void, *(offered(table, change(stream, 5), stream) for stream in "bcd")]
    joint = join_offers(
        change("a", 2), found, table.known(deadline()), list(table.recent), join_info
    )
    assert [guest.commit_id for guest in joint.guests] == ["b", "c"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"build": 1}'], ids=repr
)
def test_object_that_is_not_an_offer_is_ignored(data: bytes) -> None:
    assert parse_offer(data) is None


def test_offer_of_another_build_or_a_broken_one_is_ignored() -> None:
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    offer = offered(table, change("b", 1))
    data = orjson.loads(orjson.dumps({n: getattr(offer, n) for n in offer.__struct_fields__}))
    assert parse_offer(orjson.dumps(data)) == offer
    for wrong in ({"build": "silt/another"}, {"txns": []}, {"adds": [{}]}, {"streams": "4"}):
        assert parse_offer(orjson.dumps({**data, **wrong})) is None


def test_old_and_own_offers_are_not_read_and_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    data = offer_of(table, change("b", 1), "x")
    store = memory.open("t")
    store.put(offer_key("me"), data)
    store.put(offer_key("other"), data)
    for _ in range(3):
        memory.requests.clear()
        assert [offer.commit_id for offer in table.offers.read("me", deadline())] == ["x"]
    assert [verb for verb, _ in memory.requests] == ["list"]
    monkeypatch.setattr(offer_folder, "AGE_MAX_MS", -1)
    assert table.offers.read("me", deadline()) == []


@pytest.mark.parametrize(("age_s", "is_read"), [(-310, 0), (-290, 1), (0, 1), (290, 1), (310, 0)])
def test_offer_is_read_for_five_minutes(age_s: int, is_read: int) -> None:
    memory = Memory()
    made(memory)
    table = sandbox(memory)
    commit(table, change("a", 1))
    data = offer_of(table, change("b", 1), "x")
    memory.open("t").put(offer_key("other"), data)
    clock = FakeClock(round(time.time() * 1000) + age_s * 1000)
    found = table.offers.read("me", Deadline(clock, clock.now_s + 60))
    assert len(found) == is_read


def test_request_that_hung_does_not_make_later_appends_wait() -> None:
    memory = Memory()
    made(memory)
    table, clock = sandbox(memory), FakeClock()
    slow = Turn(table, change("a", 1), "id", Deadline(clock, clock.now_s + 60, lambda: 1.0))
    slow.lose(10.0)
    began_s = clock.now_s
    slow.wait()
    assert clock.now_s - began_s <= 3


def test_append_is_waited_for_five_times_at_most() -> None:
    memory = Memory()
    made(memory)
    collecting(memory)
    owner = sandbox(memory)
    owner.refresh(deadline())
    append_turn = Turn(owner, change("b", 1), "id", deadline())
    owner.recent.append(RecentCommit("x", "another", (), (), collects=True))
    looks = 0
    append_turn.go_on(came=True)
    while append_turn.waits:
        append_turn.wait()
        append_turn.go_on(came=True)
        looks += 1
    assert looks == 5


def test_summaries_of_older_builds_are_read() -> None:
    txn = {"appId": "a", "version": 1}
    before = [["id", "w", [txn]]]
    actions = [{"commitInfo": {KEY: {"writer": "w", "before": before}}}]
    assert commits_before(actions) == [RecentCommit("id", "w", (txn,))]
