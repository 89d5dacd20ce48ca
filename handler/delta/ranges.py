"""The offset ranges of a data file, as a tag of its `add`: a look-up reads only files that matter.

A file's statistics bound all its rows together. Where partitions have offsets far apart, as when
one was added later, these bounds exclude nothing; the ranges of each partition do. Engines keep the
tag in their checkpoints and leave it out where they rewrite a file.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

RANGES_TAG = "silt.offsets"
RANGES_BYTES_MAX = 2048
"""A longer text is left out: then the statistics alone bound the file."""


def ranges_text(part: pa.Table, partition: str, offset: str) -> str | None:
    """Return the first and last offset of each partition, such as `0:100-200,7:5-9`.

    None for a text longer than RANGES_BYTES_MAX, and for a table without these columns.
    """
    if not {partition, offset} <= set(part.column_names):
        return None
    extremes = pc.min_max(part[partition]).as_py()
    if extremes["min"] is None:
        return None
    if extremes["min"] == extremes["max"]:
        offsets = pc.min_max(part[offset]).as_py()
        return f"{extremes['min']}:{offsets['min']}-{offsets['max']}"
    groups = part.select([partition, offset]).group_by(partition, use_threads=False)
    rows: list[dict[str, Any]] = (
        groups.aggregate([(offset, "min"), (offset, "max")]).sort_by(partition).to_pylist()
    )
    text = ",".join(f"{r[partition]}:{r[f'{offset}_min']}-{r[f'{offset}_max']}" for r in rows)
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
