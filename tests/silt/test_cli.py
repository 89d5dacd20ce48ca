"""The whole command line: one name for one thing, likely words, interrupts, where tables are."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from silt.cli import COMMANDS, main, parser
from tests.builders import ROOT, event, function_for, rows

ONE_NAME = {
    "--bootstrap-servers": ("broker", "servers", "bootstrap"),
    "--kafka": ("kafka-option", "client", "consumer-property"),
    "--group": ("group-id", "consumer-group"),
    "--table-root": ("root", "tables"),
    "--contracts": ("contract", "schemas"),
    "--deployment": ("deploy",),
    "--json": ("output", "format"),
    "--yes": ("force-yes", "no-input"),
}
"""The name of an option in every verb, and names that other tools give to it."""


def options_of(name: str) -> set[str]:
    whole = parser(name)
    (commands,) = (a for a in whole._actions if a.dest == "command")
    assert isinstance(commands.choices, dict)
    return set(commands.choices[name]._option_string_actions)


@pytest.mark.parametrize("name", COMMANDS)
def test_one_thing_has_one_name_in_every_verb(name: str) -> None:
    others = {f"--{other}" for others in ONE_NAME.values() for other in others}
    assert not options_of(name) & others


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["redrve"], "invalid choice: 'redrve'"),
        (["redrve"], "Did you mean 'redrive'?"),
        (["audit", "--boostrap-servers=x"], "Did you mean '--bootstrap-servers'?"),
        (["status", "--jsn"], "unrecognized arguments: --jsn. Did you mean '--json'?"),
        (["package", "--arch", "arm"], "Did you mean 'arm64'?"),
        (["status", "--nothing-like-it"], "unrecognized arguments: --nothing-like-it"),
        (["redrive"], "the following arguments are required: table"),
    ],
)
def test_mistyped_word_is_refused_with_the_likely_one(
    arguments: list[str], message: str, capsys: Any
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    *usage, last = capsys.readouterr().err.splitlines()
    assert usage[0].startswith("usage: silt")
    assert message in last


def test_ctrl_c_ends_with_130_also_while_modules_are_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(_name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", interrupt)
    assert main(["status"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    command = (
        f"{sys.executable} -m silt.cli status --table-root {tmp_path}/tables "
        f"--contracts {tmp_path}/contracts | true"
    )
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},  # standard output is buffered
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


def test_tables_are_where_the_first_of_four_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """--table-root, else --deployment, else SILT_TABLE_ROOT, else .silt/tables."""
    monkeypatch.chdir(tmp_path)
    function_for(tmp_path / "a", table_root=str(tmp_path / ".silt/tables")).handle(
        event(rows(0, 1)), None
    )
    function_for(tmp_path / "b").handle(event(rows(0, 2)), None)
    given = ["audit", "--contracts", str(tmp_path / "a/contracts")]
    capsys.readouterr()

    def said(*more: str) -> tuple[str, str]:
        assert main([*given, *more]) == 0
        captured = capsys.readouterr()
        return captured.out.splitlines()[-1], " ".join(captured.err.split())

    line, hint = said()
    assert line.startswith("1 record, each once")
    assert hint == "Tables in .silt/tables (the default)."
    monkeypatch.setenv("SILT_TABLE_ROOT", str(tmp_path / "b/tables"))
    line, hint = said()
    assert line.startswith("2 records, each once")
    assert hint == f"Tables in {tmp_path}/b/tables (SILT_TABLE_ROOT)."
    line, hint = said("--table-root", str(tmp_path / ".silt/tables"))
    assert (line[:9], hint) == ("1 record,", "")
