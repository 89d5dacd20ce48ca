"""silt status: the health of tables at a glance."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from handler.errors import counted
from silt import output
from silt.each_table import read_each
from silt.table_places import add_table_arguments, named_tables, place_of

if TYPE_CHECKING:
    from silt.table_status import Status

EXAMPLE = """example:
  silt status --table-root .silt/tables
  silt status sales/orders --deployment deploy.yml --json
  silt status s3://lake/tables/sales/orders

It changes nothing, and ends with 1 where no table exists, or one cannot be read or does not fit
its contract."""
STREAMS_SHOWN = 20
COLORS = {"wrong": "red", "attention": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_table_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the health of each table. Returns 1 if anything is wrong with one, or none exists."""
    from silt.table_status import status_of

    tables = named_tables(options.tables, place_of(options))
    result, failed = read_each(
        tables, "tables", lambda table, pool, deadline, _advance: status_of(table, pool, deadline)
    )
    if options.json:
        output.as_json([status.as_json() for status in result])
    elif result:
        _print(result)
    if result and not any(status.figures.exists for status in result):
        failed = True
        output.complain("None of these tables exists. Is this where they are?")
    return int(failed or any(r.severity == "wrong" for s in result for r in s.remarks))


def _print(result: Sequence["Status"]) -> None:
    columns = ["table", "rows", "files", "size", "newest record", "open letters"]
    output.table("Tables", columns, [[status.name, *_figures(status)] for status in result])
    streams = [
        [status.name, s.stream, s.watermark, _ago(s.raised_s)]
        for status in result
        for s in status.streams
    ]
    if streams:
        headings = ["table", "stream", "watermark", "raised"]
        output.table("Streams", headings, streams[:STREAMS_SHOWN])
        if (more := len(streams) - STREAMS_SHOWN) > 0:
            output.say(f"... and {counted(more, 'stream')} more; --json lists all.")
    for status in result:
        output.say()
        verdict = "needs attention" if status.remarks else "well"
        is_wrong = any(remark.severity == "wrong" for remark in status.remarks)
        style = COLORS["wrong" if is_wrong else "attention"] if status.remarks else "green"
        output.say(f"{status.name}: {verdict}", style)
        for remark in status.remarks:
            output.item(remark.message, COLORS[remark.severity])
        for line in status.details():
            output.item(line)


def _figures(status: "Status") -> list[object]:
    figures = status.figures
    if figures.files is None:
        return [None] * 5
    return [
        figures.rows,
        figures.files,
        output.size(figures.data_bytes or 0),
        _ago(status.newest_record_s),
        status.open_dead_letters,
    ]


def _ago(seconds: float | None) -> str | None:
    return f"{output.age(seconds)} ago" if seconds is not None else None
