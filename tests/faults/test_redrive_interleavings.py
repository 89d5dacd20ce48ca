"""Redrives under every schedule of small cases: two at once, beside appends, beside a redelivery,
beside a deployment of another contract, with commits whose answers are lost.

The redriver and the writer are the real ones. At no time is a record lost or a row there
twice. When
all have ended, no row is beside an open dead letter.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import unquote

import pytest
from msgspec.structs import replace

from handler.contract.contract import DEAD_LETTERS_SUFFIX, Contract
from handler.delta import commit, files
from handler.delta.change import Change
from handler.delta.look_up import Matches
from handler.delta.retry import Deadline
from handler.delta.tables import Table
from handler.errors import Superseded
from handler.kafka.event import parse_event
from handler.sink import table_schema, terms
from handler.sink.outcomes import Plan
from handler.sink.topic_writer import TopicWriter
from handler.sink.writer import Writer
from silt.redrive import letter_writer
from silt.redrive.letter_writer import LetterWriter
from silt.redrive.redriver import Redriver
from silt.redrive.selection import Selection
from tests.builders import SMALL, FakeClock, contract_of, event, record
from tests.explore import Actor, Asking, Case, InlinePool, Objects, Violation, explore, new_id
from tests.reader import read_parquet

DEAD, ROWS = "dead/", "rows/"
RULES = SMALL + "circuit_breaker: {ratio: 1.0}\n"
LOOSE = contract_of(RULES)
STRICT = contract_of(RULES.replace("string}", "string, max_length: 3}"))
REJECTED = [record(1, {"id": 1, "name": "long name"})]
"""STRICT makes a dead letter of it, LOOSE a row."""
FIRST = [record(0, {"id": 0, "name": "x"})]
NEXT = [record(2, {"id": 2, "name": "x"})]


class World:
    """A table with one open dead letter, whose contract was fixed since, and who works on it."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.actors: list[Actor] = []
        self.delivered = {0, 1}
        self.superseded = False
        for before in (
            self.function("before", STRICT, REJECTED),
            self.function("deployed", LOOSE, FIRST),
        ):
            before.step(None)
            while not before.dead:
                before.step("ok")

    def open_store(self, uri: str) -> Asking:
        return Asking(self.objects, DEAD if uri.endswith(DEAD_LETTERS_SUFFIX) else ROWS)

    def function(self, name: str, contract: Contract, *batches: list[dict[str, Any]]) -> Actor:
        made = Writer(contract, "t", self.open_store, InlinePool(), generation=0)
        writer = TopicWriter([made], generation=0)

        def settle(batch: list[dict[str, Any]]) -> str:
            clock = FakeClock()
            deadline = Deadline(clock, clock.now_s + 1e6, lambda: 0.0)
            try:
                writer.write(parse_event(event(batch), None), "s", deadline, dry_run=False)
            except Superseded:
                return "superseded"
            self.delivered |= {each["offset"] for each in batch}
            return "settled"

        return Actor(name, [lambda batch=batch: settle(batch) for batch in batches])

    def redrive(self, name: str) -> Actor:
        redriver = Redriver(
            LOOSE,
            "t",
            clock=FakeClock(),
            random=lambda: 0.0,
            pool=InlinePool(),
            open_store=self.open_store,
        )

        def operation() -> str:
            try:
                return str(redriver.run(Selection()).total.redriven)
            except Superseded:
                self.superseded = True
                return "superseded"

        return Actor(name, [operation])

    def check(self, at_end: bool) -> None:
        rows = Counter(offset for offset, _ in self.records(ROWS))
        letters = self.records(DEAD)
        assert max(rows.values(), default=0) <= 1, f"a row is there twice: {rows}"
        assert max(Counter(letters).values()) <= 1, f"a letter is there twice: {letters}"
        present = {*rows, *(offset for offset, _ in letters)}
        assert self.delivered <= present, f"lost: {self.delivered - present}"
        for offset, closed in letters:
            assert closed is None or offset in rows, f"{offset} is closed and no row"
            if at_end and not self.superseded:
                assert closed == "row", f"{offset} was left open"

    def records(self, folder: str) -> list[tuple[int, str | None]]:
        live = self.objects.live(folder)
        whole = [folder + unquote(path) for path in live]
        return [each for key in whole for each in records_in(self.objects.data[key])]

    def case(self, *actors: Actor, faults_max: int = 0) -> Case:
        return Case(self.objects, list(actors), self.check, faults_max)


@cache
def records_in(data: bytes) -> list[tuple[int, str | None]]:
    """Return offset and `redriven_as` of the rows of a file."""
    table = read_parquet(data)
    offsets = table["offset" if "offset" in table.column_names else "_kafka_offset"].to_pylist()
    closed = [None] * len(offsets)
    if "redriven_as" in table.column_names:
        closed = table["redriven_as"].to_pylist()
    return list(zip(offsets, closed, strict=True))


def two_redrives() -> Case:
    world = World()
    return world.case(world.redrive("one"), world.redrive("two"))


def redrive_whose_commit_is_lost() -> Case:
    world = World()
    return world.case(world.redrive("one"), faults_max=2)


def redrive_beside_appends() -> Case:
    world = World()
    return world.case(world.redrive("one"), world.function("live", LOOSE, NEXT))


def redrive_beside_a_redelivery() -> Case:
    world = World()
    return world.case(world.redrive("one"), world.function("live", LOOSE, [*REJECTED, *NEXT]))


def redrive_beside_another_contract() -> Case:
    world = World()
    return world.case(world.redrive("one"), world.function("live", STRICT, [*REJECTED, *NEXT]))


CASES = (
    two_redrives,
    redrive_whose_commit_is_lost,
    redrive_beside_appends,
    redrive_beside_a_redelivery,
)


@pytest.fixture(autouse=True)
def ids_that_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (commit, files, terms, table_schema):
        monkeypatch.setattr(module, "uuid4", new_id)


@pytest.mark.parametrize("case", CASES)
def test_each_letter_becomes_one_row_under_every_schedule(case: Callable[[], Case]) -> None:
    explored = explore(case)
    print(f"{case.__name__}: {explored}")
    assert explored.states > 200


@pytest.mark.parametrize("states", [600, pytest.param(10**9, marks=pytest.mark.hours)])
def test_redrive_beside_another_contract(states: int) -> None:
    """Both take the tables over, so there are very many schedules."""
    explored = explore(redrive_beside_another_contract, states_max=states)
    print(explored)
    assert explored.states >= 600


def append_without_naming_the_stream(*arguments: Any) -> Change:
    change = letter_writer_change(*arguments)
    return replace(change, txns={}, depends_on=frozenset())


def close_before_the_rows(self: LetterWriter, *arguments: Any, **options: Any) -> Plan:
    """Return what a dry run says: the letters are closed, and nothing is appended."""
    return letter_writer_write(self, *arguments, **{**options, "dry_run": True})


letter_writer_change = letter_writer._change
letter_writer_write = LetterWriter.write
BROKEN: dict[str, tuple[Any, str, Any]] = {
    "streams are not named": (letter_writer, "_change", append_without_naming_the_stream),
    "letters are not looked up": (Table, "look_up", lambda *_: Matches()),
    "rows are not appended": (LetterWriter, "write", close_before_the_rows),
}


def explore_all() -> None:
    for case in CASES:
        explore(case)


@pytest.mark.parametrize("what", BROKEN)
def test_broken_redrive_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[what])
    with pytest.raises(Violation, match=r"a row is there twice|is closed and no row"):
        explore_all()
