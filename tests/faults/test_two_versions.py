"""Fault 8: two versions of one contract at work at once, of which one refuses what the other takes.

The record must be in the table or among the dead letters, never in both. The writers are the real
ones, under every schedule; then the whole function under random ones.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.app import Function
from handler.contract.contract import DEAD_LETTERS_SUFFIX, Contract
from handler.delta import commit, files
from handler.delta.change import Change
from handler.delta.checkpoint import HINT
from handler.delta.commit import Transaction
from handler.delta.log import Snapshot, commit_key, parse_commit
from handler.delta.retry import Deadline
from handler.delta.tables import Table
from handler.errors import Superseded
from handler.kafka.event import Batch, parse_event
from handler.sink import table_schema, terms
from handler.sink.outcomes import Outcome
from handler.sink.table_schema import TableSchema
from handler.sink.terms import GOVERNOR, TERM, Term, Terms, governor_of, term_of
from handler.sink.topic_writer import TopicWriter
from handler.sink.view import Admission
from handler.sink.writer import Result, Writer
from tests.builders import NOW_MS, SMALL, FakeClock, contract_of, event, function_for, record, rows
from tests.explore import Actor, Asking, Case, InlinePool, Objects, Violation, explore, new_id
from tests.fakes import Memory, nothing
from tests.reader import rows_of_memory

DEAD, ROWS = "dead/", "rows/"
UNSEEN = "x" * 12  # too long for STRICT, which makes a dead letter of it
RULES = SMALL + "on_tombstone: skip\ncircuit_breaker: {ratio: 1.0}\n"
LOOSE = contract_of(RULES)
STRICT = contract_of(RULES.replace("string}", "string, max_length: 9}"))
RECORD = parse_event(event([record(1, {"id": 1, "name": UNSEEN})]), None)
NOTHING = parse_event(event([record(0, None)]), None)


class World:
    """A table and its dead letters, and sandboxes of two versions that get one record."""

    def __init__(self, governor: Contract | None) -> None:
        self.objects = Objects()
        self.actors: list[Actor] = []
        self.settled: list[str] = []
        if governor is not None:
            for folder in (DEAD, ROWS):
                schema = TableSchema(governor, folder, dead_letters=folder == DEAD)
                needed = schema.needed(Snapshot(), (), NOW_MS)
                properties = {"silt.term": "t0", "silt.contract": governor_of(governor)}
                metadata = needed.metadata.with_configuration(properties)
                made = Change(files=(), txns={}, metadata=metadata, protocol=needed.protocol)
                body = made.body("made", NOW_MS)
                self.objects.put_if_absent(folder + commit_key(0), body)

    def sandbox(self, name: str, contract: Contract, warm: bool = False) -> None:
        """Add a sandbox of a version. A warm one knows both tables from an earlier invocation."""

        def open_store(uri: str) -> Asking:
            return Asking(self.objects, DEAD if uri.endswith(DEAD_LETTERS_SUFFIX) else ROWS)

        made = Writer(contract, "t", open_store, InlinePool(), generation=0)
        writer = TopicWriter([made], generation=0)
        batches = [NOTHING, RECORD] if warm else [RECORD]
        self.actors.append(Actor(name, [self._settle(name, writer, batch) for batch in batches]))

    def _settle(self, name: str, writer: TopicWriter, batch: Batch) -> Callable[[], str]:
        def operation() -> str:
            clock = FakeClock()
            deadline = Deadline(clock, clock.now_s + 1e6, lambda: 0.0)
            try:
                (result,) = writer.write(batch, "s", deadline, dry_run=False)
            except Superseded:
                return "superseded"
            assert isinstance(result, Result)
            assert result.out_of_time is None
            assert not result.outcomes.count(Outcome.UNSETTLED)
            self.settled += [name] if batch is RECORD else []
            return "settled"

        return operation

    def check(self, at_end: bool) -> None:
        adds = [
            key.split("/")[0]
            for key, data in self.objects.landed
            for action in parse_commit(data, key)
            if "add" in action
        ]
        assert len(adds) <= 1, f"the record stands in {' and in '.join(adds)}"
        if at_end and self.settled:
            assert adds, "the record was reported as settled and is missing"

    def case(self, faults_max: int = 0) -> Case:
        return Case(self.objects, self.actors, self.check, faults_max)


def versions(old_takes: bool) -> tuple[Contract, Contract]:
    """Return the old version and the new one, of which one makes a row of the record."""
    return (LOOSE, STRICT) if old_takes else (STRICT, LOOSE)


def deployed_while_the_old_one_works(old_takes: bool) -> Case:
    old, new = versions(old_takes)
    world = World(old)
    world.sandbox("old", old, warm=True)
    world.sandbox("new", new)
    return world.case()


def deployed_while_a_commit_is_lost(old_takes: bool) -> Case:
    return replace(deployed_while_the_old_one_works(old_takes), faults_max=1)


def first_of_all(old_takes: bool) -> Case:
    old, new = versions(old_takes)
    world = World(None)
    world.sandbox("old", old)
    world.sandbox("new", new)
    return world.case()


def rolled_back(old_takes: bool) -> Case:
    old, new = versions(old_takes)
    world = World(old)
    world.sandbox("old", old, warm=True)
    world.sandbox("new", new)
    world.sandbox("again", old)
    return world.case()


CASES = (deployed_while_the_old_one_works, first_of_all)
LARGE = (deployed_while_a_commit_is_lost, rolled_back)
"""Some twenty minutes each on two cores: `make nightly` and a long `make torture` run them."""


@pytest.fixture
def ids_that_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (commit, files, terms, table_schema):
        monkeypatch.setattr(module, "uuid4", new_id)
    monkeypatch.setattr(terms, "_ROUNDS_MAX", 2)


@pytest.mark.usefixtures("ids_that_are_the_same_in_every_run")
@pytest.mark.parametrize("old_takes", [pytest.param(False, marks=pytest.mark.nightly), True])
@pytest.mark.parametrize(
    "case", [*CASES, *(pytest.param(case, marks=pytest.mark.hours) for case in LARGE)]
)
def test_record_is_in_one_table_under_every_schedule(
    case: Callable[[bool], Case], old_takes: bool
) -> None:
    explored = explore(lambda: case(old_takes))
    print(f"{case.__name__}: {explored}")
    assert explored.states > 100


def take_rows_first(
    self: Terms, _admission: Admission, transaction: Transaction, deadline: Deadline
) -> Term:
    """Take over without looking at the dead letters again."""
    dead_letters = self._dead_letters.table
    if not self._governs(term_of(dead_letters.read(deadline))):
        term = Term(str(terms.uuid4()), self._governor)
        self._take(self._dead_letters, term, transaction, deadline)
    taken = term_of(dead_letters.known(deadline))
    assert taken is not None
    self._take(self._rows, taken, transaction, deadline)
    self._agreed = taken
    return taken


BROKEN = {
    "no term is agreed on": ("agree", lambda *_: None),
    "the dead letters are not read again": ("agree", take_rows_first),
    "a term that moved is not seen": ("moved", lambda *_: None),
}


def explore_all() -> None:
    for old_takes in (False, True):
        for case in CASES:
            explore(lambda case=case, old_takes=old_takes: case(old_takes), states_max=20_000)


@pytest.mark.usefixtures("ids_that_are_the_same_in_every_run")
@pytest.mark.parametrize("what", BROKEN)
def test_broken_copy_puts_the_record_into_both_tables(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Terms, *BROKEN[what])
    with pytest.raises(Violation, match="stands in"):
        explore_all()


class LastFirstPool(InlinePool):
    """A pool that does the last of several things first."""

    def run_all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return super().run_all(calls[::-1])[::-1]


def test_dead_letters_are_read_again_after_the_rows(tmp_path: Path) -> None:
    """A cold sandbox opens the dead letters under its term; before it opens the rows, another
    version takes both tables over and makes a dead letter of the record, and a stale sandbox of the
    first version takes the rows back. Then both tables, as they were opened, are under one term.
    """
    shared = Memory()
    strict = SMALL.replace("string}", "string, max_length: 9}")

    def sandbox_of(contract: str, view: Memory) -> Function:
        root = str(tmp_path / "tables")
        return function_for(tmp_path / "of", contract, open_store=view.open, table_root=root)

    def settle(function: Function, records: Sequence[Any]) -> None:
        assert function.handle(event(records), None) == {"batchItemFailures": []}

    first = sandbox_of(SMALL, shared)
    settle(first, [*rows(0, 5), record(5, b"bad")])
    uri = str(tmp_path / "tables" / "sales" / "orders")
    table = Table("orders", shared.open(uri), InlinePool())
    deadline = Deadline(FakeClock(), 1e9)
    term = term_of(table.read(deadline))
    assert term is not None
    unseen = [record(6, {"id": 6, "name": UNSEEN})]
    opened: list[str] = []

    def intervene(verb: str, key: str) -> None:
        opened.extend([key] if key == HINT and verb == "get" else [])
        if len(opened) == 2:
            opened.append("the rows")
            settle(sandbox_of(strict, Memory(stores=shared.stores)), unseen)
            snapshot = table.read(deadline)
            assert term_of(snapshot) != term
            properties = {TERM: term.name, GOVERNOR: term.governor}
            back = snapshot.metadata.with_configuration(properties)
            body = Change(files=(), txns={}, metadata=back).body("stale", NOW_MS)
            shared.stores[uri].put_if_absent(commit_key(snapshot.version + 1), body)

    cold = sandbox_of(SMALL, Memory(stores=shared.stores, before=intervene))
    cold._pool = LastFirstPool()
    settle(cold, unseen)
    assert "the rows" in opened
    assert rows_of_memory(shared, f"{uri}__dead_letters", ["offset"]) == [(5,), (6,)]
    assert 6 not in [offset for (offset,) in rows_of_memory(shared, uri, ["_kafka_offset"])]


steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 4), st.integers(0, 12)),
    min_size=2,
    max_size=7,
)


def at_request(number: int, do: Callable[[], None]) -> Callable[[str, str], None]:
    """Return a hook that does something before one request."""
    left = [number]

    def before(_verb: str, _key: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            do()

    return before


@pytest.mark.nightly
@pytest.mark.logs_errors
@settings(max_examples=150)
@given(schedule=steps)
def test_whole_function_in_two_versions_puts_no_record_into_both_tables(
    tmp_path_factory: pytest.TempPathFactory, schedule: list[tuple[int, int, int, int]]
) -> None:
    """Two sandboxes of each version; in the middle of one's requests another settles the batch."""
    folder = tmp_path_factory.mktemp("versions")
    shared = Memory()
    views = [Memory(stores=shared.stores) for _ in range(4)]
    sandboxes = [
        function_for(
            folder / str(i % 2),
            (SMALL, SMALL.replace("string}", "string, max_length: 9}"))[i % 2],
            open_store=view.open,
            table_root=str(folder / "tables"),
        )
        for i, view in enumerate(views)
    ]

    def settle(which: int, batch: list[Any]) -> None:
        with contextlib.suppress(Superseded):
            sandboxes[which].handle(event(batch), None)

    for which, start, length, moment in schedule:
        batch = [
            record(i, {"id": i, "name": UNSEEN if i % 2 else "x"})
            for i in range(start, start + length)
        ]
        views[which].before = at_request(moment, partial(settle, (which + 1) % 4, batch))
        settle(which, batch)
        views[which].before = nothing
        uri = str(folder / "tables" / "sales" / "orders")
        rows = [o for (o,) in rows_of_memory(shared, uri, ["_kafka_offset"])]
        dead = [o for (o,) in rows_of_memory(shared, f"{uri}__dead_letters", ["offset"])]
        assert len({*rows, *dead}) == len(rows) + len(dead), (rows, dead)
