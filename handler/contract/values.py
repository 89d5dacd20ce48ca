"""What JSON a scalar type accepts, decided for one value at a time.

This is the reference: `columns` does the same for whole columns where it can, and a property test
holds the two together. A value of the record never is in a message.
"""

import binascii
import re
import struct
from datetime import date, datetime
from decimal import Decimal
from math import isinf
from typing import Any

from handler.contract.form import DAYS, ISO8601, Form, as_usual, read_epoch
from handler.contract.scalar import (
    DIGITS_MAX,
    NEGATIVE_ZERO,
    TIMESTAMP_MAX_US,
    TIMESTAMP_MIN_US,
    Literal,
    Refused,
    Scalar,
    wrong_type,
)
from handler.contract.time_text import COMPACT_DATE, format_time, parse_day, parse_time, utc_day
from handler.delta.types import INTEGER_BITS, parse_decimal
from handler.errors import RejectCode

_EPOCH = datetime(1970, 1, 1)
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DECIMAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?")
DATE_MIN, DATE_MAX = -719_162, 2_932_896
"""The days from 1970 to 0001-01-01 and to 9999-12-31."""

_AS_TEXT = {"date": "a date as a string", "binary": "bytes as a base64 string"}


def read_scalar(type_name: str, form: Form, value: Any) -> Scalar:
    """Read one JSON value as a scalar of a type.

    Numbers with a fraction or an exponent come as `Literal`, integers as `int` of any size. `form`
    is what the contract says of the values' form. Raises Refused.
    """
    if type_name in INTEGER_BITS:
        return _read_integer(type_name, as_usual("integer", form, value) if form.accept else value)
    if type_name in ("double", "float"):
        return _read_floating(type_name, as_usual("number", form, value) if form.accept else value)
    if type_name in ("timestamp", "timestamp_ntz"):
        return _read_timestamp(type_name, form, value)
    if (decimal := parse_decimal(type_name)) is not None:
        return _read_decimal(*decimal, value)
    if type_name == "boolean":
        value = as_usual("boolean", form, value) if form.accept else value
        if not isinstance(value, bool):
            raise wrong_type("true or false", value)
        return Scalar(value, value)
    if type_name == "date":
        return _read_date(form, value)
    if type_name == "string" and form.accept:
        value = as_usual("string", form, value)
    if not isinstance(value, str):
        raise wrong_type(_AS_TEXT.get(type_name, "a string"), value)
    if type_name == "binary":
        return _read_binary(value)
    return Scalar(value, value)


def _read_integer(type_name: str, value: Any) -> Scalar:
    if value == NEGATIVE_ZERO:
        value = 0
    beyond = isinstance(value, Literal) and value.is_integer
    if not beyond and (isinstance(value, bool) or not isinstance(value, int)):
        raise wrong_type("an integer", value)
    limit = 1 << (INTEGER_BITS[type_name] - 1)
    if beyond or not -limit <= value < limit:
        raise Refused(RejectCode.OUT_OF_RANGE, f"the integer does not fit in a {type_name}")
    return Scalar(value, value)


def _read_floating(type_name: str, value: Any) -> Scalar:
    if isinstance(value, bool) or not isinstance(value, (int, float, Literal)):
        raise wrong_type("a number", value)
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
        raise wrong_type("a decimal as a number or a string", value)
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


def _read_date(form: Form, value: Any) -> Scalar:
    if form.unit == DAYS:
        value = 0 if value == NEGATIVE_ZERO else value
        beyond = isinstance(value, Literal) and value.is_integer
        if not beyond and (isinstance(value, bool) or not isinstance(value, int)):
            raise wrong_type("a date as days since 1970", value)
        if beyond or not DATE_MIN <= value <= DATE_MAX:
            raise Refused(RejectCode.OUT_OF_RANGE, "the date is outside the years 1 to 9999")
        return Scalar(value, date.fromordinal(_EPOCH.toordinal() + value))
    if not isinstance(value, str):
        raise wrong_type("a date as a string", value)
    day = _parse_date(form, value)
    return Scalar(day.isoformat(), day)


def _parse_date(form: Form, text: str) -> date:
    if form.pattern is not None:
        return parse_day(form, text)
    if form.format == ISO8601:
        text = re.sub(*COMPACT_DATE, text)
    if (match := _DATE.fullmatch(text)) is not None:
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:
            pass
    elif "timestamp" in form.accept:
        try:
            moment = parse_time("timestamp", form, text)
        except Refused as refused:
            raise Refused(RejectCode.BAD_DATE, refused.message) from None
        return utc_day(moment)
    raise Refused(RejectCode.BAD_DATE, "expected a date such as 2026-05-01")


def _read_binary(value: str) -> Scalar:
    try:
        decoded = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        decoded = None
    if decoded is None or binascii.b2a_base64(decoded, newline=False).decode() != value:
        raise Refused(RejectCode.BAD_BINARY, "expected standard base64 with its padding")
    return Scalar(value, decoded)


def _read_timestamp(type_name: str, form: Form, value: Any) -> Scalar:
    if form.unit is not None:
        microseconds = read_epoch(form, value)
        wire: Any = microseconds
    else:
        if not isinstance(value, str):
            if isinstance(value, int) and not isinstance(value, bool):
                raise Refused(
                    RejectCode.WRONG_TYPE,
                    "expected a timestamp as a string, got an integer. If it counts from 1970, "
                    "add `unit` to the contract: s, ms, us or ns",
                )
            raise wrong_type("a timestamp as a string", value)
        microseconds = parse_time(type_name, form, value)
        wire = format_time(type_name, _clamp(microseconds), "microseconds")
    if not TIMESTAMP_MIN_US <= microseconds <= TIMESTAMP_MAX_US:
        raise Refused(RejectCode.OUT_OF_RANGE, "the timestamp is outside the years 1 to 9999 (UTC)")
    return Scalar(wire, microseconds)


def _clamp(microseconds: int) -> int:
    return max(TIMESTAMP_MIN_US, min(TIMESTAMP_MAX_US, microseconds))
