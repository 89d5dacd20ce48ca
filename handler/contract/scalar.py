"""What a single JSON value is, before and after it was read as a scalar of a Delta type."""

from typing import Any

import msgspec

from handler.errors import RejectCode

TIMESTAMP_MIN_US = -62_135_596_800_000_000
"""0001-01-01T00:00:00Z in microseconds since 1970."""
TIMESTAMP_MAX_US = 253_402_300_799_999_999
"""9999-12-31T23:59:59.999999Z in microseconds since 1970."""
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
DIGITS_MAX = 400
"""A decimal is written in so many characters at most."""


class Literal(msgspec.Struct, frozen=True):
    """A JSON number that is no integer of 64 bits, as it was written."""

    text: str

    @property
    def is_integer(self) -> bool:
        """Return whether it was written without a fraction and an exponent."""
        return self.text.lstrip("-").isdigit()


NEGATIVE_ZERO = Literal("-0")
"""An integer that is 0, and a double that is -0.0."""


class Scalar(msgspec.Struct, frozen=True):
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


def wrong_type(expected: str, value: Any) -> Refused:
    """Return the refusal of a value that is of another kind than expected."""
    return Refused(
        RejectCode.WRONG_TYPE,
        f"expected {expected}, got {kind_of(value)}. Silt never casts; change the producer or the "
        "column's type",
    )
