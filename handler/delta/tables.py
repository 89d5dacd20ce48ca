"""A table's snapshot, read cold or brought up to date, and its records looked up."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from handler.delta.active import ActiveFiles, FileCount
from handler.delta.checkpoint import FileListing
from handler.delta.commit_reader import Commit
from handler.delta.log import LOG, Snapshot, apply, commit_key
from handler.delta.log_reader import LogReader
from handler.delta.look_up import Candidates, Keys, Matches, Query, find_rows
from handler.delta.offer_folder import OfferFolder
from handler.delta.offers import MergeInfo
from handler.delta.pool import Pool
from handler.delta.recent import COMMITS_MAX, RecentCommit, summarize
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Store
from handler.errors import NotFound


class Crowd(msgspec.Struct):
    """What a sandbox remembers of the other writers of a table.

    `alone`: so many of its last appends, in a row, met none; more than any that is asked for where
    it has met none yet. The last one ended at `ended_s`, in seconds of the clock's `monotonic`.
    `request_s` is how long a request took, in seconds.
    """

    alone: int = 1000
    ended_s: float = 0.0
    request_s: float = 0.0


class Table:
    """One table, and what this sandbox knows of it.

    `keys` are needed to look records up. `new_files` makes an empty listing of active files, which
    is then filled and kept in step with the snapshot in `files`; without it, files are not read.
    `reads` counts how often it was read cold, for a look-up too. `writer` names this sandbox in its
    commits, and `recent` are the commits that the snapshot ends with, oldest first. `merge_info`
    makes one of what two appends say in `commitInfo`: without it, each is committed by itself.
    `warn` is given a line for each thing that is broken.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        pool: Pool,
        keys: Keys | None = None,
        *,
        new_files: Callable[[], FileListing] | None = None,
        snapshot: Snapshot | None = None,
        merge_info: MergeInfo | None = None,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.name = name
        self.store = store
        self.pool = pool
        self.keys = keys
        self.new_files = new_files
        self.files: FileListing | None = None
        self.snapshot = snapshot
        self.merge_info = merge_info
        self.offers = OfferFolder(store, pool)
        self.crowd = Crowd()
        self.reads = 0
        self.writer: str | None = None
        self.recent: deque[RecentCommit | None] = deque(maxlen=COMMITS_MAX)
        self.log = LogReader(name, store, pool, warn)

    @property
    def collector(self) -> str | None:
        """Return the sandbox that made the newest commit, if it looks for offers before its next
        (see `offers`).
        """
        newest = self.recent[-1] if self.recent else None
        return newest.writer if newest is not None and newest.collects else None

    def known(self, deadline: Deadline) -> Snapshot:
        """Return the snapshot that is kept, or read it cold."""
        if self.snapshot is None:
            self.read(deadline)
        assert self.snapshot is not None
        return self.snapshot

    def read(self, deadline: Deadline) -> Snapshot:
        """Read the newest snapshot cold, keep it and return it: 4 requests in sequence, with hints
        that are right.
        """
        snapshot, self.files = self.log.load(deadline, self.new_files)
        return self._keep(snapshot)

    def _keep(self, snapshot: Snapshot) -> Snapshot:
        self.snapshot = snapshot
        self.reads += 1
        self.recent.clear()
        return snapshot

    def follow(self, commit: Commit) -> Snapshot:
        """Take in the commit that follows the kept snapshot, and return the snapshot after it."""
        assert self.snapshot is not None
        if self.files is not None:
            self.files.apply(commit.actions)
        self.snapshot = apply(self.snapshot, commit.version, commit.actions, commit.e_tag)
        self.recent.append(summarize(commit.actions))
        return self.snapshot

    def refresh(self, deadline: Deadline) -> Snapshot:
        """Bring the kept snapshot up to date and return it: one request in sequence while nobody
        has written. It is read cold where its log is another one.
        """
        snapshot = self.known(deadline)

        def has_more() -> bool:
            try:
                self.store.head(commit_key(snapshot.version + 1))
            except NotFound:
                return False
            return True

        calls = [self.is_current, has_more]
        is_current, more = request_all(calls, self.pool, deadline, "read the log")
        if not is_current:
            return self.read(deadline)
        if more:
            commits = self.log.commits_after(snapshot.version, deadline)
            if commits is None:
                return self.read(deadline)
            for commit in commits:
                snapshot = self.follow(commit)
        return snapshot

    def look_up(self, queries: Mapping[int, Query], deadline: Deadline) -> Matches:
        """Read the newest snapshot with its files, and find records, by partition.

        The answer is for that snapshot, which is kept: a decision by it must be made from it.
        """
        assert self.keys is not None
        keys = self.keys
        snapshot, candidates = self.log.load(deadline, lambda: Candidates(keys, queries))
        result = Matches()
        if candidates is not None:
            result = find_rows(
                self.store, candidates, keys, queries, self.pool, deadline, self.name
            )
        self._keep(snapshot)
        return result

    def is_empty(self, deadline: Deadline) -> bool:
        """Read the newest snapshot with its files, keep it, and return whether it has no files."""
        snapshot, count = self.log.load(deadline, FileCount)
        if count is not None and count.may_be_none:
            snapshot, files = self.log.load(deadline, ActiveFiles)
            self._keep(snapshot)
            return not files
        self._keep(snapshot)
        return count is None

    def is_current(self) -> bool:
        """Return whether the kept snapshot's last commit is still there and the same: one request.

        A log that was cleaned behind a long-idle sandbox, or a recreated table, shows here. Where
        the snapshot says that there is no table, there must be no log.
        """
        assert self.snapshot is not None
        if not self.snapshot.exists:
            return not self.store.list(LOG, f"{LOG}/")
        try:
            return self.store.head(commit_key(self.snapshot.version)) == self.snapshot.e_tag
        except NotFound:
            return False


def read_all(tables: Sequence[Table], deadline: Deadline) -> None:
    """Read these tables cold, all at once."""
    if len(tables) == 1:
        tables[0].read(deadline)
    elif tables:
        tables[0].pool.run_all([partial(table.read, deadline) for table in tables])
