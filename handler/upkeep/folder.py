"""What lies in a table's folder, by one listing that is never held as a whole."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from handler.delta.log import LOG
from handler.delta.parquet_ranges import fetch_all
from handler.delta.patience import Patience
from handler.delta.tables import Table

_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")


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


def first_commit(table: Table, patience: Patience) -> int | None:
    """Return the oldest version whose commit is in the log. Raises StoreError or OutOfTime."""

    def look() -> int | None:
        versions = (
            int(match[1])
            for entry in table.store.scan(LOG)
            if (match := _COMMIT.fullmatch(entry.key))
        )
        return min(versions, default=None)

    (answer,) = fetch_all([look], table.pool, patience, "list the log")
    return answer if isinstance(answer, int) else None


def _note(found: Folder, key: str, modified_ms: int, active: Collection[str]) -> None:
    if (match := _COMMIT.fullmatch(key)) is not None:
        version = int(match[1])
        first = found.first_commit
        found.first_commit = version if first is None else min(version, first)
    elif f"/{LOG}/" in key:
        found.inner_table = key.partition(f"/{LOG}/")[0]
    # As for a vacuum, what begins with _ is none of the table's data.
    elif key.endswith(".parquet") and "/_" not in f"/{key}" and key not in active:
        oldest = found.oldest_unreferenced_ms
        found.oldest_unreferenced_ms = modified_ms if oldest is None else min(modified_ms, oldest)
