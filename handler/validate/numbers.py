"""Doubles as they were written, where the parser's number may be another one.

orjson reads an integer beyond 64 bits into a double, and `-0` into 0.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from handler.contract.compiled import Column
from handler.contract.form import USUAL
from handler.contract.scalar import Refused
from handler.contract.values import read_scalar
from handler.delta import compute
from handler.validate.replace_values import ValueRefused, holding, replace_values

_NEGATIVE_ZERO = re.compile(rb"-0[ \t\r\n,\]}]")
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_FLOATING = ("double", "float")


class Doubles:
    """Finds the integers of double columns that a double cannot hold, and keeps the sign of -0."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = holding(columns, lambda column: column.type in _FLOATING)

    def restore_signs(
        self,
        wire: pa.Array | None,
        records: Sequence[dict[str, Any]],
        payloads: Sequence[bytes],
    ) -> bool:
        """Put -0.0 where a double was written as `-0`. Returns whether a record may have changed.

        `wire` is what was built of the records: without a zero in it there is nothing to look for.
        """
        if not self._columns or (wire is not None and not _has_zero_in(wire, self._columns)):
            return False
        changed = False
        for record, payload in zip(records, payloads, strict=True):
            if b"-0" in payload and _NEGATIVE_ZERO.search(payload):
                written = json.loads(payload, parse_int=_parse_signed)
                replace_values(record, written, self._columns, _signed)
                changed = True
        return changed

    def check_text(self, record: dict[str, Any], payload: bytes) -> None:
        """Look for integers beyond 64 bits, which are doubles already. Raises ValueRefused."""
        if _LONG_INTEGER.search(payload):
            replace_values(record, json.loads(payload), self._columns, _exact)

    def convert_integers(self, record: dict[str, Any]) -> None:
        """Make the integers of double columns doubles, which Arrow does up to 2^53 alone.

        Raises ValueRefused.
        """
        replace_values(record, record, self._columns, _exact)


def _has_zero_in(structs: pa.StructArray, columns: Sequence[Column]) -> bool:
    """Return whether any double of these columns is zero."""
    built = [(column, structs.type.get_field_index(column.source)) for column in columns]
    return any(_has_zero(structs.field(i), column) for column, i in built if i >= 0)


def _has_zero(array: pa.Array, column: Column) -> bool:
    match column.type:
        case "struct":
            return _has_zero_in(array, column.parts)
        case "array":
            return _has_zero(array.values, column.parts[0])
        case "map":
            return _has_zero(array.items, column.parts[0])
    if all(extreme > 0 for extreme in compute.extremes(array)):
        return False
    return bool(compute.any_(compute.equal(array, pa.scalar(0, array.type))).as_py())


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
        return read_scalar(column.type, USUAL, written).wire
    except Refused as refused:
        raise ValueRefused(refused) from refused
