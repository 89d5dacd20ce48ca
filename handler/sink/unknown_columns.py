"""unknown_fields: add. Which fields of the data become columns of the table, and which stay in
`_rescued`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from msgspec.structs import replace

from handler.contract.compiled import Column
from handler.contract.form import USUAL
from handler.contract.scalar import INT64_MAX, INT64_MIN, NEGATIVE_ZERO, Literal, Refused
from handler.contract.values import read_scalar
from handler.delta.types import Field, Primitive
from handler.validate.columns import finish, wire_type

NEW_COLUMNS_MAX = 50
"""At most so many columns are added in one invocation; the rest is rescued."""

_NAME = re.compile(r"[^ ,;{}()\n\t=.\x00\[\]]{1,100}")
_RESERVED = ("_kafka_", "_rescued")


class Added(msgspec.Struct, frozen=True):
    """What unknown fields become. `fields` are all columns that the data fills, `new` those the
    table lacks.

    `columns` hold their values by row of the batch's table; `rescued` what is left, by row.
    `beyond` are the names that would have become columns if the table had not max_columns already.
    """

    fields: Mapping[str, Field]
    new: tuple[Field, ...]
    columns: Mapping[str, pa.Array]
    rescued: Mapping[int, Mapping[str, Any]]
    beyond: frozenset[str] = frozenset()


def place_unknown(
    unknown: Sequence[Mapping[str, Any] | None],
    table: Sequence[Field],
    contract: Iterable[str],
    columns_max: int,
) -> Added:
    """Place the unknown fields of each row: in a column of the table, in a new one, or in
    `_rescued`.

    `unknown` has an entry a row: fields by path, numbers as `parse_exactly` reads them. `table` are
    the columns the table has, or will be made with; `contract` names the columns that are the
    contract's or retired, which data never fills. No column is added to a table of `columns_max`.
    """
    taken = {name.lower() for name in contract}
    known = {f.name: f for f in table if f.name.lower() not in taken}
    folded = {f.name.lower() for f in table} | taken
    types: dict[str, str] = {}
    room = min(NEW_COLUMNS_MAX, max(0, columns_max - len(table)))
    beyond = set[str]()
    for row in unknown:
        for name, value in (row or {}).items():
            kind = _type_of(value)
            if name in known or kind is None:
                continue
            if name in types:
                types[name] = _wider(types[name], kind)
            elif not _may_be_new(name, folded):
                continue
            elif len(types) < room:
                types[name] = kind
                folded.add(name.lower())
            elif room < NEW_COLUMNS_MAX:
                beyond.add(name)
    new = {name: Field(name, Primitive(kind)) for name, kind in types.items()}
    scalars = {name: f for name, f in known.items() if isinstance(f.type, Primitive)}
    added = _fill(unknown, {**scalars, **new}, tuple(new.values()))
    return replace(added, beyond=frozenset(beyond))


def _may_be_new(name: str, folded: set[str]) -> bool:
    lower = name.lower()
    return (
        _NAME.fullmatch(name) is not None
        and lower not in folded
        and not lower.startswith(_RESERVED)
    )


def _type_of(value: Any) -> str | None:
    match value:
        case bool():
            return "boolean"
        case int():
            return "long" if INT64_MIN <= value <= INT64_MAX else None
        case Literal():
            if value == NEGATIVE_ZERO:
                return "long"
            return None if value.is_integer else "double"
        case str():
            return "string"
    return None


def _wider(one: str, other: str) -> str:
    """Return the type of a column that was seen as both; what does not fit it is rescued."""
    return "double" if {one, other} == {"long", "double"} else one


def _fill(
    unknown: Sequence[Mapping[str, Any] | None],
    fields: Mapping[str, Field],
    new: tuple[Field, ...],
) -> Added:
    wires: dict[str, list[Any]] = {}
    rescued: dict[int, dict[str, Any]] = {}
    for i, row in enumerate(unknown):
        for name, value in (row or {}).items():
            wire = None
            if name in fields and value is not None:
                wire = _read(fields[name], value)
            if wire is None and not (name in fields and value is None):
                rescued.setdefault(i, {})[name] = value
            elif wire is not None:
                wires.setdefault(name, [None] * len(unknown))[i] = wire
    columns = {}
    for name, values in wires.items():
        kind = fields[name].type
        assert isinstance(kind, Primitive)
        column = Column(name, (name,), kind.name)
        columns[name] = finish(pa.array(values, wire_type(column)), column).array
    return Added(fields, new, columns, rescued)


def _read(field: Field, value: Any) -> Any:
    assert isinstance(field.type, Primitive)
    try:
        return read_scalar(field.type.name, USUAL, value).wire
    except Refused:
        return None
