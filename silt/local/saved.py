"""Saved events: what Lambda was given, or what an on-failure destination kept of it; from files,
folders, patterns, standard input and S3.
"""

import glob
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from handler.errors import EventError
from handler.kafka.event import parse_event
from silt.command_errors import UsageError

STANDARD_INPUT = "-"


class SavedEventError(UsageError):
    """A file holds no event."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file of saved events, wherever it is. `read` returns its bytes, or raises OSError."""

    name: str
    read: Callable[[], bytes]


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
            raise UsageError(f"{source} names no file. Nothing was replayed.")
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


def check_file(file: SavedFile, source: str | None) -> list[str]:
    """Return the topic of each event of a file, all of which the function can read.

    `source` names the cluster where that is set. Raises SavedEventError.
    """
    topics = []
    for name, event in read_events(file):
        try:
            topics.append(parse_event(event, source).topic)
        except EventError as error:
            raise SavedEventError(f"{name}: {error}") from error
    return topics


def read_events(file: SavedFile) -> Iterator[tuple[str, Any]]:
    """Yield the events of a file, each with a name for messages.

    A file holds one JSON document, or one a line. A document is an event, or what an S3 on-failure
    destination keeps: an object whose `payload` is the event as JSON text. Raises SavedEventError.
    """
    try:
        text = file.read().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SavedEventError(f"{file.name} cannot be read: {error}") from error
    try:
        yield file.name, _event(_parse(text, file.name), file.name)
        return
    except SavedEventError:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
            raise
    for number, line in lines:
        where = f"{file.name}:{number}"
        yield where, _event(_parse(line, where), where)


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


def _event(document: Any, where: str) -> Any:
    if not isinstance(document, dict):
        return document
    if isinstance(document.get("payload"), str):
        return _parse(document["payload"], f"{where}: payload")
    if "KafkaBatchInfo" in document and "records" not in document:
        raise SavedEventError(
            f"{where}: this says which records were given up (as SQS and SNS keep it) and does "
            "not contain them. Deliver them again from the topic: docs/deploy.md#dropped"
        )
    return document
