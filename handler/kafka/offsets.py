"""The rule of what is new, duplicate, hole or recreated.

Pure: what the tables hold comes as an argument.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from handler.contract.scalar import TIMESTAMP_MAX_US, TIMESTAMP_MIN_US
from handler.errors import SourceMismatch, TopicRecreated
from handler.kafka.event import OFFSET_MAX

CLOCK_SKEW_MS = 300_000
"""How far the clocks of a producer, a broker and a sandbox may be apart."""


class Stream(msgspec.Struct, frozen=True):
    """A topic-partition of a source cluster, in one generation of the topic."""

    source: str
    topic: str
    partition: int
    generation: int = 0

    @property
    def app_id(self) -> str:
        """Return the appId of the stream's watermark in a Delta log."""
        base = f"{self.source}/{self.topic}/{self.partition}"
        return f"{base}/{self.generation}" if self.generation else base

    @classmethod
    def of(cls, app_id: str) -> "Stream | None":
        """Return the stream of an appId, None for another writer's."""
        parts = app_id.split("/")
        if len(parts) not in (3, 4) or not all(part.isdecimal() for part in parts[2:]):
            return None
        return cls(parts[0], parts[1], int(parts[2]), int(parts[3]) if len(parts) == 4 else 0)


def streams_of(app_ids: Iterable[str]) -> list[Stream]:
    """Return the streams that appIds name; those of other writers name none."""
    return [stream for app_id in app_ids if (stream := Stream.of(app_id)) is not None]


class Mark(msgspec.Struct, frozen=True):
    """How far one table has seen a stream: its watermark, and when it was raised to it (ms since
    1970).
    """

    offset: int = -1
    raised_ms: int | None = None


FORGOTTEN = Mark(OFFSET_MAX)
"""The watermark of a stream that the table may have forgotten: all of it is looked up."""


class Marks(msgspec.Struct, frozen=True):
    """The watermarks of a stream in the table and in its dead letters.

    `earlier` is the highest watermark that any earlier generation of the partition has in either.
    """

    table: Mark = Mark()
    dead_letters: Mark = Mark()
    earlier: int = -1

    @property
    def highest(self) -> int:
        """Return the offset above which every record is new."""
        return max(self.table.offset, self.dead_letters.offset, self.earlier)


class Evidence(msgspec.Struct, frozen=True):
    """The records of one stream that can be in a table, in offset order; timestamps in ms.

    A record that a rule of the contract drops can never be in a table, so it is left out: its
    absence proves nothing.
    """

    offsets: Sequence[int]
    timestamps: Sequence[int]


Known = Mapping[int, frozenset[int | None]]
"""What a look-up in both tables found of one stream: the timestamps (µs) of the rows of each
offset."""


def storable_us(timestamp_ms: int) -> int | None:
    """Return a broker's timestamp as a table holds it; None where a table cannot: beyond the years
    1 to 9999.
    """
    microseconds = timestamp_ms * 1000
    return microseconds if TIMESTAMP_MIN_US <= microseconds <= TIMESTAMP_MAX_US else None


def check_source(
    app_ids: Sequence[str], source: str, topic: str, generation: int, table: str
) -> None:
    """Refuse a table that another source, topic or later generation feeds.

    Raises SourceMismatch.
    """
    for other in streams_of(app_ids):
        if other.generation > generation:
            raise SourceMismatch(
                f"Table {table} holds streams of generation {other.generation}, and "
                f"SILT_GENERATION is {generation}. Nothing was written. Set "
                f"SILT_GENERATION={other.generation}."
            )
        if other.generation == generation and (other.source, other.topic) != (source, topic):
            raise SourceMismatch(
                f"Table {table} is fed by {other.source}/{other.topic}, and these records come "
                f"from {source}/{topic}. One topic of one source feeds a table; nothing was "
                "written. If this is the same cluster under another name, set "
                f"SILT_SOURCE={other.source}; if the topic moved, set "
                f"SILT_GENERATION={generation + 1}: troubleshooting.md#another-source"
            )


def begins_generation(app_ids: Iterable[str], generation: int) -> bool:
    """Return whether a table was fed by earlier generations and not by this one yet."""
    if generation == 0:
        return False
    generations = {other.generation for other in streams_of(app_ids)}
    return bool(generations) and max(generations) < generation


