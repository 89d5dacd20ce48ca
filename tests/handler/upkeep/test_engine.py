"""The engine's process: what it answers is read, and it is ended in time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handler.errors import EngineFailed, OutOfTime
from handler.upkeep import worker
from handler.upkeep.engine import Engine
from tests.builders import event, function_for, rows


def scripted(code: str) -> Engine:
    """Return an engine whose process runs this code instead."""
    return Engine("s3://lake/t", (sys.executable, "-c", code))


def test_job_reaches_the_process_and_its_answer_comes_back() -> None:
    code = "import sys; print(sys.stdin.read())"
    answer = scripted(code).do("vacuum", 30, hours=168)
    assert answer == {"table": "s3://lake/t", "do": "vacuum", "hours": 168}


def test_process_that_is_late_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    with pytest.raises(OutOfTime, match="the next run goes on"):
        scripted(code).do("vacuum", 1.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_process_ends_with_the_run_that_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"

    def interrupted(*_: object, **__: object) -> None:
        while not pid.exists() or not pid.read_text():
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scripted(code).do("vacuum", 300)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended with -9"),
        ("import os; os._exit(3)", "ended with 3"),
        ("import os; print('{\"n\": ', end='', flush=True); os._exit(1)", "ended with 1"),
    ],
    ids=["killed", "ended before it had read its job", "an answer that is cut off"],
)
def test_process_that_gives_no_answer_is_a_failure(code: str, reason: str) -> None:
    with pytest.raises(EngineFailed, match=reason):
        scripted(code).do("vacuum", 30, more="x" * 1_000_000)


@pytest.mark.parametrize("left_s", [0.5, 0.0, -3.0])
def test_without_time_nothing_is_started(tmp_path: Path, left_s: float) -> None:
    engine = scripted(f"open({str(tmp_path / 'started')!r}, 'w')")
    with pytest.raises(OutOfTime, match="no time left to vacuum"):
        engine.do("vacuum", left_s)
    assert not (tmp_path / "started").exists()


def test_folder_named_handler_where_a_person_works_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "__init__.py").write_text("raise ImportError('another')")
    monkeypatch.chdir(tmp_path)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    assert Engine(uri).do("checkpoint", 60) == {"version": 1}


def test_what_the_engine_cannot_do_names_table_and_reason(tmp_path: Path) -> None:
    uri = str(tmp_path / "nothing")
    with pytest.raises(EngineFailed, match=r"could not checkpoint .*TableNotFoundError") as caught:
        Engine(uri).do("checkpoint", 60)
    assert uri in str(caught.value)
    assert "troubleshooting.md#engine-failed" in str(caught.value)


def test_vacuum_of_young_files_is_refused_whoever_asks(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    with pytest.raises(EngineFailed, match="younger than 24 hours"):
        Engine(uri).do("vacuum", 60, hours=worker.VACUUM_HOURS_MIN - 1, dry_run=False)
