"""silt replay: give saved events, or batches that AWS gave up on, to the function again."""

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from handler.app import Function, InvocationReport, would
from handler.errors import SiltError, counted
from handler.settings import Settings, read_settings
from handler.sink.outcomes import Outcome
from handler.sink.response import PARTS
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.deployment.plan import Deployment
from silt.local.saved import SavedEventError, SavedFile, check_file, find_files, read_events
from silt.table_places import add_place_arguments, place_of

REJECTS_SHOWN = 20

EXAMPLE = """example:
  silt replay events/orders.json --table-root .silt/tables --dry-run
  silt replay given-up/ --deployment deploy.yml
  silt replay s3://my-on-failure-bucket/aws/lambda/ --deployment deploy.yml

Of a deployment it also takes the names of its streams: source and generation. Replaying is always
safe: what a table already contains is not appended again."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="saved events or on-failure documents: files, folders, patterns, s3:// prefixes, or - "
        "for standard input",
    )
    add_place_arguments(parser)
    parser.add_argument("--source", help="the source cluster's name in stream ids")
    parser.add_argument("--generation", help="generation of the topic")
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before starting a new generation"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="commit nothing, show what would happen"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Replay each event and print what happened. Returns 1 if anything is left unsettled.

    Every source is read before anything is written.
    """
    settings = read_settings(_environment(options))
    for source in options.sources:
        use_credentials_for(source)
    files = find_files(options.sources)
    topics = list[str]()
    with output.progress("checking", "files") as advance:
        for file in files:
            topics += check_file(file, settings.source)
            advance(1)
    use_credentials_for(settings.table_root)
    function = Function(settings)
    for topic in sorted(set(topics)):
        _ask_before_generation(function, topic, settings, options)
    total, code = len(topics), 0
    results: list[dict[str, Any]] = []
    counts: Counter[str] = Counter()
    for name, event in _events(files):
        try:
            if isinstance(event, SavedEventError):
                raise event
            report = function.run(event, None)
        except SiltError as error:
            code = 1
            counts["failed"] += 1
            results.append({"event": name, "error": str(error)})
            if not options.json:
                output.complain(f"{name}: {error}")
            continue
        left = would(report.result)["leave_unsettled"] if settings.dry_run else len(report.failures)
        code = max(code, int(left > 0))
        counts.update(report.counts)
        results.append(_result(name, report, dry_run=settings.dry_run))
        if not options.json:
            _print(name, report, dry_run=settings.dry_run)
    if options.json:
        output.as_json(results)
    elif total > 1 and not settings.dry_run:
        failed = f"; {counted(counts['failed'], 'event')} failed" if counts["failed"] else ""
        parts = ", ".join(f"{counts[part]:,} {part.replace('_', ' ')}" for part in PARTS)
        output.say(
            f"{counted(total, 'event')} with {counted(counts['delivered'], 'record')}: {parts}"
            f"{failed}."
        )
    return code


def _events(files: Sequence[SavedFile]) -> Iterator[tuple[str, Any]]:
    """Yield the events of files; where one can no longer be read, the error instead."""
    for file in files:
        try:
            yield from read_events(file)
        except SavedEventError as error:
            yield file.name, error


def _ask_before_generation(
    function: Function, topic: str, settings: Settings, options: argparse.Namespace
) -> None:
    """Ask before a generation begins that was named by an option: the live function is refused.

    Raises UsageError without a yes.
    """
    if options.generation is None:
        return
    table = function.begins_generation(topic)
    if table is None:
        return
    generation = settings.generation
    output.warn(
        f"{table} is fed by an earlier generation. The first commit in generation {generation} "
        "makes it refuse functions of the earlier one: their partitions wait until they are "
        f"deployed with SILT_GENERATION={generation}. No row is duplicated: the same partition, "
        "offset and timestamp is a duplicate."
    )
    if settings.dry_run or options.yes:
        return
    if not output.ask(f"Start generation {generation}?"):
        raise UsageError("Nothing was replayed. To start the generation, use --yes.")


def _environment(options: argparse.Namespace) -> dict[str, str]:
    given = {
        "SILT_SOURCE": options.source,
        "SILT_GENERATION": options.generation,
        "SILT_DRY_RUN": "true" if options.dry_run else None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    place = place_of(options)
    place.announce()
    deployed = {}
    if place.deployment is not None:
        deployed = _deployed(place.deployment, options.generation is not None)
    return {**os.environ, **place.environment, **deployed, **chosen}


def _deployed(deployment: Deployment, generation_is_given: bool) -> dict[str, str]:
    """Return what names the streams of a deployment's functions, so that a replay is one of them.

    Raises UsageError where the topics are of several generations: an event names its topic alone.
    """
    generations = {topic.function.generation for topic in deployment.topics}
    if len(generations) > 1 and not generation_is_given:
        raise UsageError(
            f"The topics of {deployment.file} have the generations "
            f"{', '.join(map(str, sorted(generations)))}. Replay topic by topic, with --generation."
        )
    settings = {"SILT_GENERATION": str(max(generations))}
    if deployment.source is not None:
        settings["SILT_SOURCE"] = deployment.source
    return settings


def _result(name: str, report: InvocationReport, *, dry_run: bool) -> dict[str, Any]:
    return {
        "event": name,
        "topic": report.topic,
        **report.counts,
        **({"would": would(report.result)} if dry_run else {"versions": report.line["versions"]}),
        "unsettled_because": report.why,
        "rejects": _rejects(report),
    }


def _rejects(report: InvocationReport) -> list[dict[str, Any]]:
    """Return the rejects of a batch that are not settled from before."""
    plan, flat = report.result.plan, report.result.batch.flat
    if plan is None:
        return []
    stays = (Outcome.DEAD_LETTER, Outcome.UNSETTLED)
    return [
        {
            "partition": flat.partitions[i],
            "offset": flat.offsets[i],
            "code": str(problem.code),
            "path": problem.path,
            "message": problem.message,
        }
        for i, problems in sorted(plan.problems.items())
        if plan.outcomes[i] in stays
        for problem in problems
    ]


def _print(name: str, report: InvocationReport, *, dry_run: bool) -> None:
    counts = report.counts
    if dry_run:
        plan = would(report.result)
        output.say(
            f"{name}: dry run, nothing was committed. Of {counts['delivered']} records "
            f"{plan['append']} would be appended, {plan['dead_letter']} would be rejected, "
            f"{counts['skipped_by_rule']} would be skipped by rule, {counts['duplicates']} are in "
            f"the tables already, {plan['leave_unsettled']} would stay unsettled."
        )
    else:
        summary = ", ".join(f"{value} {part.replace('_', ' ')}" for part, value in counts.items())
        output.say(f"{name}: {summary}.")
        if report.why:
            output.complain(f"{name}: unsettled because: {report.why}")
    rejects = _rejects(report)
    if rejects:
        rows = [list(reject.values()) for reject in rejects[:REJECTS_SHOWN]]
        columns = ["partition", "offset", "code", "path", "message"]
        output.table("Rejects", columns, rows)
        if len(rejects) > REJECTS_SHOWN:
            output.say(f"... and {len(rejects) - REJECTS_SHOWN} more; --json lists all.")
