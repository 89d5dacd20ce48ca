"""The statistics of a data file, by which readers pass it over: rows, nulls, bounds of values.

Bounds are exact for every type that has an order, both of them or none: some readers take a bound
that is missing for null, and lose the rows of the file.
"""

from collections.abc import Iterator, Mapping, Sequence
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

Path = tuple[str, ...]
"""A column by the names of the structs above it and its own."""


class NullCounts:
    """The nulls of the arrays and maps of a file, counted as its row groups are written.

    Of all other columns Parquet counts them.
    """

    def __init__(self, schema: pa.Schema, metadata: Metadata) -> None:
        known = _leaf_columns(schema)
        paths = _indexed(metadata)
        self.of = {path: 0 for path in paths if path not in known and _holds(schema, path)}

    def add(self, rows: pa.Table) -> None:
        """Count in a row group."""
        for path in self.of:
            self.of[path] += _column(rows, path).null_count


def statistics(
    footer: pq.FileMetaData, schema: pa.Schema, metadata: Metadata, nulls: Mapping[Path, int]
) -> str:
    """Return the statistics of a file as JSON text, by its Parquet footer: rows, nulls, bounds.

    `schema` is the file's. `nulls` are those of arrays and maps; one that is not in it is left out.
    A column that the file lacks is null in every row. Where Parquet has no bounds, as of strings
    above some 4 KiB, there are none.
    """
    known = _leaf_columns(schema)
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for path in _indexed(metadata):
        if not _holds(schema, path):
            _put(counts, path, footer.num_rows)
        elif path not in known:
            if path in nulls:
                _put(counts, path, nulls[path])
        else:
            chunks = _chunks(footer, known[path])
            if chunks is None:
                continue
            _put(counts, path, sum(chunk.null_count for chunk in chunks))
            least, most = bounds(chunks)
            if least is not None and most is not None:
                _put(lows, path, least)
                _put(highs, path, most)
    result = {
        "numRecords": footer.num_rows,
        "minValues": lows,
        "maxValues": highs,
        "nullCount": counts,
    }
    return orjson.dumps(result, default=_decimal).decode()


def bounds(chunks: Sequence[Any]) -> tuple[Any, Any]:
    """Return both bounds of a column by the statistics of its chunks, or None for both."""
    lows, highs = [], []
    for chunk in chunks:
        if chunk.has_min_max:
            lows.append(chunk.min)
            highs.append(chunk.max)
        elif chunk.num_values:  # of values that are not null there are, and of what size is unknown
            return None, None
    if not lows:
        return None, None
    least, most = lower_bound(min(lows)), upper_bound(max(highs))
    return (least, most) if least is not None and most is not None else (None, None)


def parse_statistics(text: str | None) -> Mapping[str, Any]:
    """Read the statistics of an `add`; what is not JSON of an object says nothing."""
    try:
        parsed = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def microseconds(text: Any) -> int | None:
    """Return a timestamp of the statistics as microseconds since 1970, None where it is not one."""
    if not isinstance(text, str):
        return None
    try:
        moment = pa.scalar(text).cast(pa.timestamp("us", "UTC"))
    except pa.ArrowException:
        return None
    return int(moment.cast(pa.int64()).as_py())


def _indexed(metadata: Metadata) -> list[Path]:
    fields = [f for f in metadata.fields if f.name not in metadata.partition_columns]
    return sorted(list(leaves(fields))[: _indexed_columns(metadata)])


def _indexed_columns(metadata: Metadata) -> int | None:
    text = metadata.configuration.get("delta.dataSkippingNumIndexedCols", str(INDEXED_COLUMNS))
    try:
        count = int(text)
    except ValueError:
        count = INDEXED_COLUMNS
    return None if count < 0 else count


def _leaf_columns(schema: pa.Schema) -> dict[Path, int]:
    """Return the place of each Parquet column that is no part of an array or a map.

    By its place, not by Parquet's dotted path: a name may have dots of its own.
    """
    return {path: i for i, path in enumerate(_walk(schema, ())) if path is not None}


def _walk(fields: Any, prefix: Path, *, repeated: bool = False) -> Iterator[Path | None]:
    """Yield the path of each leaf in the order of Parquet's columns, None below a repetition."""
    for f in fields:
        path = (*prefix, f.name)
        inner = [f.type.field(i) for i in range(f.type.num_fields)]
        if not inner:
            yield None if repeated else path
        elif pa.types.is_struct(f.type):
            yield from _walk(inner, path, repeated=repeated)
        else:
            yield from _walk(inner, path, repeated=True)


def _chunks(footer: pq.FileMetaData, column: int) -> list[Any] | None:
    """Return the statistics of a column in each row group, None where one has none."""
    found = [
        footer.row_group(i).column(column).statistics
        for i in range(footer.num_row_groups)
        if footer.row_group(i).num_rows
    ]
    return None if any(chunk is None or not chunk.has_null_count for chunk in found) else found


def _holds(schema: pa.Schema, path: Path) -> bool:
    """Return whether a file has a column, which a retired one has not."""
    fields: Any = schema
    for name in path:
        index = fields.get_field_index(name)
        if index < 0:
            return False
        fields = fields.field(index).type
    return True


def _column(part: pa.Table, path: Path) -> pa.ChunkedArray:
    array = part[path[0]]
    for name in path[1:]:
        array = pc.struct_field(array, [array.type.get_field_index(name)])
    return array


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
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
