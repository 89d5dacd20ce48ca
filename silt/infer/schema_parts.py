"""What readers of schemas share: columns of named fields, and rules by their names elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from handler.contract.patterns import PatternRefused, check_pattern
from silt.infer.column_names import Names, is_readable
from silt.infer.inferred import Inferred

Columns = dict[str, Inferred]
_BOUNDS = {
    "minimum": "minimum",
    "maximum": "maximum",
    "exclusiveMinimum": "exclusive_minimum",
    "exclusiveMaximum": "exclusive_maximum",
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_length",
    "maxItems": "max_length",
}


def named_columns(
    fields: Sequence[tuple[str, Any, bool, Any]], read: Callable[[Any], Inferred], *, top: bool
) -> Columns:
    """Return columns of fields: their names, schemas, whether they are required, and their
    descriptions.
    """
    names, result = Names(top=top), Columns()
    for key, schema, required, description in fields:
        name, column = names.name_of(key), read(schema)
        if not is_readable(key):
            column = Inferred({"type": "json"}, notes=["no column can read a field of this name"])
        if name != key:
            column.keys["source"] = [key]
        if required:
            column.keys["required"] = True
        if description:
            column.keys["description"] = " ".join(str(description).split())[:200]
        result[name] = column
    return result


def json_column(why: str) -> Inferred:
    """Return a column for what no other type is, and why."""
    return Inferred({"type": "json"}, notes=[why])


def rules_of(schema: Mapping[str, Any], ending: str, *, integers: bool = False) -> dict[str, Any]:
    """Return the rules of a schema whose names have an ending."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key not in _BOUNDS or not key.endswith(ending) or type(value) not in (int, float):
            continue
        whole = float(value).is_integer() and abs(value) < 1 << 63
        if ending != "imum":
            if whole and value >= 0:
                found[_BOUNDS[key]] = int(value)
        elif whole or not integers:
            found[_BOUNDS[key]] = int(value) if integers else value
    return found


def enum_of(values: Any, kind: type) -> dict[str, Any]:
    """Return the rule that values are among these, if all are of a kind."""
    known = [v for v in values or () if v is not None]
    return {"enum": known} if known and all(type(v) is kind for v in known) else {}


def is_pattern(pattern: str) -> bool:
    """Return whether a contract takes a regular expression."""
    try:
        check_pattern(pattern)
    except PatternRefused:
        return False
    return True
