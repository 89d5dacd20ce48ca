"""silt infer: a contract from records, a topic, a table or a schema."""

import argparse
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from handler.contract.load import parse_contract
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.errors import SiltError
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_credentials_for
from silt.infer.documents import batches_of_files, batches_of_topic, name_of_files
from silt.infer.from_records import Inference
from silt.infer.from_schemas import columns_of_schema, columns_of_table
from silt.infer.schema_parts import Columns
from silt.infer.write_contract import inline, write_contract
from silt.kafka_options import add_broker_arguments, client_of
from silt.local.topic_reader import TopicReader
from silt.replay.saved import SavedFile, find_files

EXAMPLE = """examples:
  silt infer events/orders.ndjson -o schemas/orders.yaml
  silt infer --topic orders --bootstrap-servers localhost:9092 -o schemas/orders.yaml
  silt infer order.schema.json --topic orders
  silt infer order.avsc --topic orders --table sales/orders
  silt infer s3://lake/tables/sales/orders --topic orders

A source is saved events, or JSON: one document a file, one a line, or in an array; a JSON Schema,
an Avro schema, or an ODCS contract; or the place of a Delta table. Without a source, the records of
--topic are read from the broker. Every record is checked with the contract that is printed: it
takes all of them, without loss, but for those that it says it would reject."""
RECORDS = 100_000
LIMIT_S = 60.0
SCHEMA_BYTES_MAX = 4 << 20
"""A larger file has records."""
_TABLE = re.compile(r"[^A-Za-z0-9_./-]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="files, folders, patterns, s3:// or -; a schema; or a Delta table",
    )
    parser.add_argument("--topic", help="the contract's topic; default: the source's name")
    parser.add_argument("--table", help="the contract's table; default: the topic")
    parser.add_argument(
        "--count",
        type=int,
        default=RECORDS,
        metavar="N",
        help=f"of a topic, at most so many records (default: {RECORDS:,})",
    )
    add_broker_arguments(parser, "where the topic is, if there is no SOURCE")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="a new file; default: standard output"
    )


def run(options: argparse.Namespace) -> int:
    """Print a contract, or write it. Returns 1 if it would reject some of the records."""
    if options.out is not None and options.out.exists():
        raise UsageError(f"{options.out} exists. Nothing was written; name a new file.")
    if options.count < 1:
        raise UsageError("--count must be at least 1.")
    _check_names(options)
    text, rejected = _infer(options)
    problems: list[str] = []
    parse_contract(text, str(options.out or "the contract"), problems)
    if options.out is None or problems:
        output.as_it_is(text.rstrip("\n"))
    else:
        output.write_new(options.out, text)
        output.say(
            f"{options.out} is written. Look through it, then: silt check {options.out.parent}",
            "green",
        )
    for problem in problems:
        output.complain(problem)
    return int(bool(problems or rejected))


def _check_names(options: argparse.Namespace) -> None:
    """Raise UsageError for a topic or a table that no contract can have."""
    problems: list[str] = []
    topic, table = options.topic or "t", options.table or "t"
    text = f"topic: {inline(topic)}\ntable: {inline(table)}\ncolumns: {{c: {{type: long}}}}\n"
    parse_contract(text, "", problems)
    for problem in problems:
        _, _, reason = problem.split(":", 2)
        raise UsageError(f"--{reason.strip()}")


def _infer(options: argparse.Namespace) -> tuple[str, bool]:
    """Return a contract's text, and whether it would reject records that it was inferred from."""
    if not options.sources:
        return _of_topic(options)
    if options.bootstrap_servers:
        raise UsageError("Expected either a SOURCE or a topic of --bootstrap-servers, not both.")
    if len(options.sources) == 1 and _is_table(options.sources[0]):
        return _of_table(options, options.sources[0]), False
    for source in options.sources:
        if source.startswith("s3://"):
            use_credentials_for(source)
    files = [file for file in find_files(options.sources) if not _is_skipped(file, options.sources)]
    if not files:
        raise UsageError(f"{', '.join(options.sources)} has no files with records.")
    columns = _columns_of(files)
    name = name_of_files(files)
    if columns is not None:
        return _write(options, columns, name, _stem(files[0].name)), False
    return _of_records(options, partial(batches_of_files, files), name, _stem(files[0].name))


