"""The commits of a table's log that are left, one after the other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from handler.delta.log import LOG, Actions, parse_commit, version_of
from handler.delta.store import Entry, Store
from handler.errors import NotFound

_AT_ONCE = 32
"""So many commits are read at once: each is a request, and a log may have a hundred thousand."""


def read_commits(store: Store, newest: int | None = None) -> Iterator[tuple[int, Actions]]:
    """Yield the version and the actions of each commit, in order; only so many of the `newest`.

    Raises StoreError or BrokenLog.
    """
    entries = [entry for entry in store.list(LOG, f"{LOG}/") if version_of(entry.key) is not None]
    entries = entries if newest is None else entries[-newest:]

    def read(entry: Entry) -> Actions | None:
        try:
            return parse_commit(store.get(entry.key).data, entry.key)
        except NotFound:  # maintenance has cleaned it meanwhile
            return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(entries), _AT_ONCE):
            part = entries[start : start + _AT_ONCE]
            for entry, actions in zip(part, pool.map(read, part), strict=True):
                version = version_of(entry.key)
                if actions is not None and version is not None:
                    yield version, actions
