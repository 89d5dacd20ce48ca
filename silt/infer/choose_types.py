"""From what was seen to columns: the narrowest types that take all of it, and are safe for more."""

import re
from typing import Any

from silt.infer.column_names import Names, is_readable
from silt.infer.inferred import Inferred
from silt.infer.name_hints import AMOUNT_NAME, DATA_NAME, SPAN_NAME, TIME_NAME, VERSION_NAME
from silt.infer.observe import Observation
from silt.infer.text_formats import (
    AMBIGUOUS,
    BINARY,
    DECIMAL,
    FINE,
    TEXT_FORMATS,
    UUID,
)
from silt.infer.write_contract import inline

REQUIRED_MIN = 20
"""A column that was never missing in so many records is required."""
ENUM_MAX, ENUM_MIN_RECORDS = 10, 200
DEPTH_MAX = 10
"""What lies deeper is kept as JSON."""
COLUMNS_MAX = 500
"""An object with more fields is kept as JSON."""
KEYS_MIN = 40
"""Of so many keys and more, most of which are rare, the keys are data."""
ENUM_NOTE = "no other values were seen: enum"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")
SCALE_MAX = 12
"""Of more digits behind the point nobody knows how many there will be."""
_KEY_OF_DATA = re.compile(
    r"[0-9]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]{4}-[0-9]{2}-[0-9]{2}.*"
    r"|[0-9a-f]{16,}|[^@\s]+@[^@\s]+\.[^@\s]+|https?://.*"
)
_EPOCHS = (
    ("s", 10**9, 4 * 10**9),
    ("ms", 10**12, 4 * 10**12),
    ("us", 10**15, 4 * 10**15),
    ("ns", 10**18, 4 * 10**18),
)
"""Units with the numbers that they have from 2001 to 2096."""


_EMPTY_TEXT = {"type": "string", "max_length": 0}


def choose_columns(
    seen: Observation, records: int, item_width: int = COLUMNS_MAX
) -> tuple[dict[str, Inferred], list[str]]:
    """Return the columns of records by name, and the fields that no column can read.

    Structs in arrays that have more than `item_width` values are kept as JSON.
    """
    columns, unreadable = _fields_of(seen, records, 1)
    for column in columns.values():
        _narrow(column, item_width)
    return columns, unreadable


def _narrow(column: Inferred, width: int) -> int:
    """Make JSON of the items of arrays and maps that are too wide. Returns the column's values."""
    if column.fields is not None:
        return sum(_narrow(part, width) for part in column.fields.values())
    if column.inner is not None:
        if _narrow(column.inner, width) > width:
            column.keys = {**column.keys, "type": "json"}
            column.inner = None
            column.notes.insert(0, "its items have too many fields for columns")
        return 1
    return 1


def _fields_of(
    seen: Observation, records: int, depth: int
) -> tuple[dict[str, Inferred], list[str]]:
    names = Names(top=depth == 1)
    result: dict[str, Inferred] = {}
    unreadable = []
    for key, inner in seen.fields.items():
        if not is_readable(key):
            unreadable.append(key)
            continue
        name = names.name_of(key)
        column = _choose(inner, key, depth)
        keys: dict[str, Any] = {"type": column.keys.pop("type")}
        if name != key:
            keys["source"] = [key]
        keys |= column.keys
        if inner.values == records and records >= REQUIRED_MIN:
            keys["required"] = True
        column.keys = keys
        result[name] = column
    return result, unreadable


def _choose(seen: Observation, key: str, depth: int) -> Inferred:
    kinds = {kind for kind, count in seen.kinds.items() if count and kind != "null"}
    if not kinds:
        return Inferred({"type": "json"}, notes=["only null was seen"], placeholder=_EMPTY_TEXT)
    if kinds == {"object"}:
        return _choose_object(seen, depth)
    if kinds == {"array"}:
        return _choose_array(seen, key, depth)
    if kinds == {"boolean"}:
        return Inferred({"type": "boolean"})
    if kinds == {"string"}:
        return _choose_text(seen, key)
    if kinds <= {"integer", "float"}:
        return _choose_number(seen, key, kinds)
    if "string" in kinds and kinds <= {"integer", "float", "string"} and not seen.large:
        if "integer" in seen.formats and "float" not in kinds:
            notes = ["numbers, also as strings"]
            return Inferred({"type": "long", "accept": ["string"]}, notes=notes)
        if DECIMAL in seen.formats and (found := _decimal(seen)) is not None:
            found.notes.append("numbers, also as strings")
            return found
    return Inferred({"type": "json"}, notes=["values are " + _listed(sorted(kinds))])


def _listed(kinds: list[str]) -> str:
    plural = {
        "boolean": "booleans",
        "float": "fractions",
        "integer": "integers",
        "string": "strings",
        "object": "objects",
        "array": "arrays",
    }
    words = [plural[kind] for kind in kinds]
    return ", ".join(words[:-1]) + f" and {words[-1]}"


def _choose_object(seen: Observation, depth: int) -> Inferred:
    if not seen.fields:
        keys = {"type": "map", "max_length": 0}
        return Inferred({"type": "json"}, notes=["only empty objects were seen"], placeholder=keys)
    if _has_data_as_keys(seen):
        merged = seen.merged_fields()
        inner = _choose(merged, "", depth + 1)
        inner.keys.pop("required", None)
        if depth < DEPTH_MAX and not _is_wide(inner):
            return Inferred({"type": "map"}, inner=inner, notes=["its keys are data"])
        return Inferred({"type": "json"}, notes=["its keys are data"])
    if depth >= DEPTH_MAX or len(seen.fields) > COLUMNS_MAX:
        what = "deep" if depth >= DEPTH_MAX else "wide"
        return Inferred({"type": "json"}, notes=[f"it is too {what} for columns"])
    fields, unreadable = _fields_of(seen, seen.kinds["object"], depth + 1)
    if unreadable or not fields:
        return Inferred({"type": "json"}, notes=["it has keys that no column can read"])
    return Inferred({"type": "struct"}, fields=fields)


