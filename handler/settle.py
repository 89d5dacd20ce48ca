"""The rule of what is new, duplicate, hole or recreated.

Pure: what the tables hold comes as an argument.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from handler.errors import SourceMismatch, TopicRecreated
from handler.event import StreamRecords
from handler.values import TIMESTAMP_MAX_US, TIMESTAMP_MIN_US

CLOCK_SKEW_MS = 300_000
"""How far the clocks of a producer, a broker and a sandbox may be apart."""


@dataclass(frozen=True, slots=True)
class Stream:
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


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one table has seen a stream: its watermark, and when it was raised to it (ms since
    1970).
    """

    offset: int = -1
    raised_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """The watermarks of a stream in the table and in its dead letters."""

    table: Mark = Mark()
    dead_letters: Mark = Mark()

    @property
    def highest(self) -> int:
        """Return the offset above which every record is new."""
        return max(self.table.offset, self.dead_letters.offset)


@dataclass(frozen=True, slots=True)
class Known:
    """What a look-up in both tables found of one stream, whole: timestamps (µs) of the rows of each
    offset.
    """

    rows: Mapping[int, frozenset[int | None]]
    newest_ms: int | None = None


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
    for app_id in app_ids:
        other = Stream.of(app_id)
        if other is None:
            continue
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


def to_look_up(records: StreamRecords, marks: Marks, *, trust_watermark: bool) -> list[int]:
    """Return the offsets whose fate only the tables know: those at or below a watermark.

    With `trust_watermark` (redelivered: skip) the table's watermark settles what is at or below it,
    but for records that look as if the topic had been recreated.
    """
    offsets = records.offsets
    if not offsets or offsets[0] > marks.highest:
        return []
    return [
        offset
        for offset, timestamp in zip(offsets, records.timestamps, strict=True)
        if offset <= marks.highest
        and not (
            trust_watermark
            and offset <= marks.table.offset
            and not _came_later(timestamp, marks.table.raised_ms)
        )
    ]


def classify(
    stream: Stream,
    records: StreamRecords,
    marks: Marks,
    known: Known,
    *,
    trust_watermark: bool,
    now_ms: int,
) -> set[int]:
    """Return the indices of a stream's records that are duplicates; the others are new, or holes.

    Above both watermarks a record is new. At or below one it is a duplicate only if `known` holds
    its offset with the same timestamp; otherwise it is a hole, because a batch that AWS gave up on
    may have been passed.

    Raises TopicRecreated when one offset has two timestamps, or when a missing record was made
    after the table passed it (decision 0004). `known` must cover every offset of `to_look_up`: a
    partial look-up would make holes of duplicates.
    """
    duplicates: set[int] = set()
    highest = marks.highest
    if not records.offsets or records.offsets[0] > highest:
        return duplicates
    for i, (offset, timestamp) in enumerate(zip(records.offsets, records.timestamps, strict=True)):
        if offset > highest:
            break  # offsets rise
        held = known.rows.get(offset, frozenset())
        if storable_us(timestamp) in held:
            duplicates.add(i)
            continue
        if held and stream.generation == 0:
            raise _recreated(stream, offset, timestamp, "another one", next(iter(held)))
        if offset > marks.table.offset:
            continue  # passed by the dead letters only: a crash before the rows leaves this
        if _was_made_later(timestamp, marks.table.raised_ms, known.newest_ms, now_ms):
            raise _recreated(stream, offset, timestamp, "none, though it was passed", None)
        if trust_watermark:
            duplicates.add(i)
    return duplicates


def _came_later(timestamp_ms: int, passed_ms: int | None) -> bool:
    return passed_ms is not None and timestamp_ms > passed_ms + CLOCK_SKEW_MS


def _was_made_later(
    timestamp_ms: int, passed_ms: int | None, newest_ms: int | None, now_ms: int
) -> bool:
    """Return whether a record's timestamp says that it was made after its offset was passed.

    Producers set timestamps as they like. One that lies ahead of our own clock, or not beyond what
    the table holds of its partition, comes from a clock that runs ahead and proves nothing.
    """
    if not _came_later(timestamp_ms, passed_ms) or timestamp_ms > now_ms + CLOCK_SKEW_MS:
        return False
    return newest_ms is None or timestamp_ms > newest_ms + CLOCK_SKEW_MS


def _recreated(
    stream: Stream, offset: int, timestamp_ms: int, holds: str, held_us: int | None
) -> TopicRecreated:
    when = f" ({_moment(held_us // 1000)})" if held_us is not None else ""
    return TopicRecreated(
        f"Stream {stream.app_id}: offset {offset} arrived with timestamp "
        f"{_moment(timestamp_ms)}, but the table holds {holds}{when}. The topic was probably "
        "deleted and created again. No rows of this invocation were written. If so, set "
        f"SILT_GENERATION={stream.generation + 1} (now {stream.generation}): "
        "troubleshooting.md#topic-recreated"
    )


def _moment(timestamp_ms: int) -> str:
    if storable_us(timestamp_ms) is None:
        return f"{timestamp_ms} ms"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timestamp_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
