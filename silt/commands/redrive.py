"""silt redrive: dead letters become rows, each once."""

import argparse
import re
import sys
from typing import TYPE_CHECKING

from handler.errors import SiltError, counted
from handler.kafka.event import OFFSET_MAX, PARTITION_MAX
from handler.sink.terms import governor_of
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.deployment.deploy_yml import CONTRACTS
from silt.table_places import Location, NamedTable, add_place_arguments, named_tables, place_of
from silt.times import parse_time

if TYPE_CHECKING:
    from silt.redrive.redrive_report import RedriveReport
    from silt.redrive.redriver import Redriver
    from silt.redrive.selection import OffsetRange, Selection

EXAMPLE = """example:
  silt redrive sales/orders --table-root .silt/tables --dry-run
  silt redrive sales/orders --deployment deploy.yml --code wrong_type --path amount --since 2d --yes
  silt redrive sales/orders --table-root s3://lake/tables --offsets 0:1200-1399

Dead letters go through today's contract. What passes is appended to the table, each record once,
and its dead letter is closed: it stays, with redriven_at and redriven_as. What fails stays open. It
can be stopped at any time and run again, also beside the live function. It ends with 1 if anything
that was selected stays rejected."""
_OFFSETS = re.compile(r"(\d+):(\d+)(?:-(\d+))?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("table", help="a table of the contracts, or its URI")
    add_place_arguments(parser)
    chosen = parser.add_argument_group("which dead letters", "Default: all that are open.")
    chosen.add_argument("--code", help="rejected with this code, such as wrong_type")
    chosen.add_argument("--path", help="rejected at this path, such as customer.country")
    chosen.add_argument("--partition", type=int, metavar="N", help="of this partition of the topic")
    chosen.add_argument(
        "--offsets",
        action="append",
        default=[],
        metavar="N:FIRST-LAST",
        help="these offsets of a partition, such as 0:100-200; may be given again",
    )
    chosen.add_argument(
        "--since", metavar="T", help="rejected at this time or later: 2026-11-25T10:00Z, or 2h ago"
    )
    chosen.add_argument("--until", metavar="T", help="rejected before this time")
    chosen.add_argument(
        "--limit", type=int, metavar="N", help="try at most this many, oldest file first"
    )
    parser.add_argument(
        "--source", help="the source cluster's name in stream ids, if the log has lost it"
    )
    parser.add_argument(
        "--generation",
        type=int,
        metavar="N",
        help="the letters' generation, if the log has lost it",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="commit nothing, show what would happen"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Redrive the dead letters of a table. Returns 1 if any that was selected stays rejected."""
    from silt.redrive.redriver import Redriver

    selection = _selection(options)
    if options.limit is not None and options.limit < 1:
        raise UsageError("--limit must be at least 1.")
    place = place_of(options)
    table = _table(options.table, place)
    assert table.contract is not None
    use_credentials_for(table.uri)
    redriver = Redriver(
        table.contract,
        table.uri,
        source=options.source,
        deployed_source=place.deployment.source if place.deployment else None,
        generation=options.generation,
    )
    _check_governor(redriver, table, place, options)
    if not options.dry_run and not options.yes:
        if options.json or not sys.stdin.isatty():
            raise UsageError("Nothing was redriven. To redrive without a question, use --yes.")
        would = _redrive(redriver, selection, options, dry_run=True)
        _print(would, dry_run=True)
        if not would.total.selected:
            return int(bool(would.notes))
        if not output.ask("Redrive them?"):
            raise UsageError("Nothing was redriven.")
    report = _redrive(redriver, selection, options, dry_run=options.dry_run)
    if options.json:
        output.as_json({**report.as_json(), "dry_run": options.dry_run})
    else:
        _print(report, dry_run=options.dry_run)
    return int(bool(report.total.rejected) or bool(report.notes))


def _selection(options: argparse.Namespace) -> "Selection":
    from silt.redrive.selection import Selection

    offsets = dict[int, list["OffsetRange"]]()
    for text in options.offsets:
        for part in text.split(","):
            match = _OFFSETS.fullmatch(part.strip())
            if match is None:
                raise UsageError(f"--offsets is {text!r}. Expected a range such as 0:100-200.")
            first, last = int(match[2]), int(match[3] or match[2])
            if max(first, last) > OFFSET_MAX or int(match[1]) > PARTITION_MAX:
                raise UsageError(f"--offsets is {text!r}: Kafka has no such partition or offset.")
            if last < first:
                raise UsageError(f"--offsets is {text!r}: {last} is before {first}.")
            offsets.setdefault(int(match[1]), []).append((first, last))
    if options.partition is not None and not 0 <= options.partition <= PARTITION_MAX:
        raise UsageError(f"--partition is {options.partition}: Kafka has no such partition.")
    return Selection(
        options.code,
        options.path,
        options.partition,
        offsets,
        parse_time(options.since, "--since") if options.since is not None else None,
        parse_time(options.until, "--until") if options.until is not None else None,
    )


def _table(name: str, place: Location) -> NamedTable:
    (table,) = named_tables([name], place, contracts_needed=True)
    if table.contract is None:
        raise UsageError(
            f"No contract of {place.contracts or CONTRACTS} has the table {name}: dead letters are "
            "redriven by a contract. Name its folder with --contracts."
        )
    return table


def _check_governor(
    redriver: "Redriver", table: NamedTable, place: Location, options: argparse.Namespace
) -> None:
    """Say whose table it is. Raises SiltError where a deployment works by another contract."""
    governor = redriver.foreign_governor()
    if governor is None:
        return
    assert table.contract is not None
    own = governor_of(table.contract)
    differs = f"{table.name} is governed by {governor!r}, and {table.contract.file} here is {own!r}"
    same_contract = governor.rpartition(" silt ")[0] == table.contract.version
    what = "release of Silt" if same_contract else "contract"
    if place.deployment is not None and not options.dry_run:
        raise SiltError(
            f"{differs}: the {what} here is not the one that is deployed. Nothing was redriven. "
            "Deploy it first, or check out what is deployed. If it is deployed and no batch has "
            "arrived since, use --table-root and --contracts in place of --deployment."
        )
    output.warn(
        f"{differs}. {'To redrive takes' if options.dry_run else 'This takes'} the table over. A "
        f"function that is deployed with another {what} takes it back with its next batch."
    )


def _redrive(
    redriver: "Redriver", selection: "Selection", options: argparse.Namespace, *, dry_run: bool
) -> "RedriveReport":
    from silt.redrive.redriver import AGAIN

    what = "checking dead letters" if dry_run else "redriving"
    with output.progress(what, "dead letters") as advance:
        try:
            return redriver.run(selection, limit=options.limit, dry_run=dry_run, progress=advance)
        except KeyboardInterrupt:
            if not dry_run:
                output.warn(f"Interrupted. {AGAIN}")
            raise


def _print(report: "RedriveReport", *, dry_run: bool) -> None:
    total = report.total
    if not total.selected:
        output.say(f"{report.table}: no open dead letter is selected.")
    else:
        columns = ["code", "selected", "rows", "dropped", "stay rejected"]
        rows = [
            [code, each.selected, each.redriven, each.dropped, _listed(each.rejected)]
            for code, each in sorted(report.codes.items())
        ]
        title = "Dry run: nothing was committed" if dry_run else "Redriven"
        output.table(f"{report.table}. {title}", columns, rows)
    for topic, partition, offset, problems in report.examples:
        more = f" (and {counted(len(problems) - 1, 'more problem')})" if len(problems) > 1 else ""
        output.say(f"{topic}-{partition} offset {offset}: {problems[0]}{more}")
    for note in report.notes:
        output.complain(note)
    if total.selected:
        rows_became = "would become rows" if dry_run else "became rows"
        output.say(
            f"{report.table}: of {counted(total.selected, 'dead letter')}, {total.redriven:,} "
            f"{rows_became}, {total.dropped:,} {'would be' if dry_run else 'were'} dropped by a "
            f"rule, {sum(total.rejected.values()):,} {'would stay' if dry_run else 'stay'} "
            "rejected.",
            None if total.rejected else "green",
        )
    if report.remaining is not None:
        verb = "would remain" if dry_run else "remains" if report.remaining == 1 else "remain"
        output.say(f"{counted(report.remaining, 'open dead letter')} {verb}.")


def _listed(rejected: "dict[str, int]") -> str:
    return ", ".join(f"{count:,} {code}" for code, count in rejected.items())
