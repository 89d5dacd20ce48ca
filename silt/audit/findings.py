"""What an audit found, of a table and of each of its partitions."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyroaring import BitMap64

from handler.kafka.offsets import Stream
from silt.audit.offset_sets import Offsets, Range, ranges_of

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
        return self.seen | self.skipped

    @property
    def in_gaps(self) -> int:
        """Return how many offsets between the first and the last are not known."""
        known = self.known
        return known.max() - known.min() + 1 - len(known) if known else 0

    def gap_ranges(self, limit: int | None = None) -> list[Range]:
        """Return the first ranges of offsets that are not known, all of them without a limit."""
        known = list(ranges_of(self.known, None if limit is None else limit + 1))
        return [(a[1] + 1, b[0] - 1) for a, b in itertools.pairwise(known)]

    def lacking(self) -> list[Range]:
        """Return the ranges that the table lacks, rising: gaps, rows that were redriven and are
        gone, and what is missing up to the watermark.
        """
        known = self.known
        if not known and self.watermark < 0:
            return []
        first = known.min() if known else 0
        last = max(known.max() if known else -1, self.watermark)
        held = ranges_of(known - self.without_row)
        edges = [(first - 1, first - 1), *held, (last + 1, last + 1)]
        return [(a[1] + 1, b[0] - 1) for a, b in itertools.pairwise(edges) if a[1] + 1 < b[0]]


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
    doubts: list[str] = field(default_factory=list)
    """Those of the notes for which gaps are not sure."""

    def doubt(self, note: str) -> None:
        """Note something for which gaps are not sure."""
        self.notes.append(note)
        self.doubts.append(note)

    def of(self, partition: int) -> PartitionAudit:
        """Return the part of one partition."""
        return self.partitions.setdefault(partition, PartitionAudit(partition))

    def find(self, code: str, message: str, **more: Any) -> None:
        """Note something that is wrong."""
        self.findings.append(Discrepancy(code, message, **more))
