"""A broker, a mapping, sandboxes and tables as one state machine: Hypothesis invents schedules
of it and shrinks those that fail; a walk with a seed goes deeper.

A sandbox is the whole function in a greenlet: it stops at a request, is frozen there while others
run, thawed later, killed, or loses an answer. The mapping keeps offsets as AWS does: a partition
goes on when its batch is answered, is delivered again when it failed, and is given up now and
then. A redrive stops, fails and is killed in the same way. After every step the tables are compared
with what was delivered.
"""

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from greenlet import getcurrent, greenlet
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from handler.delta.log import commit_key
from handler.errors import AlreadyExists, SiltError, Superseded, Unavailable
from silt.redrive.redriver import Redriver
from silt.redrive.selection import Selection
from tests.builders import (
    SMALL,
    FakeClock,
    checkpoint_bytes,
    contract_of,
    event,
    function_for,
    record,
)
from tests.explore import Asking, InlinePool, Objects
from tests.reader import read_parquet
from tests.verifier import verify

PARTITIONS, SANDBOXES = 2, 3
CONTRACTS = (
    SMALL + "circuit_breaker: {ratio: 1.0}\n",
    SMALL.replace("string}", "string, max_length: 4}") + "circuit_breaker: {ratio: 1.0}\n",
)
KINDS = ("good", "good", "long", "bad", "tombstone")
partitions, sandboxes = st.integers(0, PARTITIONS - 1), st.integers(0, SANDBOXES - 1)
OUTCOMES = ("ok",) * 6 + ("refused", "lost", "late")
"""What comes of a request: refused, its answer lost after it took effect, or it lands late."""
DEADLINE = (1, 3, 5, 8, 99, 99)
"""After so many requests a sandbox is frozen; 99 are enough to end."""
ROWS, DEAD = "sales/orders/", "sales/orders__dead_letters/"


class Network(Asking):
    """One sandbox's way to the store: each request stops for whoever drives the machine."""

    def _ask(self, verb: str, key: str, effect: Callable[[], Any], data: bytes = b"") -> Any:
        outcome = getcurrent().parent.switch()
        if outcome == "refused":
            raise Unavailable("503")
        if outcome == "late" and verb in ("commit", "put"):
            self._objects.late.append((key, data))
            raise Unavailable("no answer")
        answer = effect()
        if outcome == "lost":
            raise Unavailable("the connection was cut")
        return answer

    def put(self, key: str, data: Any) -> None:
        whole = self._folder + key
        content = data.read_bytes() if isinstance(data, Path) else bytes(data)
        self._ask("put", whole, partial(self._objects.data.__setitem__, whole, content), content)


@dataclass
class Invocation:
    """A batch that the mapping has sent and heard nothing of yet."""

    partition: int
    first: int
    last: int
    run: greenlet
    abandoned: bool = False
    """The mapping has given it to another sandbox: what this one says is not heard."""


@dataclass
class Sandbox:
    """An execution environment: warm or cold, and what it is doing."""

    function: Any
    version: int
    invocation: Invocation | None = None


@dataclass
class Topic:
    """One partition on the broker, and how far the mapping has come."""

    values: list[Any] = field(default_factory=list)
    committed: int = 0
    given_up: set[int] = field(default_factory=set)
    delivered: int = 0


def content(partition: int, offset: int, kind: str) -> Any:
    name = {"good": "n", "long": "n" * 9}.get(kind)
    if name is not None:
        return {"id": 1000 * partition + offset, "name": name}
    return None if kind == "tombstone" else b"bad %d" % offset


