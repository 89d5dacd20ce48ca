"""The lease under every schedule of requests: of those who want it, at most one has it.

The takers are the real `Lease` over the real compare-and-swap; their commits may be answered, lost,
or land at any later moment. An append goes on beside them.
"""

from collections.abc import Callable
from typing import Any

import pytest
from greenlet import getcurrent

from handler.delta import swap
from handler.delta.log import Change, Protocol, Txn, commit_bytes, new_metadata
from handler.delta.patience import Patience
from handler.delta.tables import Table
from handler.delta_types import Field, Primitive
from handler.upkeep.lease import Lease
from tests.builders import NOW_MS, FakeClock
from tests.explore import Actor, Asking, Case, InlinePool, Objects, Violation, explore

METADATA = new_metadata("id", (Field("p", Primitive("long")),), (), None, NOW_MS)


class World:
    """One table, and who believes to hold its lease."""

    def __init__(self, faults_max: int) -> None:
        self.objects = Objects()
        made = Change(files=(), txns={}, metadata=METADATA, protocol=Protocol())
        self.objects.put_if_absent(f"_delta_log/{0:020}.json", commit_bytes(made, "made", NOW_MS))
        self.holders: set[str] = set()
        self.actors: list[Actor] = []
        self.faults_max = faults_max

    def _table(self) -> tuple[Table, Patience]:
        return Table("t", Asking(self.objects), InlinePool()), Patience(
            FakeClock(), 1e9, lambda: 1.0
        )

    def taker(self, name: str, turns: int = 1) -> None:
        table, patience = self._table()

        def turn() -> str:
            lease = Lease.take(table, patience)
            if lease is None:
                return "another holds it"
            self.holders.add(name)
            assert len(self.holders) == 1, f"two hold the lease: {self.holders}"
            getcurrent().parent.switch(("work", ""))
            self.holders.discard(name)
            assert lease.release(patience), "a lease was lost before its time"
            return "done"

        self.actors.append(Actor(name, [turn] * turns))

    def appender(self, commits: int) -> None:
        table, patience = self._table()

        def append() -> str:
            snapshot = table.known(patience)
            txns = {"s/t/0": Txn(snapshot.version, NOW_MS)}
            change = Change(files=(), txns=txns)
            swap.append([table], lambda _done: [change], patience, lambda _i, _c: None)
            return "appended"

        self.actors.append(Actor("appender", [append] * commits))

    def case(self) -> Case:
        return Case(self.objects, self.actors, lambda _at_end: None, self.faults_max)


def two(faults_max: int, turns: int = 1) -> Case:
    world = World(faults_max)
    world.taker("a", turns)
    world.taker("b")
    return world.case()


def two_beside_an_append(faults_max: int) -> Case:
    world = World(faults_max)
    world.taker("a")
    world.taker("b")
    world.appender(1)
    return world.case()


def three(faults_max: int) -> Case:
    world = World(faults_max)
    for name in "abc":
        world.taker(name)
    return world.case()


CASES: dict[str, Callable[[], Case]] = {
    "two, a lost commit": lambda: two(1),
    "two, one comes back": lambda: two(0, turns=2),
    "two beside an append": lambda: two_beside_an_append(0),
    "three": lambda: three(0),
}


@pytest.fixture(autouse=True)
def ids_that_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def new_id() -> str:
        actor: Any = getcurrent()
        return actor.new_id()

    monkeypatch.setattr(swap, "uuid4", new_id)


@pytest.mark.parametrize("what", CASES)
def test_at_most_one_holds_the_lease_under_every_schedule(what: str) -> None:
    explored = explore(CASES[what])
    print(f"{explored.schedules:,} schedules, {explored.states:,} states")
    assert explored.schedules > 100


def test_lease_that_looks_at_no_holder_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handler.upkeep.lease.holder", lambda _snapshot, _now_ms: None)
    with pytest.raises((Violation, AssertionError)):
        explore(CASES["two, a lost commit"])
