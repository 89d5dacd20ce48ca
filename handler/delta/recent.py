"""What a commit says of those before it, so that a writer that lost some races reads only the
newest: otherwise each of many writers would have to read each commit of the others.

Only what a snapshot keeps of a commit, and what makes a decision void, is in it. Nothing is said of
a commit that changes the schema or the protocol: that one is read.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from handler.delta.log import Actions, commit_id_of

KEY = "siltLog"
"""In `commitInfo`, which engines do not interpret (Delta protocol, 'Commit Provenance
Information')."""
COMMITS_MAX = 24
BYTES_MAX = 16 * 1024
"""A commit says so much of those before it: of the newest, if it is too much."""


class Watermark(msgspec.Struct, frozen=True, array_like=True):
    """A `txn` of a commit."""

    app_id: str
    version: int
    last_updated: int | None = None

    def action(self) -> dict[str, Any]:
        """Return it as an action of the log."""
        known = {} if self.last_updated is None else {"lastUpdated": self.last_updated}
        return {"txn": {"appId": self.app_id, "version": self.version, **known}}


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """One commit: its id, the sandbox that made it, and its watermarks."""

    commit_id: str | None
    writer: str | None
    watermarks: tuple[Watermark, ...]

    def actions(self) -> list[dict[str, Any]]:
        """Return what is known of the commit, as actions of the log."""
        info = {"commitInfo": {"txnId": self.commit_id, KEY: {"writer": self.writer}}}
        return [info, *(mark.action() for mark in self.watermarks)]


class Said(msgspec.Struct, frozen=True):
    """What is in `commitInfo`: the sandbox, and the commits before, without gaps, oldest first."""

    writer: str
    before: tuple[Recent, ...] = ()


def summarize(actions: Actions) -> Recent | None:
    """Return what is to be said of a commit, None if it has to be read."""
    if any("metaData" in action or "protocol" in action for action in actions):
        return None
    said = _said(actions)
    try:
        marks = [action["txn"] for action in actions if action.get("txn") is not None]
        watermarks = tuple(
            Watermark(mark["appId"], int(mark["version"]), mark.get("lastUpdated"))
            for mark in marks
        )
    except (KeyError, TypeError, ValueError):
        return None
    return Recent(commit_id_of(actions), said.writer if said is not None else None, watermarks)


def say(writer: str, recent: Sequence[Recent | None]) -> dict[str, Any]:
    """Return what a commit says of those before it, of which `recent` are the last.

    Only where there are several writers: nobody else would read it.
    """
    before: list[Recent] = []
    if count_writers(recent) > 1:
        left = BYTES_MAX
        for each in reversed(recent[-COMMITS_MAX:]):
            left -= len(msgspec.json.encode(each))
            if each is None or left < 0:
                break
            before.append(each)
    return {KEY: msgspec.to_builtins(Said(writer, tuple(reversed(before))))}


def count_writers(recent: Iterable[Recent | None]) -> int:
    """Return how many sandboxes have made some commits; one for those that nobody is known of."""
    return max(1, len({each.writer for each in recent if each is not None}))


def commits_before(actions: Actions) -> list[Recent]:
    """Return the commits that one says something of, the newest last; none where it is not ours."""
    said = _said(actions)
    return list(said.before) if said is not None else []


def _said(actions: Actions) -> Said | None:
    for action in actions:
        info: Mapping[str, Any] | None = action.get("commitInfo")
        if info is not None:
            try:
                return msgspec.convert(info[KEY], Said)
            except (KeyError, TypeError, msgspec.ValidationError):
                return None
    return None
