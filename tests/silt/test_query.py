"""silt query: names, forms, values; nothing is written; every row that a filter should find."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from silt.cli import main
from silt.local.s3 import LocalS3
from tests.builders import ROOT, SMALL, event, function_for, record, rows

Query = Callable[..., int]
ODD = ["a b", "ü", "x/y", "100%", "q=1", "?", None, "a%20b", "+", "it's"]


@pytest.fixture
def query(tmp_path: Path, capsys: Any) -> Query:
    """Ask tables with three good records, a dead letter, and a null."""
    batch = [*rows(0, 3), record(3, {"id": 3}), record(4, b"no JSON", key=b"\xff\x00")]
    function_for(tmp_path).handle(event(batch), None)
    capsys.readouterr()

    def ask(*arguments: str) -> int:
        place = ["--table-root", str(tmp_path / "tables")]
        return main(["query", *arguments, *place, "--contracts", str(tmp_path / "contracts")])

    return ask


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select count(*) n from orders", [{"n": 4}]),
        ('select count(*) n from "sales/orders"', [{"n": 4}]),
        ("select count(*) n from ORDERS where name is null", [{"n": 1}]),
        ("select id from orders where _kafka_offset = 2", [{"id": 2}]),
        (
            "select error_code c, key k from orders__dead_letters",
            [{"c": "not_json", "k": "\\xff00"}],
        ),
        ('select count(*) n from "sales/orders__dead_letters"', [{"n": 1}]),
        ("select o.id from orders o join orders p using (id) order by 1 limit 1", [{"id": 0}]),
        ("with a as (select 1.50::decimal(9,2) d) select * from a", [{"d": "1.50"}]),
        ("select 1 as a, 2 as a", None),
        ("select chr(10)::blob b, '\\xff'::blob c", [{"b": "\n", "c": "\\xff"}]),
        ("select {'x': [1, 2]} s, map {'k': 'v'} m, 'nan'::double f", None),
    ],
)
def test_answers_are_json(query: Query, sql: str, expected: Any, capsys: Any) -> None:
    assert query(sql, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    if expected is not None:
        assert answer == expected
    elif "s, map" in sql:
        assert answer == [{"s": {"x": [1, 2]}, "m": {"k": "v"}, "f": "nan"}]
    else:
        assert answer == [{"a": 1, "a_2": 2}]


def test_answers_are_csv_and_tables(query: Query, capsys: Any) -> None:
    sql = "select id, name, _kafka_timestamp as at, ['x', 'y'] as l from orders order by id"
    assert query(sql, "--csv") == 0
    lines = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert lines[0] == ["id", "name", "at", "l"]
    assert lines[1] == ["0", "n0", "2026-11-18T11:05:00Z", '["x","y"]']
    assert lines[4][1] == ""
    assert query(sql) == 0
    assert "4 rows" in capsys.readouterr().out
    assert query("--table", "orders__dead_letters") == 0
    out = capsys.readouterr().out
    assert "row 1\n" in out  # too wide for a table: a field a line
    assert "  error_code        not_json\n" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["select * from orderz"], "There is no table orderz. Did you mean 'orders'?"),
        (["select nope from orders"], 'Referenced column "nope" not found'),
        (["selec"], "syntax error"),
        ([""], "Expected one SELECT"),
        (["select 1; select 2"], "Expected one SELECT"),
        (["drop table orders"], "silt query only reads"),
        (["copy (select 1) to 'x.csv'"], "silt query only reads"),
        (["create table x as select 1"], "silt query only reads"),
        (["attach 'x.db'"], "silt query only reads"),
        (["explain analyze copy (select 42) to 'x.csv'"], "silt query only reads"),
        (["select date '10000-01-01'"], "Cast it to text"),
        (["--table", "order"], "There is no table 'order'. Did you mean 'orders'?"),
        ([], "Expected either a question"),
        (["select 1", "--table", "orders"], "Expected either a question"),
    ],
)
def test_what_is_no_question_is_refused(
    query: Query,
    arguments: list[str],
    message: str,
    capsys: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert query(*arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_table_that_does_not_exist_yet_is_named(tmp_path: Path, capsys: Any) -> None:
    function_for(tmp_path)
    place = ["--table-root", str(tmp_path / "t"), "--contracts", str(tmp_path / "contracts")]
    assert main(["query", "select * from orders", *place]) == 1
    assert "There is no table at" in capsys.readouterr().err


def test_last_part_of_a_path_names_a_table_only_where_it_is_the_only_one(
    tmp_path: Path, capsys: Any
) -> None:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    for topic, table in (("a", "eu/orders"), ("b", "us/orders"), ("c", "sales")):
        text = SMALL.replace("sales/orders", table).replace("topic: orders", f"topic: {topic}")
        (contracts / f"{topic}.yaml").write_text(text)
        from handler.app import Function
        from handler.settings import read_settings

        environment = {"SILT_TABLE_ROOT": str(tmp_path / "t"), "SILT_CONTRACTS": str(contracts)}
        batch = [record(0, {"id": ord(topic)}, topic=topic)]
        Function(read_settings(environment)).handle(event(batch), None)
    place = ["--table-root", str(tmp_path / "t"), "--contracts", str(contracts), "--json"]
    assert main(["query", "select * from orders", *place]) == 2
    assert "Expected one of eu/orders" in " ".join(capsys.readouterr().err.split())
    sql = 'select a.id x, b.id y, c.id z from "eu/orders" a, "us/orders" b, sales c'
    capsys.readouterr()
    assert main(["query", sql, *place]) == 0
    assert json.loads(capsys.readouterr().out) == [{"x": 97, "y": 98, "z": 99}]


def test_filters_find_every_row_also_in_files_from_before_a_column(
    tmp_path: Path, capsys: Any
) -> None:
    """The bounds of a file must never hide a row: nulls, odd partitions, columns added later."""
    text = SMALL.rstrip() + "\npartition_by: [name]\n"
    batch = [record(i, {"id": i, "name": name}) for i, name in enumerate(ODD)]
    function_for(tmp_path, text).handle(event(batch), None)
    wider = text.replace("columns:\n", "columns:\n  more: {type: long}\n")
    later = [record(50 + i, {"id": i, "name": n, "more": i}) for i, n in enumerate(ODD)]
    function_for(tmp_path, wider).handle(event(later), None)
    # Nulls beside values in one file, which has bounds.
    mixed = [record(90 + i, {"id": -1, "name": "mixed", "more": i or None}) for i in range(4)]
    function_for(tmp_path, wider).handle(event(mixed), None)
    capsys.readouterr()
    place = ["--table-root", f"{tmp_path}/tables", "--contracts", f"{tmp_path}/contracts", "--json"]

    def count(condition: str) -> int:
        assert main(["query", f"select count(*) n from orders where {condition}", *place]) == 0
        return int(json.loads(capsys.readouterr().out)[0]["n"])

    assert count("more is null") == len(ODD) + 1
    assert count("more is not null") == len(ODD) + 3
    assert count("more >= 0") == len(ODD) + 3
    assert count("more is null and name = 'mixed'") == 1
    assert count("name is null") == 2
    assert count("_kafka_offset between 4 and 51") == len(ODD) - 4 + 2
    for i, name in enumerate(ODD):
        literal = "null" if name is None else "'" + name.replace("'", "''") + "'"
        assert count(f"name is not distinct from {literal}") == 2
        assert count(f"id = {i}") == 2


def test_names_that_differ_only_in_case_are_not_mixed_up(tmp_path: Path, capsys: Any) -> None:
    from silt.query.query_tables import list_tables
    from silt.table_places import NamedTable

    tables = [NamedTable("a/Orders", "/a", None), NamedTable("b/orders", "/b", None)]
    names = [table.names for table in list_tables(tables)]
    assert names[0] == ("a/Orders",)
    assert names[2] == ("b/orders",)


def test_values_say_nothing_to_a_terminal(query: Query, capsys: Any) -> None:
    assert query("select 'a' || chr(27) || '[31m' || chr(155) as name") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert "a\\x1b[31m\\x9b" in out


@pytest.mark.parametrize("place", ["disk", "s3"])
def test_process_ends_well_when_not_all_was_read(tmp_path: Path, s3: LocalS3, place: str) -> None:
    """Threads that read ahead must not abort the process at its end."""
    root = str(tmp_path / "tables") if place == "disk" else f"s3://{s3.bucket}/query"
    environment = {**os.environ, **(s3.environment if place == "s3" else {})}
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "c.yaml").write_text(SMALL)
    saved = tmp_path / "saved.json"
    saved.write_text("\n".join(json.dumps(event(rows(i, i + 2))) for i in range(0, 40, 2)))
    options = f"--table-root {root} --contracts {contracts}"
    silt = f"{sys.executable} -m silt.cli"
    command = (
        f"{silt} replay {saved} {options} > /dev/null && "
        f"{silt} query 'select id from orders limit 1' {options} --csv && "
        f"{silt} query 'select * from orders' {options} --csv | head -n 1"
    )
    done = subprocess.run(
        ["bash", "-ec", f"set -o pipefail; {command}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stderr, len(done.stdout.splitlines())) == ("", 3)
