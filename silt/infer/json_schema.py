"""Columns of a JSON Schema."""

from collections.abc import Mapping
from typing import Any

from silt.infer.inferred import Inferred
from silt.infer.schema_parts import (
    Columns,
    enum_of,
    is_pattern,
    json_column,
    named_columns,
    rules_of,
)

SCHEMA_COLUMNS_MAX = 1_000
"""Of a schema with more fields, references counted each time, the rest is kept as JSON."""
REFERENCES_MAX = 8
_WORDS = ("type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "properties", "items")


def is_json_schema(document: Mapping[str, Any]) -> bool:
    """Return whether a document is a JSON Schema, and not a record that looks a little like one."""
    declared = document.get("$schema")
    if isinstance(declared, str):
        return "json-schema.org" in declared
    properties = document.get("properties")
    return (
        document.get("type") == "object"
        and isinstance(properties, Mapping)
        and bool(properties)
        and all(isinstance(p, Mapping) and any(w in p for w in _WORDS) for p in properties.values())
    )


class JsonSchema:
    """JSON Schema, drafts 4 to 2020-12, with references within the document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._open: list[str] = []
        self._left = SCHEMA_COLUMNS_MAX

    def columns(self) -> Columns:
        """Return the columns of the document, whose root may be a reference."""
        root = self._document
        reference = root.get("$ref")
        if isinstance(reference, str):
            found = self._find(reference)
            self._open.append(reference)
            root = found if isinstance(found, Mapping) else {}
        return self.fields(root, top=True)

    def fields(self, schema: Mapping[str, Any], *, top: bool = False) -> Columns:
        schema = self._whole(schema)
        required = schema.get("required")
        needed = set(required) if isinstance(required, list) else set()
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        self._left -= len(properties)
        fields = [
            (str(key), each, key in needed and not self._takes_null(each), _described(each))
            for key, each in properties.items()
        ]
        return named_columns(fields, self.column, top=top)

    def column(self, schema: Any) -> Inferred:
        if not isinstance(schema, Mapping):
            return json_column("any value")
        if self._left < 0 or len(self._open) > REFERENCES_MAX:
            return json_column("too deep or too wide for columns")
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in self._open:
                return json_column(f"{reference} contains itself")
            self._open.append(reference)
            try:
                found = self._find(reference)
                return (
                    self.column(found)
                    if found is not None
                    else json_column(f"{reference} is elsewhere")
                )
            finally:
                self._open.pop()
        return self._column(self._whole(schema))

    def _column(self, schema: Mapping[str, Any]) -> Inferred:
        options = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
        if options := [option for option in options if not _is_null(option)]:
            one = len(options) == 1
            return self.column(options[0]) if one else json_column("one of several kinds")
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        match _kinds_of(schema, values):
            case ["object"]:
                return self._object(schema)
            case ["array"]:
                items = schema.get("items")
                if not isinstance(items, Mapping) or not items:
                    return json_column("an array of any values")
                return Inferred(
                    {"type": "array", **rules_of(schema, "Items")}, inner=self.column(items)
                )
            case ["string"]:
                return self._text(schema, values)
            case ["integer"]:
                return Inferred(
                    {
                        "type": "long",
                        **rules_of(schema, "imum", integers=True),
                        **enum_of(values, int),
                    }
                )
            case ["number"] | ["integer", "number"] | ["number", "integer"]:
                return Inferred({"type": "double", **rules_of(schema, "imum")})
            case ["boolean"]:
                return Inferred({"type": "boolean"})
            case []:
                return json_column("any value")
            case kinds:
                return json_column(f"of the kinds {', '.join(kinds)}")

    def _object(self, schema: Mapping[str, Any]) -> Inferred:
        if schema.get("properties"):
            if not (fields := self.fields(schema)):
                return json_column("an object of any fields")
            return Inferred({"type": "struct"}, fields=fields)
        more = schema.get("additionalProperties")
        if isinstance(more, Mapping) and more:
            return Inferred({"type": "map"}, inner=self.column(more))
        return json_column("an object of any fields")

    def _text(self, schema: Mapping[str, Any], values: Any) -> Inferred:
        match schema.get("format"):
            case "date-time":
                return Inferred({"type": "timestamp"})
            case "date":
                return Inferred({"type": "date"})
        if schema.get("contentEncoding") == "base64":
            return Inferred({"type": "binary"})
        column = Inferred({"type": "string", **rules_of(schema, "Length"), **enum_of(values, str)})
        pattern = schema.get("pattern")
        if isinstance(pattern, str) and is_pattern(pattern):
            column.keys["pattern"] = pattern
        elif isinstance(pattern, str):
            column.notes.append("its pattern is not one that RE2 knows")
        return column

    def _whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema with what `allOf` adds to it."""
        result = dict(schema)
        for each in schema.get("allOf") or ():
            reference = each.get("$ref") if isinstance(each, Mapping) else None
            if isinstance(reference, str):
                if reference in self._open:
                    return {}  # it contains itself: any value
                each = self._find(reference) or {}
                self._open.append(reference)
                more = self._whole(each) if isinstance(each, Mapping) else {}
                self._open.pop()
            else:
                more = self._whole(each) if isinstance(each, Mapping) else {}
            if more:
                properties = {**(result.get("properties") or {}), **(more.get("properties") or {})}
                required = [*(result.get("required") or ()), *(more.get("required") or ())]
                result = {**more, **result}
                if properties:
                    result |= {"properties": properties, "required": required}
        return result

    def _takes_null(self, schema: Any) -> bool:
        if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            schema = self._find(schema["$ref"])
        if not isinstance(schema, Mapping):
            return True
        options = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
        kinds, values = schema.get("type"), schema.get("enum")
        listed = isinstance(kinds, list) and "null" in kinds
        return listed or any(map(_is_null, options)) or None in (values or ())

    def _find(self, reference: str) -> Any:
        """Return what a reference within the document names, None for any other."""
        if not reference.startswith("#"):
            return None
        found: Any = self._document
        for step in filter(None, reference[1:].split("/")):
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.get(step) if isinstance(found, Mapping) else None
        return found


def _kinds_of(schema: Mapping[str, Any], values: Any) -> list[str]:
    """Return the kinds of JSON that a schema takes besides null."""
    kinds = schema.get("type")
    found = [kinds] if isinstance(kinds, str) else [str(kind) for kind in kinds or ()]
    if not found and "properties" in schema:
        return ["object"]
    if not found and values and all(isinstance(v, str) for v in values if v is not None):
        return ["string"]
    return [kind for kind in found if kind != "null"]


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _described(schema: Any) -> Any:
    return schema.get("description") if isinstance(schema, Mapping) else None
