"""The promise, proved from a table afterwards: offsets, watermarks, and the accounting of each
commit.

Offsets are read by the Delta engine, as a stream, into compressed bitmaps: a table of 100 million
rows takes a few hundred megabytes. The log is read commit by commit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder
from pyroaring import BitMap64

from handler.contract.contract import DEAD_LETTERS_SUFFIX
from handler.delta.log import LOG, Snapshot, parse_commit
from handler.delta.look_up import Keys
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import Pool, Store, open_store
from handler.delta.tables import Table
from handler.errors import NotFound, SiltError, counted
from handler.kafka.offsets import Stream
from handler.sink.outcomes import NAMES
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS
from silt.audit.findings import LISTED_MAX, Audit, PartitionAudit
from silt.audit.offset_sets import Offsets, between, ranges_of

LIMIT_S = 600.0
OPENINGS_MAX = 5
"""So often the two tables are opened, to see both at one moment while they are written to."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """One of the two tables: where it is, its keys, and what its commits count of themselves."""

    uri: str
    table: DeltaTable
    snapshot: Snapshot
    keys: Keys
    counts: str

    @property
    def is_rows(self) -> bool:
        return self.keys is ROW_KEYS

    @property
    def name(self) -> str:
        return "the table" if self.is_rows else "the dead letters"

    def offsets(self, part: PartitionAudit) -> Offsets:
        """Return what this table stores of a partition."""
        return part.rows if self.is_rows else part.dead_letters


def audit(
    uri: str, *, gaps_allowed: bool = False, progress: Callable[[int], None] = lambda _rows: None
) -> Audit:
    """Audit a table with its dead letters. Raises SiltError where it cannot be read.

    `gaps_allowed`: gaps that nothing explains are noted, and are no finding.
    """
    opened, is_still = _open_both(uri)
    result = Audit(uri, opened[0].snapshot.version, {}, [])
    if not is_still:
        result.notes.append(f"{uri} is written to: a gap at its end may be a batch in progress")
    for each in opened:
        _read_offsets(each, result, progress)
        _check_watermarks(each, result)
        _check_accounting(each, result)
        _check_statistics(each, result)
    _check_doubles(opened, result)
    _check_gaps(result, gaps_allowed=gaps_allowed)
    return result


def _open_both(uri: str) -> tuple[list[_Opened], bool]:
    """Open the table and its dead letters as they stood at one moment; False where that failed."""
    for attempt in range(1, OPENINGS_MAX + 1):
        rows = _open(uri, ROW_KEYS, "appended")
        if rows is None:
            raise NotFound(f"There is no Delta table at {uri}. Nothing was audited.")
        dead = _open(uri + DEAD_LETTERS_SUFFIX, DEAD_LETTER_KEYS, "dead_lettered")
        # If the table has not moved since, both were like this when the second was opened.
        is_still = _snapshot(uri, ROW_KEYS).version == rows.snapshot.version
        if is_still or attempt == OPENINGS_MAX:
            break
    return [opened for opened in (rows, dead) if opened is not None], is_still


def _snapshot(uri: str, keys: Keys) -> Snapshot:
    clock = SystemClock()
    table = Table(uri, open_store(uri), Pool(), keys)
    return table.read(Deadline(clock, clock.monotonic() + LIMIT_S))


def _open(uri: str, keys: Keys, counts: str) -> _Opened | None:
    snapshot = _snapshot(uri, keys)
    if not snapshot.exists:
        return None
    try:
        table = DeltaTable(uri, version=snapshot.version)
    except Exception as error:  # the engine's errors have no common base
        raise SiltError(f"{uri} cannot be read: {error}") from error
    names = {f.name for f in table.schema().fields}
    if not {keys.partition, keys.offset, keys.timestamp} <= names:
        raise SiltError(
            f"{uri} has no columns {keys.partition}, {keys.offset} and {keys.timestamp}: it is "
            "not a table that Silt writes."
        )
    return _Opened(uri, table, snapshot, keys, counts)


def _query(sql: str, **tables: DeltaTable) -> Iterator[pa.RecordBatch]:
    query = QueryBuilder()
    for name, table in tables.items():
        query = query.register(name, table)
    for batch in query.execute(sql):
        yield pa.record_batch(batch)


def _read_offsets(opened: _Opened, result: Audit, progress: Callable[[int], None]) -> None:
    foreign = 0
    sql = f'select "{opened.keys.partition}", "{opened.keys.offset}" from t'
    for batch in _query(sql, t=opened.table):
        partitions, offsets = batch.column(0), batch.column(1)
        known = pc.and_(partitions.is_valid(), pc.greater_equal(offsets, 0).fill_null(False))
        foreign += len(batch) - (pc.sum(known).as_py() or 0)
        for partition in partitions.unique().drop_null().to_pylist():
            of_partition = offsets.filter(pc.and_(known, pc.equal(partitions, partition)))
            opened.offsets(result.of(partition)).add(of_partition)
        progress(len(batch))
    if foreign:
        message = (
            f"{counted(foreign, 'row')} of {opened.name} without partition or offset: not Silt's"
        )
        result.find("foreign_rows", message)


def _check_watermarks(opened: _Opened, result: Audit) -> None:
    """Compare each stream's watermark with the highest offset that is there."""
    marks: dict[int, int] = {}
    for app_id, txn in opened.snapshot.txns.items():
        stream = Stream.of(app_id)
        if stream is not None:
            result.streams += [stream] if stream not in result.streams else []
            marks[stream.partition] = max(txn.version, marks.get(stream.partition, -1))
    for partition in sorted({*marks, *result.partitions}):
        seen = opened.offsets(result.of(partition)).seen
        last, mark = seen.max() if seen else -1, marks.get(partition, -1)
        if mark == last:
            continue
        code = "watermark_behind" if mark < last else "rows_removed"
        message = f"the watermark of {opened.name} is {mark}, but its highest offset is {last}"
        result.find(code, message, partition=partition)


