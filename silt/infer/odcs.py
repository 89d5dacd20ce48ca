"""ODCS, the Open Data Contract Standard (v3): columns of such a contract."""

import re
from collections.abc import Mapping
from typing import Any

from handler.contract.type_names import ELSEWHERE
from handler.delta.types import parse_decimal
from silt.command_errors import UsageError
from silt.infer.inferred import Inferred
from silt.infer.schema_parts import Columns, is_pattern, json_column, named_columns, rules_of

_DECIMAL = re.compile(r"(?:decimal|numeric|number)\( *([0-9]+) *(?:, *([0-9]+) *)?\)")
_LOGICAL_TYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "time": "string",
}


def columns_of_odcs(document: Mapping[str, Any], name: str) -> Columns:
    """Return the columns of the first object of an ODCS contract (v3)."""
    objects = document.get("schema")
    if not isinstance(objects, list) or not objects or not isinstance(objects[0], Mapping):
        raise UsageError(f"{name} is an ODCS contract without a schema. Expected version 3.")
    return _odcs_fields(objects[0].get("properties"), top=True)


def _odcs_fields(properties: Any, *, top: bool) -> Columns:
    fields = [
        (str(p["name"]), p, bool(p.get("required")), p.get("description"))
        for p in properties or ()
        if isinstance(p, Mapping) and "name" in p
    ]
    return named_columns(fields, _odcs_column, top=top)


def _odcs_column(schema: Any) -> Inferred:
    physical = str(schema.get("physicalType", "")).lower()
    if (decimal := _DECIMAL.match(physical)) is not None:
        type_name = f"decimal({decimal[1]},{decimal[2] or 0})"
        if parse_decimal(type_name) is not None:
            return Inferred({"type": type_name})
    options = schema.get("logicalTypeOptions") or {}
    physical = physical.partition("(")[0].strip()
    by_physical = {"string": "string", "long": "integer", "integer": "integer"}
    logical = schema.get("logicalType") or by_physical.get(ELSEWHERE.get(physical, physical))
    match logical:
        case "object":
            if schema.get("properties"):
                return Inferred(
                    {"type": "struct"}, fields=_odcs_fields(schema["properties"], top=False)
                )
            return json_column("an object of any fields")
        case "array":
            items = schema.get("items")
            if isinstance(items, Mapping):
                rules = rules_of(options, "Items")
                return Inferred({"type": "array", **rules}, inner=_odcs_column(items))
            return json_column("an array of any values")
        case str(kind) if kind in _LOGICAL_TYPES:
            type_name = physical if physical in _KEPT_TYPES else _LOGICAL_TYPES[kind]
            rules = (
                rules_of(options, "Length") if type_name == "string" else rules_of(options, "imum")
            )
            pattern = options.get("pattern")
            if type_name == "string" and isinstance(pattern, str) and is_pattern(pattern):
                rules["pattern"] = pattern
            return Inferred({"type": type_name, **(rules if kind != "boolean" else {})})
    return json_column("any value")


_KEPT_TYPES = (
    "long",
    "integer",
    "short",
    "byte",
    "double",
    "float",
    "binary",
    "timestamp_ntz",
    "json",
)
"""Types of ours that are more than a logical type says, where a contract was exported by us."""
