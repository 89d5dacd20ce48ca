"""Files of an older release, or of another engine: their statistics are made right, once.

An engine may have rounded the bounds of decimals, left out those of booleans, or written one bound
without the other; a filter then loses rows in silence. The footer of each such file has exact
bounds, so that no row has to be read or written: the file is added again with them, and with a tag
that says so.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from handler.delta.active import TYPES_TAG, ActiveFile
from handler.delta.conform import other_case
from handler.delta.files import widenings
from handler.delta.log import Metadata
from handler.delta.parquet_ranges import read_footers
from handler.delta.retry import Deadline
from handler.delta.rewrite import Rewrite, active_files, rewrite
from handler.delta.statistics import IndexedColumns, Path, parse_statistics, statistics
from handler.delta.tables import Table
from handler.delta.types import Primitive, leaf_types, to_arrow
from handler.errors import BrokenLog, NotFound, counted
from handler.upkeep.report import RunReport

FOOTERS_AT_ONCE = 64
COMMIT_FILES = 1_000
NARROW = -1
"""What `types` of a file is set to when its footer shows that a column has a narrower type."""


class Checking(msgspec.Struct):
    """One table's check in one run."""

    table: Table
    report: RunReport
    _unreadable: list[str] = msgspec.field(default_factory=list)

    def run(self, files: Sequence[ActiveFile], deadline: Deadline) -> None:
        """Check files by their footers, and add each again with exact statistics.

        A file with a narrower type than the table's is left as it is, and marked: it is to be
        rewritten. Raises OutOfTime, StoreError or TableError; what was committed stays so.
        """
        checked = list[ActiveFile]()
        for start in range(0, len(files), FOOTERS_AT_ONCE):
            checked += self._checked(files[start : start + FOOTERS_AT_ONCE], deadline)
            if len(checked) >= COMMIT_FILES:
                self._commit(checked, deadline)
                checked = []
        self._commit(checked, deadline)
        if self._unreadable:
            count = len(self._unreadable)
            self.report.note(f"{counted(count, 'file')} cannot be checked; {self._unreadable[0]}")

    def _checked(self, files: Sequence[ActiveFile], deadline: Deadline) -> Iterator[ActiveFile]:
        metadata = self.table.known(deadline).metadata
        assert metadata is not None
        for file, footer in zip(files, self._footers(files, deadline), strict=True):
            if footer is None:
                continue
            if (twin := other_case(footer.schema.to_arrow_schema(), metadata)) is not None:
                self._unreadable.append(f"{file.key}: its column {twin!r} differs only in case")
                continue
            if has_narrow_column(footer, metadata):
                file.types = NARROW
                continue
            tags = {**(file.tags or {}), TYPES_TAG: str(widenings(metadata))}
            yield replace(file, stats=exact_statistics(file.stats, footer, metadata), tags=tags)

    def _footers(
        self, files: Sequence[ActiveFile], deadline: Deadline
    ) -> list[pq.FileMetaData | None]:
        """Return footers, one by one if one of them cannot be read: None for that."""
        store, pool = self.table.store, self.table.pool
        try:
            return list(read_footers(store, [file.entry for file in files], pool, deadline))
        except (NotFound, BrokenLog) as error:
            if len(files) == 1:
                self._unreadable.append(f"{files[0].key}: {error}")
                return [None]
        return [self._footers([file], deadline)[0] for file in files]

    def _commit(self, files: Sequence[ActiveFile], deadline: Deadline) -> None:
        snapshot = self.table.known(deadline)
        known = active_files(self.table)
        active = [file for file in files if file in known]
        if not active:
            return
        change = Rewrite("UPDATE STATISTICS", snapshot, updated=active)
        if rewrite(self.table, change, deadline) is not None:
            self.report.files_checked += len(active)
            self.report.say(f"the statistics of {counted(len(active), 'file')} were made exact")


def has_narrow_column(footer: pq.FileMetaData, metadata: Metadata) -> bool:
    """Return whether a file has a column of another type than the table has now."""
    schema = footer.schema.to_arrow_schema()
    for f in metadata.fields:
        index = schema.get_field_index(f.name)
        if index >= 0 and not _same(schema.field(index).type, to_arrow(f.type)):
            return True
    return False


def _same(have: pa.DataType, want: pa.DataType) -> bool:
    """Return whether a file's type is the table's, but for parts of structs that it lacks.

    Arrow's other layouts of a type, which a file may remember, are the same in Parquet.
    """
    if pa.types.is_dictionary(have):
        have = have.value_type
    for is_layout, plain in _LAYOUTS:
        if any(is_kind(have) for is_kind in is_layout):
            return bool(plain.equals(want))
    if pa.types.is_struct(have) and pa.types.is_struct(want):
        places = [(have.get_field_index(field.name), field.type) for field in want]
        return all(i < 0 or _same(have.field(i).type, type_) for i, type_ in places)
    if _is_list(have) and _is_list(want):
        return _same(have.value_type, want.value_type)
    if pa.types.is_map(have) and pa.types.is_map(want):
        return _same(have.key_type, want.key_type) and _same(have.item_type, want.item_type)
    if pa.types.is_timestamp(have) and pa.types.is_timestamp(want):
        return True  # older Spark's have no zone and another unit; readers know both
    return bool(have.equals(want))


_LAYOUTS = (
    ((pa.types.is_large_string, pa.types.is_string_view), pa.string()),
    ((pa.types.is_large_binary, pa.types.is_binary_view), pa.binary()),
)


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def exact_statistics(stats: str | None, footer: pq.FileMetaData, metadata: Metadata) -> str:
    """Return the statistics of a file by its footer.

    Nulls of arrays and maps, and bounds of strings that Parquet has none for, are as they were.
    """
    columns = IndexedColumns.of(footer.schema.to_arrow_schema(), metadata)
    before = parse_statistics(stats)
    lows, highs = (dict(_values(before.get(key), ())) for key in ("minValues", "maxValues"))
    nulls = dict(_values(before.get("nullCount"), ()))

    def extremes(_group: int, path: Path) -> tuple[Any, Any] | None:
        low, high = lows.get(path), highs.get(path)
        return (low, high) if isinstance(low, str) and isinstance(high, str) else None

    # A footer does not say whether there is a NaN: who wrote the file may have known.
    doubtful = [
        path
        for path, type_ in leaf_types(metadata.fields)
        if type_ in (Primitive("double"), Primitive("float"))
        and (lows.get(path) is None or highs.get(path) is None)
    ]
    return statistics(footer, columns, nulls, extremes, doubtful)


def _values(tree: object, prefix: Path) -> Iterator[tuple[Path, Any]]:
    if not isinstance(tree, dict):
        return
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _values(value, (*prefix, name))
        else:
            yield (*prefix, name), value
