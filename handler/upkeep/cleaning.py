"""Deleting what a table does not need any more: files that no snapshot names, and old commits."""

import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import islice

import msgspec

from handler.contract.upkeep import RETENTION_MIN_MS, Upkeep
from handler.delta.change import Change
from handler.delta.commit import Transaction
from handler.delta.log import LOG, Snapshot, Txn, version_of
from handler.delta.retry import Deadline, request_all
from handler.delta.rewrite import active_files
from handler.delta.tables import Table
from handler.errors import counted
from handler.upkeep.engine import Engine
from handler.upkeep.folder import Folder, look_through
from handler.upkeep.properties import HOUR_MS, Retention, retention
from handler.upkeep.report import RunReport

VACUUM_EVERY_MS = 23 * HOUR_MS
"""Less than a day, so that a schedule of a day does not skip every other one."""
DELETED_AT_ONCE = 1_000
"""So many keys S3 takes in one request ('DeleteObjects' of its API)."""
_OF_A_VERSION = re.compile(rf"{LOG}/\d{{20}}\.")
VACUUMED = "silt-maintenance-vacuum"
"""The txn whose time says when the table was last vacuumed and its log cleaned."""


class Cleaning(msgspec.Struct):
    """One table's vacuum and log clean-up in one run."""

    table: Table
    engine: Engine
    upkeep: Upkeep
    report: RunReport

    def is_due(self, deadline: Deadline) -> bool:
        """Return whether the table was not cleaned for a day."""
        last = self.table.known(deadline).txns.get(VACUUMED)
        age_ms = deadline.clock.epoch_ms() - (last.last_updated_ms or 0) if last else math.inf
        return age_ms >= VACUUM_EVERY_MS

    def run(self, deadline: Deadline) -> None:
        """Vacuum the table, clean its log, and note in the log that it was done.

        Two runs at once delete the same. Raises OutOfTime, EngineFailed, StoreError or TableError;
        what was deleted before stays deleted, and the next run does the rest.
        """
        self._set_properties(deadline)
        folder = self.vacuum(deadline, dry_run=False)
        self._clean_log(folder, deadline)
        self._note_done(deadline)
        self.table.offers.delete_old(deadline)

    def vacuum(self, deadline: Deadline, *, dry_run: bool) -> Folder:
        """Delete the files that no snapshot within the retention names, or count them.

        A folder in which another table lies is left alone: its files are not of this table.
        Returns what is in the folder.
        """
        held, now_ms = self._retention(deadline), deadline.clock.epoch_ms()
        # What is about to be deleted is not of interest any more.
        since_ms = 0 if dry_run else now_ms - held.files_ms
        keys, log_since_ms = self._keys(), now_ms - held.log_ms
        folder = look_through(self.table, keys, since_ms, log_since_ms, deadline)
        figures = self.report.figures
        if folder.inner_table is not None:
            self.report.note(f"no vacuum: another table lies within, at {folder.inner_table}")
            return folder
        if held.why_not_vacuum is not None:
            self.report.note(f"no vacuum: {held.why_not_vacuum}")
            return folder
        hours = figures.retain_hours = -(-held.files_ms // HOUR_MS)
        answer = self.engine.do("vacuum", deadline.left_s, hours=hours)
        figures.files_to_vacuum = count = len(answer["files"])
        if not dry_run and answer["files"]:
            self._delete(answer["files"], deadline)
        oldest_ms = folder.oldest_unreferenced_ms
        age_ms = now_ms - oldest_ms if oldest_ms is not None else 0
        figures.oldest_unreferenced_hours = round(max(age_ms, 0) / HOUR_MS, 2)
        would = "would be deleted" if dry_run else "deleted"
        self.report.say(f"{counted(count, 'file')} older than {counted(hours, 'hour')} {would}")
        return folder

    def _keys(self) -> set[str]:
        return {file.key for file in active_files(self.table)}

    def _delete(self, keys: Sequence[str], deadline: Deadline) -> None:
        """Delete files; what was deleted before the time is up stays deleted."""
        self.table.read(deadline)  # another engine may have restored one since
        active = self._keys()
        for start in range(0, len(keys), DELETED_AT_ONCE):
            part = [key for key in keys[start : start + DELETED_AT_ONCE] if key not in active]
            call = partial(self.table.store.delete_all, part)
            request_all([call], self.table.pool, deadline, "delete files")
            self.report.files_vacuumed += len(part)

    def _clean_log(self, folder: Folder, deadline: Deadline) -> None:
        """Delete commits behind a checkpoint that are older than the log's retention.

        The oldest first, so that what a kill leaves is a log without gaps where the store lists in
        order; readers begin at a checkpoint that stays.
        """
        held = self._retention(deadline)
        if held.why_not_clean is not None:
            self.report.note(f"the log is not cleaned: {held.why_not_clean}")
            return
        now_ms = deadline.clock.epoch_ms()
        since_ms = now_ms - held.log_ms
        start = folder.log_start(self.table.log.checkpoint, now_ms - RETENTION_MIN_MS)
        while start is not None and (keys := self._old_log(start, since_ms, deadline)):
            call = partial(self.table.store.delete_all, keys)
            request_all([call], self.table.pool, deadline, "clean the log")
            commits = [key for key in keys if version_of(key) is not None]
            self.report.log_commits_cleaned += len(commits)
        self.report.say(f"{counted(self.report.log_commits_cleaned, 'commit')} of the log cleaned")

    def _old_log(self, start: int, since_ms: int, deadline: Deadline) -> list[str]:
        """Return some keys of the log that belong to versions before `start`, all of them old.

        Young ones would be of a table that was recreated after the folder was looked through.
        """

        def look() -> list[str]:
            entries = self.table.store.scan(f"{LOG}/", before=f"{LOG}/{start:020}")
            old = (
                entry.key
                for entry in entries
                if entry.modified_ms <= since_ms and _OF_A_VERSION.match(entry.key)
            )
            return list(islice(old, DELETED_AT_ONCE))

        keys: list[str] = request_all([look], self.table.pool, deadline, "list the log")[0]
        return keys

    def _set_properties(self, deadline: Deadline) -> None:
        """Let the table say how long the contract wants it to keep files and commits."""

        def propose(snapshot: Snapshot) -> Change | None:
            if snapshot.metadata is None:
                return None  # somebody deleted the table
            properties = retention(self.upkeep, snapshot.metadata.configuration).properties
            if not properties:
                return None
            info = {"operation": "SET TBLPROPERTIES", "operationParameters": properties}
            changed = snapshot.metadata.with_configuration(properties)
            return Change(files=(), txns={}, info=info, metadata=changed)

        Transaction([self.table], deadline).commit_change(self.table, propose)

    def _note_done(self, deadline: Deadline) -> None:
        def propose(snapshot: Snapshot) -> Change | None:
            if not snapshot.exists:
                return None  # somebody deleted the table: a commit would create another
            count = snapshot.txns.get(VACUUMED, Txn(0)).version + 1
            info = {"operation": "MAINTENANCE", "operationParameters": {"what": "vacuum"}}
            return Change(files=(), txns={VACUUMED: Txn(count)}, info=info)

        # Minutes may have passed since the snapshot was read: the table may have been recreated.
        Transaction([self.table], deadline).commit_change(self.table, propose)

    def _retention(self, deadline: Deadline) -> Retention:
        metadata = self.table.known(deadline).metadata
        return retention(self.upkeep, metadata.configuration if metadata is not None else {})
