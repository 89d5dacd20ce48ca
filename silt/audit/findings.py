"""What an audit found, of a table and of each of its partitions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap64

from handler.kafka.offsets import Stream
from silt.audit.offset_sets import Offsets, Range, between, ranges_of

LISTED_MAX = 20
"""So many ranges of a finding are listed; the count is of all."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Something that is wrong, or that nothing explains."""

    code: str
    message: str
    partition: int | None = None
    version: int | None = None
    ranges: Sequence[Range] = ()


@dataclass(slots=True)
class PartitionAudit:
    """What is stored of one partition. `explained` counts offsets in gaps by what explains them."""

    partition: int
    rows: Offsets = field(default_factory=Offsets)
    dead_letters: Offsets = field(default_factory=Offsets)
    open_letters: BitMap64 = field(default_factory=BitMap64)
    redriven: BitMap64 = field(default_factory=BitMap64)
    """Offsets whose dead letters were closed as rows."""
    redrive_ranges: BitMap64 = field(default_factory=BitMap64)
    """Offsets from the first to the last of each redrive, as the commits say."""
    skipped: BitMap64 = field(default_factory=BitMap64)
    """Offsets that a rule dropped, as the commits say."""
    watermark: int = -1
    """The highest watermark of both tables, -1 where several generations have one."""
    late: int = 0
    explained: dict[str, int] = field(default_factory=dict)

    @property
    def seen(self) -> BitMap64:
        """Return the offsets that are in either table."""
        return self.rows.seen | self.dead_letters.seen

    @property
    def without_row(self) -> BitMap64:
        """Return the offsets whose dead letters were closed as rows that are not there."""
        return self.redriven - self.rows.seen

    @property
    def known(self) -> BitMap64:
        """Return the offsets that are stored, or that a rule dropped."""
        return (self.seen - self.without_row) | self.skipped

    @property
    def bounds(self) -> Range | None:
        """Return the first and the last offset that the table has dealt with, if there is any."""
        offsets = self.seen | self.skipped
        return (offsets.min(), offsets.max()) if offsets else None

    @property
    def in_gaps(self) -> int:
        """Return how many offsets between the first and the last are not known."""
        return self.bounds[1] - self.bounds[0] + 1 - len(self.known) if self.bounds else 0

    def gap_ranges(self, limit: int | None = None) -> list[Range]:
        """Return the first ranges of offsets that are not known, all of them without a limit."""
        if self.bounds is None:
            return []
        first, last = self.bounds
        known = ranges_of(self.known, None if limit is None else limit + 1)
        edges = [(first - 1, first - 1), *known]
        if limit is None or len(edges) <= limit + 1:
            edges.append((last + 1, last + 1))
        gaps = [(a[1] + 1, b[0] - 1) for a, b in itertools.pairwise(edges) if a[1] + 1 < b[0]]
        return gaps[:limit]

    def gaps_within(self, first: int, last: int) -> BitMap64:
        """Return the offsets of gaps between two: whole, a gap may be too large for a set."""
        if self.bounds is None:
            return BitMap64()
        first, last = max(first, self.bounds[0]), min(last, self.bounds[1])
        return between(first, last) - self.known if first <= last else BitMap64()


@dataclass(slots=True)
class Audit:
    """What an audit saw of a table and its dead letters."""

    uri: str
    version: int
    partitions: dict[int, PartitionAudit]
    streams: list[Stream]
    commits: int = 0
    log_is_whole: bool = True
    """Whether the table's log has every commit since the first."""
    expired: bool = False
    """Whether maintenance has removed redriven dead letters, as the commits say."""
    findings: list[Discrepancy] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def of(self, partition: int) -> PartitionAudit:
        """Return the part of one partition."""
        return self.partitions.setdefault(partition, PartitionAudit(partition))

    def find(self, code: str, message: str, **more: Any) -> None:
        """Note something that is wrong."""
        self.findings.append(Discrepancy(code, message, **more))
