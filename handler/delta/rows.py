"""The rows of whole data files, in batches: what a rewrite reads.

Memory is bounded by a batch, not by a file: small files are fetched some at a time, of a large one
a row group at a time.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from handler.delta.conform import conform
from handler.delta.parquet_ranges import (
    fetch_row_group,
    open_parquet,
    read_footers,
)
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Entry, Store
from handler.errors import BrokenLog

FETCH_BYTES = 8 << 20
"""So much of small files is fetched at once, and a larger file by its row groups."""
FETCH_FILES = 64
BATCH_BYTES = 4 << 20
BATCH_ROWS_MAX = 1 << 13
SAMPLE_ROWS = 32


def read_rows(
    store: Store, files: Sequence[Entry], schema: pa.Schema, pool: Pool, deadline: Deadline
) -> Iterator[pa.Table]:
    """Yield the rows of files, in their order, as rows of a schema.

    Raises NotFound or BrokenLog, which name the file, StoreError or OutOfTime.
    """
    for group in _groups(files):
        if group[0].size > FETCH_BYTES:
            yield from _rows_of_large(store, group[0], schema, pool, deadline)
            continue
        calls = [partial(store.get, entry.key) for entry in group]
        for entry, content in zip(
            group, request_all(calls, pool, deadline, "read data files"), strict=True
        ):
            parquet = _open(entry, pa.BufferReader(content.data))
            for number in range(parquet.num_row_groups):
                yield from _rows(entry, parquet, number, schema)


def _groups(files: Sequence[Entry]) -> Iterator[list[Entry]]:
    group, size = list[Entry](), 0
    for entry in files:
        if group and (size + entry.size > FETCH_BYTES or len(group) == FETCH_FILES):
            yield group
            group, size = [], 0
        group.append(entry)
        size += entry.size
    if group:
        yield group


def _rows_of_large(
    store: Store, entry: Entry, schema: pa.Schema, pool: Pool, deadline: Deadline
) -> Iterator[pa.Table]:
    (footer,) = read_footers(store, [entry], pool, deadline)
    for number in range(footer.num_row_groups):
        source = fetch_row_group(store, entry, footer, number, pool, deadline)
        yield from _rows(entry, _open(entry, source, footer), number, schema)


def _open(entry: Entry, source: Any, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    try:
        return open_parquet(source, footer)
    except (pa.ArrowException, OSError) as error:
        raise BrokenLog(f"{entry.key} cannot be read as Parquet: {error}") from error


def _rows(
    entry: Entry, parquet: pq.ParquetFile, group: int, schema: pa.Schema
) -> Iterator[pa.Table]:
    try:
        # One thread: with several each decodes a column of its own at once, all of it in memory.
        for batch in parquet.iter_batches(_batch_rows(parquet, group), [group], use_threads=False):
            yield conform(pa.Table.from_batches([batch]), schema)
    except (pa.ArrowException, OSError) as error:
        raise BrokenLog(f"{entry.key} cannot be read as rows of the table: {error}") from error


def _batch_rows(parquet: pq.ParquetFile, group: int) -> int:
    """Return how many rows of a row group may be decoded at once.

    By its first rows: what a footer counts is encoded, and a long text that every row has is there
    once.
    """
    described = parquet.metadata.row_group(group)
    encoded = int(described.total_byte_size) // max(1, int(described.num_rows))
    first = next(parquet.iter_batches(SAMPLE_ROWS, [group], use_threads=False), None)
    decoded = first.nbytes // first.num_rows if first is not None and first.num_rows else 0
    return max(1, min(BATCH_ROWS_MAX, BATCH_BYTES // max(1, encoded, decoded)))
