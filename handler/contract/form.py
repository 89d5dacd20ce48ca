"""The forms of a value that a column takes besides the usual one of its type, as the contract names
them.
"""

import re
from decimal import Decimal
from typing import Any

import msgspec

from handler.contract.scalar import (
    DIGITS_MAX,
    INT64_MAX,
    INT64_MIN,
    NEGATIVE_ZERO,
    Literal,
    Refused,
    wrong_type,
)
from handler.errors import RejectCode

UNIT_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
"""Nanoseconds in one unit of an epoch timestamp."""
DAYS = "days"
"""The unit of a date that counts from 1970."""
ISO8601 = "iso8601"
FINER = (
    "the timestamp is finer than microseconds and Silt never rounds; `fraction: truncate` in the "
    "contract drops the digits"
)

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,6})?")
"""A number as JSON writes it."""
_EXPONENT = re.compile(r"[eE][+-]?0*([0-9]+)\Z")
EXPONENT_DIGITS_MAX = 6
"""An exponent with more digits is of no number that a person means, and some Decimal refuses."""
_INTEGER_DIGITS_MAX = 20
"""More digits than any integer of 64 bits has, without its sign."""


class Form(msgspec.Struct, frozen=True):
    """What the contract says of a column's form.

    `unit` is that of an epoch timestamp or of a date as a number, `accept` are kinds of JSON,
    `format` is `iso8601` or a pattern in strptime's words, `zone` a time zone for values without an
    offset, `fold` which of two moments such a value means (`earlier` or `later`), `truncate` drops
    digits beyond microseconds.
    """

    unit: str | None = None
    accept: tuple[str, ...] = ()
    format: str | None = None
    zone: str | None = None
    fold: str | None = None
    truncate: bool = False

    @property
    def pattern(self) -> str | None:
        """Return the format in strptime's words, or None."""
        return None if self.format == ISO8601 else self.format


USUAL = Form()


def as_usual(kind: str, form: Form, value: Any) -> Any:
    """Return a value in the form that a column of a kind takes anyway, where the contract accepts
    the one it has. Any other value is returned as it is.

    `kind` is integer, number, boolean or string. Raises Refused.
    """
    if isinstance(value, float):
        value = Literal(repr(value))
    if kind == "string":
        return _as_text(form, value)
    if kind == "boolean":
        return _as_boolean(form, value)
    if isinstance(value, str) and "string" in form.accept:
        value = _read_number(value, kind)
    if kind == "integer" and isinstance(value, Literal) and "integral" in form.accept:
        return _as_integer(value)
    return value


def _as_text(form: Form, value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower() if "boolean" in form.accept else value
    if isinstance(value, int | Literal) and "number" in form.accept:
        return value.text if isinstance(value, Literal) else str(value)
    return value


def _as_boolean(form: Form, value: Any) -> Any:
    if isinstance(value, str) and "string" in form.accept:
        if value.lower() not in ("true", "false"):
            raise Refused(
                RejectCode.WRONG_TYPE, "expected true or false, or one of them as a string"
            )
        return value.lower() == "true"
    value = 0 if value == NEGATIVE_ZERO else value
    if isinstance(value, int) and not isinstance(value, bool) and "integer" in form.accept:
        if value not in (0, 1):
            raise Refused(RejectCode.WRONG_TYPE, "expected true or false, 0 or 1")
        return value == 1
    return value


def _read_number(text: str, kind: str) -> int | Literal:
    """Return the number that a text is, exactly as JSON would have it."""
    if len(text) > DIGITS_MAX or _NUMBER.fullmatch(text) is None:
        expected = "an integer" if kind == "integer" else "a number"
        raise Refused(
            RejectCode.WRONG_TYPE, f"expected {expected} in the string, written as in JSON"
        )
    digits = text.removeprefix("-")
    if digits.isdigit() and len(digits) <= _INTEGER_DIGITS_MAX and text != "-0":
        return int(text)
    return Literal(text)


def _as_integer(number: Literal) -> int | Literal:
    """Return a number without a fraction as an integer, exactly."""
    if number.is_integer:
        return number
    exact = _decimal(number)
    if not exact:
        return 0
    if exact.adjusted() > _INTEGER_DIGITS_MAX:
        raise Refused(RejectCode.OUT_OF_RANGE, "the number does not fit in 64 bits")
    if exact != exact.to_integral_value():
        raise Refused(RejectCode.WRONG_TYPE, "expected an integer, got a number with a fraction")
    return int(exact)


def _decimal(number: Literal) -> Decimal:
    if len(number.text) > DIGITS_MAX:
        message = f"the number has more than {DIGITS_MAX} characters"
        raise Refused(RejectCode.OUT_OF_RANGE, message)
    exponent = _EXPONENT.search(number.text)
    if exponent is not None and len(exponent[1]) > EXPONENT_DIGITS_MAX:
        raise Refused(RejectCode.OUT_OF_RANGE, "the number's exponent is beyond all measure")
    return Decimal(number.text)


def read_epoch(form: Form, value: Any) -> int:
    """Return the microseconds since 1970 of an epoch in the column's unit. Raises Refused."""
    assert form.unit is not None
    if isinstance(value, str) and "string" in form.accept:
        value = _read_number(value, "number")
    if isinstance(value, float):
        value = Literal(repr(value))
    if value == NEGATIVE_ZERO:
        value = 0
    if isinstance(value, Literal) and not value.is_integer and "float" in form.accept:
        return _microseconds(_decimal(value), form)
    if isinstance(value, Literal) and value.is_integer:
        raise Refused(RejectCode.OUT_OF_RANGE, "the timestamp does not fit in 64 bits")
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(f"an integer of {form.unit} since 1970", value)
    if not INT64_MIN <= value <= INT64_MAX:
        raise Refused(RejectCode.OUT_OF_RANGE, "the timestamp does not fit in 64 bits")
    return _microseconds(Decimal(value), form)


def _microseconds(number: Decimal, form: Form) -> int:
    """Scale a number of the unit exactly. Digits are dropped as they are written: towards 1970."""
    assert form.unit is not None
    if number and number.adjusted() > _INTEGER_DIGITS_MAX:
        raise Refused(RejectCode.OUT_OF_RANGE, "the timestamp is outside the years 1 to 9999 (UTC)")
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    whole = int("".join(map(str, digits))) * UNIT_NS[form.unit]
    # What is smaller than the lower bound is finer than microseconds, too; above is only zero.
    places: int = min(max(exponent - 3, -2 * DIGITS_MAX), DIGITS_MAX)
    power: int = 10 ** abs(places)
    whole, rest = (whole * power, 0) if places >= 0 else divmod(whole, power)
    if rest and not form.truncate:
        raise Refused(RejectCode.BAD_TIMESTAMP, FINER)
    return -whole if sign else whole
