"""make memory-size: which memory a function should have, by the time of a batch under the share of
a processor that Lambda gives, and by what that costs.

Lambda gives a processor per 1,769 MB ('Configure Lambda function memory'). Each size is a process
of the real runtime client in a control group with that share; the sizes get the same events in
turns. Waiting for S3 takes the same time in each, so it is added, at S3's published latency
(docs/sizing.md): two requests in sequence, three with rejects. Needs Linux, and the right to make
control groups.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.checkout import FOLDER
from bench.cost import GB_SECOND_ARM, INVOCATIONS_MILLION
from bench.measured import start_function
from bench.work import WORKS, Work, event_at
from silt import output
from tests.builders import SMALL, event, files_of_a_large_table, function_for, rows

WHERE = FOLDER / "memory"
MB_OF_A_PROCESSOR = 1769
SIZES_MB = (256, 384, 512, 768, 1024, 1769)
REQUEST_S = 0.155
"""A request in sequence: half of the median append of a writer alone, by `make contention`."""
WORKS_AND_REQUESTS = ((WORKS[0], 2), (WORKS[1], 2), (WORKS[4], 3))
"""Clean ones and one with rejects, and the requests that each waits for (docs/architecture.md)."""
PERIOD_US = 20_000
FILES = 300_000
V1, V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")


@contextmanager
def limited(pid: int, processors: float, name: str) -> Iterator[None]:
    """Give a process a share of a processor."""
    quota = round(processors * PERIOD_US)
    if (V1 / "cpu.cfs_quota_us").exists():
        group = V1 / f"silt-{name}"
        limits = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota)}
    else:
        group = V2 / f"silt-{name}"
        limits = {"cpu.max": f"{quota} {PERIOD_US}"}
    group.mkdir(exist_ok=True)
    try:
        for file, value in limits.items():
            (group / file).write_text(value)
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        with suppress(OSError):  # the process has ended
            (group.parent / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def measure(work: Work, rounds: int) -> dict[int, tuple[float, float]]:
    """Return the median seconds of a batch and the peak of memory in MB, by size."""
    payloads = work.payloads()
    spent: dict[int, list[float]] = {size: [] for size in SIZES_MB}
    with ExitStack() as stack:
        functions = {}
        for size in SIZES_MB:
            functions[size] = function = start_function(work.contract, WHERE / f"{size}")
            stack.callback(function.close)
            function.open_tables()
            stack.enter_context(limited(function.pid, size / MB_OF_A_PROCESSOR, f"{size}"))
        for number in range(rounds + 2):
            for size, function in functions.items():
                function.invoke(event_at(number * len(payloads), payloads))
                if number > 1:
                    spent[size].append(function.answer_s)
        return {s: (statistics.median(spent[s]), f.peak_mb) for s, f in functions.items()}


def look_up() -> dict[int, tuple[float, float]]:
    """Return the same of a look-up in a large table, by a sandbox that knows the table."""
    found = {}
    for size in SIZES_MB:
        folder = WHERE / f"{size}"
        function = start_function(SMALL, folder)
        function_for(folder).handle(event(rows(0, 10)), None)
        files_of_a_large_table(folder / "tables" / "sales" / "orders", FILES)
        try:
            function.open_tables()
            with limited(function.pid, size / MB_OF_A_PROCESSOR, f"{size}"):
                function.invoke(event(rows(5, 10)))
                found[size] = (function.answer_s, function.peak_mb)
        finally:
            function.close()
    return found


def usd_a_million(size_mb: int, seconds: float) -> float:
    """Return what a million invocations of so many billed seconds cost."""
    return seconds * size_mb / 1024 * GB_SECOND_ARM * 1e6 + INVOCATIONS_MILLION


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make memory-size", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, tuple[int, dict[int, tuple[float, float]]]] = {}
    try:
        with output.progress("measuring", "works") as advance:
            for work, requests in WORKS_AND_REQUESTS:
                found[work.name] = requests, measure(work, rounds)
                advance(1)
            found[f"look-up in {FILES:,} files, once each"] = 0, look_up()
    except OSError as error:
        output.complain(
            f"No control group could be made: {error}. Run it on Linux, as root: sudo make "
            "memory-size."
        )
        return 1
    for name, (requests, by_size) in found.items():
        lines = []
        for size, (seconds, peak) in by_size.items():
            billed_s = seconds + requests * REQUEST_S
            usd = usd_a_million(size, billed_s)
            figures = [f"{seconds * 1e3:.0f}", f"{billed_s * 1e3:.0f}", f"{usd:.2f}", f"{peak:.0f}"]
            lines.append([f"{size:,}", *figures])
        columns = ["memory, MB", "without S3, ms", "billed, ms", "USD a million", "peak, MB"]
        output.table(name, columns, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
