"""The engine's process: what it says is heard as it says it, and it is ended in time."""

import os
import sys
from pathlib import Path

import pytest

from handler.errors import EngineFailed, OutOfTime
from handler.upkeep.engine import Engine
from tests.builders import event, function_for, rows


def scripted(code: str) -> Engine:
    """Return an engine whose process runs this code instead."""
    return Engine("s3://lake/t", (sys.executable, "-c", code))


def test_lines_are_heard_one_by_one() -> None:
    code = "import sys\nfor i in range(3): print('{\"n\": %d}' % i, flush=True)"
    assert [line["n"] for line in scripted(code).ask("look", 30)] == [0, 1, 2]


def test_job_reaches_the_process() -> None:
    code = "import sys; print(sys.stdin.read())"
    (line,) = scripted(code).ask("vacuum", 30, hours=168)
    assert line == {"table": "s3://lake/t", "do": "vacuum", "hours": 168}


def test_process_that_is_late_is_killed_and_what_it_said_is_kept(tmp_path: Path) -> None:
    code = (
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print('{\"n\": 1}', flush=True)\ntime.sleep(600)"
    )
    lines = scripted(code).ask("compact", 1.5)
    assert next(lines) == {"n": 1}
    with pytest.raises(OutOfTime, match="the next run goes on"):
        next(lines)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_process_ends_when_nobody_listens_any_more(tmp_path: Path) -> None:
    code = (
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print('{}', flush=True)\ntime.sleep(600)"
    )
    lines = scripted(code).ask("compact", 300)
    next(lines)
    lines.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_process_that_dies_is_a_failure() -> None:
    with pytest.raises(EngineFailed, match="ended with -9") as caught:
        list(scripted("import os; os.kill(os.getpid(), 9)").ask("compact", 30))
    assert caught.value.kind == "ended"


def test_line_that_is_cut_off_is_no_answer() -> None:
    code = (
        'import os, sys\nsys.stdout.write(\'{"n": 1}\\n{"n": \')\nsys.stdout.flush()\n'
        "os.kill(os.getpid(), 9)"
    )
    lines = scripted(code).ask("look", 30)
    assert next(lines) == {"n": 1}
    with pytest.raises(EngineFailed, match="ended with -9"):
        next(lines)


def test_process_that_ends_before_it_has_read_its_job_is_a_failure() -> None:
    job = "x" * 1_000_000
    with pytest.raises(EngineFailed, match="ended with 3"):
        list(scripted("import os; os._exit(3)").ask("compact", 30, job=job))


@pytest.mark.parametrize("left_s", [0.5, 0.0, -3.0])
def test_without_time_nothing_is_started(tmp_path: Path, left_s: float) -> None:
    engine = scripted(f"open({str(tmp_path / 'started')!r}, 'w')")
    with pytest.raises(OutOfTime, match="no time left to look"):
        list(engine.ask("look", left_s))
    assert not (tmp_path / "started").exists()


def test_folder_named_handler_where_a_person_stands_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    (tmp_path / "handler").mkdir()
    (tmp_path / "handler" / "__init__.py").write_text("raise ImportError('another')")
    monkeypatch.chdir(tmp_path)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    assert len(list(Engine(uri).ask("look", 60, targets=[1, 1]))) == 1


def test_what_the_engine_cannot_do_is_told_with_table_and_reason(tmp_path: Path) -> None:
    uri = str(tmp_path / "nothing")
    with pytest.raises(EngineFailed, match=r"could not checkpoint .*TableNotFoundError") as caught:
        list(Engine(uri).ask("checkpoint", 60))
    assert uri in str(caught.value)
    assert "troubleshooting.md#engine-failed" in str(caught.value)


def test_real_process_looks_at_a_table(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    (line,) = Engine(uri).ask("look", 60, targets=[1 << 20, 1 << 20])
    assert [part["rows"] for part in line["partitions"]] == [3]
