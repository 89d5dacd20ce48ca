"""AWS's shape of a Kafka event: in comes the dict of the Lambda runtime, out come streams in offset
order.

Source of the shape: facts of the Lambda developer guide, 'Using Lambda with Kafka', and of golden
events.
"""

import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from typing import Any, NoReturn

from handler.errors import EventError

OFFSET_MAX = (1 << 63) - 1
PARTITION_MAX = (1 << 31) - 1
_SOURCES = ("aws:kafka", "SelfManagedKafka")

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class StreamRecords:
    """The records of one topic-partition, in offset order, each offset once.

    `timestamps` are milliseconds since 1970 as the broker keeps them; `repeats` counts the copies
    that were dropped because the event held the same record twice. `values` are base64, None for a
    tombstone; `records` are reserved for AWS objects.
    """

    partition: int
    offsets: list[int]
    timestamps: list[int]
    values: list[str | None]
    records: list[Mapping[str, Any]]
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One event: the records of one topic of one source cluster."""

    source: str
    topic: str
    streams: tuple[StreamRecords, ...]

    @property
    def delivered(self) -> int:
        """Return how many records the event held, repeats included."""
        return sum(len(s.offsets) + s.repeats for s in self.streams)


def parse_event(event: Any, source: str | None = None) -> Batch:
    """Parse an event of an event source mapping; `source` names its cluster where that is set.

    Raises EventError that says what is wrong, and where.
    """
    if not isinstance(event, dict):
        raise EventError(f"The event is {type(event).__name__}, not an object. Nothing was read.")
    source_kind = event.get("eventSource")
    if source_kind not in _SOURCES:
        raise EventError(
            f"eventSource is {_short(source_kind)}. Expected aws:kafka or SelfManagedKafka: is the "
            "function behind an event source mapping for Kafka? Nothing was read."
        )
    groups = event.get("records")
    if not isinstance(groups, dict):
        raise EventError(
            "records must be an object that maps each topic-partition to a list of records."
        )
    streams = [_parse_stream(key, records) for key, records in groups.items() if records != []]
    if not streams:
        raise EventError("The event contains no records. A mapping never sends such an event.")
    topics = sorted({topic for topic, _ in streams})
    if len(topics) > 1:
        raise EventError(
            f"The event contains records of {len(topics)} topics ({_short(', '.join(topics))}). A "
            "mapping reads one topic: give each topic a mapping and a function of its own."
        )
    return Batch(source or _source(event), topics[0], tuple(stream for _, stream in streams))


def _source(event: Mapping[str, Any]) -> str:
    arn = event.get("eventSourceArn")
    if isinstance(arn, str) and arn:
        return arn.rsplit("/", 1)[-1]
    servers = event.get("bootstrapServers")
    if isinstance(servers, str) and servers:
        names = sorted(server.strip() for server in servers.split(","))
        return "kafka-" + sha256(",".join(names).encode()).hexdigest()[:12]
    raise EventError(
        "The event does not name a cluster: neither eventSourceArn nor bootstrapServers is a "
        "string. "
        "Set SILT_SOURCE if the mapping leaves them out."
    )


def _parse_stream(key: str, records: Any) -> tuple[str, StreamRecords]:
    if not isinstance(records, list):
        raise EventError(f"records[{_short(key)}] is not a list.")
    try:
        offsets = list(map(itemgetter("offset"), records))
        timestamps = list(map(itemgetter("timestamp"), records))
        coordinates = set(map(itemgetter("topic", "partition"), records))
        values, keys = _column(records, "value"), _column(records, "key")
        kinds = {*map(type, values), *map(type, keys)}
        sound = (
            set(map(type, offsets)) == {int}
            and set(map(type, timestamps)) == {int}
            and kinds <= {str, type(None)}
            and len(coordinates) == 1
            and 0 <= min(offsets) <= max(offsets) <= OFFSET_MAX
        )
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        _diagnose(key, records)
    topic, partition = coordinates.pop()
    if type(topic) is not str or type(partition) is not int or key != f"{topic}-{partition}":
        _diagnose(key, records)
    if not 0 <= partition <= PARTITION_MAX:
        raise EventError(f"records[{_short(key)}] has a partition that is not a 32-bit number.")
    stream = StreamRecords(partition, offsets, timestamps, values, records)
    # Strictly rising offsets are the rule; only then is the list its own sorted set.
    if sorted(set(offsets)) != offsets:
        stream = _in_offset_order(key, stream)
    return topic, stream


def _column(records: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """Return what each record has under a name that AWS may leave out."""
    try:
        return list(map(itemgetter(name), records))
    except KeyError:
        return [record.get(name) for record in records]


def _in_offset_order(key: str, stream: StreamRecords) -> StreamRecords:
    by_offset: dict[int, Mapping[str, Any]] = {}
    for record in stream.records:
        if by_offset.setdefault(record["offset"], record) != record:
            raise EventError(
                f"records[{_short(key)}] holds offset {record['offset']} twice with different "
                "contents. Nothing of this event was written."
            )
    ordered = [by_offset[offset] for offset in sorted(by_offset)]
    return StreamRecords(
        stream.partition,
        [record["offset"] for record in ordered],
        [record["timestamp"] for record in ordered],
        _column(ordered, "value"),
        ordered,
        len(stream.records) - len(ordered),
    )


def _diagnose(key: str, records: Sequence[Any]) -> NoReturn:
    """Find what is wrong with a list of records and say where."""
    for i, record in enumerate(records):
        where = f"records[{_short(key)}][{i}]"
        if not isinstance(record, dict):
            raise EventError(f"{where} is not an object.")
        for name in ("topic", "partition", "offset", "timestamp"):
            kind, noun = (str, "a string") if name == "topic" else (int, "an integer")
            if type(record.get(name)) is not kind:
                raise EventError(f"{where}.{name} is missing or not {noun}.")
        if not 0 <= record["offset"] <= OFFSET_MAX:
            raise EventError(f"{where}.offset is not a 64-bit offset.")
        for name in ("key", "value"):
            if record.get(name) is not None and not isinstance(record[name], str):
                raise EventError(f"{where}.{name} is neither base64 text nor null.")
        if key != f"{record['topic']}-{record['partition']}":
            raise EventError(
                f"{where} is of {_short(record['topic'])}, partition {record['partition']}, "
                "which does not match its key."
            )
    raise EventError(f"records[{_short(key)}] contradicts itself.")


def decode_base64(record: Mapping[str, Any], name: str) -> bytes | None:
    """Return a record's key or value as bytes, None for null. Raises EventError for bad base64."""
    text = record.get(name)
    if text is None:
        return None
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:
        raise EventError(f"{_place(record)}: its {name} is no base64: {error}") from error


