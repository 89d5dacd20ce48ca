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