def _is_wide(column: Inferred) -> bool:
    return len(column.fields or {}) > COLUMNS_MAX


def _has_data_as_keys(seen: Observation) -> bool:
    """Return whether the keys of objects are data, such as ids, and no names of fields."""
    if seen.rest is not None:
        return True
    keys = list(seen.fields)
    if all(map(_KEY_OF_DATA.fullmatch, keys)):
        return True
    rare = sum(1 for f in seen.fields.values() if f.kinds.total() * 5 < seen.kinds["object"])
    return len(keys) >= KEYS_MIN and rare * 10 >= 9 * len(keys)


def _choose_array(seen: Observation, key: str, depth: int) -> Inferred:
    if seen.items is None:
        keys = {"type": "array", "max_length": 0}
        return Inferred({"type": "json"}, notes=["only empty arrays were seen"], placeholder=keys)
    if depth >= DEPTH_MAX:
        return Inferred({"type": "json"}, notes=["it is too deep for columns"])
    inner = _choose(seen.items, key, depth + 1)
    if inner.type == "json" and inner.notes and inner.notes[0].startswith("values are"):
        return Inferred({"type": "json"}, notes=[f"its {inner.notes[0]}"])
    return Inferred({"type": "array"}, inner=inner)


def _choose_number(seen: Observation, key: str, kinds: set[str]) -> Inferred:
    if seen.large:
        return Inferred({"type": "json"}, notes=["integers beyond 64 bits"])
    assert seen.least is not None
    assert seen.most is not None
    if kinds == {"integer"}:
        for unit, low, high in _EPOCHS:
            if low <= seen.least and seen.most <= high:
                named = TIME_NAME.search(key) and not SPAN_NAME.search(key)
                if named and unit != "ns" and "nanos" not in key.lower():
                    return Inferred({"type": "timestamp", "unit": unit})
                note = f"maybe a timestamp: {{type: timestamp, unit: {unit}}}"
                return Inferred({"type": "long"}, notes=[note])
        return Inferred({"type": "long"})
    if seen.inexact:
        return Inferred({"type": "json"}, notes=["numbers that a double does not hold exactly"])
    return Inferred({"type": "double"})


def _choose_text(seen: Observation, key: str) -> Inferred:
    formats = seen.formats
    if seen.longest == 0:
        notes = ["only empty strings were seen"]
        return Inferred({"type": "string"}, notes=notes, placeholder=_EMPTY_TEXT)
    if any(formats.issuperset(pair) for pair in AMBIGUOUS):
        note = "dates, of which nobody can tell the day from the month"
        return Inferred({"type": "string"}, notes=[note])
    for name, form in TEXT_FORMATS.items():
        if name in formats and name == "boolean" and not _has_both(seen):
            return Inferred({"type": "string"}, notes=["maybe {type: boolean, accept: [string]}"])
        if name in formats and name != "integer":
            return Inferred({"type": form.type, **form.keys})
    if FINE in formats:
        note = "finer than microseconds: {type: timestamp, format: iso8601, fraction: truncate}"
        return Inferred({"type": "string"}, notes=[f"{note} would cut them"])
    if DECIMAL in formats and _is_amount(seen, key):
        found = _decimal(seen)
        if found is not None:
            return found
    if BINARY in formats and seen.padded and DATA_NAME.search(key):
        return Inferred({"type": "binary"}, notes=["base64"])
    if UUID in formats:
        return Inferred({"type": "string"}, notes=["UUIDs"])
    maybe = ["maybe base64: {type: binary}"] if BINARY in formats else []
    return Inferred({"type": "string"}, notes=[*maybe, *_enum_note(seen)])


def _has_both(seen: Observation) -> bool:
    """Return whether both true and false were seen as texts."""
    words = {value.lower() for value in seen.distinct or () if isinstance(value, str)}
    return {"true", "false"} <= words


def _is_amount(seen: Observation, key: str) -> bool:
    """Return whether texts of digits are decimals, not versions: as a number 1.10 would be 1.1."""
    if not seen.scale or VERSION_NAME.search(key):
        return False
    alike = len(seen.scales - {0}) == 1 and seen.scale >= 2
    return alike or AMOUNT_NAME.search(key) is not None


def _decimal(seen: Observation) -> Inferred | None:
    """Return a decimal with room for more digits, None where 38 are too few."""
    alike = len(seen.scales - {0}) <= 1 and seen.scale == 2
    scale = seen.scale if alike else max(seen.scale + 2, 4)
    if seen.digits + scale > 38 or seen.scale > SCALE_MAX:
        return None
    precision = 18 if seen.digits + 4 + scale <= 18 else 38
    return Inferred({"type": f"decimal({precision},{scale})"})


def _enum_note(seen: Observation) -> list[str]:
    """Suggest an enum of words such as `paid`: of names and other texts nothing is repeated."""
    distinct = seen.distinct
    if distinct is None or seen.values < ENUM_MIN_RECORDS or len(distinct) > ENUM_MAX:
        return []
    if min(distinct.values()) < 3 or len(distinct) < 2:
        return []
    if not all(map(_CODE.fullmatch, distinct)):
        return []
    return [f"{ENUM_NOTE}: {inline(sorted(distinct))}"]
