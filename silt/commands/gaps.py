"""silt gaps: which offsets a table lacks, and why."""

import argparse
import contextlib
import itertools
from typing import TYPE_CHECKING, Any

from handler.errors import counted
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.kafka_options import add_broker_arguments, client_of
from silt.table_places import NamedTable, add_place_arguments, place_of, tables_of_topic

if TYPE_CHECKING:
    from silt.audit.gaps import PartitionGaps

EXAMPLE = """examples:
  silt gaps sales/orders --bootstrap-servers b-1:9092
  silt gaps sales/orders --deployment deploy.yml --bootstrap-servers b-1:9092 --group orders --json

It looks from the first offset of a table to its watermark, by partition; with --group from the
first record of the broker to the group's offset. What a commit says was dropped by a rule is no
gap. Of each gap the broker is asked: a record that the contract keeps is missing; others were
compacted, are of a transaction, dropped by a rule, or no longer there. It ends with 1 if any record
is missing, or an offset is not explained."""
RANGES_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("table", help="a table of the contracts, or its URI")
    add_place_arguments(parser)
    broker = add_broker_arguments(parser, "the broker that explains gaps")
    broker.add_argument("--topic", help="the topic, if no contract names it")
    broker.add_argument(
        "--group", help="the mapping's consumer group: look up to its offset, from the first record"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the gaps of a table. Returns 1 if a record is missing, or a gap is not explained."""
    from silt.audit.gaps import UNEXPLAINED

    if options.group and not options.bootstrap_servers:
        raise UsageError("--group is known to a broker: it needs --bootstrap-servers.")
    client = client_of(options.kafka, options.bootstrap_servers)
    place = place_of(options)
    asks_broker = bool(options.bootstrap_servers)
    (table,) = tables_of_topic([options.table], place, options.topic, asks_broker=asks_broker)
    use_credentials_for(table.uri)
    result, notes = _explain(table, options, client)
    for note in notes:
        output.warn(f"Note: {note}.")
    if options.json:
        output.as_json([_json(gaps) for gaps in result])
    else:
        _print(table, result, is_sure=not notes)
    return int(any(gaps.counts().keys() & set(UNEXPLAINED) for gaps in result))


def _explain(
    table: NamedTable, options: argparse.Namespace, client: dict[str, Any]
) -> "tuple[list[PartitionGaps], list[str]]":
    from silt.audit.gaps import gaps_of
    from silt.local.topic_reader import TopicReader

    topic = table.contract.topic if table.contract else options.topic
    if options.bootstrap_servers and topic is None:
        raise UsageError(f"No contract has the table {table.name}: name its topic with --topic.")
    with contextlib.ExitStack() as stack:
        reader = None
        if options.bootstrap_servers and topic is not None:
            made = TopicReader(options.bootstrap_servers, topic, client, group=options.group)
            reader = stack.enter_context(made)
        advance = stack.enter_context(output.progress(f"reading {table.name}", "rows and records"))
        return gaps_of(table.uri, reader, table.contract, group=options.group, progress=advance)


def _json(gaps: "PartitionGaps") -> dict[str, Any]:
    return {
        "partition": gaps.partition,
        "counts": gaps.counts(),
        "ranges": [
            {"first": first, "last": last, "cause": cause} for first, last, cause in gaps.ranges()
        ],
    }


def _print(table: NamedTable, result: "list[PartitionGaps]", *, is_sure: bool) -> None:
    from silt.audit.gaps import MISSING, UNEXPLAINED, UNPROVEN

    ranges = (
        [gaps.partition, first, last, last - first + 1, cause]
        for gaps in result
        for first, last, cause in gaps.ranges()
    )
    rows = list(itertools.islice(ranges, RANGES_SHOWN))
    if rows:
        output.table(table.uri, ["partition", "first", "last", "offsets", "why"], rows)
        if more := sum(1 for _ in ranges):
            output.say(f"... and {counted(more, 'range')} more; --json lists all.")
    totals = dict[str, int]()
    for gaps in result:
        for cause, count in gaps.counts().items():
            totals[cause] = totals.get(cause, 0) + count
    if not totals:
        output.say(f"{table.name} has no gaps.", "green" if is_sure else None)
        return
    style = None if totals.keys() & set(UNEXPLAINED) else "green"
    listed = ", ".join(
        f"{count:,} {cause}{_plural(cause, count)}" for cause, count in totals.items()
    )
    output.say(f"{counted(sum(totals.values()), 'offset')} in gaps: {listed}.", style)
    if MISSING in totals:
        output.say(
            f"To bring back what is missing: silt replay --gaps {table.name}, with the same options"
        )
    if UNPROVEN in totals:
        output.say("To find out why, and what can be brought back: --bootstrap-servers")


def _plural(cause: str, count: int) -> str:
    from silt.audit.gaps import TOMBSTONE

    return "s" if cause == TOMBSTONE and count != 1 else ""
