"""silt query: ask the tables in SQL."""

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from handler.errors import counted
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.table_places import add_place_arguments, named_tables, place_of

if TYPE_CHECKING:
    from silt.query.query_tables import QueryTable

EXAMPLE = """examples:
  silt query "select status, count(*) from orders group by all" --table-root .silt/tables
  silt query --table orders
  silt query "select error_code, count(*) from orders__dead_letters group by all" --csv
  silt query 'select * from "sales/orders" where _kafka_offset = 7' --deployment deploy.yml --json

DuckDB answers. A table is named by the last part of its path, its dead letters likewise; the whole
path in double quotes always works. Decimals are strings in JSON; bytes are text, or \\x and
hexadecimal digits."""
SAMPLE_ROWS = 10
SHOWN_ROWS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("sql", nargs="?", metavar="SQL", help="one SELECT, in DuckDB's SQL")
    parser.add_argument("--table", metavar="TABLE", help=f"show {SAMPLE_ROWS} rows of this table")
    add_place_arguments(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")


def run(options: argparse.Namespace) -> int:
    """Print the answer."""
    from silt.query.query_tables import ask, list_tables, name_columns, read_answer

    if (options.sql is None) == (options.table is None):
        raise UsageError('Expected either a question, such as "select * from orders", or --table.')
    place = place_of(options)
    use_credentials_for(place.root)
    tables = list_tables(named_tables([], place))
    sql = options.sql if options.sql is not None else _sample(options.table, tables)
    with output.progress("reading", "tables"):
        reader = ask(sql, tables)
    columns, rows = name_columns(reader), read_answer(reader)
    if options.json:
        _print_json(columns, rows)
    elif options.csv:
        _print_csv(columns, rows)
    else:
        _print(columns, rows)
    return 0


def _sample(name: str, tables: "list[QueryTable]") -> str:
    """Return the question for some rows of a table."""
    from handler.contract.reporting import nearest

    known = [each for table in tables for each in table.names]
    if name not in known:
        raise UsageError(
            f"There is no table {name!r}{nearest(name, known) or '.'} Expected one of "
            f"{', '.join(table.names[0] for table in tables)}."
        )
    quoted = name.replace('"', '""')
    return f'select * from "{quoted}" limit {SAMPLE_ROWS}'


def _print_json(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    from silt.query.query_values import as_json_value

    sys.stdout.write("[")
    for number, row in enumerate(rows):
        line = json.dumps(as_json_value(dict(zip(columns, row, strict=True))), ensure_ascii=False)
        sys.stdout.write(f"{',' if number else ''}\n  {line}")
    sys.stdout.write("\n]\n")


def _print_csv(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    from silt.query.query_values import as_text

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([as_text(value) for value in row])


def _print(columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
    from silt.query.query_values import as_text

    shown = [[as_text(value) for value in row] for row in itertools.islice(rows, SHOWN_ROWS)]
    output.rows(columns, shown)
    more = sum(1 for _ in rows)
    text = counted(len(shown) + more, "row")
    output.say(
        f"{text}, the first {SHOWN_ROWS} shown; --csv and --json print all" if more else text
    )
