"""Commits: a proposal becomes the next version of a table, or meets a conflict.

A commit is put as version N+1 on the condition that there is none. It was decided from version N,
so if it is taken, it was decided from all commits before it. If the put fails in any way,
the log is read: ours is there, or somebody else's, or nobody's. Nothing else is ever concluded from
a failed put.
"""

from collections.abc import Callable, Sequence
from functools import partial
from uuid import uuid4

import msgspec

from handler.delta.change import Why
from handler.delta.commit_reader import Commit
from handler.delta.log import Snapshot, commit_key, parse_commit
from handler.delta.proposal import Proposal
from handler.delta.recent import commit_ids_of
from handler.delta.retry import Deadline, request_all
from handler.delta.tables import Table
from handler.delta.turn import Turn
from handler.errors import AlreadyExists, Unavailable


class Committed(msgspec.Struct, frozen=True):
    """A proposal that is in the log."""

    version: int
    change: Proposal


class Conflict(msgspec.Struct, frozen=True):
    """Why a decision about a table has to be made again: it has moved since."""

    table: str
    why: Why


class Transaction:
    """Commits to some tables, each decided from the snapshot that it follows.

    It knows which data files were put already, and of which tables the snapshot was seen to be of
    the log that is there. A snapshot that is kept from before has to be confirmed; one that was
    read cold after this object was made counts as confirmed. All tables have to be given to it.
    """

    def __init__(self, tables: Sequence[Table], deadline: Deadline) -> None:
        self._deadline = deadline
        self._reads = {id(table): table.reads for table in tables}
        self._confirmed = set[int]()
        self._staged = set[str]()

    def stage(self, proposals: Sequence[tuple[Table, Proposal]]) -> Conflict | None:
        """Put the data files, and look whether the commit that each decision starts from is still
        there; all at once.

        'There is no N+1' says something only while N is there: a log that was cleaned behind a
        long-idle sandbox, or a recreated table, would take a commit into the void. Returns the
        conflict after reading such a table cold. Raises StoreError or OutOfTime.
        """
        puts = [
            (file.key, partial(table.store.put, file.key, file.payload))
            for table, proposal in proposals
            for file in proposal.files
            if file.key not in self._staged
        ]
        return self._look([table for table, _ in proposals], puts, "write data files")

    def confirm(self, tables: Sequence[Table]) -> Conflict | None:
        """Make sure that kept snapshots are of the logs that are there; read cold what is not.

        Returns a conflict if one was not. Raises StoreError or OutOfTime.
        """
        return self._look(tables, (), "read the log")

    def commit(self, table: Table, proposal: Proposal) -> Committed | Conflict:
        """Put one commit as the version after the snapshot's. Raises StoreError or OutOfTime."""
        deadline = self._deadline
        snapshot = table.snapshot
        assert snapshot is not None, "a proposal is decided from a snapshot"
        commit_id = str(uuid4())
        turn = Turn(table, proposal, commit_id, deadline)
        attempt = 0
        while True:
            deadline.begin("commit")
            if turn.waits:
                turn.wait()
            else:
                attempt += 1
                deadline.attempts += 1
                if (version := self._put(table, turn)) is not None:
                    turn.end()
                    return Committed(version, proposal)
            outcome = catch_up(table, proposal, commit_id, deadline)
            if isinstance(outcome, Conflict) and outcome.why is Why.LOG:
                self._staged.clear()
            if outcome is not None:
                turn.end()
                return outcome
            before, snapshot = snapshot, table.known(deadline)
            came = snapshot.version > before.version
            if not came and not turn.waits:  # the store refused
                deadline.wait(attempt, "commit")
            turn.go_on(came=came)

    def _put(self, table: Table, turn: Turn) -> int | None:
        """Put a commit as the version after the snapshot's, and return the version; None where it
        was taken, or where nobody knows what came of the put. Raises StoreError or OutOfTime.
        """
        deadline = self._deadline
        version = table.known(deadline).version + 1
        body = turn.body()
        begun = deadline.clock.monotonic()
        try:
            put = partial(table.store.put_if_absent, commit_key(version), body)
            e_tag = table.pool.one(put, deadline.left_s)
        except AlreadyExists:
            deadline.conflicts += 1
            turn.lose(deadline.clock.monotonic() - begun)
        except Unavailable as error:
            # It may have taken effect, or may still: the log will tell.
            deadline.failed(error)
        else:
            table.follow(Commit(version, parse_commit(body, commit_key(version)), e_tag))
            return version
        return None

    def commit_change(
        self, table: Table, propose: Callable[[Snapshot], Proposal | None]
    ) -> Committed | None:
        """Commit what `propose` makes of the newest snapshot of one table, None for nothing.

        It is asked again whenever the table has moved in a way that matters. Raises StoreError,
        TableError, OutOfTime, and whatever `propose` raises.
        """
        while True:
            proposal = propose(table.known(self._deadline))
            if proposal is None:
                return None
            if self.stage([(table, proposal)]) is not None:
                continue
            outcome = self.commit(table, proposal)
            if isinstance(outcome, Committed):
                return outcome

    def _is_confirmed(self, table: Table) -> bool:
        return id(table) in self._confirmed or table.reads > self._reads[id(table)]

    def _look(
        self,
        tables: Sequence[Table],
        puts: Sequence[tuple[str, Callable[[], object]]],
        what: str,
    ) -> Conflict | None:
        """Put files, and confirm the tables that are not confirmed yet; all at once.

        Tables whose log is another one are read cold. Returns the first of them as a conflict.
        """
        looks = [table for table in tables if not self._is_confirmed(table)]
        calls: list[Callable[[], object]] = [call for _, call in puts]
        calls += [table.is_current for table in looks]
        if not calls:
            return None
        answers = request_all(calls, tables[0].pool, self._deadline, what)
        self._staged.update(key for key, _ in puts)
        self._confirmed |= {id(table) for table in looks}
        moved = [t for t, same in zip(looks, answers[len(puts) :], strict=True) if not same]
        for table in moved:
            table.read(self._deadline)
            # Who deleted the log may be deleting the files that were put just now: put them again.
            self._staged.clear()
        return Conflict(moved[0].name, Why.LOG) if moved else None


def catch_up(
    table: Table, proposal: Proposal, commit_id: str, deadline: Deadline
) -> Committed | Conflict | None:
    """Take in what came after the table's snapshot.

    Returns our commit if it is there, the conflict if a foreign one makes the proposal void, and
    None where it may be put as the version after those.
    """
    snapshot = table.known(deadline)
    read = table.log.newest_commits
    if proposal.needs_files or table.files is not None:
        read = table.log.commits_after
    commits = read(snapshot.version, deadline)
    if commits is None:
        table.read(deadline)
        return Conflict(table.name, Why.LOG)
    ours: Committed | None = None
    conflict: Conflict | None = None
    for commit in commits:
        if commit_id in commit_ids_of(commit.actions):
            ours = Committed(commit.version, proposal)
        elif ours is None and conflict is None:
            why = proposal.conflict(commit.actions, snapshot)
            conflict = Conflict(table.name, why) if why is not None else None
        snapshot = table.follow(commit)
    return ours or conflict
