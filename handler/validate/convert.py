"""Values in another form than the usual one of their column, as the contract names them.

Each is read by the reference, `read_scalar`. Decimals, JSON text and numbers that become strings
need the text of the record once more: a second pass reads these columns alone. (Timestamps and
dates as text are read as whole columns, by `time_columns`.)
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import msgspec
from msgspec.structs import replace

from handler.contract.compiled import Column
from handler.contract.form import USUAL, Form
from handler.contract.scalar import Literal, Refused
from handler.contract.values import read_scalar
from handler.delta.types import INTEGER_BITS
from handler.validate.replace_values import ValueRefused, holding, replace_values


class Conversions:
    """Makes the values of a contract's columns what `built_columns` expect."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = holding(columns, is_converted)
        written = holding(columns, _needs_text)
        self._decoder: Any = None
        if written:
            # `float_hook` is given the text of each number that an `Any` is; other fields are
            # skipped.
            self._decoder = msgspec.json.Decoder(_typed_dict(self._columns), float_hook=Literal)

    def __bool__(self) -> bool:
        return bool(self._columns)

    def apply(self, record: dict[str, Any], payload: bytes) -> None:
        """Convert the values of a record, whose kinds are right, in place. Raises ValueRefused."""
        written: Mapping[str, Any] = record
        if self._decoder is not None:
            try:
                written = self._decoder.decode(payload)
            except msgspec.ValidationError:  # of a record whose wrong values were rescued
                whole = Column("", ("",), "struct", parts=self._columns)
                written = _decode_each(msgspec.Raw(payload), whole)
        replace_values(record, written, self._columns, _converted)


def is_converted(column: Column) -> bool:
    """Return whether values of a scalar column may need a conversion of their own."""
    if column.type in ("timestamp", "timestamp_ntz", "date"):
        return column.form.unit is not None and bool(column.form.accept)
    return column.type == "json" or column.type.startswith("decimal") or bool(column.form.accept)


def always_converts(column: Column) -> bool:
    """Return whether a column's values need the conversion also in their usual form."""
    return column.type == "json" or (column.form.unit is not None and bool(column.form.accept))


def built_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns that are built from converted values: these are in the usual form, epochs
    are microseconds.
    """
    return tuple(_built(column) for column in columns)


def _built(column: Column) -> Column:
    if column.parts:
        return replace(column, parts=built_columns(column.parts))
    if not is_converted(column):
        return column
    form = Form(unit="us") if column.form.unit is not None else USUAL
    return replace(column, form=form)


def _needs_text(column: Column) -> bool:
    """Return whether the parser's values do not say enough."""
    accept = column.form.accept
    return (
        column.type == "json"
        or column.type.startswith("decimal")
        or not {"number", "integral", "float"}.isdisjoint(accept)
    )


def _typed_dict(columns: Sequence[Column]) -> Any:
    fields: dict[str, Any] = {column.source: _type(column) for column in columns}
    return TypedDict("Converted", fields, total=False)  # type: ignore[operator] # made at run time


def _decode_each(raw: Any, column: Column) -> Any:
    """Decode a value part by part; what is of another kind than its column is None."""
    parts: Any
    try:
        match column.type:
            case "struct":
                parts = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
                known = [part for part in column.parts if part.source in parts]
                return {part.source: _decode_each(parts[part.source], part) for part in known}
            case "array":
                parts = msgspec.json.decode(raw, type=list[msgspec.Raw])
                return [_decode_each(part, column.parts[0]) for part in parts]
            case "map":
                parts = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
                return {key: _decode_each(part, column.parts[0]) for key, part in parts.items()}
            case "json" | "string":
                return raw
    except msgspec.ValidationError:
        return None
    return msgspec.json.Decoder(float_hook=Literal).decode(raw)


def _type(column: Column) -> Any:
    match column.type:
        case "struct":
            return _typed_dict(column.parts) | None
        case "array":
            return list[_type(column.parts[0])] | None  # type: ignore[misc] # made at run time
        case "map":
            return dict[str, _type(column.parts[0])] | None  # type: ignore[misc] # as above
        case "json" | "string":
            return msgspec.Raw
    return Any


def _converted(column: Column, value: Any, written: Any) -> Any:
    """Return a value in the form that its column is built from."""
    kind = type(value)
    if kind is _USUAL_KINDS.get(column.type):
        return value
    if isinstance(written, msgspec.Raw):
        written = bytes(written).decode()
        if column.type == "json":
            return written
        written = value if kind is bool else Literal(written)
    if column.type.startswith("decimal"):
        # The whole column is read, and what is wrong found, later.
        return written.text if isinstance(written, Literal) else str(written)
    try:
        scalar = read_scalar(column.type, column.form, written)
    except Refused as refused:
        raise ValueRefused(refused) from refused
    return scalar.order if column.form.unit is not None else scalar.wire


_USUAL_KINDS = {
    **dict.fromkeys(INTEGER_BITS, int),
    "double": float,
    "float": float,
    "boolean": bool,
    "string": str,
}
"""The kinds of JSON, as the parser returns them, that need no conversion."""
