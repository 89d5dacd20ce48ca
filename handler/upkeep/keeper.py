"""One table kept in shape: each step on its own, in order, until the time is up."""

import contextlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

from handler.contract_upkeep import Upkeep
from handler.delta import swap
from handler.delta.checkpoint import HINT
from handler.delta.log import LOG, Change, Metadata, check_appendable
from handler.delta.parquet_ranges import fetch_all
from handler.delta.patience import Patience
from handler.delta.store import Entry, Object
from handler.delta.tables import Table
from handler.errors import EngineFailed, NotFound, SiltError
from handler.upkeep.engine import Engine
from handler.upkeep.lease import LEASE_MS, VACUUMED, Lease
from handler.upkeep.plan import Partition, Task, due, targets
from handler.upkeep.properties import HOUR_MS, Retention, retention
from handler.upkeep.report import Figures, Report

VACUUM_EVERY_MS = 23 * HOUR_MS
"""Less than a day, so that a schedule of a day does not skip every other one."""

GIVE_BACK_S = 2.0
"""For this a run that is out of time still takes of the margin before the deadline."""

Vacuum = Literal["daily", "now", "never"]
"""When a table is vacuumed and its log cleaned."""
Delegate = Callable[[Sequence[Task], int], int]
"""Hands tasks out under a lease to other invocations; returns how many, from the first."""


