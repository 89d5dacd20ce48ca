"""What lies in a table's folder, by one listing that is never held as a whole."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from handler.delta.log import LOG, commit_key, version_of
from handler.delta.parquet_ranges import fetch_all
from handler.delta.patience import Patience
from handler.delta.tables import Table
from handler.errors import NotFound


@dataclass(slots=True)
class Folder:
    """What was found in a table's folder.

    `inner_table` is the place of another table within, if there is one. `oldest_unreferenced_ms` is
    when the oldest data file was written that the newest snapshot does not name, in milliseconds
    since 1970. `first_commit` is the oldest version whose commit is there.
    """

    inner_table: str | None = None
    oldest_unreferenced_ms: int | None = None
    first_commit: int | None = None


def look_through(
    table: Table, active: Collection[str], since_ms: int, patience: Patience
) -> Folder:
    """List a table's folder; `active` are the keys of its files.

    Of files that are not active only those since `since_ms` count. Raises StoreError or OutOfTime.
    """

    def look() -> Folder:
        found = Folder()
        for entry in table.store.scan(""):
            if entry.modified_ms >= since_ms or not entry.key.endswith(".parquet"):
                _note(found, entry.key, entry.modified_ms, active)
        return found

    (answer,) = fetch_all([look], table.pool, patience, "list the table")
    assert isinstance(answer, Folder)
    return answer


def first_commit(table: Table, low: int, high: int, patience: Patience) -> int:
    """Return the oldest version from `low` to `high` whose commit is in the log.

    A log loses its first commits: halving takes some 20 requests, where a listing takes one for
    each thousand of what is left. Raises StoreError or OutOfTime.
    """
    while low < high:
        middle = (low + high) // 2
        if fetch_all([partial(_exists, table, middle)], table.pool, patience, "look at the log")[0]:
            high = middle
        else:
            low = middle + 1
    return low


def _exists(table: Table, version: int) -> bool:
    try:
        table.store.head(commit_key(version))
    except NotFound:
        return False
    return True


def _note(found: Folder, key: str, modified_ms: int, active: Collection[str]) -> None:
    if (version := version_of(key)) is not None:
        first = found.first_commit
        found.first_commit = version if first is None else min(version, first)
    elif f"/{LOG}/" in key:
        found.inner_table = key.partition(f"/{LOG}/")[0]
    # As for a vacuum, what begins with _ is none of the table's data.
    elif key.endswith(".parquet") and "/_" not in f"/{key}" and key not in active:
        oldest = found.oldest_unreferenced_ms
        found.oldest_unreferenced_ms = modified_ms if oldest is None else min(modified_ms, oldest)
