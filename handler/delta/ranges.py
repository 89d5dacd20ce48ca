"""The offset ranges of a data file, as a tag of its `add`: a look-up reads only files that matter.

A file's statistics bound all its rows together. Where partitions have offsets far apart, as when
one was added later, these bounds exclude nothing; the ranges of each partition do. Engines keep the
tag in their checkpoints and leave it out where they rewrite a file.
"""

import pyarrow as pa

from handler.delta import compute

RANGES_TAG = "silt.offsets"
RANGES_BYTES_MAX = 2048
"""A longer text is left out: then the statistics alone bound the file."""


class Ranges:
    """The first and last offset of each partition, gathered row group by row group."""

    def __init__(self, partition: str, offset: str) -> None:
        self._partition, self._offset = partition, offset
        self._bounds: dict[int, tuple[int, int]] = {}
        self._known = True

    def add(self, rows: pa.Table) -> None:
        """Take in rows. Without these columns, or with nulls in them, nothing is known."""
        if not {self._partition, self._offset} <= set(rows.column_names):
            self._known = False
            return
        partitions, offsets = rows[self._partition], rows[self._offset]
        if partitions.null_count or offsets.null_count:
            self._known = False
            return
        if not len(rows):
            return
        first, last = compute.extremes(partitions)
        if first == last:
            self._widen(first, *compute.extremes(offsets))
            return
        groups = rows.select([self._partition, self._offset]).group_by(
            self._partition, use_threads=False
        )
        for row in groups.aggregate([(self._offset, "min"), (self._offset, "max")]).to_pylist():
            low, high = row[f"{self._offset}_min"], row[f"{self._offset}_max"]
            self._widen(row[self._partition], low, high)

    def _widen(self, partition: int, low: int, high: int) -> None:
        first, last = self._bounds.get(partition, (low, high))
        self._bounds[partition] = min(first, low), max(last, high)

    @property
    def text(self) -> str | None:
        """Return the ranges, such as `0:100-200,7:5-9`; None where they are unknown or too many."""
        if not self._known or not self._bounds:
            return None
        text = ",".join(f"{p}:{low}-{high}" for p, (low, high) in sorted(self._bounds.items()))
        return text if len(text) <= RANGES_BYTES_MAX else None


def parse_ranges(text: str) -> list[tuple[int, int, int]] | None:
    """Return partition, first and last offset of each range; None for a text of another form."""
    ranges = []
    try:
        for item in text.split(","):
            partition, _, bounds = item.partition(":")
            first, _, last = bounds.partition("-")
            ranges.append((int(partition), int(first), int(last)))
    except ValueError:
        return None
    return ranges