def _commits(store: Store) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    for entry in store.list(LOG, f"{LOG}/"):
        name = entry.key.removeprefix(f"{LOG}/")
        if name.endswith(".json") and name.removesuffix(".json").isdecimal():
            yield (
                int(name.removesuffix(".json")),
                parse_commit(store.get(entry.key).data, entry.key),
            )


def _check_accounting(opened: _Opened, result: Audit) -> None:
    """Check each commit of the log that is left: its counts against each other and its files."""
    last: dict[int, int] = {}
    for version, actions in _commits(open_store(opened.uri)):
        if version > opened.snapshot.version:
            break
        result.commits += 1
        info = next((a["commitInfo"] for a in actions if "commitInfo" in a), None) or {}
        added = [a["add"] for a in actions if "add" in a and a["add"].get("dataChange", True)]
        counts = info.get("silt")
        if counts is None:
            if added:
                by = f"{info.get('operation')} by {info.get('engineInfo')}"
                result.notes.append(f"{opened.uri}: version {version} is {by}, not Silt's")
            continue
        for problem in _accounting_problems(counts, added, opened.counts):
            result.find("accounting", f"{opened.uri}: {problem}", version=version)
        for each in counts["streams"]:
            stream = Stream.of(each["stream"])
            if stream is not None:
                part = result.of(stream.partition)
                # A batch with rows and dead letters says so twice: in both tables' commits.
                for begin, end in each.get("skipped", ()):
                    part.skipped |= between(begin, end)
                if opened.is_rows and each["first_offset"] < last.get(stream.partition, -1):
                    part.late += each["appended"]
                before = last.get(stream.partition, -1)
                last[stream.partition] = max(each["last_offset"], before)


