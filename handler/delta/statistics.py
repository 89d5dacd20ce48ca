"""The statistics of a data file, by which readers pass it over: rows, nulls, bounds of values.

Bounds are exact for every type that has an order, both of them or none: some readers take a bound
that is missing for null, and lose the rows of the file.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

import msgspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from handler.delta import compute
from handler.delta.bounds import _decimal, lower_bound, upper_bound
from handler.delta.log import Metadata
from handler.delta.types import Primitive, Struct, leaves

INDEXED_COLUMNS = 32
"""Statistics are kept for so many leaf columns, unless delta.dataSkippingNumIndexedCols says
otherwise.
"""
_INDEXED_PROPERTY = "delta.dataSkippingNumIndexedCols"

PARQUET_BOUND_BYTES = 4000
"""A little less than what pyarrow's Parquet writer has bounds for."""

Path = tuple[str, ...]
"""A column by the names of the structs above it and its own."""
Extremes = Callable[[int, Path], tuple[Any, ...] | None]
"""The bounds of a column in a row group, by its number; None where they are not known."""


class IndexedColumns(msgspec.Struct, frozen=True):
    """The columns of a file that have statistics.

    `types` are those that the file has, `places` those of Parquet's plain columns.
    """

    metadata: Metadata
    paths: Sequence[Path]
    types: Mapping[Path, pa.DataType]
    places: Mapping[Path, int]

    @classmethod
    def of(cls, schema: pa.Schema, metadata: Metadata) -> "IndexedColumns":
        """Return them for a file of a schema in a table."""
        columns = list(_walk(schema, ()))
        types = {path: type_ for path, type_, _ in columns if path is not None}
        # By its place, not by Parquet's dotted path: a name may have dots of its own.
        in_parquet = enumerate(path for path, _, is_leaf in columns if is_leaf)
        places = {path: place for place, path in in_parquet if path is not None}
        return cls(metadata, _indexed(metadata), types, places)


class ColumnFacts:
    """What Parquet's own statistics do not say of a file, gathered as its row groups are written.

    That is the nulls of arrays and maps, and the bounds of strings above some 4 KiB. The first row
    group is kept, so that a file of one costs nothing where nothing is missing.
    """

    def __init__(self, columns: IndexedColumns) -> None:
        types = columns.types
        held = [path for path in columns.paths if path in types]
        plain = [path for path in held if path in columns.places]
        self._strings = [path for path in plain if pa.types.is_string(types[path])]
        self._floats = [path for path in plain if pa.types.is_floating(types[path])]
        self.with_nan = set[Path]()
        self._groups = 0
        self._first: pa.Table | None = None
        self._extremes: dict[tuple[int, Path], tuple[Any, ...]] = {}
        self.nulls = {path: 0 for path in held if path not in columns.places}

    def add(self, rows: pa.Table) -> None:
        """Take in a row group."""
        for path in self.nulls:
            self.nulls[path] += _column(rows, path).null_count
        for path in self._floats:  # a row of another engine may have one; Parquet's bounds do not
            if compute.any_(compute.is_nan(_column(rows, path))).as_py():
                self.with_nan.add(path)
        if self._groups == 0:
            self._first = rows
        else:
            if self._first is not None:
                self._note_long(0, self._first)
                self._first = None
            self._note_long(self._groups, rows)
        self._groups += 1

    def _note_long(self, group: int, rows: pa.Table) -> None:
        for path in self._strings:
            column = _column(rows, path)
            longest = compute.max_(compute.binary_length(column)).as_py()
            if longest is not None and longest > PARQUET_BOUND_BYTES:
                self._extremes[group, path] = compute.extremes(column)

    def extremes(self, group: int, path: Path) -> tuple[Any, ...] | None:
        """Return the least and the greatest string of a row group that has long ones."""
        if self._first is not None and path in self._strings:
            return compute.extremes(_column(self._first, path)) or None
        return self._extremes.get((group, path))


