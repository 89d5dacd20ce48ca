"""A data file: Parquet bytes, partition values, and where it is put."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path as FilePath
from string import ascii_letters, digits
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from handler.delta import compute
from handler.delta.active import SORTED_TAG, TYPES_TAG
from handler.delta.change import DataFile
from handler.delta.encoding import compression_of, dictionary_columns
from handler.delta.log import Metadata
from handler.delta.look_up import Keys
from handler.delta.ranges import RANGES_TAG, Ranges
from handler.delta.statistics import ColumnFacts, IndexedColumns, statistics

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"

FOLDER_BYTES_MAX = 255
"""A longer name cannot be made on a disk."""
FOLDERS_BYTES_MAX = 640
"""With the table's place and the file's name a key stays below the 1,024 bytes of S3."""
_SHORT_BYTES_MIN = 32
_DIGEST = 16
_SAFE_BYTES = frozenset(f"{ascii_letters}{digits}_.-".encode())
"""What stays as it is in the name of a partition's folder; every other byte is percent-encoded, as
Spark and delta-rs do. Readers such as polars take the values of partitions from there."""


def data_files(
    table: pa.Table, metadata: Metadata, now_ms: int, keys: Keys | None = None
) -> tuple[DataFile, ...]:
    """Return a batch as files, one a partition.

    The table has the columns of the schema, by name. With `keys` each file is tagged by the ranges
    of its records.
    """
    if table.num_rows == 0:
        return ()
    return tuple(
        _data_file(part, values, metadata, now_ms, keys)
        for values, part in _partitions(table, metadata.partition_columns)
    )


def _partitions(
    table: pa.Table, columns: Sequence[str]
) -> Iterator[tuple[dict[str, str | None], pa.Table]]:
    """Divide a table by its partition columns; the rows of a part keep their order."""
    if not columns:
        yield {}, table
        return
    rest = table.drop_columns(list(columns))
    groups = _groups(table, columns)
    order = compute.sort_indices(groups)
    start = 0
    for count in compute.value_counts(groups).field("counts").to_pylist():
        indices = order.slice(start, count)
        first = indices[0].as_py()
        values = {c: partition_value(table[c][first].as_py()) for c in columns}
        yield values, rest if count == table.num_rows else compute.take(rest, indices)
        start += count


def _groups(table: pa.Table, columns: Sequence[str]) -> pa.Array:
    """Return a number a row, the same for rows with the same values; from 0, in the order in which
    the values occur first.
    """
    groups = pa.array([0] * table.num_rows, pa.int64())
    for name in columns:
        encoded = compute.dictionary_encode(table[name].combine_chunks(), with_null=True)
        both = compute.add(compute.multiply(groups, len(encoded.dictionary)), encoded.indices)
        groups = compute.cast(compute.dictionary_encode(both).indices, pa.int64())
    return groups


def partition_value(value: Any) -> str | None:
    """Return a partition value in the protocol's own text form, None for null."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            zoned = value.tzinfo is not None
            text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
            return f"{text}Z" if zoned else text.replace("T", " ")
        case Decimal():
            return f"{value:f}"
        case _:
            return str(value)


def _data_file(
    part: pa.Table,
    values: Mapping[str, str | None],
    metadata: Metadata,
    now_ms: int,
    keys: Keys | None,
) -> DataFile:
    sink = pa.BufferOutputStream()
    with DataFileWriter(sink, part.schema, values, metadata, keys) as writer:
        writer.write(part)
    return writer.data_file(now_ms, sink.getvalue().to_pybytes())


