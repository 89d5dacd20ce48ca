"""Delta's types: their names in a table's schema and their Arrow types."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa

from handler.errors import UnsupportedTable

PRIMITIVES: Mapping[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "integer": pa.int32(),
    "short": pa.int16(),
    "byte": pa.int8(),
    "double": pa.float64(),
    "float": pa.float32(),
    "boolean": pa.bool_(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}
"""Arrow types by the names that Delta's schema gives them (Delta protocol, 'Primitive Types')."""

INTEGER_BITS: Mapping[str, int] = {"byte": 8, "short": 16, "integer": 32, "long": 64}

_DECIMAL = re.compile(r"decimal\( *([0-9]{1,2}) *, *([0-9]{1,2}) *\)")


class Primitive(msgspec.Struct, frozen=True):
    """A type without parts, `decimal(p,s)` included."""

    name: str

    @property
    def decimal(self) -> tuple[int, int] | None:
        """Precision and scale, or None for any other type."""
        return parse_decimal(self.name)


class Struct(msgspec.Struct, frozen=True):
    """A record of named fields."""

    fields: tuple["Field", ...]


class Array(msgspec.Struct, frozen=True):
    """A list of one type."""

    element: "DataType"
    contains_null: bool = True


class Map(msgspec.Struct, frozen=True):
    """Names to values of one type.

    Silt writes string keys only; a foreign table may have others.
    """

    value: "DataType"
    key: "DataType" = Primitive("string")
    contains_null: bool = True


DataType = Primitive | Struct | Array | Map


class Field(msgspec.Struct, frozen=True):
    """A column of a table, or a part of a struct. `metadata` is the field's own JSON object."""

    name: str
    type: DataType
    nullable: bool = True
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)

    def __hash__(self) -> int:
        # A mapping has none.
        return hash((self.name, self.type, self.nullable))


@lru_cache(maxsize=256)
def parse_decimal(name: str) -> tuple[int, int] | None:
    """Return precision and scale of `decimal(p,s)`; None when the name is no valid decimal."""
    match = _DECIMAL.fullmatch(name)
    if match is None:
        return None
    precision, scale = int(match[1]), int(match[2])
    return (precision, scale) if 1 <= precision <= 38 and scale <= precision else None


def normal_type(name: str) -> str:
    """Return a type's name as Delta writes it: `decimal(5,2)`, without spaces and leading zeros."""
    decimal = parse_decimal(name)
    return f"decimal({decimal[0]},{decimal[1]})" if decimal is not None else name


def to_arrow(data_type: DataType) -> pa.DataType:
    """Return the Arrow type whose Parquet form is the one that Delta asks for."""
    match data_type:
        case Primitive(name):
            if (decimal := data_type.decimal) is not None:
                return pa.decimal128(*decimal)
            return PRIMITIVES[name]
        case Struct(fields):
            return pa.struct([pa.field(f.name, to_arrow(f.type)) for f in fields])
        case Array(element):
            return pa.list_(pa.field("element", to_arrow(element)))
        case Map(value, key):
            return pa.map_(to_arrow(key), to_arrow(value))


def to_json(data_type: DataType) -> Any:
    """Return the type as it is in a Delta `schemaString`."""
    match data_type:
        case Primitive(name):
            return name
        case Struct(fields):
            return {"type": "struct", "fields": [_field_to_json(f) for f in fields]}
        case Array(element, contains_null):
            return {
                "type": "array",
                "elementType": to_json(element),
                "containsNull": contains_null,
            }
        case Map(value, key, contains_null):
            return {
                "type": "map",
                "keyType": to_json(key),
                "valueType": to_json(value),
                "valueContainsNull": contains_null,
            }


def _field_to_json(f: Field) -> dict[str, Any]:
    return {
        "name": f.name,
        "type": to_json(f.type),
        "nullable": f.nullable,
        "metadata": dict(f.metadata),
    }


def from_json(value: Any) -> DataType:
    """Read a type of a Delta schema.

    Raises UnsupportedTable with the name of a type that is new.
    """
    if isinstance(value, str):
        name = normal_type(value)
        if name in PRIMITIVES or parse_decimal(name) is not None:
            return Primitive(name)
        raise UnsupportedTable(
            f"The table has a column of type {value!r}, which Silt does not know."
        )
    match value:
        case {"type": "struct", "fields": list(fields)}:
            return Struct(tuple(_field_from_json(f) for f in fields))
        case {"type": "array", "elementType": element}:
            return Array(from_json(element), bool(value.get("containsNull", True)))
        case {"type": "map", "keyType": key, "valueType": item}:
            contains_null = bool(value.get("valueContainsNull", True))
            return Map(from_json(item), from_json(key), contains_null)
    raise UnsupportedTable(f"The table's schema has {value!r}, which is not a Delta type.")


def _field_from_json(value: Mapping[str, Any]) -> Field:
    return Field(
        name=value["name"],
        type=from_json(value["type"]),
        nullable=bool(value.get("nullable", True)),
        metadata=value.get("metadata") or {},
    )


def leaves(fields: Sequence[Field]) -> Iterator[tuple[str, ...]]:
    """Yield the path of each column that Delta's statistics count: arrays and maps are one."""
    return (path for path, _ in leaf_types(fields))


def leaf_types(
    fields: Sequence[Field], prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], DataType]]:
    """Yield the path and the type of each column that Delta's statistics count."""
    for f in fields:
        path = (*prefix, f.name)
        if isinstance(f.type, Struct):
            yield from leaf_types(f.type.fields, path)
        else:
            yield path, f.type


def describe(data_type: DataType) -> str:
    """Return the type in the words of an error message."""
    match data_type:
        case Primitive(name):
            return name
        case Struct(fields):
            return "struct<" + ", ".join(f"{f.name}: {describe(f.type)}" for f in fields) + ">"
        case Array(element):
            return f"array<{describe(element)}>"
        case Map(value, key):
            return f"map<{describe(key)}, {describe(value)}>"
