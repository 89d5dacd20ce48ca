"""silt maintain: checkpoint, compact and clean tables now, by the code of the function."""

import argparse
from collections.abc import Callable

from handler.delta.patience import NEXT_RUN, Patience, SystemClock
from handler.errors import EventError, OutOfTime, SiltError
from handler.maintenance import Maintenance
from handler.settings import read_settings
from handler.upkeep.keeper import Keeper
from handler.upkeep.report import Report
from silt import output
from silt.credentials import use_credentials_for
from silt.errors import UsageError
from silt.tables import add_place_arguments, place_of

EXAMPLE = """example:
  silt maintain --table-root .silt/tables --dry-run
  silt maintain sales/orders sales/orders__dead_letters --deployment deploy.yml
  silt maintain sales/orders --table-root s3://lake/tables --vacuum

It may be ended at any moment, and run beside appends and beside the function. Files are deleted
with --vacuum only: without, it says how many would be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "tables", nargs="*", help="tables of the contracts, or their dead letters; default: all"
    )
    add_place_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what is due")
    parser.add_argument("--vacuum", action="store_true", help="delete files and commits too old")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop after so long (60)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Maintain each table. Returns 1 if one could not be, or not wholly."""
    if options.minutes <= 0:
        raise UsageError("--minutes must be more than 0.")
    place = place_of(options)
    if place.root is None:
        raise UsageError("Where are the tables? Give --deployment or --table-root.")
    maintenance = Maintenance(read_settings(place.environment))
    names = options.tables or maintenance.names
    try:
        places = [(name, maintenance.uri(name)) for name in names]
    except EventError as error:
        raise UsageError(str(error)) from error
    clock = SystemClock()
    ends_at = clock.monotonic() + 60 * options.minutes
    reports, failed = list[Report](), False
    for name, uri in places:
        use_credentials_for(uri)
        keeper = maintenance.keeper(name, _teller(name, quiet=options.json))
        reports.append(keeper.report)
        try:
            _maintain(keeper, Patience(clock, ends_at, consequence=NEXT_RUN), options)
        except OutOfTime as error:
            keeper.report.stopped = str(error)
        except SiltError as error:
            failed = True
            keeper.report.notes.append(str(error))
            output.complain(f"{name}: {error}")
        if keeper.report.stopped is not None:
            output.complain(f"{name}: {keeper.report.stopped}")
    if options.json:
        output.as_json([report.as_json() for report in reports])
    return int(failed or any(r.stopped is not None or r.partitions_failed for r in reports))


def _teller(name: str, *, quiet: bool) -> Callable[[str], None]:
    return lambda line: None if quiet else output.say(f"{name}: {line}")


def _maintain(keeper: Keeper, patience: Patience, options: argparse.Namespace) -> None:
    report = keeper.report
    tell = _teller(report.table, quiet=options.json)
    if not keeper.look(patience):
        tell("there is no table yet")
        return
    if options.dry_run:
        due = "due" if keeper.checkpoint_is_due else "not due"
        commits = keeper.figures.commits_since_checkpoint
        tell(f"{commits} commits since the last checkpoint: one is {due}")
        tasks = keeper.survey(patience)
        tell(f"{len(tasks)} of {len(keeper.partitions)} partitions are to be compacted")
        if tasks and not options.json:
            rows = [[t.where, output.size(t.work_bytes), ", ".join(t.sort_by)] for t in tasks]
            output.table("To compact", ["partition", "to rewrite", "sorted by"], rows)
        return
    keeper.repair(patience)
    keeper.checkpoint(patience)
    keeper.keep(patience, "now" if options.vacuum else "never")
    if not (options.vacuum or report.stopped):
        keeper.vacuum(patience, dry_run=True)
        if keeper.figures.files_to_vacuum:
            tell("give --vacuum to delete them")
    if not (report.checkpoint_written or keeper.figures.partitions_due or options.vacuum):
        tell("nothing is due")
