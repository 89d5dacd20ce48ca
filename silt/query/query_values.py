"""Values of an answer as JSON and as text: exact, and readable."""

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import orjson


def as_json_value(value: Any) -> Any:
    """Return a value as JSON can say it. Decimals are strings, so that no digit is lost; bytes are
    their text, or `\\x` and hexadecimal digits; a float that JSON cannot say is its name.
    """
    if isinstance(value, dict):
        return {str(name): as_json_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json_value(each) for each in value]
    if isinstance(value, bytes):
        return _text_of(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dt.datetime):
        text = value.isoformat(sep="T")
        return text.replace("+00:00", "Z")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def as_text(value: Any) -> str | None:
    """Return a value as a cell of a table: nested ones as JSON."""
    plain = as_json_value(value)
    if plain is None or isinstance(plain, str):
        return plain
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, int | float):
        return str(plain)
    return orjson.dumps(plain).decode()


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"\\x{data.hex()}"
