"""Samples from files: saved events, or values as JSON, one a file, one a line, or in an array."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from handler.errors import EventError
from handler.kafka.event import EventRecord, parse_event
from silt.replay.saved import SavedEventError, find_files

NOW_MS = 1_795_000_000_000
"""The Kafka timestamp of samples that are bare values."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A record with a name for messages; `topic` is None for a bare value."""

    name: str
    record: EventRecord
    topic: str | None


def read_samples(sources: Sequence[str]) -> list[Sample]:
    """Return the samples of files, folders, patterns, s3:// prefixes, or - for standard input.

    Raises UsageError for what names no file, and SavedEventError for a file without samples.
    """
    samples = list[Sample]()
    for file in find_files(sources):
        try:
            data = file.read()
        except OSError as error:
            raise SavedEventError(f"{file.name} cannot be read: {error}") from error
        found = list(samples_in(data, file.name))
        if not found:
            raise SavedEventError(f"{file.name} has no samples.")
        samples += found
    return samples


def samples_of_values(values: Sequence[Any]) -> list[Sample]:
    """Return samples of values: JSON as Python has it, bytes as they are, None for a tombstone."""
    return [
        _bare(
            value if value is None or isinstance(value, bytes) else orjson.dumps(value),
            f"sample {number}",
        )
        for number, value in enumerate(values, 1)
    ]


def samples_in(data: bytes, name: str) -> Iterator[Sample]:
    """Yield the samples of a file's content. Raises SavedEventError."""
    whole = _document(data)
    if isinstance(whole, dict):
        yield from _of_document(whole, data.strip(), name)
        return
    if isinstance(whole, list):
        for number, raw in enumerate(msgspec.json.decode(data, type=list[msgspec.Raw]), 1):
            yield from _of_document(_document(bytes(raw)), bytes(raw), f"{name}[{number}]")
        return
    lines = [(n, line) for n, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise SavedEventError(f"{name} is empty. Expected saved events, or values as JSON.")
    for number, line in lines:
        yield from _of_document(_document(line), line.strip(), f"{name}:{number}")


def _document(data: bytes) -> Any:
    """Return what JSON says, None where it is not JSON: that is for the contract to say."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _of_document(document: Any, raw: bytes, name: str) -> Iterator[Sample]:
    """Yield the records of an event, also of one that an on-failure destination keeps; of anything
    else the sample that it is.
    """
    if isinstance(document, dict) and "KafkaBatchInfo" in document and "payload" not in document:
        raise SavedEventError(
            f"{name}: this says which records were given up, and does not contain them. silt "
            "capture reads them from the topic."
        )
    if isinstance(document, dict) and isinstance(document.get("payload"), str):
        document = _document(document["payload"].encode())
    if not (isinstance(document, dict) and "records" in document and "eventSource" in document):
        yield _bare(raw, name)
        return
    try:
        batch = parse_event(document, "samples")
    except EventError as error:
        raise SavedEventError(f"{name}: {error}") from error
    for stream in batch.streams:
        for record in stream.records:
            where = f"{record.topic}-{record.partition}:{record.offset}"
            yield Sample(f"{name} {where}", record, batch.topic)


def _bare(value: bytes | None, name: str) -> Sample:
    return Sample(name, EventRecord("samples", 0, 0, NOW_MS, "CREATE_TIME", None, value), None)
