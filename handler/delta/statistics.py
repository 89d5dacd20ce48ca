"""The statistics of a data file, by which readers pass it over: rows, nulls, bounds of values.

Bounds are exact for every type that has an order, both of them or none: some readers take a bound
that is missing for null, and lose the rows of the file.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from handler.delta.log import Metadata
from handler.delta_types import leaves

INDEXED_COLUMNS = 32
"""Statistics are kept for so many leaf columns, unless delta.dataSkippingNumIndexedCols says
otherwise.
"""
STRING_PREFIX = 32
"""Strings in statistics are cut to so many characters."""


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
        least, most = lower_bound(low), upper_bound(high)
        if least is not None and most is not None:
            _put(lows, path, least)
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
    return value[:STRING_PREFIX] if isinstance(value, str) else _bound(value)


def upper_bound(value: Any) -> Any:
    """Return a value for `maxValues` that is not below the given one; None where there is none."""
    if isinstance(value, str) and len(value) > STRING_PREFIX:
        return _successor(value[:STRING_PREFIX])
    return _bound(value)


def _bound(value: Any) -> Any:
    """Return a value as it is written into statistics, exactly; None for bytes, which have none."""
    match value:
        case bytes():
            return None
        case datetime():
            zone = "Z" if value.tzinfo is not None else ""
            return value.replace(tzinfo=None).isoformat(timespec="microseconds") + zone
        case date():
            return value.isoformat()
    return value


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
