"""make bench-compare REF=...: the instructions that an invocation takes, of this checkout and of
another commit, counted by valgrind.

A count does not depend on what else the machine does: a difference of a percent is one. Where there
is no valgrind, `make bench REF=...` compares the CPU in turns instead.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

from bench.checkout import HERE, checkout
from bench.comparison import SILT, compare, ratio
from bench.work import WORKS, Work, event_at
from silt import output

FEW, MANY = 2, 4
"""Events of two runs: the difference leaves out the start, and what only the first events need."""
CODE = """
import sys
from pathlib import Path
from handler.app import lambda_handler
try:
    from handler.kafka.event import decode_event as parse
except ImportError:
    from simplejson import loads as parse  # as the runtime client did
for name in sys.argv[1:]:
    answer = lambda_handler(parse(Path(name).read_bytes()), None)
    assert answer == {"batchItemFailures": []}, answer
"""


def count_instructions(tree: Path, work: Work) -> float:
    """Return how many instructions an event of a work takes, from its bytes to the answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "contracts").mkdir()
        (folder / "contracts" / "c.yaml").write_text(work.contract)
        payloads = work.payloads()
        files = []
        for number in range(MANY):
            files.append(folder / f"{number}.json")
            files[-1].write_bytes(orjson.dumps(event_at(number * len(payloads), payloads)))
        _count(tree, folder, files[:1])  # compiles the byte code: a new checkout has none
        few, many = (_count(tree, folder, files[:count]) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _count(tree: Path, folder: Path, files: list[Path]) -> int:
    shutil.rmtree(folder / "tables", ignore_errors=True)
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run(
        [*tool, sys.executable, "-c", CODE, *map(str, files)],
        cwd=tree,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tree),
            "PYTHONHASHSEED": "0",
            "SILT_TABLE_ROOT": str(folder / "tables"),
            "SILT_CONTRACTS": str(folder / "contracts"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"{' '.join(tool)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return int(found[1].replace(",", ""))


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(prog="make bench-compare", description=__doc__)
    parser.add_argument("ref", help="another commit")
    parser.add_argument("--only", default="", help="the works whose name has this text")
    options = parser.parse_args()
    works = [work for work in WORKS if options.only in work.name]
    other, rows = checkout(options.ref), []
    if shutil.which("valgrind") is None:
        output.say("There is no valgrind here: the CPU is compared, in turns.", "yellow")
        for work in works:
            figures = compare(work, options.ref, rounds=9)
            here, there = figures[SILT], figures[options.ref]
            rows.append([work.name, here.text, there.text, f"{ratio(here, there):.2f}"])
        output.table("CPU, ms", ["work", "this checkout", options.ref, "ratio"], rows)
        return 0
    with output.progress("counting", "works") as advance:
        for work in works:
            own, theirs = count_instructions(HERE, work), count_instructions(other, work)
            counts = [f"{count / 1e6:,.1f}" for count in (own, theirs)]
            rows.append([work.name, *counts, f"{own / theirs:.3f}"])
            advance(1)
    output.table(
        "Instructions of an invocation, millions",
        ["work", "this checkout", options.ref, "ratio"],
        rows,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
