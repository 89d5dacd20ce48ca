"""The commits of a table's log that are left, one after the other."""

from collections.abc import Iterator

from handler.delta.log import LOG, Actions, parse_commit
from handler.delta.store import Store
from handler.errors import NotFound


def read_commits(store: Store) -> Iterator[tuple[int, Actions]]:
    """Yield the version and the actions of each commit. Raises StoreError or BrokenLog."""
    for entry in store.list(LOG, f"{LOG}/"):
        name = entry.key.removeprefix(f"{LOG}/")
        if not (name.endswith(".json") and name.removesuffix(".json").isdecimal()):
            continue
        try:
            content = store.get(entry.key)
        except NotFound:  # maintenance has cleaned it meanwhile
            continue
        yield int(name.removesuffix(".json")), parse_commit(content.data, entry.key)
