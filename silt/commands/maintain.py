"""silt maintain: checkpoint, compact and clean tables now, by the code of the function."""

import argparse
from collections.abc import Callable

import orjson

from handler.delta.retry import NEXT_RUN, Deadline, SystemClock
from handler.errors import EventError, OutOfTime, SiltError, counted
from handler.maintenance import Maintenance, is_partition
from handler.settings import read_settings
from handler.upkeep.report import RunReport
from handler.upkeep.run import MaintenanceRun
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.table_places import add_place_arguments, place_of

EXAMPLE = """example:
  silt maintain --table-root .silt/tables --dry-run
  silt maintain sales/orders sales/orders__dead_letters --deployment deploy.yml
  silt maintain sales/orders --table-root s3://lake/tables --vacuum
  silt maintain sales/orders --table-root .silt/tables --partition day=2026-11-25

It can be stopped at any time, and can run beside appends and beside the function. Files are deleted
with --vacuum only: without it, the command says how many would be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "tables", nargs="*", help="tables of the contracts, or their dead letters; default: all"
    )
    add_place_arguments(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what is due")
    parser.add_argument("--vacuum", action="store_true", help="delete files and commits too old")
    parser.add_argument(
        "--partition",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="only compact this partition; or as JSON, for null and commas; may be given again",
    )
    parser.add_argument(
        "--rename",
        action="store_true",
        help="also rewrite files whose folder has the name of an older release",
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="stop after this many minutes (60)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Maintain each table. Returns 1 if one could not be, or not wholly."""
    if options.minutes <= 0:
        raise UsageError("--minutes must be more than 0.")
    partitions = [_partition_of(text) for text in options.partition]
    place = place_of(options)
    place.announce()
    maintenance = Maintenance(read_settings(place.environment))
    names = options.tables or maintenance.names
    try:
        places = [(name, maintenance.uri(name)) for name in names]
    except EventError as error:
        raise UsageError(str(error)) from error
    clock = SystemClock()
    ends_at = clock.monotonic() + 60 * options.minutes
    reports, failed = list[RunReport](), False
    for name, uri in places:
        use_credentials_for(uri)
        say = _sayer(name, quiet=options.json)
        run = maintenance.new_run(name, partitions=partitions, rename=options.rename, say=say)
        reports.append(run.report)
        try:
            _maintain(run, Deadline(clock, ends_at, consequence=NEXT_RUN), options)
        except OutOfTime as error:
            run.report.stopped = str(error)
        except SiltError as error:
            failed = True
            run.report.notes.append(str(error))
            output.complain(f"{name}: {error}")
        if run.report.stopped is not None:
            output.complain(f"{name}: {run.report.stopped}")
    if options.json:
        output.as_json([report.as_json() for report in reports])
    return int(failed or any(r.stopped is not None or r.partitions_failed for r in reports))


def _sayer(name: str, *, quiet: bool) -> Callable[[str], None]:
    return lambda line: None if quiet else output.say(f"{name}: {line}")


def _maintain(run: MaintenanceRun, deadline: Deadline, options: argparse.Namespace) -> None:
    report, figures = run.report, run.figures
    say = _sayer(report.table, quiet=options.json)
    if not run.look(deadline):
        say("there is no table yet")
        return
    if options.dry_run:
        due = "due" if run.checkpoint_is_due else "not due"
        say(
            f"{counted(figures.commits_since_checkpoint or 0, 'commit')} since the last "
            f"checkpoint: one is {due}"
        )
        bins = run.survey(deadline)
        say(
            f"{figures.partitions_due} of {counted(figures.partitions or 0, 'partition')} due for "
            "compaction"
        )
        if figures.unchecked_files:
            say(f"{counted(figures.unchecked_files, 'file')} with statistics that need checking")
        if bins and not options.json:
            columns = ["partition", "files", "size", "sorted by"]
            rows = [
                [each.where, len(each.files), output.size(each.bytes), ", ".join(each.sort_by)]
                for each in bins
            ]
            output.table("To rewrite", columns, rows)
        return
    run.repair(deadline)
    run.checkpoint(deadline)
    run.keep(deadline, "now" if options.vacuum else "never")
    if not options.vacuum:
        run.count_vacuum(deadline)
        if figures.files_to_vacuum:
            say("use --vacuum to delete them")
    did = report.checkpoint_written or report.files_removed or report.files_checked
    if not (did or figures.partitions_due or options.vacuum):
        say("nothing is due")


def _partition_of(text: str) -> dict[str, str | None]:
    """Read a partition: `day=2026-11-25,site=A`, or JSON, which has any text and null.

    Raises UsageError.
    """
    if text.startswith("{"):
        return _partition_of_json(text)
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(column and equals for column, equals, _ in pairs):
        raise UsageError(f"--partition is {text!r}. Expected column=value, such as day=2026-11-25.")
    return {column: value for column, _, value in pairs}


def _partition_of_json(text: str) -> dict[str, str | None]:
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"--partition is {text!r}, which is not JSON: {error}.") from error
    if not is_partition(values):
        raise UsageError(f"--partition is {text!r}. Expected strings or null as values.")
    return dict(values)
