"""silt replay: give saved events, or what the topic still has, to the function again."""

import argparse
import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.kafka_options import add_broker_arguments, client_of
from silt.table_places import Location, NamedTable, add_place_arguments, named_tables, place_of

if TYPE_CHECKING:
    from handler.settings import Settings
    from silt.local.topic_reader import RecordRange
    from silt.replay.replay_plan import ReplayPlan
    from silt.replay.topic_events import TopicEvents

EXAMPLE = """examples:
  silt replay events/orders.json --table-root .silt/tables --dry-run
  silt replay s3://my-on-failure-bucket/aws/lambda/ --deployment deploy.yml
  silt replay --topic orders --partition 0 --from 1200 --to 1399 --bootstrap-servers b-1:9092
  silt replay --gaps sales/orders --bootstrap-servers b-1:9092

Replaying is always safe: what a table already contains is not appended again, and what is missing
is, also below the watermark. It can be stopped at any time and run again. Of a deployment it also
takes the names of its streams: source and generation."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="saved events or on-failure documents: files, folders, patterns, s3:// prefixes, or - "
        "for standard input",
    )
    add_place_arguments(parser)
    chosen = parser.add_argument_group("records of the topic, in place of SOURCE")
    chosen.add_argument("--topic", help="replay records of this topic")
    chosen.add_argument("--partition", type=int, metavar="N", help="of this partition only")
    chosen.add_argument(
        "--from",
        dest="begin",
        metavar="O",
        help="from this offset or time on (2026-11-25T10:00Z, or 2h); default: the first record",
    )
    chosen.add_argument(
        "--to", dest="end", metavar="O", help="to this offset or time; default: the last record"
    )
    chosen.add_argument(
        "--gaps", metavar="TABLE", help="replay what this table lacks, as silt gaps lists it"
    )
    broker = add_broker_arguments(parser, "where records are read that were not saved")
    broker.add_argument(
        "--group", help="with --gaps: the mapping's consumer group, up to whose offset is looked"
    )
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
    """Replay each event and print what happened. Returns 1 if anything is left unsettled, or a
    record that was asked for is not on the broker.

    Every source is read before anything is written.
    """
    from silt.replay.replay_run import ReplayRun
    from silt.replay.topic_events import TopicEvents

    _check_sources(options)
    client = client_of(options.kafka, options.bootstrap_servers)
    place = place_of(options)
    place.announce()
    with contextlib.ExitStack() as stack:
        broker = None
        if options.bootstrap_servers:
            broker = stack.enter_context(TopicEvents(options.bootstrap_servers, client))
        plan, names = _plan(options, place, broker)
        run = ReplayRun(
            plan,
            _settings(options, place, names),
            generation_is_given=options.generation is not None,
            yes=options.yes,
            as_json=options.json,
        )
        return run.run()


def _check_sources(options: argparse.Namespace) -> None:
    """Refuse options that contradict each other. Raises UsageError."""
    given = [bool(options.sources), options.topic is not None, options.gaps is not None]
    if sum(given) != 1:
        raise UsageError(
            "Expected one of: saved events (SOURCE), --topic, --gaps. Nothing was replayed."
        )
    of_range = {"--partition": options.partition, "--from": options.begin, "--to": options.end}
    if options.topic is None and (extra := [n for n, v in of_range.items() if v is not None]):
        raise UsageError(f"{extra[0]} chooses records of a topic: it needs --topic.")
    if options.group is not None and options.gaps is None:
        raise UsageError("--group says how far --gaps looks: it needs --gaps.")
    if not options.sources and not options.bootstrap_servers:
        what = "--topic" if options.topic is not None else "--gaps"
        raise UsageError(f"{what} needs a broker: --bootstrap-servers.")


def _plan(
    options: argparse.Namespace, place: Location, broker: "TopicEvents | None"
) -> "tuple[ReplayPlan, dict[str, str]]":
    """Return what is replayed, and what the table's own streams are called, as settings."""
    from silt.replay.replay_plan import plan_files, plan_ranges
    from silt.replay.saved import find_files
    from silt.replay.stream_names import read_stream_names

    if options.sources:
        for source in options.sources:
            use_credentials_for(source)
        named = _given_names(options, place).get("SILT_SOURCE") or os.environ.get("SILT_SOURCE")
        files = find_files(options.sources)
        with output.progress("checking", "files") as advance:
            return plan_files(files, broker, named, advance), {}
    assert broker is not None
    table = _table(options, place)
    assert table.contract is not None
    use_credentials_for(table.uri)
    names = read_stream_names(table.uri, table.contract.topic)
    plan = plan_ranges(_ranges(options, table, broker), broker, broker.source)
    settings = {"SILT_GENERATION": str(names.generation)}
    if (source := _source(options, place, names.source)) is not None:
        settings["SILT_SOURCE"] = source
    return plan, settings


