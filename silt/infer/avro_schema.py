"""Columns of an Avro schema."""

from collections.abc import Mapping
from typing import Any

from handler.delta.types import parse_decimal
from silt.infer.inferred import Inferred
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

    def __init__(self, document: Any) -> None:
        self._types: dict[str, Any] = {}
        self._open: list[str] = []
        self._space = ""
        if isinstance(document, list):
            for each in document:
                self._collect(each)

    def _collect(self, schema: Any) -> None:
        """Know a named type of a list by its full name."""
        if isinstance(schema, Mapping) and "name" in schema:
            self._types[_full_name(schema, "")] = schema

    def fields(self, record: Mapping[str, Any], *, top: bool = False) -> Columns:
        name, outside = _full_name(record, self._space), self._space
        self._types[name] = record
        self._open.append(name)
        self._space = name.rpartition(".")[0]
        fields = [
            (str(f["name"]), f.get("type"), not _is_optional(f), f.get("doc"))
            for f in record.get("fields") or ()
            if isinstance(f, Mapping) and "name" in f
        ]
        result = named_columns(fields, self.column, top=top)
        self._open.pop()
        self._space = outside
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
        full = name if "." in name else f"{self._space}.{name}".lstrip(".")
        if full in self._open:
            return json_column(f"{name} contains itself")
        if full in self._types:
            return self.column(self._types[full])
        return json_column(f"{name}, of which JSON says nothing")

    def _column(self, schema: Mapping[str, Any]) -> Inferred:
        if (logical := self._LOGICAL.get(str(schema.get("logicalType")))) is not None:
            return Inferred(dict(logical))
        if schema.get("logicalType") == "decimal":
            type_name = f"decimal({schema.get('precision', 38)},{schema.get('scale', 0)})"
            if parse_decimal(type_name) is None:
                return json_column(f"{type_name}, which no column can be")
            note = "if it is sent as a number or a string"
            return Inferred({"type": type_name}, notes=[note])
        match schema.get("type"):
            case "record":
                fields = self.fields(schema)
                if not fields:
                    return json_column("a record without fields")
                return Inferred({"type": "struct"}, fields=fields)
            case "enum":
                self._types[_full_name(schema, self._space)] = schema
                return Inferred({"type": "string", "enum": list(schema.get("symbols") or ())})
            case "array":
                return Inferred({"type": "array"}, inner=self.column(schema.get("items")))
            case "map":
                return Inferred({"type": "map"}, inner=self.column(schema.get("values")))
        return self.column(schema.get("type"))


def find_record(document: Any) -> Mapping[str, Any] | None:
    """Return the record of an Avro schema: itself, or the last of a list."""
    schemas = document if isinstance(document, list) else [document]
    records = [s for s in schemas if isinstance(s, Mapping) and s.get("type") == "record"]
    return records[-1] if records else None


def _full_name(schema: Mapping[str, Any], space: str) -> str:
    """Return the name of a type with its namespace, that of what it is in if it has none."""
    name = str(schema.get("name", ""))
    return name if "." in name else f"{schema.get('namespace', space)}.{name}".lstrip(".")


def _is_optional(f: Mapping[str, Any]) -> bool:
    kind = f.get("type")
    return "default" in f or kind == "null" or (isinstance(kind, list) and "null" in kind)
