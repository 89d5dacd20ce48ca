"""The columns of a contract as the JSON has them: a `source` of several keys lies in objects."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from handler.contract.compiled import Column
from handler.errors import Problem, RejectCode
from handler.validate.diagnose import path_of, problem


def wire_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return columns of which each is one field of the JSON.

    An object that is only on the way to values is a hidden struct: all that reads JSON treats it as
    a struct, and `reveal` returns what is in it.
    """
    groups: dict[str, list[Column]] = {}
    for column in columns:
        groups.setdefault(column.source, []).append(column)
    return tuple(_wire_column(source, group) for source, group in groups.items())


def _wire_column(source: str, group: Sequence[Column]) -> Column:
    if len(group[0].path) == 1:
        (column,) = group
        parts = wire_columns(column.parts)
        if parts == column.parts:
            return column
        shape = column.data_type if column.type == "struct" else None
        return replace(column, parts=parts, shape=shape)
    parts = wire_columns([replace(c, path=c.path[1:]) for c in group])
    # A value that is required is missing, too, where the object around it is.
    required = any(part.required for part in parts)
    return Column("", (source,), "struct", required=required, parts=parts, hidden=True)


def reveal(columns: Sequence[Column], arrays: Sequence[pa.Array]) -> Iterator[tuple[str, pa.Array]]:
    """Yield the names and the arrays of wire columns, in place of a hidden struct what it holds."""
    for column, array in zip(columns, arrays, strict=True):
        if column.hidden:
            yield from reveal(column.parts, array.flatten())
        else:
            yield column.name, array


class LiteralKeys:
    """Finds records with a value at a key such as `a.b` where a contract has the path `a.b`.

    Before a `source` was a path it named such a key. To read null then would lose the value.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self._paths = {".".join(c.path): c.path for c in columns if c.dotted}
        self._inside = tuple(
            (column, keys)
            for column in columns
            if column.parts and (keys := LiteralKeys(_fields(column)))
        )

    def __bool__(self) -> bool:
        return bool(self._paths or self._inside)

    def problem(self, record: Any) -> Problem | None:
        """Return what is wrong with a record that has such a key and not the path."""
        steps = self._find(record)
        if steps is None:
            return None
        key = steps[-1]
        return problem(
            RejectCode.AMBIGUOUS_SOURCE,
            path_of(steps),
            f"the record has a field named {key!r}, and for the contract that is a path to a field "
            f'inside others. For one field of that name write source: ["{key}"]',
        )

    def _find(self, value: Any) -> tuple[str | int, ...] | None:
        if not isinstance(value, dict):
            return None
        if not self._paths.keys().isdisjoint(value):
            for key, path in self._paths.items():
                if value.get(key) is not None and _at(value, path) is None:
                    return (key,)
        for column, keys in self._inside:
            inner = _at(value, column.path)
            for steps, item in _objects(inner, column):
                if (found := keys._find(item)) is not None:
                    return (*column.path, *steps, *found)
        return None


def _at(value: Any, path: Sequence[str]) -> Any:
    """Return the value at a path, None where there is none."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _fields(column: Column) -> tuple[Column, ...]:
    """Return the fields of a struct, or of the structs that arrays and maps hold."""
    return column.parts if column.type == "struct" or not column.parts else _fields(column.parts[0])


def _objects(value: Any, column: Column) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield the structs of a column with the steps that lead to each."""
    items: Iterable[tuple[str | int, Any]] = ()
    if column.type == "struct":
        yield (), value
    elif column.type == "array" and isinstance(value, list):
        items = enumerate(value)
    elif column.type == "map" and isinstance(value, dict):
        items = value.items()
    for key, item in items:
        for steps, found in _objects(item, column.parts[0]):
            yield (key, *steps), found
