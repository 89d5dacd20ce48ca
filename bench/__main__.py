"""make bench: what the function takes, beside the limit, the obvious function and another commit;
hostile events, conversions, and how it grows. Prints tables, and writes JSON for `bench.page`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import conversions, growth, hostile
from bench.checkout import name_commit
from bench.comparison import LIMIT, OBVIOUS, SILT, Figures, compare, ratio
from bench.page import RESULTS
from bench.work import WORKS
from silt import output


def describe_machine() -> str:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if "model name" in line]
    model = models[0].split(":")[1].strip() if models else platform.processor()
    return (
        f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}, CPython "
        f"{platform.python_version()}"
    )


def describe_commit() -> str:
    """Return the commit that was measured; `+` says that files were changed since."""
    command = ["git", "describe", "--always", "--dirty=+"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def measure_works(only: str, ref: str | None, rounds: int) -> list[dict[str, Figures]]:
    """Measure the works whose name has a text, and print the figures and the ratios."""
    figures: list[dict[str, Figures]] = []
    with output.progress("measuring", "works") as advance:
        for work in WORKS:
            if only in work.name:
                figures.append(compare(work, ref, rounds))
                advance(1)
    output.table(
        f"CPU of an invocation, ms: median (least, half the spread) of {rounds} rounds",
        ["work", *figures[0], "peak, MB"],
        [
            [f[SILT].work, *(one.text for one in f.values()), f"{f[SILT].peak_mb:.0f}"]
            for f in figures
        ],
    )
    others = [way for way in (ref, LIMIT, OBVIOUS) if way]
    output.table(
        "This commit to others, as the median ratio of the rounds",
        ["work", *(f"silt to {way}" for way in others)],
        [
            [f[SILT].work, *(f"{ratio(f[SILT], f[o]):.2f}" if o in f else "" for o in others)]
            for f in figures
        ],
    )
    return figures


def _rounded(figures: Figures) -> dict[str, Any]:
    return {
        **asdict(figures),
        "cpu_s": [round(spent, 5) for spent in figures.cpu_s],
        "peak_mb": round(figures.peak_mb, 1),
    }


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ref", help="another commit to compare the works with")
    parser.add_argument("--only", help="nothing but the works whose name has this text")
    options = parser.parse_args()
    if sys.platform != "linux":
        parser.error("make bench needs Linux: it reads /proc and the CPU clock of other processes")
    ref = name_commit(options.ref) if options.ref is not None else None
    if not any((options.only or "") in work.name for work in WORKS):
        parser.error(f"no work's name has {options.only!r}: {'; '.join(w.name for w in WORKS)}")
    works = measure_works(options.only or "", ref, options.rounds)
    if options.only is not None:
        return 0
    results = {
        "machine": describe_machine(),
        "commit": describe_commit(),
        "ref": ref,
        "rounds": options.rounds,
        "works": [[_rounded(one) for one in by_way.values()] for by_way in works],
        "hostile": hostile.measure_all(),
        "conversions": conversions.measure_all(),
        "growth": growth.measure_all(),
    }
    RESULTS.write_text(json.dumps(results) + "\n")
    output.say(f"Written: {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
