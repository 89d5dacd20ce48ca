"""The compare-and-swap loop: a decision becomes a commit, or is made again, or time runs out.

A commit is put as version N+1 on the condition that there is none. It was decided from version N,
so if it is taken, it was decided in full knowledge of all before it. If the put fails in any way,
the log is read: ours is there, or somebody else's, or nobody's. Nothing else is ever concluded from
a failed put.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import uuid4

from handler.delta.log import DataFile, Snapshot, commit_id_of, commit_key, parse_commit
from handler.delta.parquet_ranges import fetch_all
from handler.delta.patience import Patience
from handler.delta.tables import Actions, Commit, Table
from handler.errors import AlreadyExists, Unavailable

Decide = Callable[[frozenset[int]], Sequence["Proposal | None"]]
"""From the tables' kept snapshots to a change for each table, or None. Gets the indices of the
tables whose change is committed already; their place in the answer is not looked at. It may read a
table anew.
"""


class Proposal(Protocol):
    """What is to become a commit: a `Change` of an append, or a rewrite."""

    @property
    def files(self) -> Sequence[DataFile]:
        """Return the data files that are to be put first."""
        ...

    def is_void_after(self, actions: Actions, snapshot: Snapshot) -> bool:
        """Return whether a foreign commit, which follows `snapshot`, makes it void."""
        ...

    def body(self, commit_id: str, now_ms: int) -> bytes:
        """Return it as a commit of the log."""
        ...


@dataclass(frozen=True, slots=True)
class Committed:
    """A proposal that is in the log."""

    version: int
    change: Proposal


class Moved(Exception):
    """A table has moved in a way that makes the decision void."""


def append(
    tables: Sequence[Table],
    decide: Decide,
    patience: Patience,
    committed: Callable[[int, Committed], None] = lambda _which, _committed: None,
) -> None:
    """Commit a change to each table, in order, each decided from the snapshot that it follows.

    Data files of all tables and the looks at their last commits go at once, then commit after
    commit. `committed` is told of each as it is known. Raises StoreError, TableError, OutOfTime,
    and whatever `decide` raises; what was committed before stays so.
    """
    done: frozenset[int] = frozenset()
    staged: set[str] = set()
    while True:
        changes = decide(done)
        try:
            _stage(tables, changes, done, staged, patience)
            for i, change in enumerate(changes):
                if i not in done and change is not None:
                    committed(i, _commit(tables[i], change, patience))
                    done |= {i}
            return
        except Moved:
            continue


def _stage(
    tables: Sequence[Table],
    changes: Sequence[Proposal | None],
    done: frozenset[int],
    staged: set[str],
    patience: Patience,
) -> None:
    """Put the data files, and look whether the commit that each decision starts from is still
    there.

    'There is no N+1' says something only while N is there: a log that was cleaned behind a long-
    idle sandbox, or a table made anew, would take a commit into the void. Raises Moved after
    reading such a table cold.
    """
    puts: list[tuple[str, Callable[[], object]]] = []
    looks: list[tuple[Table, Callable[[], object]]] = []
    for i, change in enumerate(changes):
        if i in done or change is None:
            continue
        puts += [
            (file.key, partial(tables[i].store.put, file.key, file.payload))
            for file in change.files
            if file.key not in staged
        ]
        if not tables[i].confirmed:
            looks.append((tables[i], tables[i].is_current))
    calls: list[Callable[[], object]] = [call for _, call in puts]
    calls += [call for _, call in looks]
    answers = fetch_all(calls, tables[0].pool, patience, "write data files")
    staged.update(key for key, _ in puts)
    moved = [t for (t, _), same in zip(looks, answers[len(puts) :], strict=True) if not same]
    for table, _ in looks:
        table.confirmed = True
    for table in moved:
        table.read(patience)
    if moved:
        raise Moved


def _commit(table: Table, change: Proposal, patience: Patience) -> Committed:
    """Put one commit as the version after the snapshot's.

    Raises Moved when it has to be decided again.
    """
    snapshot = table.snapshot
    assert snapshot is not None
    commit_id = str(uuid4())
    body = change.body(commit_id, patience.clock.epoch_ms())
    attempt = 0
    while True:
        patience.begin("commit")
        patience.attempts += 1
        version = snapshot.version + 1
        try:
            put = partial(table.store.put_if_absent, commit_key(version), body)
            e_tag = table.pool.one(put, patience.left_s)
            table.follow(Commit(version, parse_commit(body, commit_key(version)), e_tag))
            return Committed(version, change)
        except AlreadyExists:
            patience.conflicts += 1
        except Unavailable as error:
            # It may have taken effect, or may still: the log will tell.
            patience.failed(error)
        snapshot, ours = _catch_up(table, snapshot, change, commit_id, patience)
        if ours is not None:
            return Committed(ours, change)
        attempt += 1
        # Where nobody has come in between, it was the store that refused.
        patience.wait(attempt, "commit", contended=snapshot.version >= version)


def _catch_up(
    table: Table, snapshot: Snapshot, change: Proposal, commit_id: str, patience: Patience
) -> tuple[Snapshot, int | None]:
    """Read what came after the snapshot.

    Returns the newest, and the version of our commit if it is there.
    """
    commits = table.commits_after(snapshot.version, patience)
    if commits is None:
        table.read(patience)
        raise Moved
    ours, moved = None, False
    for commit in commits:
        if commit_id_of(commit.actions) == commit_id:
            ours = commit.version
        elif ours is None:
            moved = moved or change.is_void_after(commit.actions, snapshot)
        snapshot = table.follow(commit)
    if ours is None and moved:
        raise Moved
    return snapshot, ours
