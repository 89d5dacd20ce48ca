"""Compiled columns: the tree that a contract becomes, and the rules that its values obey."""

from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa

from handler.contract.form import USUAL, Form
from handler.contract.patterns import matches
from handler.contract.scalar import Scalar
from handler.contract.time_text import format_time
from handler.delta.types import Array, DataType, Field, Map, Primitive, Struct, to_arrow

SILT_TYPE = "silt.type"
"""The key of a field's metadata that says which of its strings are JSON text."""


class Rules(msgspec.Struct, frozen=True):
    """What a value must obey beyond its type. Bounds and the keys of `allowed` are `Scalar.order`
    values.
    """

    minimum: Any = None
    maximum: Any = None
    exclusive_minimum: Any = None
    exclusive_maximum: Any = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    allowed: Mapping[Any, None] | None = None


NO_RULES = Rules()


class Derived(msgspec.Struct, frozen=True):
    """Where a derived column takes its value: a path of columns, and the part of a time or None."""

    path: tuple[str, ...]
    part: str | None


class Column(msgspec.Struct, frozen=True, dict=True):  # a dict for what is cached
    """A compiled column: a tree whose leaves are scalars. `parts` are a struct's fields, or the one
    element.

    `path` are the keys that lead to its value in the JSON, from the record or from the struct that
    it is a field of. `dotted` says that the contract has them as `a.b`; `of_message`, that they
    begin at the key or the headers of the Kafka message. A `hidden` struct is no column, only on
    the way to some; `shape` is the type of a struct that has such parts (`handler.validate.wire`).
    """

    name: str
    path: tuple[str, ...]
    type: str
    required: bool = False
    default: Scalar | None = None
    form: Form = USUAL
    rules: Rules = NO_RULES
    parts: tuple["Column", ...] = ()
    derived: Derived | None = None
    description: str | None = None
    dotted: bool = False
    of_message: bool = False
    hidden: bool = False
    shape: DataType | None = None

    @property
    def source(self) -> str:
        """Return the field of the JSON that has the value, or that is on the way to it."""
        return self.path[0]

    @cached_property
    def data_type(self) -> DataType:
        """Return the column's Delta type."""
        if self.shape is not None:
            return self.shape
        match self.type:
            case "struct":
                return Struct(tuple(part.as_field() for part in self.parts))
            case "array":
                return Array(self.parts[0].data_type)
            case "map":
                return Map(self.parts[0].data_type)
            case "json":
                return Primitive("string")
        return Primitive(self.type)

    @cached_property
    def arrow_type(self) -> pa.DataType:
        """Return the Arrow type of the column in the table."""
        return to_arrow(self.data_type)

    def as_field(self) -> Field:
        """Return the column as a field of a Delta schema. All are nullable: decision 0005."""
        metadata = {"comment": self.description} if self.description else {}
        if inside := _json_inside(self):
            metadata[SILT_TYPE] = inside
        return Field(self.name, self.data_type, True, metadata)


def _json_inside(column: Column) -> str:
    """Return where in a column, without structs, there is JSON text: `json`, or `array<json>`."""
    if column.type in ("array", "map"):
        inside = _json_inside(column.parts[0])
        return inside and f"{column.type}<{inside}>"
    return column.type if column.type == "json" else ""


def broken_rule(type_name: str, rules: Rules, order: Any) -> tuple[str, str] | None:
    """Return the key and the message of the first rule that a scalar breaks, or None."""

    def message(text: str, bound: Any) -> str:
        return f"it {text} {_bound_text(type_name, bound)}"

    if rules.minimum is not None and order < rules.minimum:
        return "minimum", message("is less than the minimum", rules.minimum)
    if rules.maximum is not None and order > rules.maximum:
        return "maximum", message("is more than the maximum", rules.maximum)
    if rules.exclusive_minimum is not None and order <= rules.exclusive_minimum:
        return "exclusive_minimum", message("must be greater than", rules.exclusive_minimum)
    if rules.exclusive_maximum is not None and order >= rules.exclusive_maximum:
        return "exclusive_maximum", message("must be less than", rules.exclusive_maximum)
    if rules.allowed is not None and order not in rules.allowed:
        return "enum", "it is not one of the allowed values"
    if (broken := broken_length(rules, order)) is not None:
        return broken
    if rules.pattern is not None and not matches(rules.pattern, order):
        return "pattern", f"it does not match the pattern {rules.pattern}"
    return None


def _bound_text(type_name: str, bound: Any) -> str:
    """Return a bound as text: a timestamp in ISO 8601, UTC, not as the microseconds it is."""
    if isinstance(bound, Decimal):
        return f"{bound:f}"
    if type_name not in ("timestamp", "timestamp_ntz"):
        return str(bound)
    return format_time(type_name, bound)


def broken_length(rules: Rules, value: Any) -> tuple[str, str] | None:
    """Return the key and the message of the length rule that a value breaks, or None."""
    if rules.min_length is not None and len(value) < rules.min_length:
        return "min_length", f"its length is less than {rules.min_length}"
    if rules.max_length is not None and len(value) > rules.max_length:
        return "max_length", f"its length is more than {rules.max_length}"
    return None
