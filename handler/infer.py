"""unknown_fields: add. Which fields of the data become columns of the table, and which stay in
`_rescued`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from handler.columns import Form, finish, wire_type
from handler.contract_rules import Column
from handler.delta_types import Field, Primitive
from handler.values import INT64_MAX, INT64_MIN, Literal, Refused, read_scalar

NEW_COLUMNS_MAX = 50
"""At most so many columns are added in one invocation; the rest is rescued."""

_NAME = re.compile(r"[^ ,;{}()\n\t=.\x00\[\]]{1,100}")
_RESERVED = ("_kafka_", "_rescued")


@dataclass(frozen=True, slots=True)
class Added:
    """What unknown fields become. `fields` are all columns that the data fills, `new` those the
    table lacks.

    `columns` hold their values by row of the batch's table; `rescued` what is left, by row.
    """

    fields: Mapping[str, Field]
    new: tuple[Field, ...]
    columns: Mapping[str, pa.Array]
    rescued: Mapping[int, Mapping[str, Any]]


def place_unknown(
    unknown: Sequence[Mapping[str, Any] | None],
    table: Sequence[Field],
    contract: Iterable[str],
) -> Added:
    """Place the unknown fields of each row: in a column of the table, in a new one, or in
    `_rescued`.

    `unknown` has an entry a row: fields by path, numbers as `parse_exactly` reads them. `table` are
    the columns the table has; `contract` names the columns that are the contract's or retired,
    which data never fills.
    """
    taken = {name.lower() for name in contract}
    known = {f.name: f for f in table if f.name.lower() not in taken}
    folded = {f.name.lower() for f in table} | taken
    types: dict[str, str] = {}
    for row in unknown:
        for name, value in (row or {}).items():
            kind = _type_of(value)
            if name in known or kind is None:
                continue
            if name in types:
                types[name] = _wider(types[name], kind)
            elif _may_be_new(name, folded) and len(types) < NEW_COLUMNS_MAX:
                types[name] = kind
                folded.add(name.lower())
    new = {name: Field(name, Primitive(kind)) for name, kind in types.items()}
    scalars = {name: f for name, f in known.items() if isinstance(f.type, Primitive)}
    return _fill(unknown, {**scalars, **new}, tuple(new.values()))


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
        column = Column(name, name, kind.name)
        array = pa.array(values, wire_type(column, Form.EXACT))
        columns[name] = finish(array, column, Form.EXACT)
    return Added(fields, new, columns, rescued)


def _read(field: Field, value: Any) -> Any:
    assert isinstance(field.type, Primitive)
    try:
        return read_scalar(field.type.name, None, value).wire
    except Refused:
        return None
