"""Saved events: what Lambda was given, or what an on-failure destination kept of it; from files,
folders, patterns, standard input and S3.
"""

import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from silt.command_errors import UsageError
from silt.local.topic_reader import RecordRange

STANDARD_INPUT = "-"


class SavedEventError(UsageError):
    """A file holds no event."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file of saved events, wherever it is. `read` returns its bytes, or raises OSError."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class GivenUpBatch:
    """What SQS and SNS keep of a batch that AWS gave up on: which records of which cluster."""

    ranges: tuple[RecordRange, ...]
    source: Mapping[str, str]


def find_files(sources: Sequence[str]) -> list[SavedFile]:
    """Return the files of sources, each source's in the order of their names.

    A source is a file, a folder (with all below it, whatever their names), a pattern such as
    `given-up/**/*.json`, `-` for standard input, or `s3://bucket/prefix`. Raises UsageError for a
    source without a file.
    """
    files = list[SavedFile]()
    for source in sources:
        if source == STANDARD_INPUT:
            content = sys.stdin.buffer.read()
            found = [SavedFile("standard input", partial(bytes, content))]
        elif source.startswith("s3://"):
            found = _objects(source)
        else:
            found = [SavedFile(str(path), path.read_bytes) for path in _paths(source)]
        if not found:
            raise UsageError(f"{source} names no file.")
        files += found
    return files


def _paths(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    if path.exists() or not glob.has_magic(source):
        return [path]
    return sorted(Path(each) for each in glob.glob(source, recursive=True) if Path(each).is_file())


def _objects(uri: str) -> list[SavedFile]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        # boto3 itself does not read the variable that Lambda and our store use.
        client = boto3.Session(region_name=os.environ.get("AWS_REGION")).client("s3")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"{uri} cannot be listed: {error}") from error

    def read(key: str) -> bytes:
        try:
            return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())
        except (BotoCoreError, ClientError) as error:
            raise OSError(str(error)) from error

    # Folders that the console makes are objects that end with a slash.
    return [
        SavedFile(f"s3://{bucket}/{key}", partial(read, key))
        for key in keys
        if not key.endswith("/")
    ]


def read_events(file: SavedFile) -> Iterator[tuple[str, Any]]:
    """Yield the events of a file, each with a name for messages.

    A file holds one JSON document, or one a line. A document is an event; what an S3 on-failure
    destination keeps: an object whose `payload` is the event as JSON text; or what SQS and SNS
    keep, which is yielded as a GivenUpBatch. Raises SavedEventError.
    """
    try:
        text = file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SavedEventError(f"{file.name} cannot be read: {error}") from error
    try:
        document = _parse(text, file.name)
    except SavedEventError:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
            raise
    else:
        yield from _events(document, file.name)
        return
    for number, line in lines:
        where = f"{file.name}:{number}"
        yield from _events(_parse(line, where), where)


def _events(document: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the events of a document. What queues and topics wrap around a message is unwrapped:
    the answer of `aws sqs receive-message`, and the envelope of SNS.
    """
    if not isinstance(document, dict):
        yield where, document
    elif isinstance(document.get("payload"), str):
        yield where, _parse(document["payload"], f"{where}: payload")
    elif isinstance(document.get("Messages"), list):
        for number, message in enumerate(document["Messages"]):
            yield from _events(message, f"{where}: Messages[{number}]")
    elif isinstance(text := document.get("Body", document.get("Message")), str):
        yield from _events(_parse(text, f"{where}: message"), where)
    elif "KafkaBatchInfo" in document and "records" not in document:
        yield where, _given_up(document["KafkaBatchInfo"], where)
    else:
        yield where, document


def _given_up(info: Any, where: str) -> GivenUpBatch:
    ranges = list[RecordRange]()
    try:
        for group, records in info["recordInfo"].items():
            topic, _, partition = group.rpartition("-")
            first, last = records["firstRecordOffset"], records["lastRecordOffset"]
            if not topic or not (type(first) is type(last) is int and 0 <= first <= last):
                raise ValueError(group)
            ranges.append(RecordRange(topic, int(partition), first, last))
        source = {
            name: str(info[name]) for name in ("eventSourceArn", "bootstrapServers") if name in info
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SavedEventError(
            f"{where}: its KafkaBatchInfo does not say which records were given up: {error!r}"
        ) from error
    kind = "aws:kafka" if "eventSourceArn" in source else "SelfManagedKafka"
    return GivenUpBatch(tuple(ranges), {"eventSource": kind, **source})


def saved_file(path: Path) -> SavedFile:
    """Return a file on this machine."""
    return SavedFile(str(path), path.read_bytes)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = "" if ":" in where else f":{error.lineno}"
        message = f"{where}{line}: this is not valid JSON: {error.msg}. Expected a saved event"
        raise SavedEventError(message) from error
    except (RecursionError, ValueError) as error:  # too deep, or a number of thousands of digits
        raise SavedEventError(f"{where}: this is not an event: {error}") from error
