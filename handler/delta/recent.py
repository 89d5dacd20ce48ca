"""What a commit says of those before it, so that a writer that lost some races reads only the
newest: otherwise each of many writers would have to read each commit of the others.

It has only what a snapshot keeps of a commit, and what makes a decision void. It leaves out commits
that change the schema or the protocol: those are read.
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


class RecentCommit(msgspec.Struct, frozen=True, array_like=True):
    """One commit: its id, the sandbox that made it, and its `txn` actions."""

    commit_id: str | None
    writer: str | None
    txns: tuple[TxnAction, ...]

    def actions(self) -> list[dict[str, Any]]:
        """Return what is known of the commit, as actions of the log."""
        info = {"commitInfo": {"txnId": self.commit_id, KEY: {"writer": self.writer}}}
        return [info, *({"txn": txn} for txn in self.txns)]


class LogNote(msgspec.Struct, frozen=True):
    """What is in `commitInfo`: the sandbox, and the commits before, without gaps, oldest first."""

    writer: str
    before: tuple[RecentCommit, ...] = ()


def summarize(actions: Actions) -> RecentCommit | None:
    """Return the summary of a commit, None for one that has to be read."""
    if any("metaData" in action or "protocol" in action for action in actions):
        return None
    note = _note_of(actions)
    writer = note.writer if note is not None else None
    txns = tuple(action["txn"] for action in actions if action.get("txn") is not None)
    return RecentCommit(commit_id_of(actions), writer, txns)


def write_note(writer: str, recent: Sequence[RecentCommit | None]) -> dict[str, Any]:
    """Return what a commit says of those before it, of which `recent` are the last.

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
    return {KEY: msgspec.to_builtins(LogNote(writer, tuple(reversed(before))))}


def count_writers(recent: Iterable[RecentCommit | None]) -> int:
    """Return how many sandboxes have made these commits; all that do not say it count as one."""
    return max(1, len({each.writer for each in recent if each is not None}))


def commits_before(actions: Actions) -> list[RecentCommit]:
    """Return the summaries that a commit has of those before it, the newest last."""
    note = _note_of(actions)
    return list(note.before) if note is not None else []


def _note_of(actions: Actions) -> LogNote | None:
    for action in actions:
        info: Mapping[str, Any] | None = action.get("commitInfo")
        if info is not None:
            try:
                return msgspec.convert(info[KEY], LogNote)
            except (KeyError, TypeError, msgspec.ValidationError):
                return None
    return None
