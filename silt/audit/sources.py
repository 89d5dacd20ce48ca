"""What a table is audited against: a producer's list, or what the broker still has."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from pyroaring import BitMap64

from handler.contract.contract import Contract
from handler.errors import SiltError, counted
from handler.kafka.event import OFFSET_MAX, PARTITION_MAX
from silt.audit.committed import committed_by
from silt.audit.findings import LISTED_MAX, Audit, PartitionAudit
from silt.audit.gaps import MISSING, cause_of, explain_gaps
from silt.audit.offset_sets import ranges_of
from silt.local.topic_reader import TopicReader


def compare_with_list(audit: Audit, path: Path) -> None:
    """Find what a producer's list has and the table lacks, and the reverse.

    A line is `{"partition": 0, "offset": 7}` in JSON, or a CSV file has these columns. With
    `"fate": "skip"` its record may be missing. Raises SiltError with file and line for anything
    else.
    """
    listed: dict[int, BitMap64] = {}
    skipped: dict[int, BitMap64] = {}
    for partition, offset, fate in _lines(path):
        of_fate = skipped if fate == "skip" else listed
        of_fate.setdefault(partition, BitMap64()).add(offset)
    for partition in sorted({*listed, *skipped, *audit.partitions}):
        part = audit.of(partition)
        sent, dropped = listed.get(partition, BitMap64()), skipped.get(partition, BitMap64())
        lost, invented = sent - part.seen, part.seen - sent - dropped
        if lost:
            _find(audit, "lost", part, lost, f"of {path} and missing")
        if invented:
            _find(audit, "not_in_list", part, invented, f"in the table but not in {path}")
        missing = (sent | dropped) - part.known
        part.explained["not in the list"] = part.in_gaps - _count_within(missing, part)
        part.explained["skipped by rule, as the list says"] = len(dropped - part.known)
        _drop_gap_finding(audit, partition)


def _count_within(offsets: BitMap64, part: PartitionAudit) -> int:
    """Return how many offsets lie between the first and the last that are known."""
    known = part.known
    return offsets.range_cardinality(known.min(), known.max() + 1) if known else 0


def _lines(path: Path) -> Iterator[tuple[int, int, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".csv":
                for row in (reader := csv.DictReader(file)):
                    yield _place(row, f"{path}:{reader.line_num}")
            else:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield _place(_json(line, f"{path}:{number}"), f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise SiltError(f"{path} cannot be read: {error}") from error


def _json(line: str, where: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise SiltError(f"{where}: this is not valid JSON: {error}") from error


def _place(row: Any, where: str) -> tuple[int, int, str | None]:
    try:
        partition, offset = int(str(row["partition"])), int(str(row["offset"]))
        if not (0 <= partition <= PARTITION_MAX and 0 <= offset <= OFFSET_MAX):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise SiltError(
            f'{where}: expected a partition and an offset, such as {{"partition": 0, "offset": 7}}'
        ) from error
    return partition, offset, row.get("fate")


def compare_with_broker(
    audit: Audit,
    reader: TopicReader,
    contract: Contract | None,
    *,
    group: str | None = None,
    progress: Callable[[int], None] = lambda _records: None,
) -> None:
    """Explain each gap by what the broker still has, or find that a record is lost.

    What is looked at lies between a partition's first and last stored offset; with `group`, the one
    of `reader`, from the first record of the broker to the group's committed offset. A record of a
    gap that the broker has is lost, unless the contract drops it; one that it has not was removed
    by compaction or belongs to a transaction. Of what is not between its first and its last offset
    it says nothing: such a gap stays a finding. Raises SiltError.
    """
    ends = committed_by(reader, group) if group is not None else {}
    for partition in reader.partitions:
        part = audit.of(partition)
        gaps = explain_gaps(
            part, reader, cause_of(contract), end=ends.get(partition, 0), progress=progress
        )
        part.explained |= {why: n for why, n in gaps.counts().items() if why != MISSING}
        last = part.seen.max() if part.seen else -1
        if gaps.high - 1 > last:
            behind = gaps.high - 1 - last
            text = (
                f"partition {partition}: {counted(behind, 'offset')} of the broker beyond the table"
            )
            audit.notes.append(text)
        if not gaps.beyond:
            _drop_gap_finding(audit, partition)
        if lost := gaps.offsets(MISSING):
            _find(audit, "lost", part, lost, "on the broker and in neither table")


def _find(audit: Audit, code: str, part: PartitionAudit, offsets: BitMap64, what: str) -> None:
    ranges = list(ranges_of(offsets, LISTED_MAX))
    are = "record is" if len(offsets) == 1 else "records are"
    audit.find(code, f"{len(offsets):,} {are} {what}", partition=part.partition, ranges=ranges)


def _drop_gap_finding(audit: Audit, partition: int) -> None:
    """Take back that a gap is unexplained: now it is explained, or known to be a loss."""
    audit.findings = [
        f for f in audit.findings if not (f.code == "gap" and f.partition == partition)
    ]
