"""What is in a table's folder, by one listing that is never held as a whole."""

from collections.abc import Collection

import msgspec

from handler.delta.checkpoint import complete_checkpoints, is_checkpoint
from handler.delta.log import LOG, version_of
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Entry
from handler.delta.tables import Table


class Folder(msgspec.Struct):
    """What was found in a table's folder.

    `inner_table` is the place of another table within, if there is one. `oldest_unreferenced_ms` is
    when the oldest data file was written that the newest snapshot does not name, in milliseconds
    since 1970. `checkpoints` are the files of all checkpoints. `first_young` is the first version
    whose commit was written after the time that was asked for, None if there is no such commit.
    """

    inner_table: str | None = None
    oldest_unreferenced_ms: int | None = None
    checkpoints: list[Entry] = msgspec.field(default_factory=list)
    first_young: int | None = None

    def log_start(self, last_read: int, known_since_ms: int) -> int | None:
        """Return the version from which the log is needed, None if it is needed from its start.

        It is that of the newest checkpoint that no young version precedes: every version that is
        young enough to be asked for comes after it. `last_read` is the version of the checkpoint
        that was read: a newer one may be broken, and then it takes the commits before it. One that
        was written after `known_since_ms` does not count: a reader that began before that does not
        know it, and reads the commits before it.
        """
        newest = last_read
        if self.first_young is not None:
            newest = min(newest, self.first_young - 1)
        known = (entry for entry in self.checkpoints if entry.modified_ms <= known_since_ms)
        versions = (checkpoint.version for checkpoint in complete_checkpoints(known))
        return next((version for version in versions if version <= newest), None)


def look_through(
    table: Table, active: Collection[str], since_ms: int, log_since_ms: int, deadline: Deadline
) -> Folder:
    """List a table's folder; `active` are the keys of its files.

    Of files that are not active only those since `since_ms` count. Commits after `log_since_ms` are
    young. Raises StoreError or OutOfTime.
    """

    def look() -> Folder:
        folder = Folder()
        for entry in table.store.scan(""):
            if entry.key.startswith(f"{LOG}/"):
                _note_log(folder, entry, log_since_ms)
            elif entry.modified_ms >= since_ms or not entry.key.endswith(".parquet"):
                _note(folder, entry.key, entry.modified_ms, active)
        return folder

    (answer,) = request_all([look], table.pool, deadline, "list the table")
    assert isinstance(answer, Folder)
    return answer


def _note_log(folder: Folder, entry: Entry, since_ms: int) -> None:
    version = version_of(entry.key)
    if version is not None and entry.modified_ms > since_ms:
        first = folder.first_young
        folder.first_young = version if first is None else min(version, first)
    elif is_checkpoint(entry.key):
        folder.checkpoints.append(entry)


def _note(folder: Folder, key: str, modified_ms: int, active: Collection[str]) -> None:
    if f"/{LOG}/" in key:
        folder.inner_table = key.partition(f"/{LOG}/")[0]
    # As for a vacuum, what begins with _ is not the table's data.
    elif key.endswith(".parquet") and "/_" not in f"/{key}" and key not in active:
        oldest = folder.oldest_unreferenced_ms
        folder.oldest_unreferenced_ms = modified_ms if oldest is None else min(modified_ms, oldest)
