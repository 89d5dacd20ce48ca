"""What a commit says of itself and of those before it, for other writers.

Of those before it, so that a writer that lost some races reads only the newest: otherwise each of
many writers would have to read each commit of the others. It has only what a snapshot keeps of a
commit, and what makes a decision void. It leaves out commits that change the schema or the
protocol: those are read.

Of itself: whose appends it has besides that of its writer (see `offers`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import msgspec

from handler.delta.log import Actions, commit_id_of

KEY = "siltLog"
"""In `commitInfo`, which engines do not interpret (Delta protocol, 'Commit Provenance
Information')."""
COMMITS_MAX = 24
BYTES_MAX = 16 * 1024
"""A commit says so much of those before it: of the newest, if it is too much."""


class TxnAction(TypedDict):
    """A `txn` of a commit, as it is in the log."""

    appId: str
    version: int
    lastUpdated: NotRequired[int | None]


class Guest(msgspec.Struct, frozen=True, array_like=True):
    """An append that another writer committed with its own: its id, and the sandbox it is from."""

    commit_id: str
    writer: str


class RecentCommit(msgspec.Struct, frozen=True, array_like=True):
    """One commit: its id, the sandbox that made it, its `txn` actions, the appends of others that
    it has, and whether that sandbox looks for such appends before its next commit.
    """

    commit_id: str | None
    writer: str | None
    txns: tuple[TxnAction, ...]
    guests: tuple[Guest, ...] = ()
    collects: bool = False

    @property
    def writers(self) -> set[str | None]:
        """Return the sandboxes whose appends it has."""
        return {self.writer, *(guest.writer for guest in self.guests)}

    def actions(self) -> list[dict[str, Any]]:
        """Return what is known of the commit, as actions of the log."""
        info: dict[str, Any] = {"txnId": self.commit_id}
        if self.writer is not None:
            info |= _write(LogNote(self.writer, (), self.guests, self.collects))
        return [{"commitInfo": info}, *({"txn": txn} for txn in self.txns)]


class LogNote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is in `commitInfo`: the sandbox, the commits before, without gaps, oldest first, and of
    this commit what `RecentCommit` has.
    """

    writer: str
    before: tuple[RecentCommit, ...] = ()
    guests: tuple[Guest, ...] = ()
    collects: bool = False


def summarize(actions: Actions) -> RecentCommit | None:
    """Return the summary of a commit, None for one that has to be read."""
    if any("metaData" in action or "protocol" in action for action in actions):
        return None
    note = _note_of(actions)
    txns = tuple(action["txn"] for action in actions if action.get("txn") is not None)
    if note is None:
        return RecentCommit(commit_id_of(actions), None, txns)
    return RecentCommit(commit_id_of(actions), note.writer, txns, note.guests, note.collects)


def write_note(
    writer: str,
    recent: Sequence[RecentCommit | None],
    guests: Sequence[Guest] = (),
    *,
    collects: bool = False,
) -> dict[str, Any]:
    """Return what a commit says of itself and of those before it, of which `recent` are the last.

    Only where there are several writers: nobody else would read it.
    """
    before: list[RecentCommit] = []
    if count_writers(recent) > 1:
        left = BYTES_MAX
        for each in reversed(recent[-COMMITS_MAX:]):
            left -= len(msgspec.json.encode(each))
            if each is None or left < 0:
                break
            before.append(each)
    return _write(LogNote(writer, tuple(reversed(before)), tuple(guests), collects))


def count_writers(recent: Iterable[RecentCommit | None]) -> int:
    """Return how many sandboxes' appends are in these commits; all that do not say it count as
    one.
    """
    return max(1, len(set[str | None]().union(*(each.writers for each in recent if each))))


def commits_before(actions: Actions) -> list[RecentCommit]:
    """Return the summaries that a commit has of those before it, the newest last."""
    note = _note_of(actions)
    return list(note.before) if note is not None else []


def commit_ids_of(actions: Actions) -> set[str | None]:
    """Return the ids of all appends that a commit has."""
    note = _note_of(actions)
    guests = note.guests if note is not None else ()
    return {commit_id_of(actions), *(guest.commit_id for guest in guests)}


def _write(note: LogNote) -> dict[str, Any]:
    return {KEY: msgspec.to_builtins(note)}


def _note_of(actions: Actions) -> LogNote | None:
    for action in actions:
        info: Mapping[str, Any] | None = action.get("commitInfo")
        if info is not None:
            try:
                return msgspec.convert(info[KEY], LogNote)
            except (KeyError, TypeError, msgspec.ValidationError):
                return None
    return None
