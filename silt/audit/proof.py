"""The promise, proved from a table afterwards: offsets, watermarks, and the accounting of each
commit.

Offsets are read by the Delta engine, as a stream, into compressed bitmaps: a table of 100 million
rows takes a few hundred megabytes. The log is read commit by commit.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyroaring import BitMap64

from handler.delta.store import open_store
from handler.errors import counted
from handler.kafka.offsets import Stream
from handler.sink.commit_info import skipped_ranges
from handler.sink.outcomes import NAMES
from silt.audit.copies import check_copies
from silt.audit.findings import LISTED_MAX, Audit
from silt.audit.offset_sets import between
from silt.audit.opened import OpenedTable, open_both, query
from silt.log_commits import read_commits


def audit(
    uri: str, *, gaps_allowed: bool = False, progress: Callable[[int], None] = lambda _rows: None
) -> Audit:
    """Audit a table with its dead letters. Raises SiltError where it cannot be read.

    `gaps_allowed`: gaps that nothing explains are noted, and are no finding.
    """
    opened, is_still = open_both(uri)
    return audit_opened(uri, opened, is_still, gaps_allowed=gaps_allowed, progress=progress)


def audit_opened(
    uri: str,
    opened: Sequence[OpenedTable],
    is_still: bool,
    *,
    gaps_allowed: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Audit:
    """Audit tables as `open_both` opened them; the rest is as for `audit`."""
    result = Audit(uri, opened[0].snapshot.version, {}, [])
    if not is_still:
        result.doubt(f"{uri} is written to: a gap at its end may be a batch in progress")
    for each in opened:
        _read_offsets(each, result, progress)
        _check_accounting(each, result)
        _check_statistics(each, result)
    _check_watermarks(opened, result)
    check_copies(opened, result)
    _check_gaps(result, gaps_allowed=gaps_allowed)
    return result


def _read_offsets(opened: OpenedTable, result: Audit, progress: Callable[[int], None]) -> None:
    foreign = 0
    states = "true, false" if opened.is_rows else f"{opened.is_open}, {opened.became_row}"
    sql = f'select "{opened.keys.partition}", "{opened.keys.offset}", {states} from t'
    for batch in query(sql, t=opened.table):
        partitions, offsets, is_open, became_row = batch.columns
        known = pc.and_(partitions.is_valid(), pc.greater_equal(offsets, 0).fill_null(False))
        foreign += len(batch) - (pc.sum(known).as_py() or 0)
        for partition in partitions.unique().drop_null().to_pylist():
            of_partition = pc.and_(known, pc.equal(partitions, partition))
            part = result.of(partition)
            opened.offsets(part).add(offsets.filter(of_partition))
            if not opened.is_rows:
                part.open_letters |= _chosen(offsets, of_partition, is_open)
                part.redriven |= _chosen(offsets, of_partition, became_row)
        progress(len(batch))
    if foreign:
        message = (
            f"{counted(foreign, 'row')} of {opened.name} without partition or offset: not Silt's"
        )
        result.find("foreign_rows", message)


def _chosen(offsets: pa.Array, *masks: pa.Array) -> BitMap64:
    chosen = masks[0]
    for mask in masks[1:]:
        chosen = pc.and_(chosen, mask.fill_null(False))
    return BitMap64(offsets.filter(chosen).to_pylist())


def _check_watermarks(opened: Sequence[OpenedTable], result: Audit) -> None:
    """Compare each stream's watermark with the highest offset that is there.

    A redriven row may be above the table's watermark, which a redrive does not raise. A redriven
    dead letter may have been removed, and its row is there.
    """
    marks = [_watermarks(each, result) for each in opened]
    if len({stream.generation for stream in result.streams}) == 1:
        for number in {number for own in marks for number in own}:
            result.of(number).watermark = max(own.get(number, -1) for own in marks)
    of_letters = marks[1] if len(marks) > 1 else {}
    for each, own in zip(opened, marks, strict=True):
        for number in sorted({*own, *result.partitions}):
            part = result.of(number)
            seen = each.offsets(part).seen
            last, mark = seen.max() if seen else -1, own.get(number, -1)
            message = f"the watermark of {each.name} is {mark}, but its highest offset is {last}"
            if each.is_rows:
                redriven = part.redriven | part.open_letters | part.redrive_ranges
                is_fine = mark < last and not between(mark + 1, last) & seen - redriven
                may_be = mark < last <= of_letters.get(number, -1) and not result.log_is_whole
            else:
                is_fine = last < mark and mark in part.rows.seen
                may_be = last < mark and result.expired
            if mark == last or is_fine:
                continue
            if may_be:
                result.notes.append(
                    f"partition {number}: {message}: dead letters were redriven, and have expired"
                )
                continue
            code = "watermark_behind" if mark < last else "rows_removed"
            result.find(code, message, partition=number)


def _watermarks(opened: OpenedTable, result: Audit) -> dict[int, int]:
    """Return the highest watermark of each partition, and note the streams."""
    marks: dict[int, int] = {}
    for app_id, txn in opened.snapshot.txns.items():
        stream = Stream.of(app_id)
        if stream is not None:
            result.streams += [stream] if stream not in result.streams else []
            marks[stream.partition] = max(txn.version, marks.get(stream.partition, -1))
    return marks


def _check_accounting(opened: OpenedTable, result: Audit) -> None:
    """Check each commit of the log that is left: its counts against each other and its files."""
    last: dict[int, int] = {}
    for version, actions in read_commits(open_store(opened.uri)):
        if version > opened.snapshot.version:
            break
        if opened.is_rows and not result.commits:
            result.log_is_whole = version == 0
        result.commits += 1
        info = next((a["commitInfo"] for a in actions if "commitInfo" in a), None) or {}
        added = [a["add"] for a in actions if "add" in a and a["add"].get("dataChange", True)]
        counts = info.get("silt")
        if counts is None:
            is_own = _is_own_rewrite(info)
            result.expired |= is_own and info["operation"] == "DELETE"
            if added and not is_own:
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
                if counts.get("redrive"):
                    part.redrive_ranges.add_range(each["first_offset"], each["last_offset"] + 1)
                for begin, end in skipped_ranges(each):
                    part.skipped.add_range(begin, end + 1)
                if opened.is_rows and each["first_offset"] < last.get(stream.partition, -1):
                    part.late += each["appended"]
                before = last.get(stream.partition, -1)
                last[stream.partition] = max(each["last_offset"], before)


def _is_own_rewrite(info: Mapping[str, Any]) -> bool:
    """Return whether a commit closed dead letters or removed closed ones, as Silt does."""
    own = str(info.get("engineInfo")).startswith("silt/")
    return own and info.get("operation") in ("REDRIVE", "DELETE")


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


def _check_statistics(opened: OpenedTable, result: Audit) -> None:
    """Compare the rows that were read with what the log says of its files."""
    actions = pa.table(opened.table.get_add_actions(flatten=True))
    if "num_records" not in actions.column_names or actions["num_records"].null_count:
        return
    listed = pc.sum(actions["num_records"]).as_py() or 0
    read = sum(opened.offsets(part).rows for part in result.partitions.values())
    if listed != read and not any(f.code == "foreign_rows" for f in result.findings):
        message = f"the files of {opened.name} hold {read} rows, and the log says {listed}"
        result.find("file_counts", message)


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
            ". Tombstones, compaction and transactions leave such gaps; --bootstrap-servers "
            "distinguishes them from losses"
        )
        ranges = part.gap_ranges(LISTED_MAX)
        result.find("gap", message, partition=part.partition, ranges=ranges)
