"""silt maintain: what it does, what it only says, and how it ends."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from silt.cli import main
from tests.builders import event, function_for, record
from tests.maintained import QUIET, aged, check, set_age, table
from tests.reader import read_folder


def silt(folder: Path, *arguments: str) -> int:
    places = ["--table-root", str(folder / "tables"), "--contracts", str(folder / "contracts")]
    return main(["maintain", *arguments, *places])


def test_tables_are_maintained_and_each_step_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 25)
    assert silt(tmp_path) == 0
    out = capsys.readouterr().out
    assert "sales/orders: checkpoint of version 25" in out
    assert "sales/orders: the whole table: 25 files became 1" in out
    assert "sales/orders__dead_letters: the whole table: 25 files became 1" in out
    assert "0 files older than 168 hours would be deleted" in out
    check(tmp_path, 25)
    assert silt(tmp_path) == 0
    assert "sales/orders: nothing is due" in capsys.readouterr().out


def test_files_are_deleted_only_when_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 2)
    left = table(tmp_path) / "left.parquet"
    left.write_bytes(b"never committed")
    set_age(left, 9)
    assert silt(tmp_path, "sales/orders") == 0
    assert "1 file older than 168 hours would be deleted" in capsys.readouterr().out
    assert left.exists()
    assert silt(tmp_path, "sales/orders", "--vacuum") == 0
    assert "1 file older than 168 hours deleted" in capsys.readouterr().out
    assert not left.exists()


def test_dry_run_names_what_is_due_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 25)
    version = read_folder(table(tmp_path)).version
    assert silt(tmp_path, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "26 commits since the last checkpoint: one is due" in out
    assert "1 of 1 partition due for compaction" in out
    assert "the whole table" in out
    assert read_folder(table(tmp_path)).version == version
    assert not list((table(tmp_path) / "_delta_log").glob("*.checkpoint.*"))


def test_answer_for_a_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aged(tmp_path, 25)
    capsys.readouterr()
    assert silt(tmp_path, "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["table"], second["table"]) == ("sales/orders", "sales/orders__dead_letters")
    assert first["checkpoint_written"]
    assert first["files_removed"] == 25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sales/none"], "No contract of .* has the table 'sales/none'"),
        (["--minutes", "0"], "--minutes must be more than 0"),
        (["--partition", "day"], "Expected column=value"),
        (["--partition", "{"], "which is not JSON"),
        (["--partition", '{"day": 1}'], "Expected strings or null"),
    ],
)
def test_wrong_use_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    function_for(tmp_path, QUIET)
    assert silt(tmp_path, *arguments) == 2
    assert re.search(message, capsys.readouterr().err)


def test_table_that_cannot_be_maintained_ends_with_1_and_the_others_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aged(tmp_path, 5)
    newest = sorted((table(tmp_path) / "_delta_log").glob("*.json"))[-1]
    newest.write_text("no commit\n")
    assert silt(tmp_path) == 1
    assert "is not JSON" in capsys.readouterr().err
    assert len(read_folder(table(tmp_path, "orders__dead_letters")).adds) == 1


def test_time_that_is_up_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    aged(tmp_path, 25)
    assert silt(tmp_path, "--minutes", "0.01") == 1
    assert "the next run does it" in capsys.readouterr().err


def test_table_that_is_not_there_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    function_for(tmp_path, QUIET)
    assert silt(tmp_path) == 0
    assert "sales/orders: there is no table yet" in capsys.readouterr().out


def test_appends_of_a_warm_sandbox_go_on_between_two_runs(tmp_path: Path) -> None:
    function: Any = aged(tmp_path, 10)
    assert silt(tmp_path) == 0
    for i in range(10, 13):
        batch = [
            record(3 * i, {"id": 3 * i}),
            record(3 * i + 1, {"id": 3 * i + 1}),
            record(3 * i + 2, b"bad"),
        ]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    assert silt(tmp_path, "--vacuum") == 0
    check(tmp_path, 13)
