"""Columns from a schema that somebody has: JSON Schema, Avro, ODCS, or that of a Delta table."""

from collections.abc import Sequence
from typing import Any

import orjson
import yaml

from handler.contract.compiled import SILT_TYPE
from handler.contract.load import parse_contract
from handler.contract.reserved import KAFKA_COLUMNS, RESCUED
from handler.delta.types import Array, DataType, Field, Map, Primitive, Struct
from silt.command_errors import UsageError
from silt.infer.avro_schema import AvroSchema, find_record
from silt.infer.inferred import Inferred
from silt.infer.json_schema import JsonSchema, is_json_schema
from silt.infer.odcs import columns_of_odcs
from silt.infer.schema_parts import Columns
from silt.infer.write_contract import inline


def columns_of_schema(data: bytes, name: str) -> Columns | None:
    """Return the columns of a JSON Schema, an Avro schema or an ODCS contract; None for anything
    else. Raises UsageError for one without fields.
    """
    document = _parse(data, name)
    columns: Columns | None = None
    if name.endswith(".avsc"):
        record = find_record(document)
        if record is None:
            raise UsageError(f"{name} is not an Avro schema of a record.")
        columns = AvroSchema(document).fields(record, top=True)
    elif not isinstance(document, dict):
        return None
    elif document.get("kind") == "DataContract":
        columns = columns_of_odcs(document, name)
    elif document.get("type") == "record" and isinstance(document.get("fields"), list):
        columns = AvroSchema(document).fields(document, top=True)
    elif is_json_schema(document):
        columns = JsonSchema(document).columns()
    if columns is not None and not columns:
        raise UsageError(f"{name} is a schema without fields.")
    return columns


def _parse(data: bytes, name: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    if not name.endswith((".yaml", ".yml")):
        return None
    try:
        return yaml.safe_load(data.decode())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not valid YAML: {error}") from error


def columns_of_table(fields: Sequence[Field]) -> tuple[Columns, list[str]]:
    """Return the columns of a Delta table without those that Silt fills itself, and the names of
    those that no contract can have.
    """
    own = [f for f in fields if f.name not in {*KAFKA_COLUMNS, RESCUED}]
    known = [f for f in own if _can_be_named(f)]
    return {f.name: _of_field(f) for f in known}, [f.name for f in own if f not in known]


def _can_be_named(f: Field) -> bool:
    """Return whether a contract can have a column of this name, and all that is in it."""
    problems: list[str] = []
    text = f"topic: t\ntable: t\ncolumns:\n  {inline(f.name)}: {inline(_as_keys(_of_field(f)))}\n"
    parse_contract(text, "", problems)
    return not problems


def _as_keys(column: Inferred) -> dict[str, Any]:
    keys = dict(column.keys)
    if column.fields is not None:
        keys["fields"] = {name: _as_keys(part) for name, part in column.fields.items()}
    if column.inner is not None:
        keys["items" if column.type == "array" else "values"] = _as_keys(column.inner)
    return keys


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
