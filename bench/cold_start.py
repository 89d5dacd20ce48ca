"""make cold-start: what a cold start of the artifact takes, in time and memory.

The artifact is made, unzipped in an empty folder and run by the Lambda runtime client in an
isolated interpreter, against a real S3 server on this machine: with byte code, without, and that of
another commit; in turns, so that the machine's mood hits all alike. Lambda gives the init phase a
whole processor and reads the artifact over a network at first, which cannot be had here: the ratios
count.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.checkout import checkout
from silt import output
from silt.local.s3 import LocalS3
from silt.packaging.artifact import make
from silt.packaging.wheels import Platform
from tests.isolated import Runtime, host_target, peak_memory_mb, unpack

FOLDER = Path(".silt/cold-start").absolute()
BYTE_CODE, SOURCES = "byte code", "sources"
GOLDEN = Path("events/golden/msk.json")


@dataclass(slots=True)
class Starts:
    """What some cold starts took: times in seconds, the peak of memory in MB."""

    init: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make cold-start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--ref", help="another commit to compare with")
    options = parser.parse_args()
    shutil.rmtree(FOLDER, ignore_errors=True)
    target = host_target()
    with output.progress("packaging", ""):
        artifact = make("ingest", target, Path("schemas"), FOLDER)
        runtime = Runtime(target, FOLDER / "runtime")
        folders = {name: unpack(artifact.path, FOLDER / name) for name in (BYTE_CODE, SOURCES)}
        if options.ref is not None:
            folders[options.ref] = unpack(make_artifact(options.ref, target), FOLDER / options.ref)
    for cache in folders[SOURCES].rglob("__pycache__"):
        shutil.rmtree(cache)
    event = json.loads(GOLDEN.read_text())
    found = {name: Starts() for name in folders}
    with LocalS3(FOLDER / "s3", "lake") as s3, output.progress("cold starts", "rounds") as advance:
        for number in range(options.rounds):
            for name, folder in folders.items():
                root = f"s3://{s3.bucket}/{number}-{name.replace(' ', '-')}"
                environment = {**s3.environment, "SILT_TABLE_ROOT": root}
                log = FOLDER / "function.log"
                sandbox = runtime.sandbox(folder, environment, "handler.app.lambda_handler", log)
                try:
                    outcome = sandbox.invoke(event)
                    assert outcome.payload == {"batchItemFailures": []}, outcome
                    found[name].init.append(sandbox.init_s)
                    found[name].first.append(sandbox.answer_s)
                    found[name].memory.append(peak_memory_mb(sandbox))
                finally:
                    sandbox.close()
            advance(1)
    _print(found, artifact.unzipped, options.rounds)


def make_artifact(ref: str, target: Platform) -> Path:
    """Make the artifact of another commit, by its own command."""
    tree, out = checkout(ref), FOLDER / f"dist-{ref}"
    main = "import sys; from silt.cli import main; sys.exit(main())"
    asked = ["--arch", target.arch, "--python", target.python, "--contracts", "schemas"]
    subprocess.run(
        [sys.executable, "-c", main, "package", "--function", "ingest", *asked, "--out", str(out)],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return next(out.glob("*.zip"))


def _print(found: dict[str, Starts], unzipped: int, rounds: int) -> None:
    rows = []
    for name, starts in found.items():
        init, first = statistics.median(starts.init), statistics.median(starts.first)
        rows.append(
            [name, f"{init * 1000:.0f}", f"{first * 1000:.0f}", f"{max(starts.memory):.0f}"]
        )
    title = f"Cold starts: medians of {rounds}, {output.size(unzipped)} unzipped"
    columns = ["artifact with", "init, ms", "first event (a new table), ms", "peak memory, MB"]
    output.table(title, columns, rows)
    for name, starts in found.items():
        pairs = zip(found[BYTE_CODE].init, starts.init, strict=True)
        ratio = statistics.median(own / other for own, other in pairs)
        if name != BYTE_CODE:
            output.say(f"The init phase takes {ratio:.2f} of that of {name}.")


if __name__ == "__main__":
    main()
