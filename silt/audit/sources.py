"""What a table is audited against: a producer's list, or what the broker still has."""

import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pyroaring import BitMap64

from handler.errors import SiltError, counted
from handler.kafka.event import OFFSET_MAX, PARTITION_MAX
from silt.audit.findings import LISTED_MAX, Audit, PartitionAudit
from silt.audit.offset_sets import Range, between, ranges_of
from silt.kafka_options import explain_failure
from silt.local.broker import METADATA_LIMIT_S, QUIET, committed_offsets, partitions_of

POLL_LIMIT_S = 15.0
_READ_ON = 1_000
"""Gaps that are so close are read in one go: to seek is dearer than to read some records."""


def compare_with_list(audit: Audit, path: Path) -> None:
    """Find what a producer's list has and the table lacks, and the reverse.

    A line is `{"partition": 0, "offset": 7}` in JSON, or a CSV file has these columns. A line with
    `"fate": "skip"` may are missing. Raises SiltError with file and line for anything else.
    """
    listed: dict[int, BitMap64] = {}
    skipped: dict[int, BitMap64] = {}
    for partition, offset, fate in _lines(path):
        of_fate = skipped if fate == "skip" else listed
        of_fate.setdefault(partition, BitMap64()).add(offset)
    for partition in sorted({*listed, *skipped, *audit.partitions}):
        part = audit.of(partition)
        sent, dropped = listed.get(partition, BitMap64()), skipped.get(partition, BitMap64())
        lost, invented = sent - part.seen, part.seen - sent - dropped
        if lost:
            _find(audit, "lost", part, lost, f"records of {path} are missing")
        if invented:
            _find(audit, "not_in_list", part, invented, f"records are in it but not in {path}")
        missing = (sent | dropped) - part.known
        part.explained["not in the list"] = part.in_gaps - _count_within(missing, part)
        part.explained["skipped by rule, as the list says"] = len(dropped - part.known)
        _drop_gap_finding(audit, partition)


def _count_within(offsets: BitMap64, part: PartitionAudit) -> int:
    """Return how many offsets lie between the first and the last that are known."""
    known = part.known
    return offsets.range_cardinality(known.min(), known.max() + 1) if known else 0


