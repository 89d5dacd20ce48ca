"""The compare-and-swap loop under every schedule of small cases: Transaction and Table are the real
ones.

A writer here decides as the function does: above the watermark all is new, below it the table is
searched. Its commits may be answered, lost, or land at any later moment. The search is exhaustive:
what passes here holds for every order of requests, not for those that a test thought of.
"""

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from handler.delta import change as changes
from handler.delta import commit, offers, turn
from handler.delta.change import Change, DataFile
from handler.delta.commit import Transaction
from handler.delta.log import Protocol, Snapshot, Txn, commit_key, new_metadata, parse_commit
from handler.delta.look_up import Keys, Matches, Query
from handler.delta.offer_folder import offer_key
from handler.delta.offers import Offer, is_valid, write_offer
from handler.delta.recent import RecentCommit
from handler.delta.retry import ATTEMPT_MIN_S, Deadline
from handler.delta.tables import Table
from handler.delta.types import Field, Primitive
from handler.errors import AlreadyExists, OutOfTime, SiltError, SourceMismatch
from handler.kafka.offsets import Stream, check_source, earlier_app_ids
from tests.builders import NOW_MS, FakeClock, checkpoint_bytes
from tests.explore import (
    Actor,
    Asking,
    Case,
    InlinePool,
    Objects,
    Violation,
    e_tag,
    explore,
    new_id,
)

KEYS = Keys("p", "o", "t")
FIELDS = (
    Field("p", Primitive("integer")),
    Field("o", Primitive("long")),
    Field("t", Primitive("timestamp")),
)
TIME = pa.scalar(NOW_MS * 1000, pa.timestamp("us", "UTC"))


