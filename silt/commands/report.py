"""silt report: a page about tables."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import Pool
from handler.errors import SiltError
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.table_places import add_table_arguments, named_tables, place_of

EXAMPLE = """examples:
  silt report --table-root .silt/tables
  silt report sales/orders --deployment deploy.yml -o orders.html

One file of HTML that loads nothing from a network: throughput and freshness over time, growth,
rejects by reason, offsets by partition with gaps, file sizes, commits, what maintenance would do,
and what S3 cost. It reads the tables' logs and offsets, and changes nothing."""
LIMIT_S = 900.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_table_arguments(parser)
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="the page; one that is there is replaced (default: report.html)",
    )


def run(options: argparse.Namespace) -> int:
    """Write the page. Returns 1 where a table could not be read, or none exists."""
    from silt.report.collect import collect
    from silt.report.page import page_of

    clock, pool = SystemClock(), Pool()
    reports = []
    failed = False
    for table in named_tables(options.tables, place_of(options)):
        try:
            use_credentials_for(table.uri)
            with output.progress(f"reading {table.name}", "rows") as advance:
                deadline = Deadline(clock, clock.monotonic() + LIMIT_S)
                reports.append(collect(table, pool, deadline, advance))
        except SiltError as error:
            failed = True
            output.complain(f"{table.name}: {error}")
    if not any(report.status.figures.exists for report in reports):
        where = "None of these tables exists. Is this where they are? " if reports else ""
        output.complain(f"{where}No page was written.")
        return 1
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page_of(reports, datetime.now(UTC)), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{options.out} cannot be written: {error}") from error
    output.say(f"The page is {options.out}: open it in a browser.")
    return int(failed)