def _accounting_problems(
    counts: Mapping[str, Any], added: Sequence[Mapping[str, Any]], part: str
) -> Iterator[str]:
    total = sum(counts[name] for name in NAMES.values())
    if counts["delivered"] != total:
        yield f"{counts['delivered']} records were delivered, but its counts add up to {total}"
    for name in NAMES.values():
        of_streams = sum(stream[name] for stream in counts["streams"])
        same = of_streams == counts[name]
        # A record that came twice in one batch is a duplicate of the batch, not of a stream.
        if not (same or (name == "duplicates" and of_streams < counts[name])):
            yield f"it says {counts[name]} {name}, and its streams add up to {of_streams}"
    rows = sum(orjson.loads(add.get("stats") or "{}").get("numRecords", 0) for add in added)
    if rows != counts[part]:
        yield f"it says {counts[part]} {part}, and its files hold {rows} rows"


def _check_statistics(opened: _Opened, result: Audit) -> None:
    """Compare the rows that were read with what the log says of its files."""
    actions = pa.table(opened.table.get_add_actions(flatten=True))
    if "num_records" not in actions.column_names or actions["num_records"].null_count:
        return
    listed = pc.sum(actions["num_records"]).as_py() or 0
    read = sum(opened.offsets(part).rows for part in result.partitions.values())
    if listed != read and not any(f.code == "foreign_rows" for f in result.findings):
        message = f"the files of {opened.name} hold {read} rows, and the log says {listed}"
        result.find("file_counts", message)


def _check_doubles(opened: Sequence[_Opened], result: Audit) -> None:
    several = len({stream.generation for stream in result.streams}) > 1
    for part in list(result.partitions.values()):
        both = part.rows.seen & part.dead_letters.seen
        for code, offsets, tables, where in (
            ("doubled_rows", part.rows.twice, opened[:1], "twice in the table"),
            ("doubled_dead_letters", part.dead_letters.twice, opened[1:], "twice as dead letters"),
            ("in_both", both, opened, "in the table and among the dead letters"),
        ):
            results = offsets
            if results and several:
                results = _same_record(part.partition, tables)
            if results:
                message = f"{counted(len(results), 'record')} {where}"
                ranges = list(ranges_of(results, LISTED_MAX))
                result.find(code, message, partition=part.partition, ranges=ranges)
    if several:
        result.notes.append(
            "the topic has several generations, whose offsets overlap: duplicates are recognized "
            "by their timestamps, but a row of another generation may hide a loss"
        )


def _same_record(partition: int, tables: Sequence[_Opened]) -> BitMap64:
    """Return the offsets that hold one record twice in a table, or in both tables.

    In several generations of a topic an offset may hold several records, which their timestamps
    tell apart.
    """
    records = [
        f'select "{opened.keys.offset}" as o, "{opened.keys.timestamp}" as at from t{i} '
        f'where "{opened.keys.partition}" = {partition}'
        for i, opened in enumerate(tables)
    ]
    sql = f"{records[0]} group by 1, 2 having count(*) > 1"
    if len(tables) == 2:
        sql = f"({records[0]}) intersect ({records[1]})"
    results = BitMap64()
    named = {f"t{i}": opened.table for i, opened in enumerate(tables)}
    for batch in _query(sql, **named):
        results |= BitMap64(batch.column(0).to_pylist())
    return results


def _check_gaps(result: Audit, *, gaps_allowed: bool) -> None:
    for part in result.partitions.values():
        if dropped := len(part.skipped - part.seen):
            part.explained["skipped by rule, as the commits say"] = dropped
        in_gaps = part.in_gaps
        if not in_gaps:
            continue
        message = f"{counted(in_gaps, 'offset')} missing"
        if gaps_allowed:
            result.notes.append(f"partition {part.partition}: {message}")
            continue
        message += (
            ". Tombstones, compaction and transactions leave such gaps; --broker distinguishes "
            "them from losses"
        )
        ranges = part.gap_ranges(LISTED_MAX)
        result.find("gap", message, partition=part.partition, ranges=ranges)
