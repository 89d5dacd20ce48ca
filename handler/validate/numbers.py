"""Numbers as they were written, where the parser's number may be another one.

orjson reads a fraction into a double, an integer beyond 64 bits too, and `-0` into 0. A decimal
column needs the text, and a double column must know whether it was an integer, so a second pass
reads the texts of these columns alone.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import msgspec

from handler.contract.compiled import Column
from handler.contract.values import Refused, read_scalar
from handler.errors import RejectCode
from handler.validate.scalars import Step

_NEGATIVE_ZERO = re.compile(rb"-0[ \t\r\n,\]}]")
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_FLOATING = ("double", "float")


class Inexact(Exception):
    """A double cannot hold an integer of the record; `steps` lead to it from the record."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.steps: tuple[Step, ...] = ()
        self.code: RejectCode = refused.code
        self.message = refused.message


def holding(columns: Sequence[Column], accepts: Callable[[str], bool]) -> tuple[Column, ...]:
    """Return the columns that are or hold a scalar of a wanted type, without their other parts."""
    kept = []
    for column in columns:
        if column.parts:
            parts = holding(column.parts, accepts)
            if parts:
                kept.append(replace(column, parts=parts))
        elif accepts(column.type):
            kept.append(column)
    return tuple(kept)


class Decimals:
    """Replaces the numbers of decimal columns by their texts."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = holding(columns, lambda type_: type_.startswith("decimal"))
        self._decoder: Any = None
        if self._columns:
            # Untyped, so that `float_hook` is given each number's text; other fields are skipped.
            self._decoder = msgspec.json.Decoder(_typed_dict(self._columns), float_hook=str)

    def __bool__(self) -> bool:
        return bool(self._columns)

    def write_out(self, record: dict[str, Any], payload: bytes) -> None:
        """Put the text of each decimal into a parsed record, in place of its number."""
        _replace(record, self._decoder.decode(payload), self._columns, _text_of)


def _typed_dict(columns: Sequence[Column]) -> Any:
    fields: dict[str, Any] = {column.source: _type(column) for column in columns}
    return TypedDict("Decimals", fields, total=False)  # type: ignore[operator] # made at run time


def _type(column: Column) -> Any:
    match column.type:
        case "struct":
            return _typed_dict(column.parts) | None
        case "array":
            return list[_type(column.parts[0])] | None  # type: ignore[misc] # made at run time
        case "map":
            return dict[str, _type(column.parts[0])] | None  # type: ignore[misc] # as above
    return Any


def _text_of(_column: Column, _value: Any, written: Any) -> Any:
    return written if isinstance(written, str) else str(written)


class Doubles:
    """Finds the integers of double columns that a double cannot hold, and keeps the sign of -0."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = holding(columns, lambda type_: type_ in _FLOATING)

    def __bool__(self) -> bool:
        return bool(self._columns)

    def restore_signs(self, records: Sequence[dict[str, Any]], payloads: Sequence[bytes]) -> None:
        """Put -0.0 where a double was written as `-0`."""
        text = b" ".join(payloads)
        if b"-0" not in text or not _NEGATIVE_ZERO.search(text):
            return
        for record, payload in zip(records, payloads, strict=True):
            if _NEGATIVE_ZERO.search(payload):
                written = json.loads(payload, parse_int=_parse_signed)
                _replace(record, written, self._columns, _signed)

    def check_text(self, record: dict[str, Any], payload: bytes) -> None:
        """Look for integers beyond 64 bits, which are doubles already. Raises Inexact."""
        if _LONG_INTEGER.search(payload):
            _replace(record, json.loads(payload), self._columns, _exact)

    def convert_integers(self, record: dict[str, Any]) -> None:
        """Make the integers of double columns doubles, which Arrow does up to 2^53 alone.

        Raises Inexact.
        """
        _replace(record, record, self._columns, _exact)


def _parse_signed(text: str) -> int | float:
    return -0.0 if text == "-0" else int(text)


def _signed(_column: Column, value: Any, written: Any) -> Any:
    return written if value == 0 and isinstance(written, float) else value


def _exact(column: Column, value: Any, written: Any) -> Any:
    """Return a value as a double; `written` is an int of any size where the JSON has an integer."""
    if type(written) is not int:
        return value
    number = float(value)
    if column.type == "double" and int(number) == written:
        return number
    try:
        return read_scalar(column.type, None, written).wire
    except Refused as refused:
        raise Inexact(refused) from refused


_Replacement = Callable[[Column, Any, Any], Any]


def _replace(
    record: dict[str, Any],
    written: Mapping[str, Any],
    columns: Sequence[Column],
    replacement: _Replacement,
) -> None:
    """Replace the scalars of these columns in a record, by what was written for each."""
    for column in columns:
        name = column.source
        value = record.get(name)
        if value is not None:
            try:
                record[name] = _replaced(value, written[name], column, replacement)
            except Inexact as inexact:
                inexact.steps = (name, *inexact.steps)
                raise


def _replaced(value: Any, written: Any, column: Column, replacement: _Replacement) -> Any:
    match column.type:
        case "struct":
            _replace(value, written, column.parts, replacement)
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
    replacement: _Replacement,
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
    except Inexact as inexact:
        inexact.steps = (key, *inexact.steps)
        raise
