"""Bounds of values as a file's statistics have them: exact, or cut on the safe side."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import orjson

STRING_PREFIX = 32
"""Strings in statistics are cut to so many characters."""
STRING_BOUND_MAX = 4096
"""An upper bound that cannot be cut, for it begins with the last of all characters, is left out
above so many characters."""


def lower_bound(value: Any) -> Any:
    """Return a value for `minValues` that is not above the given one; None for no bound."""
    return value[:STRING_PREFIX] if isinstance(value, str) else _bound(value)


def upper_bound(value: Any) -> Any:
    """Return a value for `maxValues` that is not below the given one; None for no bound."""
    if isinstance(value, str) and len(value) > STRING_PREFIX:
        return _successor(value[:STRING_PREFIX]) or _whole(value)
    return _bound(value)


def _whole(value: str) -> str | None:
    return value if len(value) <= STRING_BOUND_MAX else None


def _bound(value: Any) -> Any:
    """Return a value as it is written into statistics, exactly; None for bytes, which have none."""
    match value:
        case bytes():
            return None
        case datetime():
            zone = "Z" if value.tzinfo is not None else ""
            return value.replace(tzinfo=None).isoformat(timespec="microseconds") + zone
        case date():
            return value.isoformat()
    return value


def _successor(prefix: str) -> str | None:
    """Return the least short string that is above every string with this prefix, by code points."""
    for end in range(len(prefix), 0, -1):
        point = ord(prefix[end - 1])
        if point < 0x10FFFF:
            following = 0xE000 if point == 0xD7FF else point + 1  # no surrogates
            return prefix[: end - 1] + chr(following)
    return None


def _decimal(value: Any) -> orjson.Fragment:
    assert isinstance(value, Decimal)
    return orjson.Fragment(f"{value:f}")