def _source(options: argparse.Namespace, place: Location, of_table: str | None) -> str | None:
    """Return how the source is called where no option and no variable says it: by the streams of
    the table, else by the deployment. Raises UsageError where nothing says it.
    """
    deployed = place.deployment.stream_source if place.deployment is not None else None
    given = options.source or os.environ.get("SILT_SOURCE")
    if of_table is None and deployed is None and given is None and not options.dry_run:
        raise UsageError(
            f"Nothing says what the source of {options.topic or options.gaps} is called in stream "
            "ids, and the first commit decides: the table then refuses a function with another "
            "name. Use --deployment, or --source with the name that the function has (silt dev: "
            "local). Nothing was replayed."
        )
    return of_table or deployed


def _table(options: argparse.Namespace, place: Location) -> NamedTable:
    """Return the table that is filled. Raises UsageError for an unknown one."""
    if options.gaps is not None:
        (table,) = named_tables([options.gaps], place, contracts_needed=True)
        if table.contract is None:
            raise UsageError(
                f"No contract has the table {options.gaps}: its records are judged by one. Name "
                "the folder with --contracts."
            )
        if (expected := table.contract.uri(place.root)) != table.uri:
            raise UsageError(
                f"{table.uri} is not the table of {table.contract.file} below the table root. "
                f"That is {expected}: use --gaps {table.contract.table} with a --table-root."
            )
        return table
    tables = named_tables([], place, contracts_needed=True)
    topics = {t.contract.topic: t for t in tables if t.contract is not None}
    if options.topic not in topics:
        raise UsageError(
            f"There is no contract for the topic {options.topic!r}, only for "
            f"{', '.join(sorted(topics))}."
        )
    return topics[options.topic]


def _ranges(
    options: argparse.Namespace, table: NamedTable, broker: "TopicEvents"
) -> "list[RecordRange]":
    from silt.replay.holes import find_holes
    from silt.replay.topic_range import AskedRange

    assert table.contract is not None
    reader = broker.reader(table.contract.topic, options.group)
    if options.gaps is None:
        asked = AskedRange(options.topic, options.partition, options.begin, options.end)
        return asked.resolve(reader)
    with output.progress(f"reading {table.name}", "rows and records") as advance:
        return find_holes(table.uri, reader, table.contract, options.group, advance)


def _settings(options: argparse.Namespace, place: Location, names: Mapping[str, str]) -> "Settings":
    """Return the settings of the function. A name is that of an option, else of the deployment,
    else of the environment, else of the table's own streams.
    """
    from handler.settings import read_settings

    dry_run = {"SILT_DRY_RUN": "true"} if options.dry_run else {}
    given = _given_names(options, place)
    return read_settings({**names, **os.environ, **place.environment, **given, **dry_run})


def _given_names(options: argparse.Namespace, place: Location) -> dict[str, str]:
    """Return what names the streams, of the options and the deployment, as settings.

    Raises UsageError where the topics of a deployment are of several generations: an event names
    its topic alone.
    """
    names = {"SILT_SOURCE": options.source, "SILT_GENERATION": options.generation}
    chosen = {name: value for name, value in names.items() if value is not None}
    deployment = place.deployment
    if deployment is None:
        return chosen
    generations = {
        topic.function.generation
        for topic in deployment.topics
        if options.topic in (None, topic.topic)
    }
    if len(generations) > 1 and options.generation is None:
        raise UsageError(
            f"The topics of {deployment.file} have the generations "
            f"{', '.join(map(str, sorted(generations)))}. Replay topic by topic, with --generation."
        )
    deployed = {"SILT_GENERATION": str(max(generations, default=0))}
    if deployment.source is not None:
        deployed["SILT_SOURCE"] = deployment.source
    return {**deployed, **chosen}
