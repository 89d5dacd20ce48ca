"""A contract of ours as one of the Open Data Contract Standard, version 3."""

from decimal import Decimal
from typing import Any

import yaml

from handler.contract.compiled import Column
from handler.contract.contract import Contract
from handler.contract.time_text import format_time
from handler.delta.types import INTEGER_BITS, parse_decimal

VERSION = "v3.1.0"
_LOGICAL = {
    "string": "string",
    "json": "string",
    "binary": "string",
    "double": "number",
    "float": "number",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
    "timestamp_ntz": "timestamp",
    "struct": "object",
    "map": "object",
    "array": "array",
    **dict.fromkeys(INTEGER_BITS, "integer"),
}
_OPTIONS = (
    ("minimum", "minimum"),
    ("maximum", "maximum"),
    ("exclusive_minimum", "exclusiveMinimum"),
    ("exclusive_maximum", "exclusiveMaximum"),
    ("pattern", "pattern"),
)


def odcs_of(contract: Contract) -> str:
    """Return the contract as YAML: what its table has, with types, descriptions and rules."""
    properties = [_property(column, contract) for column in contract.columns]
    table: dict[str, Any] = {
        "name": contract.table.rstrip("/").rsplit("/", 1)[-1],
        "physicalName": contract.table,
        "logicalType": "object",
        "physicalType": "table",
    }
    if contract.description:
        table["description"] = contract.description
    document = {
        "apiVersion": VERSION,
        "kind": "DataContract",
        "id": contract.table,
        "name": contract.topic,
        "version": contract.version,
        "status": "active",
        "schema": [{**table, "properties": properties}],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _property(column: Column, contract: Contract) -> dict[str, Any]:
    result = {"name": column.name, **_typed(column), **_said(column)}
    if column.name in contract.partition_by:
        result["partitioned"] = True
        result["partitionKeyPosition"] = contract.partition_by.index(column.name) + 1
    return result


def _said(column: Column) -> dict[str, Any]:
    """Return what is said of a column besides its type."""
    custom = []
    if column.rules.allowed is not None:
        values = sorted(_plain(value, column.type) for value in column.rules.allowed)
        custom.append({"property": "enum", "value": values})
    if column.type == "binary":
        bounds = {key: getattr(column.rules, key) for key in ("min_length", "max_length")}
        custom += [{"property": k, "value": v} for k, v in bounds.items() if v is not None]
    return {
        **({"required": True} if column.required else {}),
        **({"description": column.description} if column.description else {}),
        **({"customProperties": custom} if custom else {}),
    }


def _typed(column: Column) -> dict[str, Any]:
    decimal = parse_decimal(column.type) is not None
    result: dict[str, Any] = {
        "logicalType": "number" if decimal else _LOGICAL[column.type],
        "physicalType": column.type,
    }
    if options := _options(column):
        result["logicalTypeOptions"] = options
    if column.type == "struct":
        result["properties"] = [
            {"name": part.name, **_typed(part), **_said(part)} for part in column.parts
        ]
    elif column.type == "array":
        result["items"] = _typed(column.parts[0])
    return result


def _options(column: Column) -> dict[str, Any]:
    rules = column.rules
    found = {name: getattr(rules, key) for key, name in _OPTIONS if getattr(rules, key) is not None}
    ending = {"string": "Length", "array": "Items", "map": "Properties"}.get(column.type)
    if ending is not None:
        for prefix, bound in (("min", rules.min_length), ("max", rules.max_length)):
            if bound is not None:
                found[prefix + ending] = bound
    return {key: _plain(value, column.type) for key, value in found.items()}


def _plain(value: Any, type_name: str) -> Any:
    """Return a bound as YAML has it: a number, or a time as text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if type_name.startswith("timestamp") and isinstance(value, int):
        return format_time(type_name, value)
    return value if isinstance(value, int | float | str) else str(value)