@cache
def payload(partition: int, offsets: tuple[int, ...]) -> bytes:
    sink = io.BytesIO()
    columns = {
        "p": pa.array([partition] * len(offsets), pa.int32()),
        "o": pa.array(offsets, pa.int64()),
        "t": pa.array([TIME] * len(offsets), pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def data_file(key: str, partition: int, offsets: tuple[int, ...]) -> DataFile:
    data = payload(partition, offsets)
    bounds = [{"p": partition, "o": pick(offsets)} for pick in (min, max)]
    stats = {"numRecords": len(offsets), "minValues": bounds[0], "maxValues": bounds[1]}
    return DataFile(key, data, len(data), len(offsets), {}, json.dumps(stats), NOW_MS)


class Crowded:
    """What a sandbox remembers of other writers that it meets all the time, and that come soon."""

    alone = property(lambda _self: 0, lambda _self, _value: None)
    ended_s = property(lambda _self: FakeClock().now_s, lambda _self, _value: None)
    request_s = property(lambda _self: 1.0, lambda _self, _value: None)


class World:
    """One table, its writers, and what stands in it by the commits that landed."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.actors: list[Actor] = []
        self.held: dict[str, list[tuple[int, int]]] = {}
        """The records of each data file, by its key."""
        self.delivered: dict[str, set[tuple[int, int]]] = {}
        """What each writer has reported as settled."""
        self.base = 0
        """How many commits had landed when the table was recreated."""
        self.deadline: list[Deadline] = []

    def table(self, *, shares: bool = False) -> Table:
        table = Table("t", Asking(self.objects), InlinePool(), KEYS)
        if shares:
            table.merge_info = lambda _one, _other: {}
            table.crowd = Crowded()  # type: ignore[assignment]
        return table

    def rows(self) -> list[tuple[int, int]]:
        live = self.objects.live(base=self.base)
        return [place for path in live for place in self.held[path]]

    def check(self, at_end: bool) -> None:
        rows = self.rows()
        assert len(rows) == len(set(rows)), f"a row is there twice: {sorted(rows)}"
        missing = [
            path for path in self.objects.live(base=self.base) if path not in self.objects.data
        ]
        assert not missing, f"the log names files that are not there: {missing}"
        if at_end and not self.base:
            lost = set().union(*self.delivered.values()) - set(rows)
            assert not lost, f"reported as settled and not there: {sorted(lost)}"

    def writer(
        self,
        name: str,
        partition: int,
        *batches: Sequence[int],
        gives_up: bool = False,
        generation: int = 0,
        shares: bool = False,
    ) -> None:
        table = self.table(shares=shares)
        stream = Stream("s", "t", partition, generation)
        operations = [self._append(name, table, stream, tuple(b), gives_up) for b in batches]
        self.actors.append(Actor(name, operations))
        self.delivered[name] = set()

    def _append(
        self, name: str, table: Table, stream: Stream, batch: tuple[int, ...], gives_up: bool
    ) -> Callable[[], Any]:
        def operation() -> str:
            clock = FakeClock()
            # One that gives up has time for one attempt: what it sent may still land.
            deadline = Deadline(
                clock, clock.now_s + (ATTEMPT_MIN_S + 0.001 if gives_up else 1e6), lambda: 1.0
            )
            file_key = f"part-{new_id()}"

            def propose(_snapshot: Snapshot) -> Change | None:
                return self._decide(table, stream, batch, file_key, deadline)

            try:
                Transaction([table], deadline).commit_change(table, propose)
            except (OutOfTime, SourceMismatch) as error:
                table.snapshot = None
                return "unsettled" if isinstance(error, OutOfTime) else "refused"
            self.delivered[name] |= {(stream.partition, o) for o in batch}
            return "settled"

        return operation

    def _decide(
        self,
        table: Table,
        stream: Stream,
        batch: tuple[int, ...],
        file_key: str,
        deadline: Deadline,
    ) -> Change | None:
        partition, found, looked_up = stream.partition, Matches(), False
        while True:
            snapshot = table.known(deadline)
            check_source(list(snapshot.txns), "s", "t", stream.generation, "t")
            own = snapshot.txns.get(stream.app_id, Txn(-1)).version
            earlier = earlier_app_ids(snapshot.txns, stream)
            mark = max([own, *(snapshot.txns[app_id].version for app_id in earlier)])
            if looked_up or batch[0] > mark:
                break
            found, looked_up = table.look_up({partition: Query(batch)}, deadline), True
        new = tuple(o for o in batch if (partition, o) not in found.rows)
        if not new:
            return None
        key = f"{file_key}-{'.'.join(map(str, new))}.parquet"
        self.held[key] = [(partition, o) for o in new]
        created = not snapshot.exists
        return Change(
            files=(data_file(key, partition, new),),
            txns={stream.app_id: Txn(max(own, *new), NOW_MS)},
            metadata=METADATA if created else None,
            protocol=Protocol() if created else None,
            depends_on=frozenset(earlier),
        )

    def actor(self, name: str, *operations: Callable[[Asking], Any], waits: bool = False) -> None:
        store = Asking(self.objects)
        made = [lambda operation=operation: operation(store) for operation in operations]
        self.actors.append(Actor(name, made, waits=waits))

    def compact(self, store: Asking) -> None:
        """Rewrite all live files as one, as the engine does; a conflict is left for another run."""
        entries = [e.key for e in store.list("_delta_log", "_delta_log/") if "json" in e.key]
        live: dict[str, None] = {}
        for key in entries:
            for action in parse_commit(store.get(key).data, key):
                if "add" in action:
                    live[action["add"]["path"]] = None
                elif "remove" in action:
                    live.pop(action["remove"]["path"])
        places = sorted(place for path in live for place in self.held[path])
        if len(live) < 2 or len({p for p, _ in places}) > 1:
            return
        key = f"part-{new_id()}.parquet"
        self.held[key] = places
        file = data_file(key, places[0][0], tuple(o for _, o in places))
        store.put(key, file.payload)
        removes = [{"remove": {"path": path, "dataChange": False}} for path in live]
        body = b"\n".join(json.dumps(a).encode() for a in [*removes, file.action()])
        with contextlib.suppress(AlreadyExists):
            store.put_if_absent(commit_key(len(entries)), body)

    def checkpoint(self, store: Asking) -> None:
        log = b"".join(data for _, data in self.objects.landed)
        last = len(self.objects.landed) - 1
        if last >= 0:
            store.put(f"_delta_log/{last:020}.checkpoint.parquet", checkpoint_bytes(log))
            store.put("_delta_log/_last_checkpoint", json.dumps({"version": last}).encode())

    def clean(self, _store: Asking) -> None:
        """Remove the commits behind the checkpoint, between invocations: they are a day old."""
        hint = self.objects.data.get("_delta_log/_last_checkpoint")
        if hint is not None:
            for version in range(json.loads(hint)["version"]):
                self.objects.data.pop(commit_key(version), None)

    def make_anew(self, _store: Asking) -> None:
        """Drop the table and make another in its place, between invocations."""
        self.objects.data.clear()
        self.base = len(self.objects.landed)
        change = Change(files=(), txns={}, metadata=METADATA, protocol=Protocol())
        self.objects.put_if_absent(commit_key(0), change.body("anew", NOW_MS))

    def leave_offer(self, partition: int, offset: int, base: int, streams: int) -> None:
        """Put an offer before the case begins, of an append to another table at this place."""
        key = "part-left.parquet"
        self.held[key] = [(partition, offset)]
        file = data_file(key, partition, (offset,))
        self.objects.data[key] = file.payload
        txns = {f"s/t/{number}": Txn(0) for number in range(streams)}
        snapshot = Snapshot(base, None, Protocol(), METADATA, txns)
        change = Change(files=(file,), txns={f"s/t/{partition}": Txn(offset, NOW_MS)})
        recent = [RecentCommit("of the other table", "gone", ())]
        offer = write_offer(change, "left", "gone", snapshot, recent, NOW_MS)
        assert offer is not None
        self.objects.data[offer_key("gone")] = offer

    def before(self, partition: int, *batches: Sequence[int]) -> None:
        """Fill the table before the case begins."""
        for number, batch in enumerate(batches):
            key = f"before-{number}.parquet"
            self.held[key] = [(partition, o) for o in batch]
            file = data_file(key, partition, tuple(batch))
            self.objects.data[key] = file.payload
            change = Change(
                files=(file,),
                txns={f"s/t/{partition}": Txn(max(batch), NOW_MS)},
                metadata=METADATA if number == 0 else None,
                protocol=Protocol() if number == 0 else None,
            )
            body = change.body(f"before-{number}", NOW_MS)
            self.objects.put_if_absent(commit_key(number), body)

    def case(self, faults_max: int = 0) -> Case:
        return Case(self.objects, self.actors, self.check, faults_max)


METADATA = replace(new_metadata("id", FIELDS, (), None, NOW_MS))


def zombie_and_successor() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("zombie", 0, [1, 2])
    world.writer("successor", 0, [1, 2, 3])
    return world.case(2)


def late_put_of_one_that_gave_up() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("first", 0, [1], gives_up=True)
    world.writer("second", 0, [1, 2])
    return world.case(2)


def makers_of_one_table() -> Case:
    world = World()
    world.writer("a", 0, [0, 1])
    world.writer("b", 0, [0])
    world.writer("c", 1, [0])
    return world.case()


def two_of_one_stream_and_a_third() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("a", 0, [1, 2])
    world.writer("b", 0, [2, 3])
    world.writer("other", 1, [0])
    return world.case()


def holes_filled_by_two_beside_a_third_above() -> Case:
    world = World()
    world.before(0, [5])
    world.writer("low", 0, [0, 1])
    world.writer("middle", 0, [1, 2])
    world.writer("above", 0, [6])
    return world.case()


def compaction_beside_writers() -> Case:
    world = World()
    world.before(0, [0], [1])
    world.writer("a", 0, [1, 2])
    world.writer("b", 0, [2])
    world.actor("engine", world.compact)
    return world.case()


def log_cleaned_behind_an_idle_writer() -> Case:
    world = World()
    world.before(0, [0])
    world.objects.immutable = False
    world.writer("idle", 0, [1], [2])
    world.writer("busy", 0, [2])
    # Between invocations: how a checkpoint goes beside writers is a case of its own.
    world.actor("cleaner", world.checkpoint, world.clean, waits=True)
    return world.case()


def checkpoint_beside_writers() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("a", 0, [1, 2], [1])
    world.writer("b", 0, [2])
    world.actor("engine", world.checkpoint)
    return world.case()


def table_made_anew_behind_an_idle_writer() -> Case:
    world = World()
    world.before(0, [0])
    world.objects.immutable = False
    world.writer("idle", 0, [1], [2])
    world.writer("other", 1, [0])
    world.actor("somebody", world.make_anew, waits=True)
    return world.case()


def two_generations_of_one_stream() -> Case:
    """The generation was raised without need, and the function of the old one still runs."""
    world = World()
    world.before(0, [0])
    world.writer("old", 0, [1], [2])
    world.writer("new", 0, [1, 2], generation=1)
    return world.case()


def two_writers_of_a_new_generation() -> Case:
    world = World()
    world.before(0, [0, 1])
    world.writer("one", 0, [1], [1, 2], generation=1)
    world.writer("other", 0, [0, 2], [2, 3], generation=2)
    return world.case()


def append_that_another_writer_takes_along() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("taker", 1, [0], [1], shares=True)
    world.writer("owner", 0, [1], shares=True)
    return world.case(1)


def offered_append_and_its_redelivery() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("taker", 1, [0], [1], shares=True)
    world.writer("owner", 0, [1], shares=True)
    world.writer("again", 0, [1, 2])
    return world.case()


def offer_of_one_that_gave_up() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("taker", 1, [0], [1], shares=True)
    world.writer("owner", 0, [1], gives_up=True, shares=True)
    world.writer("again", 0, [1, 2], shares=True)
    return world.case()


def two_offers_of_one_stream() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("taker", 1, [0], [1], shares=True)
    world.writer("one", 0, [1], shares=True)
    world.writer("other", 0, [1, 2], shares=True)
    return world.case()


def two_that_take_along() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("one", 1, [0], [1], shares=True)
    world.writer("other", 2, [0], [1], shares=True)
    return world.case()


def offer_of_a_generation_that_is_over() -> Case:
    world = World()
    world.before(0, [0])
    world.writer("taker", 1, [0], shares=True)
    world.writer("owner", 0, [1], shares=True)
    world.writer("successor", 0, [1], [2], generation=1, shares=True)
    return world.case()


def offer_to_a_table_that_was_restored() -> Case:
    """Its base is now another commit, which may be the one that has the offered record."""
    world = World()
    world.before(0, [0])
    world.leave_offer(0, 1, base=2, streams=2)
    world.writer("taker", 1, [0], [1], shares=True)
    world.writer("again", 0, [1])
    return world.case()


OFFERS = (
    offer_to_a_table_that_was_restored,
    append_that_another_writer_takes_along,
    offered_append_and_its_redelivery,
    offer_of_a_generation_that_is_over,
    offer_of_one_that_gave_up,
    two_offers_of_one_stream,
    two_that_take_along,
)
CASES = (
    two_generations_of_one_stream,
    two_writers_of_a_new_generation,
    zombie_and_successor,
    table_made_anew_behind_an_idle_writer,
    late_put_of_one_that_gave_up,
    makers_of_one_table,
    two_of_one_stream_and_a_third,
    holes_filled_by_two_beside_a_third_above,
    compaction_beside_writers,
    checkpoint_beside_writers,
    log_cleaned_behind_an_idle_writer,
)


@pytest.fixture(autouse=True)
def ids_that_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "uuid4", new_id)


@pytest.fixture(autouse=True)
def few_writers_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_MANY", 1)
    monkeypatch.setattr(turn, "_BUSY", 1e6)


LONG = (*CASES[-2:], *OFFERS[4:])


@pytest.mark.parametrize(
    "case",
    [
        *CASES[:-2],
        *OFFERS[:4],
        *(pytest.param(case, marks=pytest.mark.nightly) for case in LONG),
    ],
)
def test_each_record_is_there_once_under_every_schedule(case: Callable[[], Case]) -> None:
    explored = explore(case)
    print(f"{case.__name__}: {explored}")
    assert explored.states > 100


def any_violation(cases: Sequence[Callable[[], Case]] = CASES) -> str:
    """Return what the first case that fails says."""
    for case in cases:
        try:
            explore(case, states_max=5000)
        except Violation as violation:
            return str(violation)
        except SiltError as error:
            return repr(error)
    return ""


def without_rereading(table: Table, _change: Change, _commit_id: str, _deadline: Deadline) -> None:
    assert table.snapshot is not None
    table.snapshot = replace(table.snapshot, version=table.snapshot.version + 1)


def plain_put(asking: Asking, key: str, data: bytes) -> str:
    def overwrite() -> None:
        asking._objects.data[key] = data
        asking._objects.landed.append((key, data))

    asking._ask("commit", key, overwrite, data)
    return e_tag(data)


BROKEN = {
    "a stream that moved is not seen": (changes, "conflict_with", lambda *_: None),
    "a retry does not read what came": (commit, "catch_up", without_rereading),
    "no look at commit N": (Table, "is_current", lambda _self: True),
    "a plain put for a put-if-absent": (Asking, "put_if_absent", plain_put),
    "an earlier generation that moved is not seen": (
        Change,
        "concerned",
        property(lambda self: frozenset(self.txns)),
    ),
    "nothing is looked up": (Table, "look_up", lambda *_: Matches()),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_copy_of_the_code_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[what])
    violation = any_violation()
    print(violation)
    assert violation


def look_at_commits_only(actions: Any, *more: Any) -> Any:
    """What an offer is committed with has no `commitInfo`; a commit of the log has one."""
    return changes.conflict_with(actions, *more) if "commitInfo" in actions[0] else None


def look_at_companions_only(actions: Any, *more: Any) -> Any:
    return None if "commitInfo" in actions[0] else changes.conflict_with(actions, *more)


def is_valid_in_another_number_of_streams(offer: Offer, snapshot: Snapshot, recent: Any) -> bool:
    return is_valid(replace(offer, streams=len(snapshot.txns)), snapshot, recent)


def is_valid_after_another_base(offer: Offer, snapshot: Snapshot, recent: Any) -> bool:
    behind = snapshot.version - offer.base
    base = recent[-1 - behind] if 0 <= behind < len(recent) else None
    base_id = base.commit_id if base is not None else None
    return is_valid(replace(offer, base_id=base_id or ""), snapshot, recent)


BROKEN_OFFERS: dict[str, tuple[str, Any, Callable[[], Case]]] = {
    "what came since an offer is not looked at": (
        "conflict_with",
        look_at_companions_only,
        offer_of_one_that_gave_up,
    ),
    "what an offer is committed with is not looked at": (
        "conflict_with",
        look_at_commits_only,
        two_offers_of_one_stream,
    ),
    "the streams are not counted": (
        "is_valid",
        is_valid_in_another_number_of_streams,
        offer_of_a_generation_that_is_over,
    ),
    "the base is not compared": (
        "is_valid",
        is_valid_after_another_base,
        offer_to_a_table_that_was_restored,
    ),
}


@pytest.mark.parametrize("what", BROKEN_OFFERS)
def test_broken_copy_of_taking_along_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, broken, case = BROKEN_OFFERS[what]
    monkeypatch.setattr(offers, name, broken)
    violation = any_violation([case])
    print(violation)
    assert "a row is there twice" in violation
