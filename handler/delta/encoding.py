"""How a data file is compressed and which columns have a dictionary, decided by its first rows.

In a small file zstd spends half of the time on setting itself up for each column; snappy needs no
set-up.

A dictionary of values that are mostly different makes a file larger and takes longer to write than
none: zstd finds what is repeated anyway. Figures: decision 0021.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from handler.delta import compute

SMALL_BYTES = 3 * 1024
"""Rows that take so much memory a column, on average, or less are a small file."""
SAMPLE_ROWS = 1000
"""So many rows are looked at. A file of fewer has no dictionary: there is little to repeat."""
REPEATED = 2
"""A column has a dictionary if each of its values is there so many times, on average."""


def compression_of(rows: pa.Table) -> tuple[str, int | None]:
    """Return the codec of a file, and its level where it has levels."""
    is_small = rows.get_total_buffer_size() <= SMALL_BYTES * rows.num_columns
    return ("snappy", None) if is_small else ("zstd", 1)


def dictionary_columns(rows: pa.Table) -> list[str]:
    """Return Parquet's paths of the columns that get a dictionary."""
    if rows.num_rows < SAMPLE_ROWS:
        return []
    sample = rows.slice(0, SAMPLE_ROWS)
    leaves = (
        leaf
        for name, column in zip(sample.column_names, sample.columns, strict=True)
        for leaf in _leaves(column.combine_chunks(), name)
    )
    return [path for path, values in leaves if _is_repeated(values)]


def _is_repeated(values: pa.Array) -> bool:
    if pa.types.is_boolean(values.type):  # a bit each
        return False
    distinct: int = compute.count_distinct(values).as_py()
    return distinct * REPEATED <= len(values) - int(values.null_count)


def _leaves(array: Any, path: str) -> Iterator[tuple[str, pa.Array]]:
    """Yield the leaf columns of a column, by the paths that Parquet gives them."""
    kind = array.type
    if pa.types.is_struct(kind):
        for field, child in zip(kind, array.flatten(), strict=True):
            yield from _leaves(child, f"{path}.{field.name}")
    elif pa.types.is_map(kind):
        start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
        yield f"{path}.key_value.key", array.keys[start:stop]
        yield from _leaves(array.items[start:stop], f"{path}.key_value.value")
    elif pa.types.is_list(kind):
        yield from _leaves(array.flatten(), f"{path}.list.element")
    else:
        yield path, array
