"""A log with a broken checkpoint, or a wrong hint at one, made whole again."""

from collections.abc import Callable
from functools import partial
from typing import Any

from handler.delta.checkpoint import HINT
from handler.delta.retry import Deadline, request_all
from handler.delta.store import Object
from handler.delta.tables import Table
from handler.errors import NotFound


def repair_log(table: Table, deadline: Deadline, note: Callable[[str], None]) -> bool:
    """Set broken checkpoints aside and remove a wrong `_last_checkpoint`; return if there was one.

    The engine trusts both and could not open the table. That the table was read proves that an
    older checkpoint and the commits after it, or all commits, are complete. What another run has
    replaced since is left alone; what is set aside is copied first, so a kill does no harm. Raises
    StoreError.
    """
    damage = table.log.damage
    store = table.store
    for key, broken in damage.checkpoints.items():
        content = _content(table, key, deadline)
        if content is None or content.e_tag != broken.e_tag:
            continue
        copy = f"{key}.broken"
        _request(table, partial(store.put, copy, content.data), deadline)
        if _is_still(table, key, broken.e_tag, deadline):
            _request(table, partial(store.delete, key), deadline)
            note(f"{key} cannot be read and was moved to {copy}")
    if damage.hint_is_wrong and _is_still(table, HINT, damage.hint_e_tag, deadline):
        _request(table, partial(store.delete, HINT), deadline)
        note(f"{HINT} named a checkpoint that cannot be read and was removed")
    return bool(damage)


def _content(table: Table, key: str, deadline: Deadline) -> Object | None:
    try:
        content: Object = _request(table, partial(table.store.get, key), deadline)
    except NotFound:
        return None
    return content


def _is_still(table: Table, key: str, e_tag: str | None, deadline: Deadline) -> bool:
    """Return whether an object has the content that it had."""
    try:
        return bool(_request(table, partial(table.store.head, key), deadline) == e_tag)
    except NotFound:
        return False


def _request(table: Table, call: Callable[[], Any], deadline: Deadline) -> Any:
    return request_all([call], table.pool, deadline, "repair the log")[0]