class World(RuleBasedStateMachine):
    """The machine. `objects` is the bucket."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(mkdtemp(prefix="silt-world-"))
        self.objects = Objects(immutable=False)
        self.topics = [Topic() for _ in range(PARTITIONS)]
        self.deployed = 0
        self.sandboxes = [self._sandbox() for _ in range(SANDBOXES)]
        self.redrive_running: greenlet | None = None
        self.redrives = 0
        self.compactions = 0
        self.read_already: dict[str, list[Any]] = {}

    def _open_store(self, uri: str) -> Network:
        return Network(self.objects, uri.removeprefix("memory/") + "/")

    def _sandbox(self) -> Sandbox:
        function = function_for(
            self.folder / str(self.deployed),
            CONTRACTS[self.deployed],
            open_store=self._open_store,
            clock=FakeClock(),
            table_root="memory",
        )
        function._pool = InlinePool()
        return Sandbox(function, self.deployed)

    # What happens at the broker and in the mapping.

    @initialize(kinds=st.lists(st.sampled_from(KINDS), min_size=4, max_size=8))
    def begin(self, kinds: list[str]) -> None:
        for topic in self.topics:
            topic.values += kinds

    @rule(partition=partitions, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def produce(self, partition: int, kinds: list[str]) -> None:
        self.topics[partition].values += kinds

    @precondition(lambda self: self.some(busy=False))
    @rule(
        which=sandboxes,
        partition=partitions,
        size=st.integers(1, 5),
        steps=st.sampled_from(DEADLINE),
    )
    def deliver(self, which: int, partition: int, size: int, steps: int) -> None:
        """Send the next batch of a partition, or the one that is in progress once more."""
        sandbox, topic = self._one(which, busy=False), self.topics[partition]
        self._begin(sandbox, partition, topic.committed, topic.committed + size)
        self._go_on(sandbox, ["ok"] * steps)

    @precondition(lambda self: self.some(busy=False))
    @rule(
        which=sandboxes,
        partition=partitions,
        first=st.integers(0, 12),
        size=st.integers(1, 8),
        steps=st.sampled_from(DEADLINE),
    )
    def replay(self, which: int, partition: int, first: int, size: int, steps: int) -> None:
        """Give an old range to the function again, with any boundaries."""
        sandbox = self._one(which, busy=False)
        last = min(first + size, self.topics[partition].delivered)
        self._begin(sandbox, partition, first, last)
        self._go_on(sandbox, ["ok"] * steps)

    @rule(partition=partitions, size=st.integers(1, 4))
    def give_up(self, partition: int, size: int) -> None:
        """AWS gives up on a batch after its last attempt: a hole, until somebody replays it."""
        topic = self.topics[partition]
        end = min(topic.committed + size, len(topic.values))
        topic.given_up |= set(range(topic.committed, end))
        topic.committed = end
        topic.delivered = max(topic.delivered, end)

    @property
    def is_busy(self) -> bool:
        return self.redrive_running is not None or bool(self.some(busy=True))

    def some(self, *, busy: bool) -> list[Sandbox]:
        return [s for s in self.sandboxes if (s.invocation is not None) == busy]

    def _one(self, which: int, *, busy: bool) -> Sandbox:
        some = self.some(busy=busy)
        return some[which % len(some)]

    def _begin(self, sandbox: Sandbox, partition: int, first: int, end: int) -> None:
        topic = self.topics[partition]
        end = min(end, len(topic.values))
        if first >= end:
            return
        for other in self.sandboxes:
            if other.invocation is not None and other.invocation.partition == partition:
                other.invocation.abandoned = True
        topic.delivered = max(topic.delivered, end)
        batch = [
            record(o, content(partition, o, topic.values[o]), partition=partition)
            for o in range(first, end)
        ]
        # What is sent to start it is the outcome of no request.
        run = greenlet(lambda _started: sandbox.function.handle(event(batch), None))
        sandbox.invocation = Invocation(partition, first, end, run)

    # What happens to a sandbox.

    @precondition(lambda self: self.some(busy=True))
    @rule(
        which=sandboxes,
        outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=25),
    )
    def go_on(self, which: int, outcomes: list[str]) -> None:
        """Thaw a sandbox for some requests; then it is frozen again."""
        self._go_on(self._one(which, busy=True), outcomes)

    def _go_on(self, sandbox: Sandbox, outcomes: Sequence[str]) -> None:
        invocation = sandbox.invocation
        if invocation is None:
            return
        for outcome in outcomes:
            try:
                answer = invocation.run.switch(outcome)
            except Superseded:
                sandbox.invocation = None
                return
            if invocation.run.dead:
                sandbox.invocation = None
                self._answered(invocation, answer)
                return

    def _answered(self, invocation: Invocation, answer: Any) -> None:
        failed = [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]]
        if invocation.abandoned or failed:
            return
        topic = self.topics[invocation.partition]
        settled = set(range(invocation.first, invocation.last))
        topic.given_up -= settled
        if invocation.first <= topic.committed:
            topic.committed = max(topic.committed, invocation.last)

    @rule(which=sandboxes)
    def kill(self, which: int) -> None:
        self._end(self.sandboxes[which])
        self.sandboxes[which] = self._sandbox()

    def _end(self, sandbox: Sandbox) -> None:
        if sandbox.invocation is not None:
            # GreenletExit: nothing catches it, as nothing survives a kill.
            sandbox.invocation.run.throw()
        sandbox.invocation = None

    @rule()
    def deploy(self) -> None:
        """Another version of the contract: new sandboxes have it, the old ones go on."""
        self.deployed = 1 - self.deployed

    # What happens to the dead letters.

    @rule(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=40))
    def redrive(self, outcomes: list[str]) -> None:
        """Begin a redrive by the contract of today, or let one that is frozen go on."""
        if self.redrive_running is None:
            redriver = Redriver(
                contract_of(CONTRACTS[self.deployed]),
                f"memory/{ROWS.removesuffix('/')}",
                clock=FakeClock(),
                random=lambda: 0.5,
                pool=InlinePool(),
                open_store=self._open_store,
            )
            self.redrive_running = greenlet(lambda _started: redriver.run(Selection()))
            self.redrives += 1
        for outcome in outcomes:
            try:
                self.redrive_running.switch(outcome)
            except SiltError:  # another contract took over, or the store failed for too long
                self.redrive_running = None
                return
            if self.redrive_running.dead:
                self.redrive_running = None
                return

    @precondition(lambda self: self.redrive_running is not None)
    @rule()
    def kill_redrive(self) -> None:
        if self.redrive_running is not None:
            self.redrive_running.throw()
        self.redrive_running = None

    def finish_redrives(self) -> None:
        """Redrive to the end, with nobody else at work: then no row is beside an open letter."""
        self.kill_redrive()
        for sandbox in self.sandboxes:
            self._end(sandbox)
        self.objects.late.clear()
        self.deployed = 0
        while self.redrives == 0 or self.redrive_running is not None:
            self.redrive(["ok"])
        self.redrive(["ok"] * 1000)
        assert self.redrive_running is None
        rows = {(p, o) for p, o, _ in self._read(ROWS, ["_kafka_partition", "_kafka_offset", "id"])}
        for partition, offset, value, closed in self._letters():
            is_open = closed is None
            assert is_open == ((partition, offset) not in rows), f"{offset}: {closed}"
            assert is_open == value.startswith(b"bad"), f"{value!r} stays {closed}"

    # What happens to the tables.

    @precondition(lambda self: self.objects.late)
    @rule(which=st.integers(0, 5))
    def late_put_lands(self, which: int) -> None:
        key, data = self.objects.late.pop(which % len(self.objects.late))
        if "_delta_log" not in key:
            self.objects.data[key] = data
            return
        try:
            self.objects.put_if_absent(key, data)
        except AlreadyExists:
            return

    @rule(folder=st.sampled_from([ROWS, DEAD]))
    def checkpoint(self, folder: str) -> None:
        log = [data for key, data in self.objects.landed if key.startswith(folder)]
        if log:
            last = len(log) - 1
            key = f"{folder}_delta_log/{last:020}.checkpoint.parquet"
            self.objects.data[key] = checkpoint_bytes(b"".join(log))
            hint = json.dumps({"version": last}).encode()
            self.objects.data[f"{folder}_delta_log/_last_checkpoint"] = hint

    @rule(folder=st.sampled_from([ROWS, DEAD]))
    def compact(self, folder: str) -> None:
        """Rewrite all live files as one, as the engine does."""
        live = self.objects.live(folder)
        if len(live) < 2:
            return
        self.compactions += 1
        key = f"compacted-{self.compactions}.parquet"
        tables = [read_parquet(self.objects.data[folder + path]) for path in live]
        sink = io.BytesIO()
        pq.write_table(pa.concat_tables(tables, promote_options="default"), sink)
        self.objects.data[folder + key] = sink.getvalue()
        add = {"path": key, "partitionValues": {}, "size": len(sink.getvalue())}
        actions: list[Any] = [{"remove": {"path": path, "dataChange": False}} for path in live]
        actions.append({"add": {**add, "modificationTime": 0, "dataChange": False}})
        body = b"".join(json.dumps(action).encode() + b"\n" for action in actions)
        version = sum(1 for k, _ in self.objects.landed if k.startswith(folder))
        self.objects.put_if_absent(folder + commit_key(version), body)

    @precondition(lambda self: not self.is_busy)
    @rule(folder=st.sampled_from([ROWS, DEAD]))
    def clean_log(self, folder: str) -> None:
        """Remove commits behind the checkpoint, when nothing that is in progress is as old."""
        self.objects.late.clear()
        hint = self.objects.data.get(f"{folder}_delta_log/_last_checkpoint")
        if hint is not None:
            for version in range(json.loads(hint)["version"]):
                self.objects.data.pop(folder + commit_key(version), None)

    # What must hold.

    def _read(self, folder: str, columns: list[str]) -> list[Any]:
        rows: list[Any] = []
        for path in self.objects.live(folder):
            key = folder + path
            if key not in self.read_already:
                table = read_parquet(self.objects.data[key], columns)
                values = [table[c].to_pylist() for c in columns]
                self.read_already[key] = list(zip(*values, strict=True))
            rows += self.read_already[key]
        return rows

    @invariant()
    def each_record_stands_once(self) -> None:
        rows = self._read(ROWS, ["_kafka_partition", "_kafka_offset", "id"])
        as_rows = {(p, o) for p, o, _ in rows}
        dead = []
        for partition, offset, value, closed in self._letters():
            is_row = (partition, offset) in as_rows
            assert closed is None or is_row, f"{offset} is closed as {closed} and is no row"
            # Between the two commits of a redrive a row is beside its open dead letter.
            if not (self.redrives and is_row):
                dead.append((partition, offset, value))
        delivered: dict[tuple[int, int], Any] = {}
        waiting: set[tuple[int, int]] = set()
        for partition, topic in enumerate(self.topics):
            for offset in range(topic.delivered):
                place, kind = (partition, offset), topic.values[offset]
                if kind == "tombstone":
                    continue
                value = content(partition, offset, kind)
                if kind == "good" or (kind == "long" and place in as_rows):
                    delivered[place] = value["id"]
                else:
                    delivered[place] = value if kind == "bad" else json_of(value)
                if offset >= topic.committed or offset in topic.given_up:
                    waiting.add(place)
        problems = verify(
            delivered,
            [((p, o), value) for p, o, value in rows],
            [((p, o), value) for p, o, value in dead],
            waiting,
        )
        assert not problems, problems

    def _letters(self) -> list[Any]:
        return self._read(DEAD, ["partition", "offset", "value", "redriven_as"])

    def teardown(self) -> None:
        if self.redrive_running is not None:
            self.kill_redrive()
        for sandbox in self.sandboxes:
            self._end(sandbox)


def json_of(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class Walk:
    """A random way through the machine, always the same for a seed.

    It goes deeper than Hypothesis does; nothing is shrunk.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.world = World()
        self._dice = random.Random(seed)

    def go(self, steps: int = 80) -> World:
        """Take so many steps. Raises AssertionError with the way to what is broken."""
        ways = {
            self._produce: 3,
            self._deliver: 8,
            self._replay: 3,
            self._give_up: 1,
            self._go_on: 8,
            self._to_a_sandbox: 2,
            self._to_a_table: 4,
            self._redrive: 4,
        }
        taken: list[str] = []
        try:
            self.world.begin(self._some(KINDS, 8))
            if self._dice.random() < 0.5:  # begin with the contract that takes less
                self.world.deploy()
                for which in range(SANDBOXES):
                    self.world.kill(which)
            for way in self._dice.choices(list(ways), list(ways.values()), k=steps):
                taken.append(way.__name__)
                way()
                self.world.each_record_stands_once()
            self.world.finish_redrives()
            self.world.each_record_stands_once()
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}, after {taken}: {error}") from error
        finally:
            self.world.teardown()
        return self.world

    def _some(self, what: Sequence[str], most: int) -> list[str]:
        return self._dice.choices(what, k=self._dice.randint(1, most))

    def _which(self) -> tuple[int, int]:
        return self._dice.randrange(SANDBOXES), self._dice.randrange(PARTITIONS)

    def _produce(self) -> None:
        self.world.produce(self._which()[1], self._some(KINDS, 4))

    def _deliver(self) -> None:
        size, deadline = self._dice.randint(1, 5), self._dice.choice(DEADLINE)
        if self.world.some(busy=False):
            self.world.deliver(*self._which(), size, deadline)

    def _replay(self) -> None:
        first, size = self._dice.randrange(12), self._dice.randint(1, 8)
        if self.world.some(busy=False):
            self.world.replay(*self._which(), first, size, self._dice.choice(DEADLINE))

    def _give_up(self) -> None:
        self.world.give_up(self._which()[1], self._dice.randint(1, 4))

    def _go_on(self) -> None:
        if self.world.some(busy=True):
            self.world.go_on(self._which()[0], self._some(OUTCOMES, 25))

    def _to_a_sandbox(self) -> None:
        if self._dice.random() < 0.5:
            self.world.kill(self._which()[0])
        else:
            self.world.deploy()

    def _redrive(self) -> None:
        if self._dice.random() < 0.2:
            self.world.kill_redrive()
        else:
            self.world.redrive(self._dice.choice([["ok"] * 40, self._some(OUTCOMES, 40)]))

    def _to_a_table(self) -> None:
        folder = self._dice.choice([ROWS, DEAD])
        match self._dice.randrange(4):
            case 0:
                self.world.checkpoint(folder)
            case 1:
                self.world.compact(folder)
            case 2 if not self.world.is_busy:
                self.world.clean_log(folder)
            case _ if self.world.objects.late:
                self.world.late_put_lands(self._dice.randrange(6))


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestWorld = pytest.mark.logs_errors(World.TestCase)


@pytest.mark.logs_errors
@pytest.mark.parametrize("seed", range(4))
def test_each_record_is_there_once_on_long_random_walks(seed: int) -> None:
    worlds = [Walk(1000 * seed + i).go() for i in range(25)]
    bodies = [data for world in worlds for _, data in world.objects.landed]
    closings = sum(b'"operation":"REDRIVE"' in body for body in bodies)
    print(f"{len(worlds)} ways, {len(bodies)} commits, {closings} of redrives that closed letters")
    assert len(bodies) > 100
    assert closings > 5