def _is_skipped(file: SavedFile, sources: Sequence[str]) -> bool:
    """Return whether a file of a folder is no data, such as _SUCCESS and .DS_Store."""
    return file.name not in sources and Path(file.name).name.startswith((".", "_"))


def _stem(name: str) -> str:
    return Path(name).name.split(".")[0]


def _columns_of(files: Sequence[SavedFile]) -> Columns | None:
    """Return the columns of a schema, None where the files have records."""
    if len(files) != 1:
        return None
    suffixes = (".json", ".avsc", ".jsonschema", ".yaml", ".yml")
    path = Path(files[0].name)
    if not files[0].name.endswith(suffixes) and files[0].name != "standard input":
        return None
    if path.is_file() and path.stat().st_size > SCHEMA_BYTES_MAX:
        return None
    try:
        return columns_of_schema(files[0].read(), files[0].name)
    except OSError as error:
        raise UsageError(f"{files[0].name} cannot be read: {error}") from error


def _of_topic(options: argparse.Namespace) -> tuple[str, bool]:
    if not (options.topic and options.bootstrap_servers):
        raise UsageError(
            "Expected a SOURCE, or --topic and --bootstrap-servers: what is the contract made from?"
        )
    client = client_of(options.kafka, options.bootstrap_servers)
    with TopicReader(options.bootstrap_servers, options.topic, client) as reader:
        batches = partial(batches_of_topic, reader, options.count)
        return _of_records(options, batches, f"the topic {options.topic}", options.topic)


def _of_records(
    options: argparse.Namespace, batches: Any, name: str, stem: str
) -> tuple[str, bool]:
    topic = options.topic or _topic_name(stem)
    inference = Inference(topic, options.table or _table_name(topic), name)
    with output.progress("reading", "records") as advance:
        text = inference.learn(batches, advance)
    return text, bool(inference.refused)


def _is_table(place: str) -> bool:
    if "://" not in place:
        return (Path(place) / "_delta_log").is_dir()
    return _read_table(place) is not None


def _read_table(place: str) -> Any:
    """Return the metadata of a Delta table, None where there is none."""
    use_credentials_for(place)
    clock = SystemClock()
    deadline = Deadline(clock, clock.monotonic() + LIMIT_S)
    return Table(place, open_store(place.rstrip("/")), Pool()).read(deadline).metadata


def _of_table(options: argparse.Namespace, place: str) -> str:
    metadata = _read_table(place)
    if metadata is None:
        raise UsageError(f"{place} has no Delta table: its log is empty.")
    stem = place.rstrip("/").rsplit("/", 1)[-1]
    partitions = (
        {"partition_by": list(metadata.partition_columns)} if metadata.partition_columns else {}
    )
    names = {f.name for f in metadata.fields}
    kinds = ("topic", "timestamp_type", "key", "headers")
    kept = [kind for kind in kinds if f"_kafka_{kind}" in names]
    keys = {
        **partitions,
        **({"kafka_columns": kept} if kept else {}),
        **({"unknown_fields": "rescue"} if "_rescued" in names else {}),
    }
    columns, left = columns_of_table(metadata.fields)
    notes = [f"No contract can have a column of this name: {name}" for name in left]
    return _write(options, columns, place, stem, keys, notes)


def _write(
    options: argparse.Namespace,
    columns: Columns,
    name: str,
    stem: str,
    keys: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> str:
    if not columns:
        raise SiltError(f"{name} has no fields for columns.")
    topic = options.topic or _topic_name(stem)
    head = [f"Inferred by silt infer from {name}.", *notes]
    table = options.table or _table_name(topic)
    return write_contract(topic, table, columns, keys=keys or {}, head=head)


def _topic_name(stem: str) -> str:
    """Return a name that Kafka takes for a topic."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:200] or "topic"


def _table_name(topic: str) -> str:
    return _TABLE.sub("_", topic)
