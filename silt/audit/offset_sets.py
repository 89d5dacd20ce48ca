"""Sets of offsets as compressed bitmaps: a hundred million of them take some megabytes."""

import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap64

Range = tuple[int, int]
"""First and last offset, both in it."""
_READ_ON = 1_000
"""Ranges that are so close are read in one go: to seek is dearer than to read some records."""


@dataclass(slots=True)
class Offsets:
    """The offsets of one partition in one table."""

    seen: BitMap64 = field(default_factory=BitMap64)
    twice: BitMap64 = field(default_factory=BitMap64)
    rows: int = 0

    def add(self, offsets: pa.Array) -> None:
        """Take in a batch of offsets, in any order."""
        cast = offsets.cast(pa.uint64())
        values = array.array("Q")
        values.frombytes(cast.buffers()[1])
        values = values[cast.offset : cast.offset + len(cast)]
        batch = BitMap64(values)
        self.rows += len(values)
        self.twice |= batch & self.seen
        if len(batch) != len(values):
            counted = pc.value_counts(offsets)
            more = counted.filter(pc.greater(counted.field(1), 1)).field(0)
            self.twice |= BitMap64(more.to_pylist())
        self.seen |= batch


def between(first: int, last: int) -> BitMap64:
    """Return all offsets from the first to the last."""
    whole = BitMap64()
    whole.add_range(first, last + 1)
    return whole


def ranges_of(offsets: BitMap64, limit: int | None = None) -> Iterator[Range]:
    """Yield the ranges of offsets, rising, at most `limit` of them.

    The end of each is looked for by doubling steps: its cost is that of the ranges, not of the
    offsets in them or between them.
    """
    start = next(offsets.iter_equal_or_larger(0), None)
    while start is not None and (limit is None or limit > 0):
        end = _end_of_run(offsets, start)
        yield start, end - 1
        start = next(offsets.iter_equal_or_larger(end), None)
        limit = None if limit is None else limit - 1


def _end_of_run(offsets: BitMap64, start: int) -> int:
    """Return the first offset from `start` on that is missing; `start` is there."""
    step = 1
    while offsets.contains_range(start, start + 2 * step):
        step *= 2
    whole = step
    while step > 0:
        if offsets.contains_range(start, start + whole + step):
            whole += step
        step //= 2
    return start + whole


def joined(ranges: Iterator[Range]) -> Iterator[Range]:
    """Join ranges that lie close to each other, to be read in one go."""
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
