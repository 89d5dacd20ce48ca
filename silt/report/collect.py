"""Everything that a report says of one table, read from the table, its log and its dead letters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import DeltaTable

from handler.contract.contract import DEAD_LETTERS_SUFFIX
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.store import open_store
from handler.errors import SiltError
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS
from silt.audit.findings import PartitionAudit
from silt.audit.opened import OpenedTable, open_both, query
from silt.audit.proof import audit_opened
from silt.report.history import PastCommit, read_history
from silt.table_places import NamedTable
from silt.table_status import Status, status_of

REASONS_MAX = 12
SIZES = (
    ("below 64 KiB", 1 << 16),
    ("64 KiB to 1 MiB", 1 << 20),
    ("1 to 16 MiB", 1 << 24),
    ("16 to 128 MiB", 1 << 27),
    ("128 MiB and more", 1 << 62),
)


@dataclass(slots=True)
class TableReport:
    """What there is to show of a table. `reasons` counts open dead letters by code and path,
    `sizes` files by their size.
    """

    status: Status
    rows: list[PastCommit] = field(default_factory=list)
    letters: list[PastCommit] = field(default_factory=list)
    partitions: list[PartitionAudit] = field(default_factory=list)
    reasons: list[tuple[str, int]] = field(default_factory=list)
    sizes: list[tuple[str, int]] = field(default_factory=list)
    findings: int = 0


def collect(
    table: NamedTable, pool: Pool, deadline: Deadline, progress: Callable[[int], None]
) -> TableReport:
    """Read a table. Raises SiltError where it cannot be read; it changes nothing."""
    report = TableReport(status_of(table, pool, deadline))
    if not report.status.figures.exists:
        return report
    report.rows = read_history(open_store(table.uri), ROW_KEYS.timestamp)
    letters = open_store(table.uri + DEAD_LETTERS_SUFFIX)
    report.letters = read_history(letters, DEAD_LETTER_KEYS.timestamp)
    opened, is_still = open_both(table.uri)
    result = audit_opened(table.uri, opened, is_still, progress=progress)
    report.partitions = [part for _, part in sorted(result.partitions.items()) if part.known]
    report.findings = len(result.findings)
    report.sizes = _sizes(opened[0].table)
    report.reasons = _reasons(opened[1:])
    return report


def _sizes(table: DeltaTable) -> list[tuple[str, int]]:
    try:
        actions = pa.table(table.get_add_actions(flatten=True))
    except Exception as error:  # the engine's errors have no common base
        raise SiltError(f"The files of a table cannot be listed: {error}") from error
    counts = dict.fromkeys((name for name, _ in SIZES), 0)
    for size in actions["size_bytes"].to_pylist():
        counts[next(name for name, limit in SIZES if size < limit)] += 1
    return [(name, count) for name, count in counts.items() if count]


def _reasons(opened: Sequence[OpenedTable]) -> list[tuple[str, int]]:
    counts = list[tuple[str, int]]()
    for letters in opened:
        sql = (
            "select error_code, coalesce(error_path, ''), count(*) from t "
            f"where {letters.is_open} group by 1, 2 order by 3 desc, 1, 2"
        )
        for batch in query(sql, t=letters.table):
            for code, path, count in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                counts.append((f"{code} at {path}" if path else str(code), count))
    rest = counts[REASONS_MAX:]
    return counts[:REASONS_MAX] + ([("others", sum(n for _, n in rest))] if rest else [])
