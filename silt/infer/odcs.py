"""ODCS, the Open Data Contract Standard (v3): columns of such a contract."""

from collections.abc import Mapping
from typing import Any

from silt.command_errors import UsageError
from silt.infer.choose_types import Inferred
from silt.infer.schema_parts import Columns, json_column, named_columns, rules_of

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
    if not isinstance(objects, list) or not objects:
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
    if physical.startswith("decimal("):
        return Inferred({"type": physical.replace(" ", "")})
    options = schema.get("logicalTypeOptions") or {}
    match schema.get("logicalType"):
        case "object":
            if schema.get("properties"):
                return Inferred(
                    {"type": "struct"}, fields=_odcs_fields(schema["properties"], top=False)
                )
            return json_column("an object of any fields")
        case "array":
            items = schema.get("items")
            if isinstance(items, Mapping):
                return Inferred({"type": "array"}, inner=_odcs_column(items))
            return json_column("an array of any values")
        case str(kind) if kind in _LOGICAL_TYPES:
            type_name = physical if physical in _KEPT_TYPES else _LOGICAL_TYPES[kind]
            rules = (
                rules_of(options, "Length") if type_name == "string" else rules_of(options, "imum")
            )
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
