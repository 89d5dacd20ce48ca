"""Columns of an Avro schema."""

from collections.abc import Mapping
from typing import Any

from silt.infer.choose_types import Inferred
from silt.infer.schema_parts import Columns, json_column, named_columns


class AvroSchema:
    """Avro, of records that are sent as JSON."""

    _PRIMITIVES: Mapping[str, str] = {
        "boolean": "boolean",
        "int": "integer",
        "long": "long",
        "float": "float",
        "double": "double",
        "string": "string",
    }
    _LOGICAL: Mapping[str, Mapping[str, Any]] = {
        "date": {"type": "date", "unit": "days"},
        "timestamp-millis": {"type": "timestamp", "unit": "ms"},
        "timestamp-micros": {"type": "timestamp", "unit": "us"},
        "timestamp-nanos": {"type": "timestamp", "unit": "ns"},
        "local-timestamp-millis": {"type": "timestamp_ntz", "unit": "ms"},
        "local-timestamp-micros": {"type": "timestamp_ntz", "unit": "us"},
    }

    def __init__(self) -> None:
        self._types: dict[str, Any] = {}
        self._open: list[str] = []

    def fields(self, record: Mapping[str, Any], *, top: bool = False) -> Columns:
        name = str(record.get("name", ""))
        self._types[name] = record
        self._open.append(name)
        fields = [
            (str(f["name"]), f.get("type"), not _is_optional(f), f.get("doc"))
            for f in record.get("fields") or ()
            if isinstance(f, Mapping) and "name" in f
        ]
        result = named_columns(fields, self.column, top=top)
        self._open.pop()
        return result

    def column(self, schema: Any) -> Inferred:
        if isinstance(schema, list):
            options = [option for option in schema if option != "null"]
            return self.column(options[0]) if len(options) == 1 else json_column("a union")
        if isinstance(schema, str):
            return self._by_name(schema)
        if not isinstance(schema, Mapping):
            return json_column("any value")
        return self._column(schema)

    def _by_name(self, name: str) -> Inferred:
        if name in self._PRIMITIVES:
            return Inferred({"type": self._PRIMITIVES[name]})
        if name in self._open:
            return json_column(f"{name} contains itself")
        if name in self._types:
            return self.column(self._types[name])
        return json_column(f"{name}, of which JSON says nothing")

    def _column(self, schema: Mapping[str, Any]) -> Inferred:
        if (logical := self._LOGICAL.get(str(schema.get("logicalType")))) is not None:
            return Inferred(dict(logical))
        if schema.get("logicalType") == "decimal":
            precision, scale = schema.get("precision", 38), schema.get("scale", 0)
            note = "if it is sent as a number or a string"
            return Inferred({"type": f"decimal({precision},{scale})"}, notes=[note])
        match schema.get("type"):
            case "record":
                return Inferred({"type": "struct"}, fields=self.fields(schema))
            case "enum":
                self._types[str(schema.get("name"))] = schema
                return Inferred({"type": "string", "enum": list(schema.get("symbols") or ())})
            case "array":
                return Inferred({"type": "array"}, inner=self.column(schema.get("items")))
            case "map":
                return Inferred({"type": "map"}, inner=self.column(schema.get("values")))
        return self.column(schema.get("type"))


def _is_optional(f: Mapping[str, Any]) -> bool:
    kind = f.get("type")
    return "default" in f or (isinstance(kind, list) and "null" in kind)
