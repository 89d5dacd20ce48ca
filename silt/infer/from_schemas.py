"""Columns from a schema that somebody has: JSON Schema, Avro, ODCS, or that of a Delta table."""

from collections.abc import Sequence
from typing import Any

import orjson
import yaml

from handler.contract.compiled import SILT_TYPE
from handler.delta.types import Array, DataType, Field, Map, Primitive, Struct
from silt.command_errors import UsageError
from silt.infer.avro_schema import AvroSchema
from silt.infer.choose_types import Inferred
from silt.infer.json_schema import JsonSchema
from silt.infer.odcs import columns_of_odcs
from silt.infer.schema_parts import Columns


def columns_of_schema(data: bytes, name: str) -> Columns | None:
    """Return the columns of a JSON Schema, an Avro schema or an ODCS contract; None for anything
    else. Raises UsageError for one without fields.
    """
    document = _parse(data)
    if not isinstance(document, dict):
        return None
    columns: Columns | None = None
    if document.get("kind") == "DataContract":
        columns = columns_of_odcs(document, name)
    elif document.get("type") == "record" and isinstance(document.get("fields"), list):
        columns = AvroSchema().fields(document, top=True)
    elif "$schema" in document or isinstance(document.get("properties"), dict):
        columns = JsonSchema(document).fields(document, top=True)
    if columns is not None and not columns:
        raise UsageError(f"{name} is a schema without fields.")
    return columns


def _parse(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return yaml.safe_load(data.decode())
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def columns_of_table(fields: Sequence[Field]) -> Columns:
    """Return the columns of a Delta table, without those that Silt fills itself."""
    own = [f for f in fields if not f.name.lower().startswith(("_kafka_", "_rescued"))]
    return {f.name: _of_field(f) for f in own}


def _of_field(f: Field) -> Inferred:
    column = _of_type(f.type, str(f.metadata.get(SILT_TYPE, "")))
    if comment := f.metadata.get("comment"):
        column.keys["description"] = str(comment)
    return column


def _of_type(data_type: DataType, marked: str) -> Inferred:
    """Return a column of a Delta type; `marked` says where in it are texts of JSON."""
    match data_type:
        case Struct(fields):
            return Inferred({"type": "struct"}, fields={f.name: _of_field(f) for f in fields})
        case Array(element):
            inner = marked.removeprefix("array<").removesuffix(">")
            return Inferred({"type": "array"}, inner=_of_type(element, inner))
        case Map(value, key):
            inner = marked.removeprefix("map<").removesuffix(">")
            if key != Primitive("string"):
                return Inferred({"type": "json"}, notes=["a map whose keys are not strings"])
            return Inferred({"type": "map"}, inner=_of_type(value, inner))
        case Primitive(name):
            return Inferred({"type": "json" if marked == "json" else name})
