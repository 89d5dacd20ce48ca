"""silt audit: prove that a table contains each record exactly once."""

import argparse
from pathlib import Path
from typing import Any

from handler.contract.contract import Contract
from handler.errors import counted
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.kafka_options import add_broker_arguments, client_of
from silt.table_places import add_table_arguments, place_of, tables_of_topic

EXAMPLE = """example:
  silt audit sales/orders --table-root .silt/tables
  silt audit s3://lake/tables/sales/orders --bootstrap-servers b-1:9092 --topic orders
  silt audit sales/orders --deployment deploy.yml --expect sent.jsonl --json

It reads the table and its dead letters, changes nothing, and ends with 1 on any finding."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_table_arguments(parser)
    broker = add_broker_arguments(parser, "a broker that explains gaps by what it still has")
    broker.add_argument("--topic", help="the topic, if no contract names it")
    broker.add_argument(
        "--group", help="the mapping's consumer group: everything up to its offset must be there"
    )
    parser.add_argument("--expect", type=Path, help="a producer's list: JSON lines or CSV")
    parser.add_argument(
        "--allow-gaps", action="store_true", help="unexplained gaps do not count as findings"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Audit each table and print what was found. Returns 1 if there is any finding."""
    from silt.audit.findings import Audit
    from silt.audit.proof import audit
    from silt.audit.sources import compare_with_broker, compare_with_list
    from silt.local.topic_reader import TopicReader

    client = client_of(options.kafka, options.bootstrap_servers)
    places = _places(options)
    if options.expect and len(places) > 1:
        raise UsageError("--expect works on one table: name it.")
    results: list[Audit] = []
    for uri, topic, contract in places:
        use_credentials_for(uri)
        with output.progress(f"reading {uri}", "rows") as advance:
            result = audit(uri, gaps_allowed=options.allow_gaps, progress=advance)
        if options.bootstrap_servers:
            group = options.group
            with (
                TopicReader(options.bootstrap_servers, topic, client, group=group) as reader,
                output.progress(f"reading {topic} in the gaps", "records") as advance,
            ):
                compare_with_broker(result, reader, contract, group=group, progress=advance)
        if options.expect:
            compare_with_list(result, options.expect)
        results.append(result)
        if not options.json:
            _print(result)
    if options.json:
        output.as_json([_json(result) for result in results])
    return int(any(result.findings for result in results))


def _places(options: argparse.Namespace) -> list[tuple[str, str, Contract | None]]:
    """Return the URI, the topic and the contract of each table."""
    asks_broker = bool(options.bootstrap_servers)
    tables = tables_of_topic(
        options.tables, place_of(options), options.topic, asks_broker=asks_broker
    )
    places = []
    for table in tables:
        topic = table.contract.topic if table.contract else options.topic
        if options.bootstrap_servers and topic is None:
            raise UsageError(f"--bootstrap-servers needs the topic of {table.name}: give --topic.")
        places.append((table.uri, topic or "", table.contract))
    return places


def _json(result: Any) -> dict[str, Any]:
    return {
        "table": result.uri,
        "version": result.version,
        "commits_checked": result.commits,
        "streams": [stream.app_id for stream in result.streams],
        "partitions": [
            {
                "partition": part.partition,
                "rows": part.rows.rows,
                "dead_letters": part.dead_letters.rows,
                "open_dead_letters": len(part.open_letters),
                "first_offset": part.seen.min() if part.seen else None,
                "last_offset": part.seen.max() if part.seen else None,
                "offsets_in_gaps": part.in_gaps,
                "explained": part.explained,
                "appended_late": part.late,
            }
            for _, part in sorted(result.partitions.items())
        ],
        "findings": [
            {
                "code": finding.code,
                "message": finding.message,
                "partition": finding.partition,
                "version": finding.version,
                "ranges": [list(each) for each in finding.ranges],
            }
            for finding in result.findings
        ],
        "notes": result.notes,
    }


def _print(result: Any) -> None:
    value = _json(result)
    rows = [
        [
            part["partition"],
            part["rows"],
            part["open_dead_letters"],
            part["first_offset"],
            part["last_offset"],
            part["offsets_in_gaps"],
            part["appended_late"],
            "; ".join(f"{count:,} {why}" for why, count in part["explained"].items() if count),
        ]
        for part in value["partitions"]
    ]
    columns = ["partition", "rows", "open letters", "first", "last", "in gaps", "late", "gaps are"]
    output.table(f"{result.uri}, version {result.version}", columns, rows)
    for note in result.notes:
        output.say(f"Note: {note}.")
    for finding in result.findings:
        output.complain(_line(finding))
    commits = f"the accounting of {counted(result.commits, 'commit')}"
    if result.findings:
        output.complain(f"{counted(len(result.findings), 'finding')} in {result.uri}.")
    else:
        total = sum(part["rows"] + part["open_dead_letters"] for part in value["partitions"])
        output.say(
            f"{counted(total, 'record')}, each once; watermarks and {commits} agree.", "green"
        )


def _line(finding: Any) -> str:
    where = [f"partition {finding.partition}"] if finding.partition is not None else []
    where += [f"version {finding.version}"] if finding.version is not None else []
    ranges = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in finding.ranges)
    line = f"{finding.code}: {', '.join(where)}{': ' if where else ''}{finding.message}"
    return f"{line}: {ranges}" if ranges else line
