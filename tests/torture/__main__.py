"""make torture: rounds of everything at once on real parts, and long random ways of the model.

    make torture MINUTES=30 SEED=7

The seed is printed, and each round has one of its own: `SEED=n ROUNDS=1` does that round again.
"""

import argparse
import contextlib
import io
import logging
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

from silt import output
from silt.local.s3 import LocalS3
from tests.properties.test_world import Walk
from tests.real.brokers import best_broker
from tests.torture.proxy import FaultProxy
from tests.torture.round import Round, RoundReport

FOLDER = Path(".silt/torture").absolute()
WALKS_SHARE = 0.25
"""So much of the time is spent on the model, which goes through some four ways a second."""
LARGE_FROM_MINUTES = 60
"""Who has so much time has an hour or so more for the exhaustive cases that take it."""


def main() -> int:
    """Torture until the time is over. Returns 1 if anything broke."""
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--rounds", type=int, default=10**6, help="at most so many rounds")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    ends_at = time.monotonic() + 60 * options.minutes
    output.say(f"Torture for {options.minutes:g} minutes. SEED={options.seed}")
    broken = _rounds(options, time.monotonic() + 60 * options.minutes * (1 - WALKS_SHARE))
    if not broken and options.rounds > 1:
        broken = _walks(options.seed, ends_at)
    if not broken and options.minutes >= LARGE_FROM_MINUTES:
        broken = _large_cases()
    output.say("Something broke: see above." if broken else "Nothing broke.")
    return int(broken)


def _rounds(options: argparse.Namespace, ends_at: float) -> bool:
    shutil.rmtree(FOLDER, ignore_errors=True)
    reports: list[RoundReport] = []
    with (
        LocalS3(FOLDER / "s3", "lake") as s3,
        FaultProxy(s3.endpoint, slow_s=2.0) as proxy,
        best_broker(FOLDER / "kafka") as broker,
    ):
        output.say(f"Broker: {broker.kind}. S3: SeaweedFS, behind a proxy. Readers: two.")
        while (not reports or time.monotonic() < ends_at) and len(reports) < options.rounds:
            seed = options.seed + len(reports)
            folder = FOLDER / str(seed)
            answer = Round(seed, broker, s3, proxy, folder).run()
            reports.append(answer)
            output.say(str(answer), "red" if answer.problems else None)
            if answer.problems:
                output.complain(f"Again: make torture SEED={seed} ROUNDS=1. Logs: {folder}")
                return True
        kinds, faults = len(proxy.counts), proxy.counts.total()
    records = sum(answer.records for answer in reports)
    invocations = sum(answer.invocations for answer in reports)
    checks = sum(answer.checks for answer in reports)
    output.say(
        f"{len(reports)} rounds: {records:,} records by {invocations:,} invocations, {faults:,} "
        f"faults of {kinds} kinds, {checks:,} checks meanwhile. Each record once."
    )
    return False


def _large_cases() -> bool:
    output.say(
        "Every schedule of the larger cases of two versions of a contract: an hour or so more."
    )
    command = [sys.executable, "-m", "pytest", "-q", "-m", "hours", "--timeout", "7200", "tests"]
    return subprocess.run(command, check=False).returncode != 0


def _walks(seed: int, ends_at: float) -> bool:
    walks = commits = 0
    while time.monotonic() < ends_at or not walks:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                world = Walk(seed + walks).go()
        except AssertionError as error:
            output.complain(str(error))
            return True
        walks += 1
        commits += len(world.objects.landed)
    output.say(f"{walks:,} ways of the model, {commits:,} commits. Each record once.")
    return False


if __name__ == "__main__":
    sys.exit(main())
