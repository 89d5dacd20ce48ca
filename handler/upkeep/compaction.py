"""Rewriting files: their rows are read, written by the code of an append, and committed.

Memory is bounded by a row group, disk by a file of the target size. What is committed stays so
whatever ends the run; what is not are files that no snapshot names, which a vacuum removes.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from handler.contract.upkeep import Upkeep
from handler.delta.change import DataFile
from handler.delta.files import DataFileWriter, in_order
from handler.delta.log import Snapshot
from handler.delta.look_up import Keys
from handler.delta.retry import Deadline, request_all
from handler.delta.rewrite import Rewrite, active_files, rewrite
from handler.delta.rows import read_rows
from handler.delta.sort import sort_rows
from handler.delta.tables import Table
from handler.delta.types import to_arrow
from handler.errors import AccessDenied, BadStore, OutOfTime, SiltError, counted
from handler.upkeep.due import Bin
from handler.upkeep.report import RunReport

COMMIT_EVERY_S = 20.0
"""So often what was written is committed: that much work is lost at most when a run is killed."""
COMMIT_BINS = 50
FINISH_S = 4.0
"""With so much time left no more is read: what was written is committed in it."""
ROW_GROUP_BYTES = 16 << 20
ROW_GROUP_ARROW_BYTES = 32 << 20
SORT_BYTES = 16 << 20
"""So many rows are sorted in memory at once."""
_ROW_GROUP_ROWS = (8_192, 1 << 20)

Edit = Callable[[pa.Table], pa.Table]
"""Rows of a file in, rows of its successor out: some left out, or with other values."""


class Purpose(msgspec.Struct, frozen=True):
    """Why files are rewritten, as the log shows it. `edit` is given their rows, in order."""

    operation: str
    edit: Edit | None = None
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)


COMPACTION = Purpose("OPTIMIZE")


class _Written(msgspec.Struct):
    """A bin whose new files are stored and not committed yet."""

    bin: Bin
    files: Sequence[DataFile]


class Compaction(msgspec.Struct):
    """One table's rewrites in one run. `added` are the keys of the files that it has committed."""

    table: Table
    keys: Keys | None
    upkeep: Upkeep
    report: RunReport
    added: list[str] = msgspec.field(default_factory=list)
    _purpose: Purpose = COMPACTION
    _pending: list[_Written] = msgspec.field(default_factory=list)
    _planned_for: Snapshot = msgspec.field(default_factory=Snapshot)
    _began_s: float = 0.0
    _compacted: set[str] = msgspec.field(default_factory=set)
    _failed: set[str] = msgspec.field(default_factory=set)

    def run(self, bins: Sequence[Bin], deadline: Deadline, purpose: Purpose = COMPACTION) -> None:
        """Rewrite bins, one after the other. One that fails holds up no other.

        Raises OutOfTime when the time is up, and what stops every bin: AccessDenied, BadStore,
        TableError.
        """
        self._purpose = purpose
        reading = deadline.until(deadline.ends_at - FINISH_S)
        self._begin(deadline)
        try:
            for each in bins:
                self._catch_up(reading)
                known = active_files(self.table)
                if not all(file in known for file in each.files):
                    self._conflict(each)
                    continue
                self._pending += self._write_or_note(each, reading)
                if self._is_full(deadline):
                    self._commit(deadline)
        except OutOfTime:
            self._commit(deadline)
            raise
        self._commit(deadline)

    def _begin(self, deadline: Deadline) -> None:
        self._planned_for = self.table.known(deadline)
        self._began_s = deadline.clock.monotonic()

    def _catch_up(self, deadline: Deadline) -> None:
        """Read what others have committed: another run may have done the next bin by now."""
        snapshot = self.table.known(deadline)
        commits = self.table.log.commits_after(snapshot.version, deadline)
        if commits is None:
            self.table.read(deadline)
            return
        for commit in commits:
            self.table.follow(commit)
        if not self._pending:
            self._begin(deadline)

    def _is_full(self, deadline: Deadline) -> bool:
        late = deadline.clock.monotonic() - self._began_s >= COMMIT_EVERY_S
        return late or len(self._pending) >= COMMIT_BINS

    def _write_or_note(self, each: Bin, deadline: Deadline) -> list[_Written]:
        try:
            return [_Written(each, list(self._write(each, deadline)))]
        except (OutOfTime, AccessDenied, BadStore):
            raise
        except (SiltError, pa.ArrowException, OSError, MemoryError) as error:
            self._failed.add(each.where)
            self.report.partitions_failed = len(self._failed)
            self.report.note(f"{each.where}: {type(error).__name__}: {error}")
            return []

    def _write(self, each: Bin, deadline: Deadline) -> Iterator[DataFile]:
        """Write and store the files of a bin, and yield each."""
        metadata = self._planned_for.metadata
        assert metadata is not None
        schema = pa.schema([(f.name, to_arrow(f.type)) for f in metadata.data_fields])
        values = in_order(each.values, metadata.partition_columns)
        entries = [file.entry for file in each.files]
        rows = read_rows(self.table.store, entries, schema, self.table.pool, deadline)
        if self._purpose.edit is not None:
            rows = map(self._purpose.edit, rows)
        if each.sort_by:
            rows = sort_rows(rows, each.sort_by, SORT_BYTES)
        groups = _row_groups(rows, each)
        group = next(groups, None)
        while group is not None:
            with tempfile.TemporaryDirectory(prefix="silt-rewrite-") as folder:
                path = Path(folder) / "file.parquet"
                with path.open("wb") as sink:
                    writer = DataFileWriter(sink, schema, values, metadata, self.keys, each.sort_by)
                    with writer:
                        writer.write(group)
                        group = next(groups, None)
                        while group is not None and sink.tell() < self.upkeep.target_file_size:
                            deadline.begin("rewrite files")
                            writer.write(group)
                            group = next(groups, None)
                file = writer.data_file(deadline.clock.epoch_ms(), path)
                put: Callable[[], Any] = partial(self.table.store.put, file.key, path)
                request_all([put], self.table.pool, deadline, "write data files")
                yield file

    def _commit(self, deadline: Deadline) -> None:
        """Commit what was written: all at once, or bin by bin where another was faster."""
        pending, self._pending = self._pending, []
        if pending and not self._rewrite(pending, deadline):
            for written in pending:
                if len(pending) == 1 or not self._rewrite([written], deadline):
                    self._conflict(written.bin)
        self._begin(deadline)

    def _rewrite(self, pending: Sequence[_Written], deadline: Deadline) -> bool:
        change = Rewrite(
            self._purpose.operation,
            self._planned_for,
            removed=[file for written in pending for file in written.bin.files],
            added=[file for written in pending for file in written.files],
            data_change=self._purpose.edit is not None,
            parameters=self._purpose.parameters,
        )
        if rewrite(self.table, change, deadline) is None:
            return False
        for written in pending:
            self._compacted.add(written.bin.where)
            self.report.files_removed += len(written.bin.files)
            self.report.files_added += len(written.files)
            self.added += [file.key for file in written.files]
            if change.data_change:
                self.report.rows_expired += _rows(written)
            count = f"{counted(len(written.bin.files), 'file')} became {len(written.files)}"
            self.report.say(f"{written.bin.where}: {count}")
        self.report.partitions_compacted = len(self._compacted)
        return True

    def _conflict(self, each: Bin) -> None:
        self.report.conflicts += 1
        self.report.say(f"{each.where}: another writer committed first; the next run does the rest")


def _rows(written: _Written) -> int:
    """Return how many rows were left out."""
    return (written.bin.rows or 0) - sum(file.rows for file in written.files)


def _row_groups(rows: Iterator[pa.Table], each: Bin) -> Iterator[pa.Table]:
    """Yield rows in tables of about ROW_GROUP_BYTES of Parquet."""
    least, most = _ROW_GROUP_ROWS
    count = each.rows or 0
    group_rows = max(least, min(most, ROW_GROUP_BYTES * count // max(1, each.bytes)))
    buffer, have, size = list[pa.Table](), 0, 0
    for table in rows:
        buffer.append(table)
        have += table.num_rows
        size += table.nbytes
        if have >= group_rows or size >= ROW_GROUP_ARROW_BYTES:
            yield pa.concat_tables(buffer)
            buffer, have, size = [], 0, 0
    if have:
        yield pa.concat_tables(buffer)
