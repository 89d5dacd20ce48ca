"""Scalars of parsed records, replaced in place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from handler.contract.compiled import Column
from handler.contract.scalar import Refused
from handler.errors import RejectCode
from handler.validate.places import Step


class ValueRefused(Exception):
    """A value of the record cannot be what its column is; `steps` lead to it from the record."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.steps: tuple[Step, ...] = ()
        self.code: RejectCode = refused.code
        self.message = refused.message


def holding(columns: Sequence[Column], accepts: Callable[[Column], bool]) -> tuple[Column, ...]:
    """Return the columns that are or hold a wanted scalar, without their other parts."""
    kept = []
    for column in columns:
        if column.parts:
            parts = holding(column.parts, accepts)
            if parts:
                kept.append(replace(column, parts=parts))
        elif accepts(column):
            kept.append(column)
    return tuple(kept)


Replacement = Callable[[Column, Any, Any], Any]
"""What a scalar becomes, by its column, itself and what was written for it. Raises ValueRefused."""


def replace_values(
    record: dict[str, Any],
    written: Mapping[str, Any],
    columns: Sequence[Column],
    replacement: Replacement,
) -> None:
    """Replace the scalars of these columns in a record, by what was written for each."""
    for column in columns:
        name = column.source
        value = record.get(name)
        if value is not None:
            try:
                record[name] = _replaced(value, written[name], column, replacement)
            except ValueRefused as refused:
                refused.steps = (name, *refused.steps)
                raise


def _replaced(value: Any, written: Any, column: Column, replacement: Replacement) -> Any:
    match column.type:
        case "struct":
            replace_values(value, written, column.parts, replacement)
        case "array":
            _replace_items(value, enumerate(value), written, column.parts[0], replacement)
        case "map":
            _replace_items(value, value.items(), written, column.parts[0], replacement)
        case _:
            return replacement(column, value, written)
    return value


def _replace_items(
    container: Any,
    items: Iterable[tuple[Any, Any]],
    written: Any,
    part: Column,
    replacement: Replacement,
) -> None:
    scalar = not part.parts
    key: Any = None
    try:
        for key, item in items:
            if item is None:
                continue
            if scalar:
                container[key] = replacement(part, item, written[key])
            else:
                _replaced(item, written[key], part, replacement)
    except ValueRefused as refused:
        refused.steps = (key, *refused.steps)
        raise