class Keeper:
    """Keeps one table in shape. `tell` is told of each step as it is done."""

    def __init__(
        self,
        table: Table,
        engine: Engine,
        upkeep: Upkeep,
        *,
        delegate: Delegate | None = None,
        tell: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.table = table
        self._engine = engine
        self._upkeep = upkeep
        self._delegate = delegate
        self._tell = tell
        self.figures = Figures(table.name)
        self.report = Report(self.figures)
        self.partitions: list[Partition] = []
        self.newest_us: int | None = None
        self._needs_checkpoint = False

    def look(self, patience: Patience) -> bool:
        """Read the table's log. Returns whether there is a table."""
        snapshot = self.table.read_whole(patience)
        self.figures.version = snapshot.version
        if snapshot.exists:
            # A log that begins at 0 has version + 1 commits and no checkpoint, which is -1.
            self.figures.commits_since_checkpoint = snapshot.version - self.table.checkpoint
        return snapshot.exists

    def repair(self, patience: Patience) -> None:
        """Set broken checkpoints aside and remove a wrong `_last_checkpoint`, if there is one.

        The engine trusts both and could not open the table. That `look` has read the table proves
        that an older checkpoint and the commits after it, or all commits, are complete. What
        another run has replaced since is left alone; what is set aside is copied first, so a kill
        does no harm. Raises StoreError.
        """
        damage = self.table.damage
        if not damage:
            return
        store = self.table.store
        for key, broken in damage.checkpoints.items():
            content = self._content(key, patience)
            if content is None or content.e_tag != broken.e_tag:
                continue
            copy = f"{key}.broken"
            self._request(partial(store.put, copy, content.data), patience)
            if self._is_still(key, broken.e_tag, patience):
                self._request(partial(store.delete, key), patience)
                self._note(f"{key} cannot be read and was moved to {copy}")
        if damage.hint_is_wrong and self._is_still(HINT, damage.hint_e_tag, patience):
            self._request(partial(store.delete, HINT), patience)
            self._note(f"{HINT} named a checkpoint that cannot be read and was removed")
        self.report.repaired = self._needs_checkpoint = True
        self.look(patience)

    def _content(self, key: str, patience: Patience) -> Object | None:
        try:
            content: Object = self._request(partial(self.table.store.get, key), patience)
        except NotFound:
            return None
        return content

    def _is_still(self, key: str, e_tag: str | None, patience: Patience) -> bool:
        """Return whether an object has the content that it had."""
        try:
            return bool(self._request(partial(self.table.store.head, key), patience) == e_tag)
        except NotFound:
            return False

    def _request(self, call: Callable[[], Any], patience: Patience) -> Any:
        return fetch_all([call], self.table.pool, patience, "repair the log")[0]

    @property
    def checkpoint_is_due(self) -> bool:
        """Return whether too many commits follow the last checkpoint, or it was broken."""
        commits = self.figures.commits_since_checkpoint or 0
        return self._needs_checkpoint or commits > self._upkeep.checkpoint_commits

    def checkpoint(self, patience: Patience) -> None:
        """Write a checkpoint if one is due. Two runs at once write the same one.

        Raises OutOfTime, EngineFailed, StoreError or TableError.
        """
        if not self.checkpoint_is_due:
            return
        for line in self._engine.ask("checkpoint", patience.left_s):
            self.report.checkpoint_written = True
            self.figures.commits_since_checkpoint = 0
            self._needs_checkpoint = False
            self._tell(f"checkpoint of version {line['version']}")

    def plan(self, patience: Patience, newest: str | None = None) -> list[Task]:
        """Return what is to be compacted, the coldest first.

        `newest` names a column whose latest time is wanted too, by the statistics of its files.
        """
        sizes = targets(self._upkeep)
        for line in self._engine.ask("look", patience.left_s, targets=sizes, newest=newest):
            self.partitions = [Partition.of(told) for told in line["partitions"]]
            self.newest_us = line["newest_us"]
        tasks = due(self.partitions, self._upkeep, patience.clock.epoch_ms())
        self.figures.take_in(self.partitions, tasks)
        return tasks

    def survey(self, patience: Patience, newest: str | None = None) -> list[Task]:
        """Return what is to be compacted, and count what a vacuum would delete; do nothing."""
        tasks = self.plan(patience, newest)
        self.vacuum(patience, dry_run=True)
        return tasks

    def keep(self, patience: Patience, vacuum: Vacuum = "daily") -> None:
        """Compact what is due, and once a day vacuum and clean the log, under the table's lease.

        Raises OutOfTime, EngineFailed, StoreError or TableError; what was done before stays done.
        """
        snapshot = self.table.known(patience)
        check_appendable(snapshot, self.table.name)
        tasks = self.plan(patience)
        unclean_ms = self._unclean_ms(patience)
        cleaning = vacuum == "now" or (vacuum == "daily" and unclean_ms >= VACUUM_EVERY_MS)
        if not tasks and not cleaning:
            return
        lease = Lease.take(self.table, patience)
        if lease is None:
            self.report.stopped = "another run holds the lease of the table"
            return
        try:
            # What is long overdue is not put off again by what there is to compact.
            if cleaning and unclean_ms >= 2 * VACUUM_EVERY_MS:
                self._clean_up(lease, patience)
                cleaning = False
            delegated = self._delegate(tasks, lease.number) if self._delegate is not None else 0
            self.report.partitions_delegated = delegated
            self._compact(tasks[delegated:], lease, patience)
            if delegated or self.report.stopped is not None:
                return  # those who compact under the lease let it run out, or it is another's
            if cleaning:
                self._clean_up(lease, patience)
        except BaseException:
            # Whatever ended it, a signal included: the next run should not have to wait.
            if not self.report.partitions_delegated:
                self._give_back(lease, patience)
            raise
        lease.release(patience)

    def _clean_up(self, lease: Lease, patience: Patience) -> None:
        """Vacuum the table and clean its log, and note in the log that it was done."""
        # What was appended meanwhile is read by the engine commit by commit.
        self.look(patience)
        self.checkpoint(patience)
        self._set_properties(patience)
        self.vacuum(patience, dry_run=False)
        self._clean(patience)
        lease.renew(patience, VACUUMED)

    @staticmethod
    def _give_back(lease: Lease, patience: Patience) -> None:
        clock = patience.clock
        with contextlib.suppress(SiltError):  # then it ends by time
            lease.release(Patience(clock, clock.monotonic() + GIVE_BACK_S))

    def compact_under(self, number: int, task: Task, patience: Patience) -> None:
        """Compact one partition under a lease that another invocation took."""
        check_appendable(self.table.read(patience), self.table.name)
        lease = Lease(self.table, number, 0)
        if not lease.renew(patience):
            self.report.stopped = f"lease {number} of the table is over"
            return
        self._compact([task], lease, patience)

    def vacuum(self, patience: Patience, *, dry_run: bool) -> None:
        """Delete the files that no snapshot within the retention names, or count them.

        A folder in which another table lies is left alone: its files are none of this table's.
        """
        files = [entry.key for entry in self._list("", patience)]
        if within := next((key for key in files if f"/{LOG}/" in key), None):
            inner = within.partition(f"/{LOG}/")[0]
            self._note(f"no vacuum: another table lies within, at {inner}")
            return
        held = self._retention(patience)
        if held.why_not_vacuum is not None:
            self._note(f"no vacuum: {held.why_not_vacuum}")
            return
        hours = self.figures.retain_hours = -(-held.files_ms // HOUR_MS)
        for line in self._engine.ask("vacuum", patience.left_s, hours=hours, dry_run=dry_run):
            if "active" in line:
                self._find_oldest(line["active"], patience)
                continue
            self.figures.files_to_vacuum = count = line["files"]
            self.report.files_vacuumed = 0 if dry_run else count
            would = "would be deleted" if dry_run else "deleted"
            self._tell(f"{count} files older than {hours} hours {would}")

    def _compact(self, tasks: Sequence[Task], lease: Lease, patience: Patience) -> None:
        """Compact partition after partition; one that fails is passed over."""
        position = 0
        while position < len(tasks):
            rest = [asdict(task) for task in tasks[position:]]
            try:
                for line in self._engine.ask("compact", patience.left_s, tasks=rest):
                    self._compacted(tasks[position], line)
                    position += 1
                    if not self._still_ours(lease, patience):
                        return
            except EngineFailed as error:
                if error.kind != "ended":
                    raise
                # Its process died of this partition: the others are not to wait for it for ever.
                self._compacted(tasks[position], {"error": error.kind, "message": str(error)})
                position += 1

    def _compacted(self, task: Task, line: Mapping[str, Any]) -> None:
        if line.get("error") == "conflict":
            self.report.conflicts += 1
            self._tell(f"{task.where}: another writer was faster, left for the next run")
        elif "error" in line or not line["removed"]:
            why = f"{line['error']}: {line['message']}" if "error" in line else "nothing was merged"
            self.report.partitions_failed += 1
            self._note(f"{task.where}: {why}")
        else:
            self.report.partitions_compacted += 1
            self.report.files_removed += line["removed"]
            self.report.files_added += line["added"]
            self._tell(f"{task.where}: {line['removed']} files became {line['added']}")

    def _note(self, text: str) -> None:
        self.report.notes.append(text)
        self._tell(text)

    def _still_ours(self, lease: Lease, patience: Patience) -> bool:
        """Renew the lease before it grows old. Returns False if it is lost."""
        if patience.clock.epoch_ms() - lease.renewed_ms < LEASE_MS / 4:
            return True
        if lease.renew(patience):
            return True
        self.report.stopped = "the lease of the table is lost to another run"
        return False

    def _unclean_ms(self, patience: Patience) -> float:
        """Return for how long the table was not vacuumed; for ever if it never was."""
        last = self.table.known(patience).txns.get(VACUUMED)
        if last is None:
            return math.inf
        return patience.clock.epoch_ms() - (last.last_updated_ms or 0)

    def _set_properties(self, patience: Patience) -> None:
        """Let the table say how long the contract wants it to keep files and commits."""

        def decide(_done: frozenset[int]) -> list[Change | None]:
            properties = self._retention(patience).properties
            if not properties:
                return [None]
            info = {"operation": "SET TBLPROPERTIES", "operationParameters": properties}
            changed = self._metadata(patience).with_configuration(properties)
            return [Change(files=(), txns={}, info=info, metadata=changed)]

        swap.append([self.table], decide, patience)

    def _metadata(self, patience: Patience) -> Metadata:
        metadata = self.table.known(patience).metadata
        assert metadata is not None
        return metadata

    def _retention(self, patience: Patience) -> Retention:
        return retention(self._upkeep, self._metadata(patience).configuration)

    def _clean(self, patience: Patience) -> None:
        """Delete commits behind a checkpoint that are older than the log's retention."""
        held = self._retention(patience)
        if held.why_not_clean is not None:
            self._note(f"the log is not cleaned: {held.why_not_clean}")
            return
        before = self._log_files(patience)
        for _line in self._engine.ask("clean", patience.left_s):
            pass
        gone = before - self._log_files(patience)
        self.report.log_files_cleaned = len(gone)
        self._tell(f"{len(gone)} files of the log cleaned")

    def _list(self, folder: str, patience: Patience) -> list[Entry]:
        after = f"{folder}/" if folder else ""
        call = partial(self.table.store.list, folder, after)
        return list(fetch_all([call], self.table.pool, patience, "list the table")[0])

    def _log_files(self, patience: Patience) -> set[str]:
        return {entry.key for entry in self._list(LOG, patience)}

    def _find_oldest(self, active: Collection[str], patience: Patience) -> None:
        """Find how old the oldest data file is that the newest snapshot does not name."""
        known = set(active)
        # As for a vacuum, what begins with _ is none of the table's data.
        entries = self._list("", patience)
        files = [e for e in entries if e.key.endswith(".parquet") and "/_" not in f"/{e.key}"]
        times = [entry.modified_ms for entry in files if entry.key not in known]
        age_ms = patience.clock.epoch_ms() - min(times) if times else 0
        self.figures.oldest_unreferenced_hours = round(max(age_ms, 0) / HOUR_MS, 2)
