"""Values as text that goes between two processes, and back: exact, with the type of each.

Only the standard library is imported: the readers' environment has its own versions of the rest.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

Type = Any
"""A type as it is in a Delta schema: a name, or an object."""


def to_text(value: Any, type_: Type) -> Any:
    """Return a value of Python as JSON that keeps every bit of it."""
    if value is None:
        return None
    if isinstance(type_, dict):
        return _nested_to_text(value, type_)
    if type_ == "boolean":
        assert isinstance(value, bool), value
        return value
    if type_ == "binary":
        return bytes(value).hex()
    if type_ == "date":
        assert not isinstance(value, dt.datetime), value
        return value.isoformat()
    if type_ == "timestamp":
        assert value.tzinfo is not None, "a timestamp without a zone"
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    if type_ == "timestamp_ntz":
        assert value.tzinfo is None, "a timestamp_ntz with a zone"
        return value.isoformat(timespec="microseconds")
    if type_.startswith("decimal"):
        assert isinstance(value, Decimal), value
        return f"{value:f}"
    if type_ in ("double", "float"):
        return repr(float(value))
    if type_ == "string":
        assert isinstance(value, str), value
        return value
    assert isinstance(value, int), value
    assert not isinstance(value, bool)
    return str(value)


def _nested_to_text(value: Any, type_: dict[str, Any]) -> Any:
    if type_["type"] == "array":
        return [to_text(item, type_["elementType"]) for item in value]
    if type_["type"] == "map":
        # Some readers have a map as a list of structs.
        pairs = [
            (item["key"], item["value"]) if isinstance(item, dict) else tuple(item)
            for item in (value.items() if isinstance(value, dict) else value)
        ]
        return [[k, to_text(v, type_["valueType"])] for k, v in pairs]
    assert set(value) == {f["name"] for f in type_["fields"]}, value
    return {f["name"]: to_text(value[f["name"]], f["type"]) for f in type_["fields"]}


def from_text(text: Any, type_: Type) -> Any:
    """Return the value of Python, of a type without parts."""
    if text is None or type_ in ("boolean", "string"):
        return text
    if type_ == "binary":
        return bytes.fromhex(text)
    if type_ == "date":
        return dt.date.fromisoformat(text)
    if type_ == "timestamp":
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    if type_ == "timestamp_ntz":
        return dt.datetime.fromisoformat(text)
    if type_.startswith("decimal"):
        return Decimal(text)
    return float(text) if type_ in ("double", "float") else int(text)
