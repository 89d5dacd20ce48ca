"""silt status: the health of tables at a glance."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import Pool
from handler.errors import SiltError
from silt import output
from silt.credentials import use_credentials_for
from silt.table_places import add_table_arguments, named_tables, place_of

if TYPE_CHECKING:
    from silt.table_status import Status

EXAMPLE = """example:
  silt status --table-root .silt/tables
  silt status sales/orders --deployment deploy.yml --json
  silt status s3://lake/tables/sales/orders

It changes nothing, and ends with 1 where no table exists, or one cannot be read or does not fit
its contract."""
LIMIT_S = 900.0
LEGEND = (
    "small: files of less than half the target size. commits: since the last checkpoint. stale: "
    "the oldest file\nthat is no longer part of the table. newest: the newest record."
)
COLORS = {"wrong": "red", "attention": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_table_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the health of each table. Returns 1 if anything is wrong with one, or none exists."""
    from silt.table_status import status_of

    clock, pool = SystemClock(), Pool()
    result: list[Status] = []
    failed = False
    for table in named_tables(options.tables, place_of(options)):
        try:
            use_credentials_for(table.uri)
            with output.progress(f"reading {table.name}", "tables") as _advance:
                deadline = Deadline(clock, clock.monotonic() + LIMIT_S)
                result.append(status_of(table, pool, deadline))
        except SiltError as error:
            failed = True
            output.complain(f"{table.name}: {error}")
    if options.json:
        output.as_json([status.as_json() for status in result])
    elif result:
        _print(result)
    if result and not any(status.figures.exists for status in result):
        failed = True
        output.complain("None of these tables exists: is this where they are?")
    return int(failed or any(r.severity == "wrong" for s in result for r in s.remarks))


def _print(result: Sequence["Status"]) -> None:
    columns = ["table", "rows", "files", "small", "size", "commits", "stale", "newest"]
    rows = [[status.name, *_figures(status)] for status in result]
    output.table("Tables", columns, rows)
    output.say(LEGEND)
    streams = [
        [status.name, s.stream, s.watermark, _ago(s.raised_s)]
        for status in result
        for s in status.streams
    ]
    if streams:
        output.table("Streams", ["table", "stream", "watermark", "raised"], streams)
    letters = [
        [status.name, reason, count]
        for status in result
        for reason, count in status.dead_letters.items()
    ]
    if letters:
        output.table("Open dead letters of the last day", ["table", "reason", "records"], letters)
    for status in result:
        for remark in status.remarks:
            output.say(f"{status.name}: {remark.message}", COLORS[remark.severity])
        if not status.remarks:
            output.say(f"{status.name}: well", "green")


def _figures(status: "Status") -> list[object]:
    figures = status.figures
    if figures.files is None:
        return [None, None, None, None, figures.commits_since_checkpoint, None, None]
    hours = figures.oldest_unreferenced_hours
    return [
        figures.rows,
        figures.files,
        f"{status.small_share:.0%}",
        output.size(figures.data_bytes or 0),
        figures.commits_since_checkpoint,
        output.age(hours * 3600) if hours is not None else None,
        _ago(status.newest_record_s),
    ]


def _ago(seconds: float | None) -> str | None:
    return f"{output.age(seconds)} ago" if seconds is not None else None
