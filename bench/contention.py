"""make contention: how many sandboxes one table takes, by the real append loop in simulated time.

Each writer is `commit_change` itself with a stream of its own, in a greenlet; every request takes a
latency drawn from a distribution, and only the clock is simulated. The same writers are then run in
threads and real time, at a latency that the machine can sleep exactly, to see that the simulation
tells the truth.
"""

import argparse
import heapq
import math
import random
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from greenlet import getcurrent, greenlet

from handler.delta.change import Change, DataFile
from handler.delta.commit import Transaction
from handler.delta.log import Metadata, Protocol, Snapshot, Txn, new_metadata
from handler.delta.look_up import Keys
from handler.delta.pool import Pool
from handler.delta.retry import Clock, Deadline, SystemClock
from handler.delta.store import Entry, Object
from handler.delta.tables import Table
from handler.delta.types import Field, Primitive
from handler.errors import AlreadyExists, NotFound, OutOfTime, StoreError
from silt import output

Latency = Callable[[random.Random], float]
"""Draws how long a request takes, in seconds."""

WRITERS = (1, 2, 4, 8, 16, 32, 64)
EVENT_MB = 4.3
"""Values in a full event: 6 MB of JSON, base64."""
DEADLINE_S = 60.0
METADATA: Metadata = new_metadata("id", [Field("a", Primitive("long"))], (), None, 0)


def exactly(seconds: float) -> Latency:
    """Every request takes the same time."""
    return lambda _dice: seconds


def between(low_s: float, high_s: float) -> Latency:
    """Log-normal, with four fifths of the requests between two times."""
    median = math.sqrt(low_s * high_s)
    sigma = math.log(high_s / median) / 1.2816
    return lambda dice: median * math.exp(dice.gauss(0.0, sigma))


@dataclass
class Bucket:
    """What the store holds, and how many requests came."""

    data: dict[str, tuple[Object, Entry]] = field(default_factory=dict)
    puts: int = 0
    requests: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, key: str, data: bytes, now_ms: int, *, if_absent: bool) -> str:
        with self.lock:
            if if_absent and key in self.data:
                raise AlreadyExists(key)
            self.puts += 1
            e_tag = str(self.puts)
            self.data[key] = Object(data, e_tag), Entry(key, len(data), e_tag, now_ms)
            return e_tag

    def get(self, key: str) -> Object:
        try:
            return self.data[key][0]
        except KeyError:
            raise NotFound(key) from None

    def list(self, prefix: str, after: str) -> list[Entry]:
        with self.lock:
            keys = sorted(k for k in self.data if k.startswith(prefix) and k > after)
            return [self.data[key][1] for key in keys]


class Remote:
    """A `Store` at a distance: a request takes effect half-way through its latency."""

    def __init__(self, bucket: Bucket, latency: Latency, dice: random.Random, clock: Clock) -> None:
        self._bucket, self._latency, self._dice, self._clock = bucket, latency, dice, clock

    def _take(self, effect: Callable[[], Any]) -> Any:
        seconds = self._latency(self._dice)
        self._bucket.requests += 1
        self._clock.sleep(seconds / 2)
        try:
            return effect()
        finally:
            self._clock.sleep(seconds / 2)

    def get(self, key: str) -> Object:
        return self._take(partial(self._bucket.get, key))

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return self._take(lambda: [self._bucket.get(key).data[a:b] for a, b in ranges])

    def head(self, key: str) -> str | None:
        return self._take(lambda: self._bucket.get(key).e_tag)

    def list(self, prefix: str, after: str) -> list[Entry]:
        return self._take(partial(self._bucket.list, prefix, after))

    def put(self, key: str, data: Any) -> None:
        self._take(lambda: self._put(key, data, if_absent=False))

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        return self._take(lambda: self._put(key, data, if_absent=True))

    def _put(self, key: str, data: bytes, *, if_absent: bool) -> str:
        return self._bucket.put(key, data, self._clock.epoch_ms(), if_absent=if_absent)


