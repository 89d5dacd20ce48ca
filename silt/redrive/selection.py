"""Which dead letters are redriven: those of a reason, a place in the topic, or a time. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from handler.contract.contract import REDRIVEN_AT

_TIMESTAMP = pa.timestamp("us", "UTC")
OffsetRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a dead letter must meet to be chosen; what is not given holds for each.

    `code` and `path` are of its first problem, as in `error_code` and `error_path`. `offsets` are
    ranges by partition, first and last in them. The times are of `failed_at`, in microseconds
    since 1970: from `since_us` on, and before `until_us`.
    """

    code: str | None = None
    path: str | None = None
    partition: int | None = None
    offsets: Mapping[int, Sequence[OffsetRange]] = field(default_factory=dict)
    since_us: int | None = None
    until_us: int | None = None

    def choose(self, letters: pa.Table) -> pa.ChunkedArray:
        """Return for each dead letter whether it is chosen. Only open ones are."""
        masks = [pc.is_null(letters[REDRIVEN_AT])]
        for name, value in (
            ("error_code", self.code),
            ("error_path", self.path),
            ("partition", self.partition),
        ):
            if value is not None:
                masks.append(pc.equal(letters[name], value))
        if self.offsets:
            masks.append(self._lie_in_ranges(letters))
        if self.since_us is not None:
            since = pa.scalar(self.since_us, _TIMESTAMP)
            masks.append(pc.greater_equal(letters["failed_at"], since))
        if self.until_us is not None:
            masks.append(pc.less(letters["failed_at"], pa.scalar(self.until_us, _TIMESTAMP)))
        chosen = masks[0]
        for mask in masks[1:]:
            chosen = pc.and_(chosen, pc.fill_null(mask, False))
        return chosen

    def _lie_in_ranges(self, letters: pa.Table) -> pa.ChunkedArray:
        partitions, offsets = letters["partition"], letters["offset"]
        lies = pc.and_(partitions.is_null(), offsets.is_valid())  # false for each letter of ours
        for partition, ranges in self.offsets.items():
            for first, last in ranges:
                within = pc.and_(pc.greater_equal(offsets, first), pc.less_equal(offsets, last))
                lies = pc.or_(lies, pc.and_(pc.equal(partitions, partition), within))
        return lies
