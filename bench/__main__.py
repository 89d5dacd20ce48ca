"""make bench: whole invocations in the real Lambda runtime client, from the event's bytes to the
commit on a local disk; also of another commit, of the limit and of the obvious function.

Each way is a process of its own. A round gives each of them one event, in turn, so that the
machine's mood hits all alike. The ratio of two ways is the median of those of the rounds; absolute
figures are of this machine alone.
"""

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.checkout import FOLDER, HERE, checkout
from bench.measured import MeasuredFunction
from bench.work import WORKS, Work, event_at
from silt import output

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
        """Return the median, the least and the spread in milliseconds."""
        median = statistics.median(self.cpu_s)
        spread = (max(self.cpu_s) - min(self.cpu_s)) / median
        return f"{median * 1e3:.1f} ({min(self.cpu_s) * 1e3:.1f}, {spread:.0%})"


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
def functions(work: Work, ref: str | None) -> Iterator[dict[str, MeasuredFunction]]:
    """Start what is compared: this checkout, another commit, the limit, the obvious function."""
    folder = FOLDER / "work"
    shutil.rmtree(folder, ignore_errors=True)
    trees = {SILT: HERE, **({ref: checkout(ref)} if ref is not None else {})}
    started = {}
    try:
        for way, tree in trees.items():
            own = folder / way
            (own / "contracts").mkdir(parents=True)
            (own / "contracts" / "orders.yaml").write_text(work.contract)
            environment = {
                "SILT_TABLE_ROOT": str(own / "tables"),
                "SILT_CONTRACTS": str(own / "contracts"),
            }
            started[way] = MeasuredFunction(
                tree, "handler.app.lambda_handler", environment, own / "log"
            )
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


def main() -> int:
    """Measure each work and print the figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ref", help="another commit to compare with")
    parser.add_argument("--only", default="", help="the works whose name has this text")
    parser.add_argument("--json", type=Path, default=FOLDER / "bench.json")
    options = parser.parse_args()
    chosen = [work for work in WORKS if options.only in work.name]
    figures: list[dict[str, Figures]] = []
    with output.progress("measuring", "works") as advance:
        for work in chosen:
            with functions(work, options.ref) as ways:
                figures.append(measure(work, ways, options.rounds))
            advance(1)
    output.table(
        f"CPU of an invocation, ms: median (least, spread) of {options.rounds} rounds",
        ["work", *figures[0], "peak, MB"],
        [
            [f[SILT].work, *(one.text for one in f.values()), f"{f[SILT].peak_mb:.0f}"]
            for f in figures
        ],
    )
    others = [way for way in (options.ref, LIMIT, OBVIOUS) if way]
    output.table(
        "This commit to others, as the median ratio of the rounds",
        ["work", *(f"silt to {way}" for way in others)],
        [
            [f[SILT].work, *(f"{ratio(f[SILT], f[o]):.2f}" if o in f else "" for o in others)]
            for f in figures
        ],
    )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    listed = [asdict(one) for by_way in figures for one in by_way.values()]
    options.json.write_text(json.dumps(listed, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