def statistics(
    footer: pq.FileMetaData,
    columns: IndexedColumns,
    nulls: Mapping[Path, int],
    extremes: Extremes = lambda _group, _path: None,
    unbounded: Collection[Path] = (),
) -> str:
    """Return the statistics of a file as JSON text, by its Parquet footer: rows, nulls, bounds.

    `nulls` are those of arrays and maps; one that is not in it is left out.
    `extremes` are asked for the bounds of a row group that Parquet has none for. Columns of
    `unbounded` get no bounds, nor does one with a value that is not finite. A column that the file
    lacks is null in every row.
    """
    known = columns.places
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    groups = [group for group in groups if group.num_rows]
    lows: dict[str, Any] = {}
    highs: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    for path in columns.paths:
        if path not in columns.types:
            _put(counts, path, footer.num_rows)
        elif path not in known:
            if path in nulls:
                _put(counts, path, nulls[path])
        else:
            chunks = [group.column(known[path]).statistics for group in groups]
            if any(chunk is None or not chunk.has_null_count for chunk in chunks):
                continue
            _put(counts, path, sum(chunk.null_count for chunk in chunks))
            least, most = _bounds(chunks, path, extremes)
            fits = all(_fits(bound, columns.metadata, path) for bound in (least, most))
            if fits and path not in unbounded:
                least, most = lower_bound(least), upper_bound(most)
            else:
                least = most = None
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


def _bounds(chunks: Sequence[Any], path: Path, extremes: Extremes) -> tuple[Any, Any]:
    """Return the extremes of a column by the statistics of its chunks, or None for both."""
    lows, highs = [], []
    try:
        for group, chunk in enumerate(chunks):
            if chunk.has_min_max:
                low_high = chunk.min, chunk.max
            elif not chunk.num_values:
                continue  # all are null
            elif (pair := extremes(group, path)) is not None:
                low_high = pair
            else:
                return None, None
            lows.append(low_high[0])
            highs.append(low_high[1])
    except (ValueError, OverflowError):  # a year beyond 9999, or nanoseconds of another writer
        return None, None
    if not lows:
        return None, None
    return min(lows), max(highs)


def _fits(bound: Any, metadata: Metadata, path: Path) -> bool:
    """Return whether a bound can be written: a time with a zone as the table's type has one."""
    if isinstance(bound, float):
        return math.isfinite(bound)
    if isinstance(bound, datetime):
        type_: Any = Struct(metadata.fields)
        for name in path:
            type_ = next(f.type for f in type_.fields if f.name == name)
        is_zoned: bool = type_ == Primitive("timestamp")
        return (bound.tzinfo is not None) == is_zoned
    return True


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
        moment = compute.cast(pa.scalar(text), pa.timestamp("us", "UTC"))
    except pa.ArrowException:
        return None
    return int(compute.cast(moment, pa.int64()).as_py())


def keep_indexed(before: Metadata, after: Metadata) -> Metadata:
    """Return a table's new metadata, with bounds for every column that had them before.

    A part that a struct gained moves the columns behind it, one of them out of the first 32. Its
    files would then have bounds in part, and deltalake's pyarrow dataset takes a missing one for
    null.
    """
    had = set(_indexed(before))
    paths = enumerate(leaves(after.data_fields), 1)
    last = max((i for i, path in paths if path in had), default=0)
    limit = _indexed_columns(after)
    if limit is None or last <= limit:
        return after
    return after.with_configuration({_INDEXED_PROPERTY: str(last)})


def _indexed(metadata: Metadata) -> list[Path]:
    return sorted(islice(leaves(metadata.data_fields), _indexed_columns(metadata)))


def _indexed_columns(metadata: Metadata) -> int | None:
    text = metadata.configuration.get(_INDEXED_PROPERTY, str(INDEXED_COLUMNS))
    try:
        count = int(text)
    except ValueError:
        count = INDEXED_COLUMNS
    return None if count < 0 else count


def _walk(
    fields: Iterable[pa.Field], above: Path | None
) -> Iterator[tuple[Path | None, pa.DataType, bool]]:
    """Yield path, type, and whether it is a leaf, of each column and each part of one, in the order
    of Parquet's columns. Inside an array or a map there is no path.
    """
    for f in fields:
        path = (*above, f.name) if above is not None else None
        inner = [f.type.field(i) for i in range(f.type.num_fields)]
        yield path, f.type, not inner
        yield from _walk(inner, path if pa.types.is_struct(f.type) else None)


def _column(part: pa.Table, path: Path) -> pa.ChunkedArray:
    array = part[path[0]]
    for name in path[1:]:
        array = compute.struct_field(array, array.type.get_field_index(name))
    return array


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value
