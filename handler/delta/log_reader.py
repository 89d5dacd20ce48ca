"""Reading the log of a table: the newest snapshot by its checkpoint, and the commits after it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from handler.delta.checkpoint import (
    HINT,
    BrokenCheckpoint,
    Checkpoint,
    FileListing,
    complete_checkpoints,
    parse_hint,
    read_checkpoint,
)
from handler.delta.commit_reader import Commit, CommitReader
from handler.delta.log import LOG, Snapshot, apply, commit_key, version_of
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Entry, Object
from handler.errors import BrokenLog, NotFound

_COMMITS_AT_ONCE = 1000
"""So many commits are held in memory while a log is read."""

Files = TypeVar("Files", bound=FileListing)


class Broken(msgspec.Struct, frozen=True):
    """A part of a checkpoint that cannot be read: why, and which content it was."""

    reason: str
    e_tag: str | None


class Damage(msgspec.Struct):
    """What of a table's log is broken and was done without: for the operator, and for repair.

    `checkpoints` are the keys of checkpoints that cannot be read. `hint_is_wrong`:
    `_last_checkpoint` names one that is not there or cannot be read; `hint_e_tag` tells which
    content that was.
    """

    checkpoints: dict[str, Broken] = msgspec.field(default_factory=dict)
    hint_is_wrong: bool = False
    hint_e_tag: str | None = None

    def __bool__(self) -> bool:
        return bool(self.checkpoints) or self.hint_is_wrong

    @property
    def reasons(self) -> list[str]:
        """Return why checkpoints cannot be read, each reason once."""
        return list(dict.fromkeys(broken.reason for broken in self.checkpoints.values()))


class LogReader(CommitReader):
    """Reads the log of one table.

    `checkpoint`: the version of the checkpoint that it was last read from, -1 if there was none.
    `damage`: what was broken then. `warn` is given a line for each thing that is broken.
    """

    warn: Callable[[str], None]
    checkpoint: int = -1
    damage: Damage = msgspec.field(default_factory=Damage)

    def load(
        self, deadline: Deadline, new_files: Callable[[], Files] | None
    ) -> tuple[Snapshot, Files | None]:
        """Read the newest snapshot: hint, listing, then checkpoint and commits at once, four
        requests in sequence.

        A checkpoint that cannot be read is passed over for an older one, or for the commits from
        the first on, as long as all that follow it are there.
        """
        hint = self._hint(deadline)
        after = f"{LOG}/{hint:020}." if hint is not None else f"{LOG}/"
        entries = self.list_log(after, deadline)
        checkpoints = complete_checkpoints(entries)
        if hint is not None and not checkpoints:
            # The hint names a checkpoint that is not there: it costs a listing of everything.
            entries = self.list_log(f"{LOG}/", deadline)
            checkpoints = complete_checkpoints(entries)
            self.damage.hint_is_wrong = True
        complete = hint is None or self.damage.hint_is_wrong  # every file of the log is listed
        while checkpoints:
            files = new_files() if new_files is not None else None
            snapshot, commits = self._read_both(checkpoints[0], entries, files, deadline)
            if isinstance(snapshot, BrokenCheckpoint):
                self._pass_over(checkpoints.pop(0), str(snapshot), hint)
                if not checkpoints and not complete:
                    entries, complete = self.list_log(f"{LOG}/", deadline), True
                    checkpoints = [
                        checkpoint
                        for checkpoint in complete_checkpoints(entries)
                        if checkpoint.parts[0].key not in self.damage.checkpoints
                    ]
                continue
            tags = {entry.key: entry.e_tag for entry in entries}
            snapshot = replace(snapshot, e_tag=tags.get(commit_key(snapshot.version)))
            return self._follow(snapshot, entries, commits, files, hint, deadline)
        files = new_files() if new_files is not None else None
        commits = self.get_commits(_numbers_after(-1, entries)[:_COMMITS_AT_ONCE], deadline)
        return self._follow(Snapshot(), entries, commits, files, hint, deadline)

    def _read_both(
        self,
        checkpoint: Checkpoint,
        entries: Sequence[Entry],
        files: FileListing | None,
        deadline: Deadline,
    ) -> tuple[Snapshot | BrokenCheckpoint, list[Commit | None]]:
        """Read a checkpoint, and the first of the commits that follow it, at once."""

        def read() -> Snapshot | BrokenCheckpoint:
            try:
                return read_checkpoint(self.store, checkpoint, files, self.pool, deadline)
            except BrokenCheckpoint as broken:
                return broken

        numbers = _numbers_after(checkpoint.version, entries)[:_COMMITS_AT_ONCE]
        calls: list[Callable[[], Any]] = [read, partial(self.get_commits, numbers, deadline)]
        snapshot, commits = self.pool.run_all(calls)
        return snapshot, commits

    def _pass_over(self, checkpoint: Checkpoint, reason: str, hint: int | None) -> None:
        for entry in checkpoint.parts:
            self.damage.checkpoints[entry.key] = Broken(reason, entry.e_tag)
        if checkpoint.version == hint:
            self.damage.hint_is_wrong = True
        self.warn(
            f"Table {self.name}: a checkpoint cannot be read and is skipped: {reason}. "
            "Maintenance moves it aside and writes another: troubleshooting.md#broken-checkpoint"
        )

    def _follow(
        self,
        snapshot: Snapshot,
        entries: Sequence[Entry],
        commits: Sequence[Commit | None],
        files: Files | None,
        hint: int | None,
        deadline: Deadline,
    ) -> tuple[Snapshot, Files | None]:
        """Apply the commits that follow a checkpoint, or all of a log that has none.

        `commits` are the first of them.
        """
        self.checkpoint = snapshot.version
        numbers = _numbers_after(snapshot.version, entries)
        self._check_listing(numbers[:-1], snapshot.version + 1, entries, hint)
        for commit in self._commits(numbers, commits, deadline):
            snapshot = apply(snapshot, commit.version, commit.actions, commit.e_tag)
            if files is not None:
                files.apply(commit.actions)
        return snapshot, files

    def _check_listing(
        self, versions: Sequence[int], first: int, entries: Sequence[Entry], hint: int | None
    ) -> None:
        """Refuse a log whose commits do not follow each other from `first` on."""
        broken = "".join(f" {reason}." for reason in self.damage.reasons)
        if first == 0 and not versions:
            if any(entry.key.endswith((".parquet", ".json")) for entry in entries):
                raise BrokenLog(
                    f"The log of {self.name} has no checkpoint that Silt can read.{broken}"
                )
            if hint is not None:
                raise BrokenLog(
                    f"{self.name}/{HINT} names a checkpoint of version {hint}, and the listing of "
                    "the log is empty. If the table was deleted, delete this object too. Nothing "
                    "was written."
                )
        if versions != list(range(first, first + len(versions))):
            why = (
                f"These checkpoints cannot be read, and no older state is complete:{broken}"
                if broken
                else "Somebody removed commits, or its checkpoint is of a kind that Silt does not "
                "read (v2)."
            )
            raise BrokenLog(
                f"The log of {self.name} has a gap: after version {first - 1} come "
                f"{_some(versions)}. {why} Nothing was written."
            )

    def _commits(
        self, numbers: Sequence[int], first: Sequence[Commit | None], deadline: Deadline
    ) -> Iterator[Commit]:
        """Yield these commits, of which the last need not be there, and those that came since.

        `first` are those of them that were read already.
        """
        following = numbers[-1]
        for start in range(0, len(numbers), _COMMITS_AT_ONCE):
            part = numbers[start : start + _COMMITS_AT_ONCE]
            commits = self.get_commits(part, deadline) if start else first
            for version, commit in zip(part, commits, strict=True):
                if commit is not None:
                    yield commit
                elif version == following:
                    return
                else:
                    raise BrokenLog(
                        f"{self.name}/{commit_key(version)} vanished while it was read."
                    )
        rest = self.commits_after(following, deadline)
        if rest is None:
            raise BrokenLog(f"The log of {self.name} has a gap after version {following}.")
        yield from rest

    def _hint(self, deadline: Deadline) -> int | None:
        """Return the version that `_last_checkpoint` names, and note if it names none."""

        def get() -> Object | None:
            try:
                return self.store.get(HINT)
            except NotFound:
                return None

        entry = request_all([get], self.pool, deadline, "read the log")[0]
        hint = parse_hint(entry.data) if entry is not None else None
        self.damage = Damage(
            hint_is_wrong=entry is not None and hint is None,
            hint_e_tag=entry.e_tag if entry is not None else None,
        )
        return hint


def _numbers_after(version: int, entries: Iterable[Entry]) -> list[int]:
    """Return the versions of the commits in a listing that are newer, and the one that follows."""
    listed = [v for entry in entries if (v := version_of(entry.key)) is not None and v > version]
    return [*sorted(listed), max(listed, default=version) + 1]


def _some(versions: Sequence[int]) -> str:
    shown = ", ".join(map(str, versions[:5]))
    return f"versions {shown}{', ...' if len(versions) > 5 else ''}" if versions else "none"
