"""silt check --against: all that a change of a contract does to a table, for pull requests."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from silt.cli import main
from tests.builders import SMALL, event, function_for, rows

BEFORE = (
    SMALL + "  amount: {type: integer}\n  place: {type: struct, fields: {city: {type: string}}}\n"
)

WIDENED = (
    BEFORE,
    "evolution: widen\n" + BEFORE.replace("amount: {type: integer}", "amount: {type: long}"),
)
MOVED = ("columns:\n  id: {type: long", "partition_by: [name]\ncolumns:\n  id: {type: date")
CHANGES: list[tuple[str, str, str, int, dict[str, list[str]]]] = [
    ("nothing", "", "", 0, {}),
    ("added", "  name: {type: string}", "  name: {type: string}\n  more: {type: date}", 0,
     {"added": ["more: date"]}),
    ("evolution", "columns:", "evolution: widen\ncolumns:", 0, {}),
    ("widened in truth", *WIDENED, 0, {"widened": ["amount: integer becomes long"]}),
    ("widened", "amount: {type: integer}", "amount: {type: long}", 1,
     {"refused": ["`evolution: widen` allows this widening"]}),
    ("nested", "{city: {type: string}}", "{city: {type: string}, zip: {type: string}}", 0,
     {"widened": ["place: struct<city: string> becomes struct<city: string, zip: string>"]}),
    ("another type", "name: {type: string}", "name: {type: long}", 1,
     {"refused": ["name: the table has string, the contract long"]}),
    ("removed", "  name: {type: string}\n", "", 1,
     {"refused": ["name: this column came from the contract and is no longer in it"]}),
    ("retired", "  name: {type: string}\n", "retired: [name]\n", 0, {}),
    ("partitions and a type", *MOVED, 1,
     {"refused": ["partitioned by [], the contract by ['name']", "id: the table has long"]}),
]  # fmt: skip


def git(folder: Path, *arguments: str) -> None:
    name = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *name, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with a contract at the tag v1, and its table."""
    function_for(tmp_path, BEFORE).handle(event(rows(0, 3)), None)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "contracts")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "v1")
    return tmp_path


def against(project: Path, what: str, capsys: Any) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = main(["check", str(project / "contracts"), "--against", what, "--json"])
    return code, json.loads(capsys.readouterr().out)["changes"]


@pytest.mark.parametrize("place", ["table", "git"])
@pytest.mark.parametrize(("_name", "old", "new", "code", "expected"), CHANGES)
def test_every_change_is_named(
    project: Path,
    place: str,
    _name: str,
    old: str,
    new: str,
    code: int,
    expected: dict[str, list[str]],
    capsys: Any,
) -> None:
    contract = project / "contracts" / "contract.yaml"
    assert not old or old in BEFORE
    text = BEFORE.replace(old, new) if old else BEFORE
    if new.startswith("retired"):
        text = BEFORE.replace(old, "") + new
    contract.write_text(text)
    what = str(project / "tables/sales/orders") if place == "table" else "v1"
    found, (change,) = against(project, what, capsys)
    assert found == code
    for kind in ("added", "widened", "refused"):
        texts = change[kind]
        if kind not in expected:
            assert texts == [] or (kind == "widened" and code == 1)
            continue
        assert len(texts) == len(expected[kind]), texts
        for text, part in zip(texts, expected[kind], strict=True):
            assert part in text


def test_contracts_that_come_go_and_move_are_noted(project: Path, capsys: Any) -> None:
    folder = project / "contracts"
    (folder / "clicks.yaml").write_text(SMALL.replace("orders", "clicks"))
    (folder / "contract.yaml").write_text(BEFORE.replace("sales/orders", "sales/new"))
    code, changes = against(project, "v1", capsys)
    assert code == 0
    notes = {change["topic"]: change["notes"][0] for change in changes}
    assert notes["clicks"] == "the contract is new"
    assert notes["orders"].startswith("the table was sales/orders")
    (folder / "contract.yaml").unlink()
    _, changes = against(project, "HEAD", capsys)
    assert "is gone" in changes[-1]["notes"][0]
    assert main(["check", str(folder), "--against", "v1"]) == 0
    assert "the contract is new" in capsys.readouterr().out


def test_table_without_rows_refuses_nothing(project: Path, capsys: Any) -> None:
    DeltaTable(project / "tables/sales/orders").delete()
    contract = project / "contracts" / "contract.yaml"
    contract.write_text(BEFORE.replace("name: {type: string}", "name: {type: long}"))
    code, (change,) = against(project, str(project / "tables/sales/orders"), capsys)
    assert (code, change["refused"]) == (0, [])
    assert "the table has no rows" in change["notes"][0]


def test_what_cannot_be_compared_is_named(project: Path, tmp_path: Path, capsys: Any) -> None:
    folder = str(project / "contracts")
    assert main(["check", folder, "--against", "no-such-branch"]) == 2
    assert "git does not know it" in capsys.readouterr().err
    assert main(["check", folder, "--against", "/nowhere/else"]) == 2
    assert "has this table" in capsys.readouterr().err
    assert main(["check", folder, "--against", "/nowhere/sales/orders"]) == 0
    assert "there is no table at /nowhere/sales/orders yet" in " ".join(
        capsys.readouterr().out.split()
    )
    git(project, "rm", "-q", "--cached", "-r", "contracts")
    git(project, "commit", "-qm", "none")
    capsys.readouterr()
    assert main(["check", folder, "--against", "HEAD"]) == 0
    assert "the contract is new" in capsys.readouterr().out


def test_file_whose_name_is_not_ascii_is_compared_too(project: Path, capsys: Any) -> None:
    folder = project / "contracts"
    (folder / "contract.yaml").rename(folder / "über uns.yaml")
    git(project, "add", "-A", "contracts")
    git(project, "commit", "-qm", "renamed")
    (folder / "über uns.yaml").write_text(
        BEFORE.replace("name: {type: string}", "name: {type: long}")
    )
    code, (change,) = against(project, "HEAD", capsys)
    assert (code, len(change["refused"])) == (1, 1)


def test_table_that_the_function_cannot_write_is_refused(project: Path, capsys: Any) -> None:
    table = DeltaTable(project / "tables/sales/orders")
    table.alter.add_constraint({"positive": "id >= 0"})
    code, (change,) = against(project, str(project / "tables/sales/orders"), capsys)
    assert code == 1
    assert "does not write" in change["refused"][0] or "constraint" in change["refused"][0].lower()


def test_longest_name_of_a_table_wins(project: Path) -> None:
    from silt.table_places import contract_at

    contracts: Any = {"orders": "short", "sales/orders": "long"}
    assert contract_at("/lake/sales/orders", contracts) == "long"
    assert contract_at("/lake/orders/", contracts) == "short"
    assert contract_at("/lake/clicks", contracts) is None


def test_function_names_all_differences_at_once(project: Path) -> None:
    from handler.errors import TableMismatch

    text = BEFORE.replace(*MOVED)
    with pytest.raises(TableMismatch) as refused:
        function_for(project, text).run(event(rows(3, 4)), None)
    assert len(refused.value.differences) == 2
