"""A few columns of Parquet files in an object store, by two rounds of requests however many files
there are.

First round: the end of each file, which holds its footer. Second round: the column chunks of the
row groups that are wanted, each file's ranges by one call.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from handler.delta.pool import Pool
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Entry, Store
from handler.errors import BrokenLog

TAIL_BYTES = 64 * 1024
_FOOTER_END = 8

KeepRowGroup = Callable[[Any], bool]


class _File(msgspec.Struct, frozen=True):
    entry: Entry
    footer: pq.FileMetaData
    row_groups: list[int]
    ranges: list[tuple[int, int]]


def read_columns(
    store: Store,
    entries: Sequence[Entry],
    columns: Sequence[str],
    keep: KeepRowGroup,
    pool: Pool,
    deadline: Deadline,
    *,
    batch_rows: int | None = None,
) -> Iterator[pa.Table]:
    """Yield a table for each wanted row group of each file, with the named columns.

    A column is named by its path, such as `add.stats`, or as a whole. With `batch_rows` a row group
    comes in tables of at most so many rows: only the bytes of its columns are there at once. `keep`
    is asked with a row group's Parquet metadata. Raises BrokenLog for a file that is not Parquet.
    """
    footers = read_footers(store, entries, pool, deadline)
    files = [_select(e, f, columns, keep) for e, f in zip(entries, footers, strict=True)]
    files = [file for file in files if file.ranges]
    calls = [_ranges_call(store, file) for file in files]
    for file, parts in zip(files, request_all(calls, pool, deadline, "read Parquet"), strict=True):
        source = _Sparse(file.entry, file.ranges, parts)
        try:
            parquet = open_parquet(pa.PythonFile(source, mode="r"), file.footer)
            names = list(columns)
            if batch_rows is None:
                for group in file.row_groups:
                    yield parquet.read_row_group(group, columns=names, use_threads=False)
                continue
            for batch in parquet.iter_batches(
                batch_rows, file.row_groups, columns=names, use_threads=False
            ):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise BrokenLog(f"{file.entry.key} cannot be read as Parquet: {error}") from error


def open_parquet(source: Any, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a Parquet file, of which only some column chunks may be there."""
    return pq.ParquetFile(
        source,
        metadata=footer,
        # Without pre-buffering Arrow asks for column chunks alone, not for what lies between them.
        pre_buffer=False,
        # Spark's older timestamps are nanoseconds to Arrow, which end in the year 2262.
        coerce_int96_timestamp_unit="us",
    )


def fetch_row_group(
    store: Store,
    entry: Entry,
    footer: pq.FileMetaData,
    number: int,
    pool: Pool,
    deadline: Deadline,
) -> pa.PythonFile:
    """Fetch one row group of a file; what is returned reads as the file, but for all the others."""
    group = footer.row_group(number)
    ranges = [_chunk_range(entry, group.column(i)) for i in range(group.num_columns)]
    call = partial(store.get_ranges, entry.key, ranges)
    (parts,) = request_all([call], pool, deadline, "read Parquet")
    return pa.PythonFile(_Sparse(entry, ranges, parts), mode="r")


def read_footers(
    store: Store, entries: Sequence[Entry], pool: Pool, deadline: Deadline
) -> list[pq.FileMetaData]:
    """Read the footers of Parquet files. Raises BrokenLog for a file that is not Parquet."""
    tails = _tails(store, [(e, min(TAIL_BYTES, e.size)) for e in entries], pool, deadline)
    needed = [int.from_bytes(tail[-8:-4], "little") + _FOOTER_END for tail in tails]
    longer = [(i, need) for i, need in enumerate(needed) if len(tails[i]) < need <= entries[i].size]
    if longer:
        lengths = [(entries[i], need) for i, need in longer]
        for (i, _), tail in zip(longer, _tails(store, lengths, pool, deadline), strict=True):
            tails[i] = tail
    footers = []
    for entry, tail in zip(entries, tails, strict=True):
        try:
            footers.append(pq.read_metadata(pa.BufferReader(tail)))
        except (pa.ArrowException, OSError) as error:
            raise BrokenLog(f"{entry.key} cannot be read as Parquet: {error}") from error
    return footers


def _tails(
    store: Store, lengths: Sequence[tuple[Entry, int]], pool: Pool, deadline: Deadline
) -> list[bytes]:
    def call(entry: Entry, length: int) -> Callable[[], bytes]:
        return lambda: store.get_ranges(entry.key, [(entry.size - length, entry.size)])[0]

    calls = [call(entry, length) for entry, length in lengths]
    return request_all(calls, pool, deadline, "read Parquet")


def _select(
    entry: Entry, footer: pq.FileMetaData, columns: Sequence[str], keep: KeepRowGroup
) -> _File:
    groups, ranges = [], []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        if group.num_rows == 0 or not keep(group):
            continue
        groups.append(number)
        for i in range(group.num_columns):
            chunk = group.column(i)
            path = f"{chunk.path_in_schema}."
            if any(path.startswith(f"{column}.") for column in columns):
                ranges.append(_chunk_range(entry, chunk))
    return _File(entry, footer, groups, ranges)


def _chunk_range(entry: Entry, chunk: Any) -> tuple[int, int]:
    start = chunk.data_page_offset
    if chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    end = start + chunk.total_compressed_size
    if not 0 <= start <= end <= entry.size:
        raise BrokenLog(
            f"{entry.key} cannot be read as Parquet: its footer refers to bytes beyond its end."
        )
    return start, end


def _ranges_call(store: Store, file: _File) -> Callable[[], list[bytes]]:
    return lambda: store.get_ranges(file.entry.key, file.ranges)


class _Sparse(io.RawIOBase):
    """A file of which only some ranges are there; reading anything else is an error."""

    def __init__(
        self, entry: Entry, ranges: Sequence[tuple[int, int]], parts: Sequence[bytes]
    ) -> None:
        super().__init__()
        self._entry = entry
        self._parts = [(start, part) for (start, _), part in zip(ranges, parts, strict=True)]
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._entry.size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        for start, part in self._parts:
            begin = self._position - start
            if begin >= 0 and begin + size <= len(part) and size >= 0:
                self._position += size
                return part[begin : begin + size]
        raise OSError(f"{self._entry.key}: bytes were requested that had not been fetched")
