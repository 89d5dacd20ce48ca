"""What JSON a scalar type accepts, decided for one value at a time.

This is the reference: `columns` does the same for whole columns where it can, and a property test
holds the two together. A value of the record never is in a message.
"""

import binascii
import re
import struct
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import isinf
from typing import Any

from handler.delta.types import INTEGER_BITS, parse_decimal
from handler.errors import RejectCode

TIMESTAMP_MIN_US = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z in microseconds since 1970."""
TIMESTAMP_MAX_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z in microseconds since 1970."""
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
UNIT_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Microseconds in one unit of an epoch timestamp."""

_EPOCH = datetime(1970, 1, 1)
DIGITS_MAX = 400
"""A decimal is written in so many characters at most."""
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_DECIMAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON number that is no integer of 64 bits, as it was written."""

    text: str

    @property
    def is_integer(self) -> bool:
        """Return whether it was written without a fraction and an exponent."""
        return self.text.lstrip("-").isdigit()


NEGATIVE_ZERO = Literal("-0")
"""An integer that is 0, and a double that is -0.0."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value that was accepted.

    `wire` is what the Arrow column is built from (a string for dates, decimals and binary;
    microseconds or the contract's unit stay integers), `order` is what rules compare.
    """

    wire: Any
    order: Any


class Refused(Exception):
    """The value is none of the type."""

    def __init__(self, code: RejectCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def kind_of(value: Any) -> str:
    """Name the JSON kind of a value, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case Literal() if value.is_integer:
            return "an integer"
        case float() | Literal():
            return "a number with a fraction or an exponent"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


_AS_TEXT = {"date": "a date as a string", "binary": "bytes as a base64 string"}


def read_scalar(type_name: str, unit: str | None, value: Any) -> Scalar:
    """Read one JSON value as a scalar of a Delta type.

    Numbers with a fraction or an exponent come as `Literal`, integers as `int` of any size. `unit`
    is the contract's unit of epoch timestamps, or None. Raises Refused.
    """
    if type_name in INTEGER_BITS:
        return _read_integer(type_name, value)
    if type_name in ("double", "float"):
        return _read_floating(type_name, value)
    if type_name in ("timestamp", "timestamp_ntz"):
        return _read_timestamp(type_name, unit, value)
    if (decimal := parse_decimal(type_name)) is not None:
        return _read_decimal(*decimal, value)
    if type_name == "boolean":
        if not isinstance(value, bool):
            raise _wrong_type("true or false", value)
        return Scalar(value, value)
    if not isinstance(value, str):
        raise _wrong_type(_AS_TEXT.get(type_name, "a string"), value)
    if type_name == "date":
        return _read_date(value)
    if type_name == "binary":
        return _read_binary(value)
    return Scalar(value, value)


def _wrong_type(expected: str, value: Any) -> Refused:
    return Refused(
        RejectCode.WRONG_TYPE,
        f"expected {expected}, got {kind_of(value)}. Silt never casts; change the producer or the "
        "column's type",
    )


def _read_integer(type_name: str, value: Any) -> Scalar:
    if value == NEGATIVE_ZERO:
        value = 0
    beyond = isinstance(value, Literal) and value.is_integer
    if not beyond and (isinstance(value, bool) or not isinstance(value, int)):
        raise _wrong_type("an integer", value)
    limit = 1 << (INTEGER_BITS[type_name] - 1)
    if beyond or not -limit <= value < limit:
        raise Refused(RejectCode.OUT_OF_RANGE, f"the integer does not fit in a {type_name}")
    return Scalar(value, value)


def _read_floating(type_name: str, value: Any) -> Scalar:
    if isinstance(value, bool) or not isinstance(value, (int, float, Literal)):
        raise _wrong_type("a number", value)
    try:
        number = float(value.text) if isinstance(value, Literal) else float(value)
    except OverflowError:
        number = float("inf")
    if type_name == "float" and not isinf(number):
        try:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        except OverflowError:
            number = float("inf")
    if isinf(number):
        raise Refused(RejectCode.OUT_OF_RANGE, f"the number does not fit in a {type_name}")
    if isinstance(value, Literal) and value.is_integer:
        value = int(value.text)  # at most 309 digits here: more do not fit in a double
    if isinstance(value, int) and int(number) != value:
        raise Refused(RejectCode.INEXACT, f"a {type_name} cannot hold this integer exactly")
    return Scalar(number, number)


def _read_decimal(precision: int, scale: int, value: Any) -> Scalar:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Literal)):
        raise _wrong_type("a decimal as a number or a string", value)
    text = value.text if isinstance(value, Literal) else str(value)
    if len(text) > DIGITS_MAX or _DECIMAL.fullmatch(text) is None:
        raise Refused(RejectCode.BAD_DECIMAL, "expected a decimal such as 12.50")
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    significant = "".join(map(str, digits)).lstrip("0")
    stripped = significant.rstrip("0")
    if not stripped:
        return Scalar("0", Decimal(0))
    exponent += len(significant) - len(stripped)
    if -exponent > scale:
        raise Refused(
            RejectCode.BAD_DECIMAL,
            f"the number has more than {scale} digits after the point and Silt never rounds",
        )
    if len(stripped) + exponent > precision - scale:
        raise Refused(
            RejectCode.OUT_OF_RANGE, f"the number does not fit in decimal({precision},{scale})"
        )
    exact = Decimal((sign, tuple(map(int, stripped)), exponent))
    return Scalar(f"{exact:f}", exact)


def _read_date(value: str) -> Scalar:
    match = _DATE.fullmatch(value)
    try:
        if match is None:
            raise ValueError
        return Scalar(value, date(int(match[1]), int(match[2]), int(match[3])))
    except ValueError:
        raise Refused(RejectCode.BAD_DATE, "expected a date such as 2026-05-01") from None


def _read_binary(value: str) -> Scalar:
    try:
        decoded = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        decoded = None
    if decoded is None or binascii.b2a_base64(decoded, newline=False).decode() != value:
        raise Refused(RejectCode.BAD_BINARY, "expected standard base64 with its padding")
    return Scalar(value, decoded)


def _read_timestamp(type_name: str, unit: str | None, value: Any) -> Scalar:
    if unit is not None:
        if value == NEGATIVE_ZERO:
            value = 0
        if isinstance(value, Literal) and value.is_integer:
            raise Refused(RejectCode.OUT_OF_RANGE, "the timestamp does not fit in 64 bits")
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(f"an integer of {unit} since 1970", value)
        microseconds = value * UNIT_US[unit]
        wire: Any = value
    else:
        if not isinstance(value, str):
            if isinstance(value, int) and not isinstance(value, bool):
                raise Refused(
                    RejectCode.WRONG_TYPE,
                    "expected a timestamp as a string, got an integer. If it counts from 1970, "
                    "add `unit` to the contract: s, ms or us",
                )
            raise _wrong_type("a timestamp as a string", value)
        microseconds = _parse_timestamp(value, zoned=type_name == "timestamp")
        moment = _EPOCH + timedelta(microseconds=_clamp(microseconds))
        wire = moment.isoformat(timespec="microseconds") + ("Z" if type_name == "timestamp" else "")
    if not TIMESTAMP_MIN_US <= microseconds <= TIMESTAMP_MAX_US:
        raise Refused(RejectCode.OUT_OF_RANGE, "the timestamp is outside the years 1 to 9999 (UTC)")
    return Scalar(wire, microseconds)


def _clamp(microseconds: int) -> int:
    return max(TIMESTAMP_MIN_US, min(TIMESTAMP_MAX_US, microseconds))


def _parse_timestamp(text: str, *, zoned: bool) -> int:
    """Return microseconds since 1970, of UTC or, for timestamp_ntz, of its own calendar."""
    example = "2026-05-01T10:00:00Z" if zoned else "2026-05-01T10:00:00 (no offset)"
    match = _TIMESTAMP.fullmatch(text)
    if match is None or (match[6] is not None) is not zoned:
        raise Refused(RejectCode.BAD_TIMESTAMP, f"expected a timestamp such as {example}")
    fraction = (match[5] or "").rstrip("0")
    if len(fraction) > 6:
        raise Refused(
            RejectCode.BAD_TIMESTAMP,
            "the timestamp is finer than microseconds and Silt never rounds",
        )
    try:
        day = date.fromisoformat(match[1])
        moment = datetime(day.year, day.month, day.day, int(match[2]), int(match[3]), int(match[4]))
        offset_min = _offset_minutes(match[6])
    except ValueError:
        raise Refused(
            RejectCode.BAD_TIMESTAMP, "the timestamp has an invalid day, time or offset"
        ) from None
    whole = (moment - _EPOCH) // timedelta(microseconds=1)
    return whole + int(fraction.ljust(6, "0")) - offset_min * 60_000_000


def _offset_minutes(text: str | None) -> int:
    if text is None or text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    return (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)
