"""The commits of a table's log that are left, one after the other."""

from collections.abc import Iterator

from handler.delta.log import LOG, Actions, parse_commit, version_of
from handler.delta.store import Store
from handler.errors import NotFound


def read_commits(store: Store) -> Iterator[tuple[int, Actions]]:
    """Yield the version and the actions of each commit. Raises StoreError or BrokenLog."""
    for entry in store.list(LOG, f"{LOG}/"):
        version = version_of(entry.key)
        if version is None:
            continue
        try:
            content = store.get(entry.key)
        except NotFound:  # maintenance has cleaned it meanwhile
            continue
        yield version, parse_commit(content.data, entry.key)