def decode_headers(record: Mapping[str, Any]) -> Headers:
    """Return a record's headers as pairs in order; names may repeat.

    AWS sends bytes as numbers, and they come from signed Java bytes: -128..-1 occur beside
    128..255.
    """
    headers: Headers = []
    entries = record.get("headers")
    if entries is None:
        return headers
    try:
        for entry in entries:
            for name, value in entry.items():
                data = None if value is None else bytes([byte & 0xFF for byte in value])
                if value is not None and not all(-128 <= byte <= 255 for byte in value):
                    raise ValueError("a byte is out of range")
                name.encode()  # a lone surrogate is no name
                headers.append((name, data))
    except (AttributeError, TypeError, ValueError) as error:
        raise EventError(
            f"{_place(record)}: its headers are not as AWS sends them: {error}"
        ) from error
    return headers


def timestamp_type(record: Mapping[str, Any]) -> str | None:
    """Return what a record's timestamp means, as AWS sends it. Raises EventError."""
    kind = record.get("timestampType")
    if kind is not None and not isinstance(kind, str):
        raise EventError(f"{_place(record)}: its timestampType is not text.")
    return kind


def _place(record: Mapping[str, Any]) -> str:
    return f"{record['topic']}-{record['partition']} offset {record['offset']}"


def _short(value: Any) -> str:
    """Return a name of the event for a message, cut: an event may hold anything."""
    text = str(value)
    return text if len(text) <= 100 else text[:100] + "..."
