"""A data file: Parquet bytes, partition values and the statistics that let readers pass it over."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from handler.delta.log import DataFile, Metadata
from handler.delta.look_up import Keys
from handler.delta.ranges import RANGES_TAG, ranges_text
from handler.delta_types import leaves

INDEXED_COLUMNS = 32
"""Statistics are kept for so many leaf columns, unless delta.dataSkippingNumIndexedCols says
otherwise.
"""
STRING_PREFIX = 32
"""Strings in statistics are cut to so many characters."""
COMPRESSION = "zstd"
COMPRESSION_LEVEL = 1
NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_FOLDER_LENGTH = 64


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
    """Part a table by the values of its partition columns; the rows of a part keep their order."""
    if not columns:
        yield {}, table
        return
    rest = table.drop_columns(list(columns))
    rows = pa.array(range(table.num_rows), pa.int64())
    row = "row." + "".join(columns)  # the name of no column
    keys = pa.table([*(table[c] for c in columns), rows], names=[*columns, row])
    groups = keys.group_by(list(columns), use_threads=False).aggregate([(row, "list")])
    lists = groups[f"{row}_list"]
    for i in range(groups.num_rows):
        values = {c: partition_value(groups[c][i].as_py()) for c in columns}
        indices = lists[i].values
        yield values, rest if len(indices) == table.num_rows else rest.take(indices)


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
    collected: list[pq.FileMetaData] = []
    pq.write_table(
        part,
        sink,
        compression=COMPRESSION,
        compression_level=COMPRESSION_LEVEL,
        store_schema=False,
        metadata_collector=collected,
    )
    payload = sink.getvalue().to_pybytes()
    ranges = ranges_text(part, keys.partition, keys.offset) if keys is not None else None
    folders = "".join(f"{_folder(name)}={_folder(value)}/" for name, value in values.items())
    return DataFile(
        key=f"{folders}part-{uuid4()}.{COMPRESSION}.parquet",
        payload=payload,
        size=len(payload),
        rows=part.num_rows,
        partition_values=values,
        stats=statistics(part, collected[0], metadata),
        modified_ms=now_ms,
        tags={RANGES_TAG: ranges} if ranges is not None else {},
    )


def _folder(value: str | None) -> str:
    # Readers take partition values from the log; the folder is for people, so it may be cut and
    # cleaned.
    return NULL_FOLDER if value is None else _UNSAFE.sub("_", value)[:_FOLDER_LENGTH]


def statistics(part: pa.Table, parquet: pq.FileMetaData, metadata: Metadata) -> str:
    """Return the statistics of a file as JSON text: rows, nulls, minima, maxima."""
    fields = [f for f in metadata.fields if f.name not in metadata.partition_columns]
    indexed = set(list(leaves(fields))[: _indexed_columns(metadata)])
    chunks = _chunks(parquet)
    result: dict[str, Any] = {"numRecords": part.num_rows}
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    for path in sorted(indexed):
        if not _holds(part.schema, path):
            _put(nulls, path, part.num_rows)
            continue
        stats = chunks.get(path)
        if stats is None:  # an array or a map: only its nulls are counted
            _put(nulls, path, _null_count(part, path))
            continue
        _put(nulls, path, stats.null_count)
        low, high = _extremes(part, path, stats)
        if (least := lower_bound(low)) is not None:
            _put(lows, path, least)
        if (most := upper_bound(high)) is not None:
            _put(highs, path, most)
    result |= {"minValues": lows, "maxValues": highs, "nullCount": nulls}
    return orjson.dumps(result, default=_decimal).decode()


def _indexed_columns(metadata: Metadata) -> int | None:
    text = metadata.configuration.get("delta.dataSkippingNumIndexedCols", str(INDEXED_COLUMNS))
    try:
        count = int(text)
    except ValueError:
        count = INDEXED_COLUMNS
    return None if count < 0 else count


def _chunks(parquet: pq.FileMetaData) -> dict[tuple[str, ...], Any]:
    """Return the statistics of each Parquet column that is no part of an array or a map."""
    found = {}
    group = parquet.row_group(0)
    schema = parquet.schema
    for i in range(group.num_columns):
        if schema.column(i).max_repetition_level == 0:
            chunk = group.column(i)
            if chunk.statistics is not None:
                found[tuple(chunk.path_in_schema.split("."))] = chunk.statistics
    return found


def _holds(schema: pa.Schema, path: tuple[str, ...]) -> bool:
    """Return whether a batch has a column, which a retired one has not."""
    fields: Any = schema
    for name in path:
        index = fields.get_field_index(name)
        if index < 0:
            return False
        fields = fields.field(index).type
    return True


def _null_count(part: pa.Table, path: tuple[str, ...]) -> int:
    return int(_column(part, path).null_count)


def _column(part: pa.Table, path: tuple[str, ...]) -> pa.ChunkedArray:
    array = part[path[0]]
    for name in path[1:]:
        array = pc.struct_field(array, [array.type.get_field_index(name)])
    return array


def _extremes(part: pa.Table, path: tuple[str, ...], stats: Any) -> tuple[Any, Any]:
    if stats.has_min_max:
        return stats.min, stats.max
    # Parquet leaves out the extremes of very long strings, and there are none where all is null.
    column = _column(part, path)
    if not pa.types.is_string(column.type):
        return None, None
    extremes = pc.min_max(column).as_py()
    return extremes["min"], extremes["max"]


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def lower_bound(value: Any) -> Any:
    """Return a value for `minValues` that is not above the given one; None where there is none."""
    match value:
        case bool() | bytes() | None:
            return None
        case str():
            return value[:STRING_PREFIX]
        case datetime():
            return _moment(value, value.microsecond // 1000)
        case date():
            return value.isoformat()
        case _:
            return value


def upper_bound(value: Any) -> Any:
    """Return a value for `maxValues` that is not below the given one; None where there is none."""
    match value:
        case bool() | bytes() | None:
            return None
        case str():
            return value if len(value) <= STRING_PREFIX else _successor(value[:STRING_PREFIX])
        case datetime():
            milliseconds = -(-value.microsecond // 1000)
            return _moment(value, milliseconds) if milliseconds < 1000 else _next_second(value)
        case date():
            return value.isoformat()
        case _:
            return value


def _next_second(value: datetime) -> str | None:
    try:
        return _moment(value.replace(microsecond=0) + timedelta(seconds=1), 0)
    except OverflowError:  # the last millisecond of the year 9999
        return None


def _moment(value: datetime, milliseconds: int) -> str:
    text = value.replace(tzinfo=None, microsecond=0).isoformat()
    return f"{text}.{milliseconds:03}{'Z' if value.tzinfo is not None else ''}"


def _successor(prefix: str) -> str | None:
    """Return the least short string that is above every string with this prefix, by code points."""
    for end in range(len(prefix), 0, -1):
        point = ord(prefix[end - 1])
        if point < 0x10FFFF:
            following = 0xE000 if point == 0xD7FF else point + 1  # no surrogates
            return prefix[: end - 1] + chr(following)
    return None


def _decimal(value: Any) -> orjson.Fragment:
    assert isinstance(value, Decimal)
    return orjson.Fragment(f"{value:f}")
