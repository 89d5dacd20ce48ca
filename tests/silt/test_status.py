"""silt status: what an operator sees of a table, and when it ends with 1."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from handler.delta.retry import SystemClock
from silt.cli import main
from tests.builders import SMALL, event, function_for, record, rows
from tests.maintained import QUIET, aged, set_age, table


def silt(folder: Path, *arguments: str) -> int:
    places = ["--table-root", str(folder / "tables"), "--contracts", str(folder / "contracts")]
    return main(["status", *arguments, *places])


def status_of(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    silt(folder, *arguments, "--json")
    (status,) = json.loads(capsys.readouterr().out)
    return dict(status)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_health_of_a_table_at_a_glance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    function = function_for(tmp_path, QUIET, clock=SystemClock())
    batch = [
        *(record(i, {"id": i}, timestamp=now_ms() - 4 * 3_600_000) for i in range(3)),
        record(3, b"bad", timestamp=now_ms()),
        record(4, {"id": "x"}, timestamp=now_ms()),
        record(5, {"id": "y"}, timestamp=now_ms()),
        record(7, {"id": 7}, partition=2, timestamp=now_ms() - 3 * 3_600_000),
    ]
    function.handle(event(batch), None)
    status = status_of(tmp_path, capsys, "sales/orders")
    assert (status["rows"], status["files"], status["small_file_share"]) == (4, 1, 1.0)
    assert status["commits_since_checkpoint"] == 2
    assert 3 * 3600 - 1 < status["newest_record_s"] < 3.5 * 3600
    assert status["newest_commit_s"] < 600
    streams = {s["stream"]: s["watermark"] for s in status["streams"]}
    assert streams == {"demo-uuid-1/orders/0": 2, "demo-uuid-1/orders/2": 7}
    assert status["dead_letters_last_day"] == {"wrong_type": 2, "not_json": 1}
    (remark,) = status["remarks"]
    assert remark["message"].startswith("3 open dead letters, 3 of the last day. When the contract")
    assert status["open_dead_letters"] == 3
    assert silt(tmp_path) == 0
    out = capsys.readouterr().out
    for text in ("sales/orders", "demo-uuid-1/orders/2", "not_json", "3.0 h ago"):
        assert text in out


def test_maintained_table_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    assert silt(tmp_path) == 0
    assert "sales/orders: well" in capsys.readouterr().out


def test_dead_letters_of_more_than_a_day_ago_are_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 2)  # by the tests' clock, which may be long ago or ahead
    status = status_of(tmp_path, capsys)
    behind = now_ms() - 1_795_000_000_000 > 86_400_000
    assert bool(status["dead_letters_last_day"]) is not behind


def test_neglected_table_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = SMALL + "maintenance: {quiet_for: 0m, checkpoint_commits: 1}\n"
    function = function_for(tmp_path, contract)
    for i in range(8):
        function.handle(event(rows(i, i + 1)), None)
    left = table(tmp_path) / "left.parquet"
    left.write_bytes(b"never committed")
    set_age(left, 12)
    status = status_of(tmp_path, capsys)
    assert [(r["severity"], r["message"]) for r in status["remarks"]] == [
        ("attention", "9 commits since the last checkpoint: is maintenance running?"),
        ("attention", "1 of 1 partition can be compacted: maintenance does that, or silt maintain"),
        ("attention", "1 file could have been deleted long ago: is maintenance running?"),
    ]
    assert left.exists()  # it only looks


def test_contract_that_the_table_does_not_fit_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    contract = tmp_path / "contracts" / "contract.yaml"
    contract.write_text(SMALL.replace("name: {type: string}", "name: {type: long}"))
    assert silt(tmp_path) == 1
    assert "name: the table has string, the contract long" in capsys.readouterr().out


def test_columns_that_the_next_append_adds_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    contract = tmp_path / "contracts" / "contract.yaml"
    contract.write_text(SMALL + "  city: {type: string}\n")
    assert silt(tmp_path) == 0
    assert "the next append adds the columns city" in capsys.readouterr().out


def test_table_that_is_not_there_yet_and_one_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path)
    assert silt(tmp_path) == 1
    captured = capsys.readouterr()
    assert "yet; the first record creates it" in " ".join(captured.out.split())
    assert "None of these tables exists" in captured.err
    aged(tmp_path, 1)
    newest = sorted((table(tmp_path) / "_delta_log").glob("*.json"))[-1]
    newest.write_text("no commit\n")
    assert silt(tmp_path) == 1
    assert "is not JSON" in capsys.readouterr().err


def test_place_without_a_contract_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    assert main(["status", str(table(tmp_path)), "--contracts", str(tmp_path / "none")]) == 0
    assert "demo-uuid-1/orders/0" in capsys.readouterr().out


def test_place_without_a_table_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function_for(tmp_path)
    assert main(["status", "--contracts", str(tmp_path / "contracts")]) == 1
    captured = capsys.readouterr()
    assert "Tables in .silt/tables (the default)." in captured.err
    assert "there is no table at .silt/tables/sales/orders yet" in " ".join(captured.out.split())


def test_retention_that_the_table_has_not_yet_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine refuses to vacuum by less than the table's own property says."""
    function_for(tmp_path, SMALL + "maintenance: {retain: 2d}\n").handle(event(rows(0, 3)), None)
    assert silt(tmp_path) == 0
    assert "sales/orders: well" in capsys.readouterr().out


def test_dead_letters_that_cannot_be_read_are_a_remark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 1)
    (path,) = table(tmp_path, "orders__dead_letters").glob("*.parquet")
    path.write_bytes(b"no Parquet")
    clock_moves_on = [record(9, b"bad", timestamp=now_ms())]
    function_for(tmp_path, QUIET, clock=SystemClock()).handle(event(clock_moves_on), None)
    for path in table(tmp_path, "orders__dead_letters").glob("*.parquet"):
        path.write_bytes(b"no Parquet")
    assert silt(tmp_path) == 1
    out = capsys.readouterr().out
    assert "cannot be read" in out
    assert "demo-uuid-1/orders/0" in out
