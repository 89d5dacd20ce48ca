"""The two tables of an audit, opened as they were at one moment."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from handler.contract.contract import DEAD_LETTERS_SUFFIX, REDRIVEN_AS, REDRIVEN_AT, ROW
from handler.delta.log import Snapshot
from handler.delta.look_up import Keys
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.errors import NotFound, SiltError
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS
from silt.audit.findings import PartitionAudit
from silt.audit.offset_sets import Offsets

LIMIT_S = 600.0
OPENINGS_MAX = 5
"""So often the two tables are opened, to see both at one moment while they are written to."""


@dataclass(frozen=True, slots=True)
class OpenedTable:
    """One of the two tables: where it is, its keys, and what its commits count of themselves."""

    uri: str
    table: DeltaTable
    snapshot: Snapshot
    keys: Keys
    counts: str

    @property
    def is_rows(self) -> bool:
        """Return whether it is the table of rows."""
        return self.keys is ROW_KEYS

    @property
    def name(self) -> str:
        """Return what messages call it."""
        return "the table" if self.is_rows else "the dead letters"

    @property
    def sql_name(self) -> str:
        """Return the name of the table in queries."""
        return "rows" if self.is_rows else "letters"

    @property
    def can_close(self) -> bool:
        """Return whether its dead letters have the columns by which they are closed."""
        return REDRIVEN_AS in {f.name for f in self.table.schema().fields}

    @property
    def is_open(self) -> str:
        """Return the condition that a dead letter is open."""
        return f"{REDRIVEN_AT} is null" if self.can_close else "true"

    @property
    def became_row(self) -> str:
        """Return the condition that a dead letter was closed as a row."""
        return f"{REDRIVEN_AS} = '{ROW}'" if self.can_close else "false"

    def offsets(self, part: PartitionAudit) -> Offsets:
        """Return what this table stores of a partition."""
        return part.rows if self.is_rows else part.dead_letters


def open_both(uri: str) -> tuple[list[OpenedTable], bool]:
    """Open the table and its dead letters as they stood at one moment; False where that failed."""
    for attempt in range(1, OPENINGS_MAX + 1):
        rows = _open(uri, ROW_KEYS, "appended")
        if rows is None:
            raise NotFound(f"There is no Delta table at {uri}.")
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


def _open(uri: str, keys: Keys, counts: str) -> OpenedTable | None:
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
    return OpenedTable(uri, table, snapshot, keys, counts)


def query(sql: str, **tables: DeltaTable) -> Iterator[pa.RecordBatch]:
    """Yield what the Delta engine answers to a query of these tables. Raises SiltError."""
    builder = QueryBuilder()
    for name, table in tables.items():
        builder = builder.register(name, table)
    try:
        for batch in builder.execute(sql):
            yield pa.record_batch(batch)
    except Exception as error:  # the engine's errors have no common base
        raise SiltError(_explain(error)) from error


def _explain(error: Exception) -> str:
    text = str(error).partition("\n")[0].partition(": Error performing")[0]
    if "not found" in text.lower() or "no such file" in text.lower():
        return (
            "A data file that the log names is missing: docs/recover.md#a-data-file-is-gone. The "
            f"engine says: {text}"
        )
    return f"The tables cannot be read: {text}"
