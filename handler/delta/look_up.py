"""Finding records in a table: which files can hold them, and what those files contain.

Bounded by what is asked for, not by the table: a checkpoint is filtered in batches, and only files
whose ranges can hold a wanted record become objects of ours.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
import pyarrow as pa

from handler.delta import compute
from handler.delta.log import file_id
from handler.delta.parquet_ranges import read_columns
from handler.delta.pool import Pool
from handler.delta.ranges import RANGES_TAG, parse_ranges
from handler.delta.retry import Deadline
from handler.delta.statistics import microseconds, parse_statistics
from handler.delta.store import Entry, Store
from handler.errors import BrokenLog, DataFileMissing, NotFound

ADD_COLUMNS = ("add.path", "add.size", "add.stats", "add.tags", "add.deletionVector")
"""What a look-up needs of a checkpoint's files."""
FILES_AT_ONCE = 64
"""So many data files are read at once."""


class Keys(msgspec.Struct, frozen=True):
    """The columns of a table by which a record is known: partition, offset and timestamp.

    `moved` is a column and the value by which a row says that its record is in another table now:
    such a row is not found.
    """

    partition: str
    offset: str
    timestamp: str
    moved: tuple[str, str] | None = None


class Query(msgspec.Struct, frozen=True):
    """The records of one partition to look up: their offsets, rising.

    With `times_us` (the least and the greatest timestamp, in microseconds) rows of other times may
    be left out; without it, every row of a wanted offset is found.
    """

    offsets: Sequence[int]
    times_us: tuple[int, int] | None = None

    def may_lie_in(self, first: int, last: int) -> bool:
        """Return whether an offset that is wanted lies in a range, both ends included."""
        position = bisect_left(self.offsets, first)
        return position < len(self.offsets) and self.offsets[position] <= last


class Matches(msgspec.Struct):
    """What a look-up found: for each (partition, offset) the timestamps (µs) of its rows."""

    rows: dict[tuple[int, int], set[int | None]] = msgspec.field(default_factory=dict)

    def of_partition(self, partition: int) -> dict[int, frozenset[int | None]]:
        """Return the timestamps of one partition, by offset."""
        return {
            offset: frozenset(times)
            for (number, offset), times in self.rows.items()
            if number == partition
        }


