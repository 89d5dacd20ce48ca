"""The health of one table: what its log, its files and its dead letters say of it."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from handler.contract.compile_upkeep import default_upkeep
from handler.contract.contract import DEAD_LETTERS_SUFFIX, REDRIVEN_AT, Contract
from handler.contract.upkeep import Upkeep
from handler.delta.log import Snapshot
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.errors import SiltError, TableMismatch, UnsupportedTable, counted
from handler.health import warnings_of_log
from handler.kafka.offsets import Stream
from handler.sink.table_schema import TableSchema
from handler.sink.terms import Governed
from handler.upkeep.engine import Engine
from handler.upkeep.report import Figures, known
from handler.upkeep.run import MaintenanceRun
from silt.contract_change import WITHOUT_ROWS
from silt.output import age
from silt.table_places import NamedTable

CHECKPOINTS_MISSED = 5
"""So many times the commits that are due for a checkpoint: nobody maintains the table."""
UNREFERENCED_LATE_HOURS = 48
"""What is kept so much longer than the retention was not vacuumed."""
DAY_S = 86_400

Severity = Literal["wrong", "attention"]


@dataclass(frozen=True, slots=True)
class Remark:
    """Something an operator should know. `wrong` stops appends or says that they will stop."""

    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """One stream, its watermark in the table, and how many seconds ago that was raised."""

    stream: str
    watermark: int
    raised_s: float | None


@dataclass(slots=True)
class Status:
    """The health of a table. Ages are in seconds, None where nothing is known.

    `open_dead_letters` are all that were not redriven, `dead_letters` those of the last day among
    them, by reason.
    """

    name: str
    uri: str
    figures: Figures
    streams: list[StreamStatus] = field(default_factory=list)
    newest_record_s: float | None = None
    newest_commit_s: float | None = None
    open_dead_letters: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def small_share(self) -> float:
        """Return the share of files that are small."""
        return (self.figures.small_files or 0) / (self.figures.files or 1)

    def details(self) -> list[str]:
        """Return what else there is to know of a table, in sentences."""
        figures = self.figures
        if figures.files is None:
            return []
        files = counted(figures.files, "file")
        small = f"{figures.small_files or 0:,} of {files} smaller than half of the target size"
        commits = f"{counted(figures.commits_since_checkpoint or 0, 'commit')} since the last "
        lines = [small, f"{commits}checkpoint"]
        if (hours := figures.oldest_unreferenced_hours) is not None:
            kept = f", which are kept for {figures.retain_hours} h" if figures.retain_hours else ""
            lines.append(
                f"the oldest file that the table no longer uses is {age(hours * 3600)} old: such "
                f"files are for readers of older versions{kept}"
            )
        if self.dead_letters:
            listed = ", ".join(f"{count:,} {reason}" for reason, count in self.dead_letters.items())
            lines.append(f"dead letters of the last day: {listed}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return all of it for a script."""
        return {
            **known(msgspec.structs.asdict(self.figures)),
            "uri": self.uri,
            "exists": self.figures.exists,
            "small_file_share": round(self.small_share, 3),
            "newest_record_s": self.newest_record_s,
            "newest_commit_s": self.newest_commit_s,
            "streams": [asdict(stream) for stream in self.streams],
            "open_dead_letters": self.open_dead_letters,
            "dead_letters_last_day": self.dead_letters,
            "remarks": [asdict(remark) for remark in self.remarks],
        }


def status_of(table: NamedTable, pool: Pool, deadline: Deadline) -> Status:
    """Read the health of a table; it changes nothing.

    What cannot be read is a remark. Raises StoreError or OutOfTime where nothing can.
    """
    upkeep = table.contract.upkeep if table.contract is not None else default_upkeep()
    run = MaintenanceRun(
        table.name,
        open_store(table.uri),
        pool,
        Engine(table.uri),
        upkeep,
        newest="_kafka_timestamp",
    )
    status = Status(table.name, table.uri, run.figures)
    if not run.look(deadline):
        text = f"there is no table at {table.uri} yet; the first record creates it"
        status.remarks.append(Remark("attention", text))
        return status
    snapshot = run.table.known(deadline)
    try:
        run.survey(deadline)
    except SiltError as error:
        status.remarks.append(Remark("wrong", str(error)))
    status.remarks += [Remark("attention", text) for text, _fix in warnings_of_log(run.table)]
    now_ms = deadline.clock.epoch_ms()
    _streams(status, snapshot, now_ms)
    newest_us = run.files.newest_us
    if newest_us is not None and status.figures.rows != 0:
        status.newest_record_s = round(max(0.0, now_ms - newest_us / 1000) / 1000, 1)
    _upkeep_remarks(status, upkeep)
    if table.contract is not None:
        status.remarks += _drift(table.contract, table.uri, snapshot, pool, deadline)
    try:
        _count_dead_letters(status, table.uri + DEAD_LETTERS_SUFFIX, pool, deadline)
    except SiltError as error:
        status.remarks.append(Remark("wrong", str(error)))
    if status.open_dead_letters:
        text = (
            f"{counted(status.open_dead_letters, 'open dead letter')}, "
            f"{sum(status.dead_letters.values()):,} of the last day. When the contract or the "
            f"producer is fixed: silt redrive {status.name}"
        )
        status.remarks.append(Remark("attention", text))
    return status


