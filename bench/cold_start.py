"""make cold-start: what a cold start of the artifact takes, in time and memory.

The artifact is made, unzipped in an empty folder and run by the Lambda runtime client in an
isolated interpreter, against a real S3 server on this machine: with byte code and without, in
turns, so that the machine's mood hits both alike. Lambda gives the init phase a whole processor and
reads the artifact over a network at first, which cannot be had here: the ratios count.
"""

import argparse
import json
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from silt import output
from silt.local.s3 import LocalS3
from silt.packaging.artifact import make
from tests.isolated import Runtime, host_target, peak_memory_mb, unpack

FOLDER = Path(".silt/cold-start").absolute()
GOLDEN = Path("events/golden/msk.json")


@dataclass(slots=True)
class Starts:
    """What some cold starts took: times in seconds, the peak of memory in MB."""

    init: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    shutil.rmtree(FOLDER, ignore_errors=True)
    target = host_target()
    with output.progress("packaging", ""):
        artifact = make("ingest", target, Path("schemas"), FOLDER)
        runtime = Runtime(target, FOLDER / "runtime")
    folders = {name: unpack(artifact.path, FOLDER / name) for name in ("byte code", "sources")}
    for cache in folders["sources"].rglob("__pycache__"):
        shutil.rmtree(cache)
    event = json.loads(GOLDEN.read_text())
    found = {name: Starts() for name in folders}
    with LocalS3(FOLDER / "s3", "lake") as s3, output.progress("cold starts", "rounds") as advance:
        for number in range(rounds):
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
    _print(found, artifact.unzipped, rounds)


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
    pairs = zip(found["sources"].init, found["byte code"].init, strict=True)
    ratio = statistics.median(without / with_code for without, with_code in pairs)
    output.say(f"Without byte code the init phase takes {ratio:.1f} times as long.")


if __name__ == "__main__":
    main()
