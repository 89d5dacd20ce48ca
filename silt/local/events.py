"""What AWS sends to a function for Kafka records, its size, and what it reads of the answer."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import orjson

from handler.kafka.event import EventRecord

PAYLOAD_LIMIT_BYTES = 6 * 1024 * 1024
"""The largest event of a synchronous invocation, as JSON."""


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A record as the broker has it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()

    @property
    def group(self) -> str:
        """Return the name that the record's partition has in an event, and in an answer."""
        return f"{self.topic}-{self.partition}"

    def to_record(self) -> EventRecord:
        """Return the record as the function parses it from an event."""
        return msgspec.convert(self.to_event(), EventRecord)

    def to_event(self) -> dict[str, Any]:
        """Return the record as it is in an event."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp_ms,
            "timestampType": self.timestamp_type,
            "key": _base64(self.key),
            "value": _base64(self.value),
            "headers": event_headers(self.headers),
        }


def event_headers(
    headers: Sequence[tuple[str, bytes | None]],
) -> list[dict[str, list[int] | None]]:
    """Return headers as they are in an event: bytes are signed numbers, as Java's are."""
    return [
        {name: None if value is None else [b - 256 if b > 127 else b for b in value]}
        for name, value in headers
    ]


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def event_of(records: Sequence[KafkaRecord], source: Mapping[str, str]) -> dict[str, Any]:
    """Return the event that AWS would send for these records."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record.to_event())
    return {**source, "records": groups}


def encode(event: Mapping[str, Any]) -> bytes:
    """Return an event as the bytes that are sent: JSON without a blank."""
    return orjson.dumps(event)


@dataclass(slots=True)
class EventSize:
    """The size of an event in bytes while records are put into it."""

    source: Mapping[str, str]
    bytes: int = 0
    _groups: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.bytes = len(encode(event_of((), self.source)))

    def with_record(self, record: KafkaRecord, record_bytes: int) -> int:
        """Return the size with one more record, which is so many bytes of JSON itself."""
        if record.group in self._groups:
            return self.bytes + record_bytes + len(",")
        group = len(orjson.dumps({record.group: []})) - len("{}")
        return self.bytes + record_bytes + group + (len(",") if self._groups else 0)

    def add(self, record: KafkaRecord, record_bytes: int) -> None:
        """Put a record in."""
        self.bytes = self.with_record(record, record_bytes)
        self._groups.add(record.group)


def batches_of(
    records: Iterable[KafkaRecord], source: Mapping[str, str], records_max: int
) -> Iterator[list[KafkaRecord]]:
    """Yield records in batches that are each one event, as large as a mapping makes them."""
    batch: list[KafkaRecord] = []
    size = EventSize(source)
    for record in records:
        record_bytes = len(encode(record.to_event()))
        is_full = size.with_record(record, record_bytes) > PAYLOAD_LIMIT_BYTES
        if batch and (is_full or len(batch) == records_max):
            yield batch
            batch, size = [], EventSize(source)
        batch.append(record)
        size.add(record, record_bytes)
    if batch:
        yield batch


def failed_identifiers(payload: Any) -> set[tuple[str, int]] | None:
    """Return the places that a partial batch response lists; None if it is malformed.

    An empty or missing list is a success, as for every mapping; anything else of another shape
    fails the batch.
    """
    if payload is None:
        return set()
    if not isinstance(payload, dict):
        return None
    items = payload.get("batchItemFailures")
    if items is None or items == []:
        return set()
    if not isinstance(items, list):
        return None
    try:
        return {
            (str(i["itemIdentifier"]["partition"]), int(i["itemIdentifier"]["offset"]))
            for i in items
        }
    except (KeyError, TypeError, ValueError):
        return None
