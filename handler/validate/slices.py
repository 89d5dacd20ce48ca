"""Records of a batch that are checked together.

A batch is parsed and checked a slice at a time: the objects of a slice fit in the processor's cache
and are gone before the next one comes, which is almost twice as fast as all at once, and takes
a part of the memory. See decision 0021.
"""

from bisect import bisect_right
from collections.abc import Container, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

SLICE_BYTES = 128 * 1024
"""A slice has at least one record, and no more of them than have so many bytes."""


class Slice(msgspec.Struct):
    """Records that are checked together, by their indices in the batch."""

    positions: list[int]
    objects: list[Any]
    payloads: list[bytes]

    def without(self, refused: Container[int]) -> "Slice":
        """Return the records that were not refused, by their indices in the batch."""
        kept = [i for i, position in enumerate(self.positions) if position not in refused]
        return Slice(*([part[i] for i in kept] for part in self.parts))

    def append(self, position: int, value: Any, payload: bytes) -> None:
        """Add a record."""
        for part, item in zip(self.parts, (position, value, payload), strict=True):
            part.append(item)

    def divide(self, records_max: int) -> Iterator["Slice"]:
        """Yield the records in slices, as `ranges_of` has them; none where there is no record."""
        for some in ranges_of(self.payloads, records_max):
            yield Slice(*(part[some.start : some.stop] for part in self.parts))

    @property
    def parts(self) -> tuple[list[Any], ...]:
        """Return the three lists."""
        return self.positions, self.objects, self.payloads


def join_lists(parts: Sequence[list[T]]) -> list[T]:
    """Return lists one after the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else list(chain.from_iterable(parts))


def ranges_of(payloads: Sequence[bytes], records_max: int) -> Iterator[range]:
    """Yield the slices of a batch, as ranges of indices, of at most so many records each."""
    ends = list(accumulate(map(len, payloads)))
    start = before = 0
    while start < len(payloads):
        stop = max(start + 1, bisect_right(ends, before + SLICE_BYTES, start))
        stop = min(stop, start + records_max)
        yield range(start, stop)
        start, before = stop, ends[stop - 1]