class DataFileWriter:
    """Writes one data file of a partition, a row group at a time, and says what its `add` says.

    `sorted_by` are the columns by which the rows are sorted, if they are.
    """

    def __init__(
        self,
        sink: Any,
        schema: pa.Schema,
        values: Mapping[str, str | None],
        metadata: Metadata,
        keys: Keys | None = None,
        sorted_by: Sequence[str] = (),
    ) -> None:
        self._columns = IndexedColumns.of(schema, metadata)
        self._values = values
        self._footer: list[pq.FileMetaData] = []
        self._facts = ColumnFacts(self._columns)
        self._ranges = Ranges(keys.partition, keys.offset) if keys is not None else None
        self._tags = {TYPES_TAG: str(widenings(metadata))}
        if sorted_by:
            self._tags[SORTED_TAG] = ",".join(sorted_by)
        self._sink = sink
        self._schema = schema
        self._compression = ""
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: pa.Table) -> None:
        """Write rows as a row group. The first ones decide how the file is encoded."""
        self._open(rows).write_table(rows)
        self._facts.add(rows)
        if self._ranges is not None:
            self._ranges.add(rows)

    def __enter__(self) -> "DataFileWriter":
        return self

    def __exit__(self, *_: object) -> None:
        writer = self._writer or self._open(self._schema.empty_table())
        writer.close()

    def _open(self, rows: pa.Table) -> pq.ParquetWriter:
        if self._writer is None:
            self._compression, level = compression_of(rows)
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression=self._compression,
                compression_level=level,
                use_dictionary=dictionary_columns(rows),
                store_schema=False,
                metadata_collector=self._footer,
            )
        return self._writer

    def data_file(self, now_ms: int, payload: bytes | FilePath) -> DataFile:
        """Return the file once it is closed. `payload` is its content, or where that is."""
        (footer,) = self._footer
        ranges = self._ranges.text if self._ranges is not None else None
        size = len(payload) if isinstance(payload, bytes) else payload.stat().st_size
        return DataFile(
            key=f"{folders(self._values)}part-{uuid4()}.{self._compression}.parquet",
            payload=payload,
            size=size,
            rows=footer.num_rows,
            partition_values=self._values,
            stats=statistics(
                footer,
                self._columns,
                self._facts.nulls,
                self._facts.extremes,
                self._facts.with_nan,
            ),
            modified_ms=now_ms,
            tags={**({RANGES_TAG: ranges} if ranges is not None else {}), **self._tags},
        )


def widenings(metadata: Metadata) -> int:
    """Return how often a column of the table was widened, as far as its property says."""
    text = metadata.configuration.get(TYPES_TAG, "0")
    return int(text) if text.isdecimal() else 0


def in_order(
    values: Mapping[str, str | None], partition_columns: Sequence[str]
) -> dict[str, str | None]:
    """Return partition values in the order of the table's columns: a log has them in any."""
    return {column: values.get(column) for column in partition_columns}


def folders(values: Mapping[str, str | None]) -> str:
    """Return the folders of a partition, each `column=value` with its slash."""
    names = [f"{_encode(column)}={_folder(value)}" for column, value in values.items()]
    names = [_shorten(name, FOLDER_BYTES_MAX) for name in names]
    if sum(len(name) + 1 for name in names) > FOLDERS_BYTES_MAX:
        share = FOLDERS_BYTES_MAX // len(names) - 1
        names = [_shorten(name, max(share, _SHORT_BYTES_MIN)) for name in names]
    return "".join(f"{name}/" for name in names)


def _folder(value: str | None) -> str:
    return NULL_FOLDER if value is None else _encode(value)


def _encode(text: str) -> str:
    return "".join(chr(byte) if byte in _SAFE_BYTES else f"%{byte:02X}" for byte in text.encode())


def _shorten(name: str, bytes_max: int) -> str:
    """Return a name that is short enough, unique for what was cut, and cut between two bytes."""
    if len(name) <= bytes_max:
        return name
    digest = sha256(name.encode()).hexdigest()[:_DIGEST]
    kept = name[: bytes_max - _DIGEST - 1]
    whole = re.sub(r"%.?$", "", kept)  # no half of an encoded byte
    return f"{whole}-{digest}"
