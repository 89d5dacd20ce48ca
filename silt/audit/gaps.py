"""Why a table lacks offsets: what the broker has of them, and what the contract says about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyroaring import BitMap64

from handler.contract.contract import Contract
from handler.sink.message_columns import MessageFields
from handler.sink.outcomes import drops_tombstones
from handler.validate.decode import parse_payloads
from silt.audit.committed import committed_by
from silt.audit.findings import PartitionAudit
from silt.audit.offset_sets import Range, between, joined, ranges_of
from silt.audit.proof import audit
from silt.local.events import KafkaRecord
from silt.local.topic_reader import TopicReader

MISSING = "missing"
"""The broker has a record that belongs in the table."""
DROPPED = "dropped by on_tombstone: skip"
DROPPED_BY_WHERE = "dropped by where"
TOMBSTONE = "tombstone"
"""Nothing is known of the contract, and most drop these."""
ABSENT = "compacted, or of a transaction"
"""The broker has the offsets around, and no record."""
GONE = "no longer on the broker"
UNPROVEN = "unproven"
"""No broker was asked."""
UNEXPLAINED = (MISSING, GONE, UNPROVEN)


@dataclass(slots=True)
class PartitionGaps:
    """The offsets that a table lacks of one partition, by cause.

    `beyond` are ranges that lie outside of what a broker has, in order, and `outside` is their
    cause: as a set they could be too large.
    """

    partition: int
    outside: str
    high: int = 0
    causes: dict[str, BitMap64] = field(default_factory=dict)
    beyond: list[Range] = field(default_factory=list)

    def offsets(self, cause: str) -> BitMap64:
        """Return the offsets of one cause."""
        return self.causes.get(cause, BitMap64())

    def ranges(self) -> Iterator[tuple[int, int, str]]:
        """Yield each range with its cause, in the order of the offsets."""
        within = [
            (first, last, cause)
            for cause, offsets in self.causes.items()
            for first, last in ranges_of(offsets)
        ]
        yield from sorted([*within, *((a, b, self.outside) for a, b in self.beyond)])

    def counts(self) -> dict[str, int]:
        """Return how many offsets have each cause."""
        counts = {cause: len(offsets) for cause, offsets in self.causes.items() if offsets}
        if self.beyond:
            counts[self.outside] = sum(b - a + 1 for a, b in self.beyond)
        return counts


def cause_of(contract: Contract | None) -> Callable[[KafkaRecord], str]:
    """Return what says why a record may be missing, by the rules of a contract."""
    without_value = MISSING
    if contract is None:
        without_value = TOMBSTONE
    elif drops_tombstones(contract):
        without_value = DROPPED
    where = contract.where if contract is not None else None
    fields = MessageFields(where)

    def cause(record: KafkaRecord) -> str:
        if record.value is None:
            return without_value
        objects = parse_payloads([record.value]).objects if where is not None else []
        if where is not None and objects and isinstance(objects[0], dict):
            document = fields.document(objects[0], record.to_record())
            return MISSING if where.keeps(document) else DROPPED_BY_WHERE
        return MISSING

    return cause


def gaps_of(
    uri: str,
    reader: TopicReader | None,
    contract: Contract | None,
    *,
    group: str | None = None,
    progress: Callable[[int], None] = lambda _count: None,
) -> tuple[list[PartitionGaps], list[str]]:
    """Return what a table lacks of each partition, and for what that is not sure.

    Of a partition that the topic does not have the broker has nothing. Without a reader nothing is
    explained. With `group`, that of the reader, it is looked up to its committed offset. Raises
    SiltError.
    """
    ends = committed_by(reader, group) if reader is not None and group is not None else {}
    result = audit(uri, progress=progress)
    if reader is None:
        parts = [part for _, part in sorted(result.partitions.items())]
        return [
            PartitionGaps(part.partition, UNPROVEN, beyond=part.lacking()) for part in parts
        ], result.doubts
    cause, found = cause_of(contract), list[PartitionGaps]()
    for number in sorted({*result.partitions, *reader.partitions}):
        part = result.of(number)
        if number not in reader.partitions:
            found.append(PartitionGaps(number, GONE, beyond=part.lacking()))
            continue
        end = ends.get(number, 0)
        found.append(explain_gaps(part, reader, cause, end=end, progress=progress))
    return found, result.doubts


def explain_gaps(
    part: PartitionAudit,
    reader: TopicReader,
    cause: Callable[[KafkaRecord], str],
    *,
    end: int = 0,
    progress: Callable[[int], None] = lambda _records: None,
) -> PartitionGaps:
    """Return what a table lacks of a partition, explained by what the broker has.

    What is looked at lies between the first offset that is stored or dropped and the watermark;
    with `end`, also from the first record of the broker to before that offset. Raises SiltError.
    """
    low, high = reader.bounds(part.partition)
    result, gaps = PartitionGaps(part.partition, GONE, high), BitMap64()
    for first, last in part.lacking():
        if first < low:
            result.beyond.append((first, min(last, low - 1)))
        if last >= high:
            result.beyond.append((max(first, high), last))
        if max(first, low) <= min(last, high - 1):
            gaps |= between(max(first, low), min(last, high - 1))
    end = min(end, high)
    if end > low:
        gaps |= between(low, end - 1) - (part.known - part.without_row)
    for first, last in joined(ranges_of(gaps)):
        for record in reader.read(part.partition, first, last):
            progress(1)
            if record.offset in gaps:
                result.causes.setdefault(cause(record), BitMap64()).add(record.offset)
    absent = gaps - BitMap64().union(*result.causes.values())
    if absent:
        result.causes[ABSENT] = absent
    return result
