"""Rows sorted within a bound of memory, however many there are.

What does not fit is written to local disk, and spread from there over buckets of adjacent values,
which are sorted one by one. The limits between buckets are taken from a sample of all rows.
"""

import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

BUCKETS_MAX = 256
_SAMPLE_EVERY = 64
_ROW = "silt.row"
"""A column with the number of each row: rows of equal values stay in their order."""
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def sort_rows(
    batches: Iterable[pa.Table], columns: Sequence[str], buffer_bytes: int
) -> Generator[pa.Table, None, None]:
    """Yield rows sorted by columns, rising, nulls last, in tables of about `buffer_bytes`.

    Needs twice the rows' size of local disk, compressed, where they do not fit into the buffer.
    """
    keys = [(column, "ascending") for column in columns]
    source = iter(batches)
    buffer, size = list[pa.Table](), 0
    for batch in source:
        buffer.append(batch)
        size += batch.nbytes
        if size > buffer_bytes:
            break
    else:
        if buffer:
            yield pa.concat_tables(buffer).sort_by(keys)
        return
    with tempfile.TemporaryDirectory(prefix="silt-sort-") as folder:
        spill = Path(folder) / "rows"
        sample, count = list[pa.Table](), 0
        schema = _numbered(batch, 0).schema
        every_batch = chain(iter(buffer), source)
        del buffer, batch  # so that each is let go when it is written
        with pa.OSFile(str(spill), "wb") as file, _writer(file, schema) as writer:
            for each in every_batch:
                batch = _numbered(each, count)
                count += batch.num_rows
                writer.write_table(batch)
                size += batch.nbytes
                every = pa.array(range(0, batch.num_rows, _SAMPLE_EVERY), pa.int64())
                sample.append(batch.select([*columns, _ROW]).take(every))
        buckets = min(BUCKETS_MAX, size // buffer_bytes + 1)
        keys.append((_ROW, "ascending"))  # so that rows of the same values can be divided too
        limits = _limits(pa.concat_tables(sample).sort_by(keys), buckets)
        paths = [Path(folder) / str(i) for i in range(buckets)]
        _spread(spill, paths, limits, keys, buffer_bytes)
        spill.unlink()
        for path in paths:
            with pa.OSFile(str(path)) as file:
                bucket = pa.ipc.open_stream(file).read_all()
            path.unlink()
            if bucket.num_rows:
                yield bucket.sort_by(keys).drop_columns([_ROW])


def _numbered(rows: pa.Table, first: int) -> pa.Table:
    numbers = pa.array(range(first, first + rows.num_rows), pa.int64())
    return rows.append_column(_ROW, numbers)


def _writer(file: pa.NativeFile, schema: pa.Schema) -> pa.RecordBatchStreamWriter:
    return pa.ipc.new_stream(file, schema, options=_OPTIONS)


def _limits(sample: pa.Table, count: int) -> pa.Table:
    """Return the values that divide a sorted sample into so many buckets of the same size."""
    places = [i * sample.num_rows // count for i in range(1, count)]
    return sample.take(pa.array(places, pa.int64()))


def _spread(
    spill: Path,
    paths: Sequence[Path],
    limits: pa.Table,
    keys: list[tuple[str, str]],
    buffer_bytes: int,
) -> None:
    """Write each row to the bucket that its values belong to."""
    with ExitStack() as stack:
        stream = pa.ipc.open_stream(stack.enter_context(pa.OSFile(str(spill))))
        files = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in paths]
        writers = [stack.enter_context(_writer(file, stream.schema)) for file in files]
        for rows in _gather(stream, buffer_bytes):
            both = pa.concat_tables([rows.select(limits.column_names), limits])
            order = pc.sort_indices(both, sort_keys=keys)
            is_limit = pc.greater_equal(order, rows.num_rows)
            rows = rows.take(order.filter(pc.invert(is_limit)))
            # The n-th limit has n limits before it; what else is before it is rows.
            places = pc.indices_nonzero(is_limit).to_pylist()
            cuts = [0, *(place - n for n, place in enumerate(places)), rows.num_rows]
            for i, writer in enumerate(writers):
                if cuts[i + 1] > cuts[i]:
                    writer.write_table(rows.slice(cuts[i], cuts[i + 1] - cuts[i]))


def _gather(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Yield batches together, so that a bucket gets few large parts and not many small ones."""
    buffer, have = list[pa.RecordBatch](), 0
    for batch in batches:
        buffer.append(batch)
        have += batch.nbytes
        if have >= size:
            yield pa.Table.from_batches(buffer)
            buffer, have = [], 0
    if buffer:
        yield pa.Table.from_batches(buffer)
