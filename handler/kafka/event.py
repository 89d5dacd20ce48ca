"""AWS's shape of a Kafka event: in comes what the runtime read, out come streams in offset order.

Source of the shape: facts of the Lambda developer guide, 'Using Lambda with Kafka', and of golden
events.
"""

from hashlib import sha256
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from handler.errors import EventError
from handler.kafka.broken_event import explain_event, short

OFFSET_MAX = (1 << 63) - 1
PARTITION_MAX = (1 << 31) - 1
_SOURCES = ("aws:kafka", "SelfManagedKafka")

Headers = list[tuple[str, bytes | None]]
_HeaderByte = Annotated[int, msgspec.Meta(ge=-128, le=255)]
"""AWS sends bytes as numbers, and they come from signed Java bytes: -128..-1 occur beside
128..255."""


class EventRecord(msgspec.Struct, gc=False):
    """A record as an event has it, key and value decoded; a null value is a tombstone."""

    topic: str
    partition: Annotated[int, msgspec.Meta(ge=0, le=PARTITION_MAX)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=OFFSET_MAX)]
    timestamp: int
    timestampType: str | None = None  # noqa: N815 # AWS's name
    key: bytes | None = None
    value: bytes | None = None
    headers: list[dict[str, list[_HeaderByte] | None]] | None = None


class KafkaEvent(msgspec.Struct, gc=False):
    """An event of an event source mapping for Kafka. `records` are by topic-partition."""

    eventSource: str  # noqa: N815 # AWS's name
    records: dict[str, list[EventRecord]]
    eventSourceArn: Any = None  # noqa: N815 # AWS's name
    bootstrapServers: Any = None  # noqa: N815 # AWS's name


class StreamRecords(msgspec.Struct, frozen=True):
    """The records of one topic-partition, in offset order, each offset once.

    `timestamps` are milliseconds since 1970 as the broker keeps them; `repeats` counts the copies
    that were dropped because the event held the same record twice.
    """

    partition: int
    offsets: list[int]
    timestamps: list[int]
    records: list[EventRecord]
    repeats: int = 0

    @classmethod
    def of(cls, partition: int, records: list[EventRecord], *, repeats: int = 0) -> "StreamRecords":
        """Return the stream of records that are in offset order."""
        offsets = [record.offset for record in records]
        timestamps = [record.timestamp for record in records]
        return cls(partition, offsets, timestamps, records, repeats)


class Batch(msgspec.Struct, frozen=True):
    """One event: the records of one topic of one source cluster."""

    source: str
    topic: str
    streams: tuple[StreamRecords, ...]

    @property
    def delivered(self) -> int:
        """Return how many records the event held, repeats included."""
        return sum(len(s.offsets) + s.repeats for s in self.streams)


_decoder = msgspec.json.Decoder(KafkaEvent)


def decode_event(body: bytes) -> KafkaEvent | None:
    """Decode the bytes of an event in one pass; None for what is not as AWS sends it."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def parse_event(event: Any, source: str | None = None) -> Batch:
    """Parse an event of an event source mapping; `source` names its cluster where that is set.

    The event is a dict of the runtime, or what `decode_event` returned. Raises EventError that says
    what is wrong, and where.
    """
    typed = event if isinstance(event, KafkaEvent) else _convert(event)
    if typed.eventSource not in _SOURCES:
        explain_event({"eventSource": typed.eventSource})
    streams = [_parse_stream(key, records) for key, records in typed.records.items() if records]
    if not streams:
        raise EventError("The event contains no records. A mapping never sends such an event.")
    topics = sorted({topic for topic, _ in streams})
    if len(topics) > 1:
        raise EventError(
            f"The event contains records of {len(topics)} topics ({short(', '.join(topics))}). A "
            "mapping reads one topic: give each topic a mapping and a function of its own."
        )
    return Batch(source or _source(typed), topics[0], tuple(stream for _, stream in streams))


def _convert(event: Any) -> KafkaEvent:
    try:
        typed = msgspec.convert(event, KafkaEvent)
        for records in typed.records.values():
            for headers in filter(None, map(attrgetter("headers"), records)):
                for entry in headers:
                    "".join(entry).encode()  # a lone surrogate is no name
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        explain_event(event)
        raise EventError(f"The event is not as AWS sends it: {error}. Nothing was read.") from error
    return typed


def _source(event: KafkaEvent) -> str:
    arn, servers = event.eventSourceArn, event.bootstrapServers
    if isinstance(arn, str) and arn:
        return arn.rsplit("/", 1)[-1]
    if isinstance(servers, str) and servers:
        names = sorted(server.strip() for server in servers.split(","))
        return "kafka-" + sha256(",".join(names).encode()).hexdigest()[:12]
    raise EventError(
        "The event does not name a cluster: neither eventSourceArn nor bootstrapServers is a "
        "string. "
        "Set SILT_SOURCE if the mapping leaves them out."
    )


def _parse_stream(key: str, records: list[EventRecord]) -> tuple[str, StreamRecords]:
    topic, partition = records[0].topic, records[0].partition
    others = [r for r in records if r.partition != partition or r.topic != topic]
    if others or key != f"{topic}-{partition}":
        i, record = next((i, r) for i, r in enumerate(records) if key != f"{r.topic}-{r.partition}")
        raise EventError(
            f"records[{short(key)}][{i}] is of {short(record.topic)}, partition "
            f"{record.partition}, which does not match its key."
        )
    stream = StreamRecords.of(partition, records)
    # Strictly rising offsets are the rule; only then is the list its own sorted set.
    if sorted(set(stream.offsets)) != stream.offsets:
        stream = _in_offset_order(key, stream)
    return topic, stream


def _in_offset_order(key: str, stream: StreamRecords) -> StreamRecords:
    by_offset: dict[int, EventRecord] = {}
    for record in stream.records:
        if by_offset.setdefault(record.offset, record) != record:
            raise EventError(
                f"records[{short(key)}] holds offset {record.offset} twice with different "
                "contents. Nothing of this event was written."
            )
    ordered = [by_offset[offset] for offset in sorted(by_offset)]
    return StreamRecords.of(stream.partition, ordered, repeats=len(stream.records) - len(ordered))


def decode_headers(record: EventRecord) -> Headers:
    """Return a record's headers as pairs in order; names may repeat."""
    return [
        (name, None if value is None else bytes([byte & 0xFF for byte in value]))
        for entry in record.headers or ()
        for name, value in entry.items()
    ]
