"""A log with a broken checkpoint, or a wrong hint at one, made whole again."""

from collections.abc import Callable
from functools import partial
from typing import Any

from handler.delta.checkpoint import HINT
from handler.delta.parquet_ranges import fetch_all
from handler.delta.patience import Patience
from handler.delta.store import Object
from handler.delta.tables import Table
from handler.errors import NotFound


def repair_log(table: Table, patience: Patience, note: Callable[[str], None]) -> bool:
    """Set broken checkpoints aside and remove a wrong `_last_checkpoint`; return if there was one.

    The engine trusts both and could not open the table. That the table was read proves that an
    older checkpoint and the commits after it, or all commits, are complete. What another run has
    replaced since is left alone; what is set aside is copied first, so a kill does no harm. Raises
    StoreError.
    """
    damage = table.damage
    store = table.store
    for key, broken in damage.checkpoints.items():
        content = _content(table, key, patience)
        if content is None or content.e_tag != broken.e_tag:
            continue
        copy = f"{key}.broken"
        _request(table, partial(store.put, copy, content.data), patience)
        if _is_still(table, key, broken.e_tag, patience):
            _request(table, partial(store.delete, key), patience)
            note(f"{key} cannot be read and was moved to {copy}")
    if damage.hint_is_wrong and _is_still(table, HINT, damage.hint_e_tag, patience):
        _request(table, partial(store.delete, HINT), patience)
        note(f"{HINT} named a checkpoint that cannot be read and was removed")
    return bool(damage)


def _content(table: Table, key: str, patience: Patience) -> Object | None:
    try:
        content: Object = _request(table, partial(table.store.get, key), patience)
    except NotFound:
        return None
    return content


def _is_still(table: Table, key: str, e_tag: str | None, patience: Patience) -> bool:
    """Return whether an object has the content that it had."""
    try:
        return bool(_request(table, partial(table.store.head, key), patience) == e_tag)
    except NotFound:
        return False


def _request(table: Table, call: Callable[[], Any], patience: Patience) -> Any:
    return fetch_all([call], table.pool, patience, "repair the log")[0]