def _streams(status: Status, snapshot: Snapshot, now_ms: int) -> None:
    for app_id, txn in sorted(snapshot.txns.items()):
        if Stream.of(app_id) is not None:
            raised_ms = txn.last_updated_ms
            age_s = round(max(0, now_ms - raised_ms) / 1000, 1) if raised_ms is not None else None
            status.streams.append(StreamStatus(app_id, txn.version, age_s))
    ages = [s.raised_s for s in status.streams if s.raised_s is not None]
    status.newest_commit_s = min(ages, default=None)


def _upkeep_remarks(status: Status, upkeep: Upkeep) -> None:
    figures = status.figures
    commits = figures.commits_since_checkpoint or 0
    texts = []
    if commits > CHECKPOINTS_MISSED * upkeep.checkpoint_commits:
        texts.append(
            f"{counted(commits, 'commit')} since the last checkpoint: is maintenance running?"
        )
    if figures.partitions_due:
        texts.append(
            f"{figures.partitions_due} of {counted(figures.partitions or 0, 'partition')} can be "
            "compacted: maintenance does that, or silt maintain"
        )
    if figures.narrow_files:
        texts.append(
            f"{counted(figures.narrow_files or 0, 'file')} still to be rewritten, because a column "
            "was widened since: compaction begins with them"
        )
    if figures.unchecked_files:
        texts.append(
            f"{counted(figures.unchecked_files or 0, 'file')} of another writer, whose statistics "
            "maintenance will check"
        )
    late_hours = (figures.retain_hours or 0) + UNREFERENCED_LATE_HOURS
    if figures.files_to_vacuum and (figures.oldest_unreferenced_hours or 0) > late_hours:
        texts.append(
            f"{counted(figures.files_to_vacuum or 0, 'file')} could have been deleted long ago: is "
            "maintenance running?"
        )
    status.remarks += [Remark("attention", text) for text in texts]


def _drift(
    contract: Contract, uri: str, snapshot: Snapshot, pool: Pool, deadline: Deadline
) -> list[Remark]:
    """Compare the table's schema with the contract, as an append would."""
    schema = TableSchema(contract, contract.table, dead_letters=False)
    try:
        known = Table(contract.table, open_store(uri), pool, snapshot=snapshot)
        fitting = Governed(known, schema).fit(deadline)
    except TableMismatch as error:
        return [Remark("wrong", line) for line in error.differences]
    except UnsupportedTable as error:
        return [Remark("wrong", str(error))]
    if fitting.replaced:
        return [Remark("attention", WITHOUT_ROWS)]
    evolved = schema.evolve_metadata(snapshot)
    assert snapshot.metadata is not None
    has = {f.name for f in snapshot.metadata.fields}
    added = [f.name for f in evolved.fields if f.name not in has]
    if added:
        text = f"the next append adds the columns {', '.join(added)}"
        return [Remark("attention", text)]
    return []


def _count_dead_letters(status: Status, uri: str, pool: Pool, deadline: Deadline) -> None:
    """Count the open dead letters, and those of the last day by reason. Raises SiltError."""
    log = Table(uri, open_store(uri), pool)
    snapshot = log.read(deadline)
    if snapshot.metadata is None:
        return
    since = datetime.fromtimestamp(deadline.clock.epoch_ms() / 1000 - DAY_S, UTC)
    can_close = REDRIVEN_AT in {f.name for f in snapshot.metadata.fields}
    query = (
        "SELECT error_code, count(*) AS records, "
        f"sum(CASE WHEN failed_at >= TIMESTAMP '{since:%Y-%m-%dT%H:%M:%SZ}' THEN 1 ELSE 0 END) "
        f"AS of_day FROM dead_letters WHERE {f'{REDRIVEN_AT} IS NULL' if can_close else 'true'} "
        "GROUP BY error_code ORDER BY of_day DESC, error_code"
    )
    try:
        answer = QueryBuilder().register("dead_letters", DeltaTable(uri)).execute(query)
        rows = pa.table(answer.read_all()).to_pylist()
    except Exception as error:  # the engine raises what its parts raise
        raise SiltError(f"The dead letters at {uri} cannot be read: {error}") from error
    status.open_dead_letters = sum(row["records"] for row in rows)
    status.dead_letters = {row["error_code"]: row["of_day"] for row in rows if row["of_day"]}