def _lines(path: Path) -> Iterator[tuple[int, int, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".csv":
                for row in (reader := csv.DictReader(file)):
                    yield _place(row, f"{path}:{reader.line_num}")
            else:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _place(_json(line, f"{path}:{number}"), f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise SiltError(f"{path} cannot be read: {error}") from error


def _json(line: str, where: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise SiltError(f"{where}: this is not valid JSON: {error}") from error


def _place(row: Any, where: str) -> tuple[int, int, str | None]:
    try:
        partition, offset = int(str(row["partition"])), int(str(row["offset"]))
        if not (0 <= partition <= PARTITION_MAX and 0 <= offset <= OFFSET_MAX):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise SiltError(
            f'{where}: expected a partition and an offset, such as {{"partition": 0, "offset": 7}}'
        ) from error
    return partition, offset, row.get("fate")


def compare_with_broker(
    audit: Audit,
    servers: str,
    topic: str,
    *,
    group: str | None = None,
    tombstones_stand: bool = False,
    client: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda _records: None,
) -> None:
    """Explain each gap by what the broker still has, or find that a record is lost.

    What is looked at lies between a partition's first and last stored offset; with `group`,
    from the first record of the broker to the group's committed offset. A record of a gap that the
    broker has with a value is lost; one without a value is a tombstone, and lost too where
    `tombstones_stand`; one that it has not was removed by compaction or belongs to a transaction.
    Of what is not between its first and its last offset it says nothing: such a gap stays a
    finding. Raises SiltError.
    """
    settings = {**QUIET, **(client or {}), "bootstrap.servers": servers}
    settings |= {"group.id": group or "silt-audit", "enable.auto.commit": False}
    settings |= {"isolation.level": "read_committed", "enable.partition.eof": True}
    settings["auto.offset.reset"] = "error"  # what expires while it is read is not explained
    consumer = Consumer(settings)
    try:
        partitions = partitions_of(servers, topic, client)
        ends = _committed(consumer, topic, partitions, group) if group is not None else {}
        for partition in partitions:
            part = _Partition(audit, consumer, topic, partition, progress)
            part.compare(ends.get(partition), tombstones_stand=tombstones_stand)
    except KafkaException as error:
        raise explain_failure(servers, topic, error) from error
    finally:
        consumer.close()


def _committed(consumer: Any, topic: str, partitions: list[int], group: str) -> dict[int, int]:
    """Return the committed offsets of a group. Raises SiltError where it has none."""
    places = [TopicPartition(topic, partition) for partition in partitions]
    committed = committed_offsets(consumer, places)
    ends = {place.partition: place.offset for place in committed if place.offset >= 0}
    if not ends:
        raise SiltError(
            f"The consumer group {group!r} has no committed offset of {topic}. Expected the group "
            "of the mapping (ConsumerGroupId). Nothing was compared."
        )
    return ends


class _Partition:
    """One partition on the broker, beside what is stored of it."""

    def __init__(
        self,
        audit: Audit,
        consumer: Any,
        topic: str,
        partition: int,
        progress: Callable[[int], None],
    ) -> None:
        self._audit, self._part = audit, audit.of(partition)
        self._consumer, self._progress = consumer, progress
        self._place = TopicPartition(topic, partition)
        self._low, self._high = consumer.get_watermark_offsets(self._place, METADATA_LIMIT_S)

    def compare(self, committed: int | None, *, tombstones_stand: bool) -> None:
        """Explain the gaps, up to the committed offset of a group if one is given."""
        part = self._part
        gaps = part.gaps_within(self._low, self._high - 1)
        last = part.seen.max() if part.seen else -1
        expired = part.in_gaps - len(gaps)
        end = min(committed or 0, self._high)
        if end > self._low:
            gaps |= between(self._low, end - 1) - part.known
        lost, tombstones = self._read(gaps)
        if tombstones_stand:
            lost, tombstones = lost | tombstones, BitMap64()
        part.explained |= {
            "not between the broker's first and last offset": expired,
            "tombstones": len(tombstones),
            "compacted, or of a transaction": len(gaps) - len(lost) - len(tombstones),
        }
        if self._high - 1 > last:
            behind = self._high - 1 - last
            text = (
                f"partition {part.partition}: {counted(behind, 'offset')} of the broker beyond "
                "the table"
            )
            self._audit.notes.append(text)
        if not expired:
            _drop_gap_finding(self._audit, part.partition)
        if lost:
            _find(self._audit, "lost", part, lost, "records are on the broker and in neither table")

    def _read(self, gaps: BitMap64) -> tuple[BitMap64, BitMap64]:
        """Return the offsets of gaps that the broker has, with a value and without."""
        valued, tombstones = BitMap64(), BitMap64()
        for first, last in _joined(ranges_of(gaps)):
            for message in self._messages(first, last):
                offset = message.offset()
                if offset in gaps:
                    (tombstones if message.value() is None else valued).add(offset)
        return valued, tombstones

    def _messages(self, first: int, last: int) -> Iterator[Any]:
        self._place.offset = first
        self._consumer.assign([self._place])
        while True:
            message = self._consumer.poll(POLL_LIMIT_S)
            if message is None:
                raise SiltError(
                    f"Kafka sent nothing of {self._place.topic}-{self._part.partition} from offset "
                    f"{first} within {POLL_LIMIT_S:g} s. Nothing is known of what comes after it."
                )
            error = message.error()
            if error is not None and error.name() == "_PARTITION_EOF":
                return
            if error is not None:
                raise KafkaException(error)
            if message.offset() <= last:
                self._progress(1)
                yield message
            if message.offset() >= last:
                return


def _joined(ranges: Iterator[Range]) -> Iterator[Range]:
    """Join ranges that lie close to each other."""
    held: Range | None = None
    for first, last in ranges:
        if held is not None and first - held[1] <= _READ_ON:
            held = (held[0], last)
            continue
        if held is not None:
            yield held
        held = (first, last)
    if held is not None:
        yield held


def _find(audit: Audit, code: str, part: PartitionAudit, offsets: BitMap64, what: str) -> None:
    ranges = list(ranges_of(offsets, LISTED_MAX))
    audit.find(code, f"{len(offsets)} {what}", partition=part.partition, ranges=ranges)


def _drop_gap_finding(audit: Audit, partition: int) -> None:
    """Take back that a gap is unexplained: now it is explained, or known to be a loss."""
    audit.findings = [
        f for f in audit.findings if not (f.code == "gap" and f.partition == partition)
    ]
