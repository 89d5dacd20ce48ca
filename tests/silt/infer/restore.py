"""What a record must have been, from its row: the judge of a round trip. Knows contracts, not how
they are inferred.
"""

import base64
import datetime as dt
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from handler.contract.compiled import Column
from handler.contract.form import UNIT_NS

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MISSING = object()


def differences(columns: Sequence[Column], record: Any, row: Any, path: str = "") -> list[str]:
    """Return the places where a row does not say what the record said."""
    found = []
    for column in columns:
        value = record
        for key in column.path:
            value = value.get(key) if isinstance(value, dict) else None
        if not same(column, value, row[column.name]):
            found.append(f"{path}{column.name}: {value!r} became {row[column.name]!r}")
    read = {column.path[0] for column in columns}
    found += [f"{path}{key} is in no column" for key in record if key not in read]
    return found


def same(column: Column, value: Any, stored: Any) -> bool:
    """Return whether a column stores what a value of the JSON said."""
    if value is None or stored is None:
        return value is None and stored is None
    match column.type:
        case "json":
            return same_json(json.loads(stored), value)
        case "struct":
            return not differences(column.parts, value, stored)
        case "array":
            return len(value) == len(stored) and all(
                same(column.parts[0], v, s) for v, s in zip(value, stored, strict=True)
            )
        case "map":
            pairs = dict(stored)
            return pairs.keys() == value.keys() and all(
                same(column.parts[0], v, pairs[k]) for k, v in value.items()
            )
        case "long" | "double" | "boolean" | "string":
            if isinstance(value, str) and not isinstance(stored, str):
                return same_json(json.loads(value.lower()), stored)
            return same_json(value, stored)
        case "binary":
            return base64.b64encode(stored).decode() == value
        case "date":
            return parse_time(column, value).date() == stored
        case "timestamp" | "timestamp_ntz":
            if column.form.unit is not None:
                stored_ns = (stored - EPOCH) // dt.timedelta(microseconds=1) * 1000
                return bool(Decimal(str(value)) * UNIT_NS[column.form.unit] == stored_ns)
            return parse_time(column, value) == stored
    assert column.type.startswith("decimal"), column.type
    return Decimal(str(value)) == stored


def same_json(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: 1 is neither 1.0 nor true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def parse_time(column: Column, text: str) -> dt.datetime:
    """Read a time by other code than that of the contract."""
    pattern = column.form.pattern
    if pattern is not None:
        moment = dt.datetime.strptime(text, pattern)
        if column.form.zone is not None:
            moment = moment.replace(tzinfo=dt.UTC)
    else:
        text = text.upper().replace(" ", "T", 1) if "T" not in text.upper() else text.upper()
        text = text.replace(",", ".").replace(" ", "")
        # Python's parser takes at most six digits, and rounds nothing: zeros are cut.
        while "." in text and (digits := text.split(".")[1]) and _digits(digits) > 6:
            text = text.replace(digits[: _digits(digits)], digits[:6])
        moment = dt.datetime.fromisoformat(text)
    if column.type == "timestamp" and moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment


def _digits(text: str) -> int:
    return len(text) - len(text.lstrip("0123456789"))