class Simulated:
    """A clock that is set forward to whatever happens next; its threads are greenlets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._hub = getcurrent()
        self._due: list[tuple[float, int, greenlet]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return round(self.now_s * 1000)

    def sleep(self, seconds: float) -> None:
        self.wake(getcurrent(), seconds)
        self.wait()

    def spawn(self, program: Callable[[], None]) -> None:
        """Begin a program as soon as those that run now wait."""
        self.wake(greenlet(program, parent=self._hub))

    def wake(self, waiting: greenlet, after_s: float = 0.0) -> None:
        """Let a greenlet go on after a time."""
        self._count += 1
        heapq.heappush(self._due, (self.now_s + after_s, self._count, waiting))

    def wait(self) -> None:
        """Wait until somebody wakes this greenlet."""
        self._hub.switch()

    def run(self) -> None:
        """Go on until nothing is due any more."""
        while self._due:
            self.now_s, _, waiting = heapq.heappop(self._due)
            waiting.switch()


class SimulatedPool(Pool):
    """Requests in progress at once, in simulated time."""

    def __init__(self, clock: Simulated) -> None:
        self._clock = clock

    def at_once(self, calls: Sequence[Callable[[], Any]], timeout_s: float) -> list[Any]:
        answers: list[Any] = [None] * len(calls)
        left, caller = [len(calls)], getcurrent()

        def request(i: int, call: Callable[[], Any]) -> None:
            try:
                answers[i] = call()
            except StoreError as error:
                answers[i] = error
            left[0] -= 1
            if left[0] == 0:
                self._clock.wake(caller)

        for i, call in enumerate(calls):
            self._clock.spawn(partial(request, i, call))
        if calls:
            self._clock.wait()
        return answers

    def run_all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        return [call() for call in calls]


@dataclass
class Measured:
    """What one run came to."""

    writers: int
    seconds: float
    appends_s: list[float] = field(default_factory=list)
    given_up: int = 0
    requests: int = 0

    @property
    def rate(self) -> float:
        """Return commits a second."""
        return len(self.appends_s) / self.seconds

    def row(self) -> list[Any]:
        """Return the run as a line of the table."""
        ordered = sorted(self.appends_s) or [0.0]
        return [
            self.writers,
            round(self.rate, 1),
            round(self.rate * EVENT_MB, 1),
            round(statistics.median(ordered) * 1000),
            round(ordered[int(len(ordered) * 0.99)] * 1000),
            round(self.requests / max(1, len(self.appends_s)), 1),
            self.given_up,
        ]


@dataclass(frozen=True)
class Writer:
    """One sandbox that appends again and again, to a stream of its own."""

    number: int
    table: Table
    clock: Clock
    dice: random.Random
    measured: Measured
    every_s: float = 0.0
    """A batch is ready so often; 0: as soon as the one before is settled."""

    def run(self, ends_at: float) -> None:
        """Append until a time, each time decided as the function does."""
        offset, due = 0, self.clock.monotonic() + self.dice.random() * self.every_s
        while self.clock.monotonic() < ends_at:
            self.clock.sleep(max(0.0, due - self.clock.monotonic()))
            began = self.clock.monotonic()
            due = max(due + self.every_s, began)
            deadline = Deadline(self.clock, began + DEADLINE_S, self.dice.random)
            try:
                transaction = Transaction([self.table], deadline)
                transaction.commit_change(self.table, partial(self._propose, offset))
                self.measured.appends_s.append(self.clock.monotonic() - began)
            except OutOfTime:
                self.measured.given_up += 1
            offset += 1

    def _propose(self, offset: int, snapshot: Snapshot) -> Change:
        is_new = not snapshot.exists
        return Change(
            files=(DataFile(f"{self.number}-{offset}", b"", 1, 1, {}, "{}", 0),),
            txns={f"s/t/{self.number}": Txn(offset)},
            metadata=METADATA if is_new else None,
            protocol=Protocol() if is_new else None,
        )


def writers_on(
    bucket: Bucket, count: int, latency: Latency, clock: Clock, pools: Callable[[], Pool],
    measured: Measured,
) -> list[Writer]:  # fmt: skip
    """Return writers of one table, each at its own distance from the store."""
    found = []
    for number in range(count):
        dice = random.Random(number)
        remote = Remote(bucket, latency, dice, clock)
        keys = Keys("a", "a", "a")
        table = Table("t", remote, pools(), keys, merge_info=lambda one, _other: one)
        found.append(Writer(number, table, clock, dice, measured))
    return found


def simulate(count: int, latency: Latency, seconds: float, every_s: float = 0.0) -> Measured:
    """Run writers in simulated time."""
    clock, bucket, measured = Simulated(), Bucket(), Measured(count, seconds)
    pool = SimulatedPool(clock)
    for each in writers_on(bucket, count, latency, clock, lambda: pool, measured):
        clock.spawn(partial(replace(each, every_s=every_s).run, seconds))
    clock.run()
    measured.requests = bucket.requests
    return measured


def measure(count: int, latency: Latency, seconds: float) -> Measured:
    """Run writers in threads and real time."""
    clock, bucket, measured = SystemClock(), Bucket(), Measured(count, seconds)
    ends_at = clock.monotonic() + seconds
    threads = [
        threading.Thread(target=each.run, args=(ends_at,))
        for each in writers_on(bucket, count, latency, clock, lambda: Pool(4), measured)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    measured.requests = bucket.requests
    return measured


LOADS = (
    *((1.0, 0.1, 1), (1.0, 1.0, 1), (1.0, 4.3, 1), (5.0, 4.3, 1)),
    *((10.0, 1.0, 4), (10.0, 4.3, 2), (10.0, 4.3, 4), (10.0, 4.3, 16)),
    *((15.0, 4.3, 4), (20.0, 4.3, 8), (25.0, 4.3, 16)),
)
"""MB/s of values, MB of them in a batch, and by how many pollers."""
COLUMNS = (
    *("writers", "commits/s", "MB/s at most", "append ms, median", "p99"),
    *("requests a commit", "given up"),
)


def main() -> int:
    """Print the check against real time, then the tables."""
    parser = argparse.ArgumentParser(prog="make contention", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="simulated, for each line")
    seconds = parser.parse_args().seconds
    check = exactly(0.02)
    rows = []
    for count in (1, 4, 16):
        simulated, real = simulate(count, check, 30.0), measure(count, check, 6.0)
        rows += [["simulated", *simulated.row()], ["real", *real.row()]]
    output.table("20 ms a request: the simulation beside real time", ["time", *COLUMNS], rows)
    for title, latency in (
        ("S3: four fifths of the requests take 100 to 200 ms", between(0.1, 0.2)),
        ("20 to 60 ms", between(0.02, 0.06)),
        ("a store nearby: 4 to 9 ms", between(0.004, 0.009)),
    ):
        found = [simulate(count, latency, seconds).row() for count in WRITERS]
        output.table(title, COLUMNS, found)
    loads = []
    for mb_per_second, batch_mb, count in LOADS:
        every_s = batch_mb * count / mb_per_second
        run = simulate(count, between(0.1, 0.2), 5 * seconds, every_s)
        keeps_up = run.rate * batch_mb > 0.98 * mb_per_second
        loads.append([mb_per_second, batch_mb, "yes" if keeps_up else "no", *run.row()])
    columns = ["MB/s that come", "MB a batch", "keeps up", *COLUMNS]
    output.table("A load on one table, at 100 to 200 ms a request", columns, loads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