def earlier_app_ids(app_ids: Iterable[str], stream: Stream) -> list[str]:
    """Return the appIds of the same partition in earlier generations, whatever source they name."""
    if stream.generation == 0:
        return []
    return [
        app_id
        for app_id in app_ids
        if (other := Stream.of(app_id)) is not None
        and other.partition == stream.partition
        and other.generation < stream.generation
    ]


def to_look_up(records: Evidence, marks: Marks, *, trust_watermark: bool) -> list[int]:
    """Return the offsets whose fate only the tables know: those at or below a watermark.

    With `trust_watermark` (redelivered: skip) the table's watermark settles what is at or below it,
    but for records that are newer than the commit which raised it.
    """
    offsets = records.offsets
    if not offsets or offsets[0] > marks.highest:
        return []
    return [
        offset
        for offset, timestamp in zip(offsets, records.timestamps, strict=True)
        if offset <= marks.highest
        and not (trust_watermark and _is_trusted(offset, timestamp, marks.table))
    ]


def classify(
    stream: Stream, records: Evidence, marks: Marks, known: Known, *, trust_watermark: bool
) -> set[int]:
    """Return the indices of a stream's records that are duplicates; the others are new, or holes.

    Above every watermark a record is new. At or below one it is a duplicate only if `known` holds
    its offset with the same timestamp; otherwise it is a hole, because a batch that AWS gave up on
    may have been passed. No clock is asked: a hole is appended once, whatever made it and when.

    Raises TopicRecreated when one offset has two timestamps in generation 0, or when a watermark
    that is to be trusted passed a newer record (decision 0004). `known` must cover every offset of
    `to_look_up`: a partial look-up would make holes of duplicates.
    """
    duplicates: set[int] = set()
    highest = marks.highest
    if not records.offsets or records.offsets[0] > highest:
        return duplicates
    for i, (offset, timestamp) in enumerate(zip(records.offsets, records.timestamps, strict=True)):
        if offset > highest:
            break  # offsets rise
        held = known.get(offset, frozenset())
        if storable_us(timestamp) in held:
            duplicates.add(i)
        elif held and stream.generation == 0:
            raise _recreated(stream, offset, timestamp, held)
        elif trust_watermark and offset <= marks.table.offset and marks.table != FORGOTTEN:
            if not _is_trusted(offset, timestamp, marks.table):
                raise _newer_than_its_watermark(stream, offset, timestamp, marks.table)
            duplicates.add(i)
    return duplicates


def _is_trusted(offset: int, timestamp_ms: int, mark: Mark) -> bool:
    """Return whether a watermark settles a record: it passed it, when the record was there."""
    if offset > mark.offset or mark == FORGOTTEN:
        return False
    return mark.raised_ms is None or timestamp_ms <= mark.raised_ms + CLOCK_SKEW_MS


def _recreated(
    stream: Stream, offset: int, timestamp_ms: int, held: frozenset[int | None]
) -> TopicRecreated:
    times = " and ".join(
        _moment(us // 1000) if us is not None else "one that no table can store"
        for us in sorted(held, key=lambda us: us or 0)
    )
    following = stream.generation + 1
    return TopicRecreated(
        f"Stream {stream.app_id}: offset {offset} arrived with timestamp "
        f"{_moment(timestamp_ms)}, and the table contains it with {times}. The topic was probably "
        "deleted and created again. No rows of this invocation were written. Set "
        f"SILT_GENERATION={following} (now {stream.generation}): then a record is a duplicate "
        "only if partition, offset and timestamp are those of a row, so nothing is lost or "
        "doubled, also if the topic was not recreated: troubleshooting.md#topic-recreated"
    )


def _newer_than_its_watermark(
    stream: Stream, offset: int, timestamp_ms: int, mark: Mark
) -> TopicRecreated:
    assert mark.raised_ms is not None
    return TopicRecreated(
        f"Stream {stream.app_id}: offset {offset} arrived with timestamp "
        f"{_moment(timestamp_ms)}. The table's watermark {mark.offset} passed it at "
        f"{_moment(mark.raised_ms)}, before it was made, and the table does not contain it: the "
        "producer's clock is ahead, its row was deleted, or the topic was created again. "
        "`redelivered: skip` cannot tell which, so no rows of this invocation were written. Set "
        f"`redelivered: look_up` until the stream is past offset {mark.offset}: it appends what "
        "the table does not contain, each once: troubleshooting.md#newer-than-its-watermark"
    )


def _moment(timestamp_ms: int) -> str:
    if storable_us(timestamp_ms) is None:
        return f"{timestamp_ms} ms"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
