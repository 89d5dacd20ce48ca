"""Columns of a JSON Schema."""

from collections.abc import Mapping
from typing import Any

from handler.contract.patterns import PatternRefused, check_pattern
from silt.infer.choose_types import Inferred
from silt.infer.schema_parts import Columns, enum_of, json_column, named_columns, rules_of


class JsonSchema:
    """JSON Schema, drafts 4 to 2020-12, with references within the document."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._open: list[str] = []

    def fields(self, schema: Mapping[str, Any], *, top: bool = False) -> Columns:
        schema = self._whole(schema)
        required = schema.get("required")
        needed = set(required) if isinstance(required, list) else set()
        properties = schema.get("properties") or {}
        fields = [
            (str(key), each, key in needed and not _takes_null(each), _described(each))
            for key, each in properties.items()
        ]
        return named_columns(fields, self.column, top=top)

    def column(self, schema: Any) -> Inferred:
        if not isinstance(schema, Mapping):
            return json_column("any value")
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
                    {"type": "long", **rules_of(schema, "imum"), **enum_of(values, int)}
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
            fields = self.fields(schema)
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
        if isinstance(pattern, str):
            try:
                check_pattern(pattern)
            except PatternRefused:
                column.notes.append("its pattern is not one that RE2 knows")
            else:
                column.keys["pattern"] = pattern
        return column

    def _whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a schema with what `allOf` adds to it."""
        result = dict(schema)
        for each in schema.get("allOf") or ():
            if isinstance(each, Mapping) and isinstance(each.get("$ref"), str):
                each = self._find(each["$ref"]) or {}
            if isinstance(each, Mapping):
                more = self._whole(each)
                properties = {**(result.get("properties") or {}), **(more.get("properties") or {})}
                required = [*(result.get("required") or ()), *(more.get("required") or ())]
                result = {**more, **result}
                if properties:
                    result |= {"properties": properties, "required": required}
        return result

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


def _takes_null(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return True
    options = [*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())]
    kinds = schema.get("type")
    return any(map(_is_null, options)) or (isinstance(kinds, list) and "null" in kinds)


def _is_null(schema: Any) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "null"


def _described(schema: Any) -> Any:
    return schema.get("description") if isinstance(schema, Mapping) else None