class Candidates:
    """The files that may hold wanted records, as the log names them."""

    columns = ADD_COLUMNS

    def __init__(self, keys: Keys, queries: Mapping[int, Query]) -> None:
        self._keys = keys
        self._queries = queries
        self.active: dict[tuple[str, str | None], Entry] = {}

    def apply(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Take in a commit; a file and its deletion vector are one thing."""
        for action in actions:
            if (removed := action.get("remove")) is not None:
                self.active.pop(file_id(removed), None)
        for action in actions:
            if (added := action.get("add")) is not None:
                tags = added.get("tags") or {}
                if self._may_hold(tags.get(RANGES_TAG), added.get("stats")):
                    self._add(added)

    def add_checkpoint(self, adds: pa.StructArray) -> None:
        """Take in a batch of the `add` column of a checkpoint."""
        adds = compute.filter_(adds, compute.is_valid(adds))
        stats = child_of(adds, "stats", pa.string()).to_pylist()
        kept = [
            i
            for i, (ranges, text) in enumerate(zip(_ranges_of(adds), stats, strict=True))
            if self._may_hold(ranges, text)
        ]
        for row in compute.take(adds, pa.array(kept, pa.int64())).to_pylist():
            self._add(row)

    def _add(self, action: Mapping[str, Any]) -> None:
        path = unquote(action["path"])
        if "://" in path or path.startswith("/"):
            raise BrokenLog(f"The file {path} is outside the table, where Silt cannot read it.")
        self.active[file_id(action)] = Entry(path, int(action["size"]))

    def _may_hold(self, ranges: str | None, stats: str | None) -> bool:
        """Return whether a file may hold something that is wanted.

        `ranges` are the offsets of each partition, where Silt wrote the file; `stats` are the
        bounds of the whole file.
        """
        if not self._queries:
            return False
        if ranges is not None and (parsed := parse_ranges(ranges)) is not None:
            queries = [
                query
                for partition, first, last in parsed
                if (query := self._queries.get(partition)) is not None
                and query.may_lie_in(first, last)
            ]
            return any(query.times_us is None for query in queries) or (
                bool(queries) and self._may_hold_times(queries, parse_statistics(stats))
            )
        bounds = parse_statistics(stats)
        partitions = _bounds(bounds, self._keys.partition)
        offsets = _bounds(bounds, self._keys.offset)
        if partitions is None or offsets is None:
            return True
        queries = [
            query
            for partition, query in self._queries.items()
            if partitions[0] <= partition <= partitions[1] and query.may_lie_in(*offsets)
        ]
        return bool(queries) and self._may_hold_times(queries, bounds)

    def _may_hold_times(self, queries: Sequence[Query], stats: Mapping[str, Any]) -> bool:
        """Return whether a file may hold a row of the times that are wanted."""
        if any(query.times_us is None for query in queries):
            return True
        low, high = (
            microseconds((stats.get(key) or {}).get(self._keys.timestamp))
            for key in ("minValues", "maxValues")
        )
        return any(
            (high is None or high >= query.times_us[0])
            and (low is None or low <= query.times_us[1])
            for query in queries
            if query.times_us is not None
        )


def find_rows(
    store: Store,
    candidates: Candidates,
    keys: Keys,
    queries: Mapping[int, Query],
    pool: Pool,
    deadline: Deadline,
    table: str,
) -> Matches:
    """Read the candidates and return which wanted records they hold.

    Raises DataFileMissing for a file that is not there.
    """
    result = Matches()
    if not candidates.active:
        return result
    names = [keys.partition, keys.offset, keys.timestamp]
    names += [keys.moved[0]] if keys.moved is not None else []
    partitions = pa.array(sorted(queries), pa.int32())
    offsets = pa.array(sorted({o for query in queries.values() for o in query.offsets}), pa.int64())
    low, high = offsets[0].as_py(), offsets[-1].as_py()

    def keep(group: Any) -> bool:
        for i in range(group.num_columns):
            chunk = group.column(i)
            stats = chunk.statistics
            if chunk.path_in_schema == names[1] and stats is not None and stats.has_min_max:
                return bool(stats.min <= high and stats.max >= low)
        return True

    for part in _tables(store, candidates, names, keep, pool, deadline, table):
        if not {names[0], names[1]} <= set(part.column_names):
            continue  # another writer's file: it holds no record of ours
        if names[2] not in part.column_names:
            part = part.append_column(names[2], pa.nulls(len(part), pa.timestamp("us")))
        hit = compute.and_(
            compute.is_in(part[names[0]], value_set=partitions),
            compute.is_in(part[names[1]], value_set=offsets),
        )
        if keys.moved is not None and keys.moved[0] in part.column_names:
            stays = compute.not_equal(part[keys.moved[0]], keys.moved[1])
            hit = compute.and_(hit, compute.fill_null(stays, True))
        rows = compute.filter_(part, hit)
        times = compute.cast(rows[names[2]], pa.timestamp("us"), pa.int64())
        for partition, offset, time in zip(
            rows[names[0]].to_pylist(), rows[names[1]].to_pylist(), times.to_pylist(), strict=True
        ):
            result.rows.setdefault((partition, offset), set()).add(time)
    return result


def _tables(
    store: Store,
    candidates: Candidates,
    names: Sequence[str],
    keep: Any,
    pool: Pool,
    deadline: Deadline,
    table: str,
) -> Iterator[pa.Table]:
    entries = list(candidates.active.values())
    for start in range(0, len(entries), FILES_AT_ONCE):
        part = entries[start : start + FILES_AT_ONCE]
        try:
            yield from read_columns(store, part, names, keep, pool, deadline)
        except NotFound as error:
            raise DataFileMissing(
                f"Table {table}: a data file that the log names is missing, and may contain "
                f"records that were delivered again: {error} Nothing was written. If a lifecycle "
                "rule or an archive took it, restore the object. If it is gone for good, remove it "
                "from the log (deltalake: DeltaTable.repair()); its records are then appended when "
                "they are delivered again: troubleshooting.md#data-file-missing"
            ) from error


def _ranges_of(adds: pa.StructArray) -> list[str | None]:
    """Return the tag with the offset ranges of each entry of a checkpoint."""
    tags = child_of(adds, "tags", pa.map_(pa.string(), pa.string()))
    if tags.null_count == len(tags):
        return [None] * len(adds)
    result: list[str | None] = compute.map_lookup_first(tags, RANGES_TAG).to_pylist()
    return result


def child_of(adds: pa.StructArray, name: str, type_: pa.DataType) -> pa.Array:
    """Return a part of the `add`s of a checkpoint, nulls where the checkpoint lacks it."""
    index = adds.type.get_field_index(name)
    return pa.nulls(len(adds), type_) if index < 0 else adds.field(index)


def _bounds(stats: Mapping[str, Any], column: str) -> tuple[int, int] | None:
    """Return the least and the greatest integer of a column, None where one is not known."""
    try:
        low, high = stats["minValues"][column], stats["maxValues"][column]
    except (KeyError, TypeError):
        return None
    return (low, high) if isinstance(low, int) and isinstance(high, int) else None
