"""silt report: a page about tables."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from silt import output
from silt.command_errors import UsageError
from silt.each_table import read_each
from silt.table_places import add_table_arguments, named_tables, place_of

EXAMPLE = """examples:
  silt report --table-root .silt/tables
  silt report sales/orders --deployment deploy.yml -o orders.html

One file of HTML that loads nothing from a network: throughput and freshness over time, growth,
rejects by reason, offsets by partition with gaps, file sizes, commits, what maintenance would do,
and what S3 cost. It reads the tables' logs and offsets, and changes nothing."""


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

    reports, failed = read_each(named_tables(options.tables, place_of(options)), "rows", collect)
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
