"""Fault 5: maintenance beside appends, twice at once, killed, asleep, with lost answers, on S3.

The real function in processes of its own, on a real S3 server, partly behind a proxy that loses
answers. Two readers count.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from silt.local.s3 import LocalS3
from tests.builders import ROOT, SMALL, event, function_for, record
from tests.reader import State
from tests.torture.judge import Tables
from tests.torture.proxy import Fault, FaultProxy, Request

pytestmark = pytest.mark.timeout(180)

CONTRACT = SMALL + (
    "circuit_breaker: {ratio: 1.0}\n"
    "maintenance: {quiet_for: 0m, target_file_size: 1 MiB, checkpoint_commits: 2}\n"
)
PAUSE_S = 0.2
"""Some four commits a second: about as many as a table on S3 takes with ease."""


@dataclass
class Place:
    """One pair of tables on the server, and the folder of the test."""

    s3: LocalS3
    folder: Path
    tables: Tables

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            **self.s3.environment,
            "SILT_TABLE_ROOT": self.tables.root,
            "SILT_CONTRACTS": str(self.folder / "contracts"),
            **more,
        }

    def maintenance(self, **more: str) -> "subprocess.Popen[str]":
        """Start a run, with its engine in a group of processes of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.torture.maintenance"],
            cwd=ROOT,
            env=self.environment(**more),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def maintained(self, **more: str) -> str:
        """Run to the end; returns what it said."""
        run = self.maintenance(**more)
        _, said = run.communicate(timeout=120)
        assert run.returncode == 0, said
        return said

    def state(self) -> State:
        return self.tables.state()

    def check(self, commits: int) -> None:
        """Compare both tables with what was delivered, by two readers."""
        rows, dead = self.tables.rows(), self.tables.dead_letters()
        delivered = range(2 * commits)
        assert sorted(p for p, _ in rows) == [(0, o) for o in delivered if o % 2 == 0]
        assert sorted(p for p, _ in dead) == [(0, o) for o in delivered if o % 2 == 1]
        assert self.tables.disagreement(rows, dead) == []


@pytest.fixture
def place(s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    root = f"s3://{s3.bucket}/{tmp_path.name}"
    return Place(s3, tmp_path, Tables(s3, root))


def appender(place: Place) -> Callable[[int], None]:
    """Return what appends a batch of one row and one dead letter, as a warm sandbox does."""
    function = function_for(place.folder, CONTRACT, table_root=place.tables.root)

    def append(number: int) -> None:
        batch = [record(2 * number, {"id": number, "name": "n"}), record(2 * number + 1, b"bad")]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}

    return append


def aged(place: Place, commits: int) -> Callable[[int], None]:
    append = appender(place)
    for number in range(commits):
        append(number)
    return append


@contextmanager
def proxied(place: Place, plan: Callable[[Request], Fault | None]) -> Iterator[FaultProxy]:
    with FaultProxy(place.s3.endpoint, slow_s=1.0) as proxy:
        proxy.plan = plan
        yield proxy


def test_two_runs_at_once_beside_appends(place: Place) -> None:
    append = aged(place, 12)
    runs = [place.maintenance(VACUUM_EVERY_MS="0") for _ in range(2)]
    number = 12
    while any(run.poll() is None for run in runs):
        append(number)
        number += 1
        time.sleep(PAUSE_S)
    said = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    place.check(number)
    assert number > 14
    assert sum(text.count('"files_removed": 0') for text in said) < 4  # one of them did something


@pytest.mark.parametrize(
    "after_s", [*(pytest.param(s, marks=pytest.mark.nightly) for s in (0.3, 0.9, 1.6)), 0.6, 1.2]
)
def test_run_that_is_killed_is_gone_on_with(place: Place, after_s: float) -> None:
    """The engine is killed with it; the next run does the rest."""
    append = aged(place, 10)
    run = place.maintenance()
    time.sleep(after_s)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    append(10)
    place.check(11)
    place.maintained()
    place.check(11)
    assert len(place.state().adds) < 4


def test_engine_that_outlives_its_killed_parent_does_no_harm(place: Place) -> None:
    append = aged(place, 10)
    run = place.maintenance(VACUUM_EVERY_MS="0")
    while not children(run.pid):
        time.sleep(0.01)
    run.kill()  # the parent alone
    run.communicate()
    append(10)
    place.maintained()
    place.check(11)


def test_run_that_sleeps_before_its_commit_does_not_commit_what_another_did(place: Place) -> None:
    """It has written its file; another run then merges the same files."""
    append = aged(place, 10)
    asleep: list[int] = []

    def stop_the_run(request: Request) -> Fault | None:
        if request.kind == "commit put" and len(asleep) == 1:
            asleep.append(0)
            os.kill(run.pid, signal.SIGSTOP)
            return "cut before"
        if request.kind == "data put" and not asleep:
            asleep.append(1)
        return None

    with proxied(place, stop_the_run) as proxy:
        run = place.maintenance(AWS_ENDPOINT_URL=proxy.endpoint)
        deadline = time.monotonic() + 60
        while len(asleep) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(asleep) == 2, "no compaction came to its commit"
        append(10)
        place.maintained()
        before = len(place.state().adds)
        os.kill(run.pid, signal.SIGCONT)
        said = run.communicate(timeout=90)[1]
    assert len(place.state().adds) <= before
    assert '"conflicts": 1' in said, said
    place.check(11)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(
    "fault",
    [
        *("cut after", "twice"),
        *(pytest.param(f, marks=pytest.mark.nightly) for f in ("500 after", "cut before")),
        *(pytest.param(f, marks=pytest.mark.nightly) for f in ("409", "503")),
    ],
)
def test_commits_whose_answers_are_lost(place: Place, fault: Fault) -> None:
    append = aged(place, 10)
    seen: list[str] = []

    def lose_each_second(request: Request) -> Fault | None:
        if request.kind not in ("commit put", "checkpoint put"):
            return None
        seen.append(request.key)
        return fault if len(seen) % 2 else None

    with proxied(place, lose_each_second) as proxy:
        runs = [
            place.maintenance(AWS_ENDPOINT_URL=proxy.endpoint, VACUUM_EVERY_MS="0")
            for _ in range(2)
        ]
        number = 10
        while any(run.poll() is None for run in runs):
            append(number)
            number += 1
            time.sleep(PAUSE_S)
        for run in runs:
            run.communicate()
    assert len(seen) > 2
    place.check(number)
    place.maintained()
    place.check(number)
