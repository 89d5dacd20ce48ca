"""Whole invocations in the real Lambda runtime client, from the event's bytes to the commit on a
local disk; also of another commit, of the limit and of the obvious function.

Each way is a process of its own. A round gives each of them one event, in turn, so that the
machine's mood hits all alike. The ratio of two ways is the median of those of the rounds; absolute
figures are of this machine alone.
"""

import shutil
import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from bench.checkout import FOLDER, HERE, checkout
from bench.measured import MeasuredFunction, start_function
from bench.work import Work, event_at

WARM_UP = 2
SILT, LIMIT, OBVIOUS = "silt", "limit", "obvious"


@dataclass(frozen=True)
class Figures:
    """What one way of one work took: CPU seconds of each round, the peak of memory in MB."""

    work: str
    way: str
    cpu_s: list[float]
    peak_mb: float

    @property
    def text(self) -> str:
        """Return the median, the least and the spread, in milliseconds."""
        spread = max(self.cpu_s) - min(self.cpu_s)
        median = statistics.median(self.cpu_s)
        return f"{median * 1e3:.1f} ({min(self.cpu_s) * 1e3:.1f}, ±{spread / 2 * 1e3:.1f})"


def ratio(one: Figures, other: Figures) -> float:
    """Return how many times the CPU of another way one takes: the median of the rounds."""
    pairs = zip(one.cpu_s, other.cpu_s, strict=True)
    return statistics.median(a / b for a, b in pairs)


def measure(work: Work, ways: Mapping[str, MeasuredFunction], rounds: int) -> dict[str, Figures]:
    """Give each way the events of a work in turn."""
    payloads = work.payloads()
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(WARM_UP + rounds):
        event = event_at(number * len(payloads), payloads)
        for way, function in ways.items():
            took = function.invoke(event)
            if number >= WARM_UP:
                spent[way].append(took)
    return {
        way: Figures(work.name, way, spent[way], function.peak_mb) for way, function in ways.items()
    }


@contextmanager
def start_functions(work: Work, ref: str | None) -> Iterator[dict[str, MeasuredFunction]]:
    """Start what is compared: this checkout, another commit, the limit, the obvious function."""
    folder = FOLDER / "work"
    shutil.rmtree(folder, ignore_errors=True)
    trees = {SILT: HERE, **({ref: checkout(ref)} if ref is not None else {})}
    started = {}
    try:
        for way, tree in trees.items():
            started[way] = start_function(work.contract, folder / way, tree)
        for way, schema in ((LIMIT, work.limit), (OBVIOUS, "orders" if work.obvious else "")):
            if schema:
                own = folder / way
                own.mkdir(parents=True)
                environment = {"BENCH_FOLDER": str(own), "BENCH_SCHEMA": schema}
                started[way] = MeasuredFunction(
                    HERE, f"bench.{way}.lambda_handler", environment, own / "log"
                )
        yield started
    finally:
        for function in started.values():
            function.close()


def compare(work: Work, ref: str | None, rounds: int) -> dict[str, Figures]:
    """Measure a work by each way there is for it."""
    with start_functions(work, ref) as ways:
        return measure(work, ways, rounds)
