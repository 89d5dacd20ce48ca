"""silt capture: save records of a topic, or a batch that failed, as an event file."""

import argparse
import base64
import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from handler.errors import counted
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.kafka_options import add_broker_arguments, client_of
from silt.mask import mask

if TYPE_CHECKING:
    from silt.local.events import KafkaRecord
    from silt.replay.topic_events import TopicEvents

EXAMPLE = """examples:
  silt capture --topic orders --bootstrap-servers localhost:9092 -o events/sample.json
  silt capture --topic orders --bootstrap-servers b-1:9092 --from 2h --count 100 --mask
  silt capture s3://my-on-failure-bucket/aws/lambda/ -o failed.json

The file is an event as AWS sends it: silt replay, a test, or Lambda's console takes it. Of several
events each is a line."""
RECORDS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="on-failure documents, in place of a topic: files, folders, patterns, s3://, or -",
    )
    chosen = parser.add_argument_group("which records")
    chosen.add_argument("--topic", help="records of this topic")
    chosen.add_argument("--partition", type=int, metavar="N", help="of this partition only")
    chosen.add_argument(
        "--from", dest="begin", metavar="O", help="from this offset or time on; default: the first"
    )
    chosen.add_argument("--to", dest="end", metavar="O", help="to this offset or time")
    chosen.add_argument(
        "--count",
        type=int,
        metavar="N",
        help=f"at most so many, of all partitions alike (default: {RECORDS}, with --to all)",
    )
    add_broker_arguments(parser, "where the topic is")
    parser.add_argument(
        "--arn", help="of an MSK cluster, to make an event of one; default: self-managed Kafka"
    )
    parser.add_argument(
        "--mask",
        action="store_true",
        help="replace letters and digits of keys, values and headers; names of fields stay",
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="a new file; default: standard output"
    )


def run(options: argparse.Namespace) -> int:
    """Save the records. Returns 1 where there are none."""
    from silt.replay.topic_events import TopicEvents

    if bool(options.sources) == (options.topic is not None):
        raise UsageError("Expected either on-failure documents (SOURCE) or --topic.")
    if options.topic is not None and not options.bootstrap_servers:
        raise UsageError("--topic needs a broker: --bootstrap-servers.")
    of_topic = ("partition", "begin", "end", "count", "arn")
    if options.sources and any(getattr(options, name) is not None for name in of_topic):
        raise UsageError(
            "--partition, --from, --to, --count and --arn choose records of a topic: on-failure "
            "documents are captured whole."
        )
    if options.count is not None and options.count < 1:
        raise UsageError("--count must be at least 1.")
    if options.out is not None and options.out.exists():
        raise UsageError(f"{options.out} exists. Nothing was captured; name a new file.")
    client = client_of(options.kafka, options.bootstrap_servers)
    with contextlib.ExitStack() as stack:
        broker = None
        if options.bootstrap_servers:
            broker = stack.enter_context(TopicEvents(options.bootstrap_servers, client))
        if broker is not None and options.topic is not None:
            events = _of_topic(options, broker)
        else:
            events = _of_documents(options, broker)
        return _save(events, options)


def _of_topic(options: argparse.Namespace, broker: "TopicEvents") -> Iterator[Mapping[str, Any]]:
    """Yield events of the first records of each partition that was asked for."""
    from silt.local.events import batches_of, event_of
    from silt.replay.topic_events import BATCH_SIZE
    from silt.replay.topic_range import AskedRange

    reader = broker.reader(options.topic)
    asked = AskedRange(options.topic, options.partition, options.begin, options.end)
    ranges = asked.resolve(reader)
    count = options.count or (None if options.end is not None else RECORDS)

    def records() -> "Iterator[KafkaRecord]":
        left = count
        for number, each in enumerate(ranges):
            # Rounded up: what a short partition leaves goes to those after it.
            share = None if left is None else -(-left // (len(ranges) - number))
            taken = 0
            for record in itertools.islice(broker.records([each]), share):
                taken += 1
                yield record
            left = None if left is None else left - taken

    source = broker.source
    if options.arn:
        source |= {"eventSource": "aws:kafka", "eventSourceArn": options.arn}
    for batch in batches_of(records(), source, BATCH_SIZE):
        yield event_of(batch, source)


def _of_documents(
    options: argparse.Namespace, broker: "TopicEvents | None"
) -> Iterator[Mapping[str, Any]]:
    """Yield the events that on-failure documents keep, or the records that they name."""
    from silt.replay.replay_plan import plan_files
    from silt.replay.saved import find_files

    for source in options.sources:
        use_credentials_for(source)
    plan = plan_files(find_files(options.sources), broker, None, lambda _files: None)
    for each in plan.absent:
        output.complain(f"{each}: not on the broker: it cannot be captured")
    for _name, event in plan.events():
        if isinstance(event, Exception):
            raise event
        yield event


def _save(events: Iterator[Mapping[str, Any]], options: argparse.Namespace) -> int:
    """Write the events: into a file that has its name only when all of it is there."""
    if options.out is None:
        records = _write(events, sys.stdout.buffer, masks=options.mask)
    else:
        unfinished = options.out.with_name(f".{options.out.name}.{os.getpid()}")
        try:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("xb") as file:
                records = _write(events, file, masks=options.mask)
            if records:
                unfinished.rename(options.out)
        except OSError as error:
            raise UsageError(f"{options.out} cannot be written: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
    if not records:
        output.complain("There is no such record.")
        return 1
    if options.out is not None:
        output.hint(f"{counted(records, 'record')} saved in {options.out}.")
    return 0


def _write(events: Iterator[Mapping[str, Any]], file: BinaryIO, *, masks: bool) -> int:
    """Write events, one a line, and return how many records they have."""
    records = 0
    for event in events:
        if masks:
            _mask(event)
        records += sum(map(len, event["records"].values()))
        file.write(orjson.dumps(event) + b"\n")
    file.flush()
    return records


def _mask(event: Mapping[str, Any]) -> None:
    """Mask the keys, values and headers of an event, as AWS sends them."""
    for record in itertools.chain.from_iterable(event["records"].values()):
        for name in ("key", "value"):
            if record.get(name) is not None:
                masked = mask(base64.b64decode(record[name]))
                record[name] = base64.b64encode(masked).decode()
        for header in record.get("headers") or ():
            for name, value in header.items():
                if value is not None:
                    masked = mask(bytes(byte & 0xFF for byte in value))
                    header[name] = [b - 256 if b > 127 else b for b in masked]
