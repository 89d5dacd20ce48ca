"""What is wrong with a value of a YAML file, in words: pydantic's errors for who wrote the file."""

import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from handler.contract.reporting import Path, nearest
from handler.contract.yaml_file import Document

_KINDS = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "an integer",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_READ_AS = {int: "an integer", float: "a number", bool: "true or false", type(None): "null"}
_GIVEN_MAX = 300
_REST_OF_DECIMAL = re.compile(r"[0-9]+\)")


def explain(
    model: type[BaseModel], document: Document, path: Path, detail: Mapping[str, Any]
) -> str:
    """Return what is wrong at a path of a file that has to be as a model says.

    `detail` is one of the errors of pydantic's ValidationError.
    """
    kind, given = detail["type"], detail["input"]
    last = str(path[-1]) if path else ""
    if kind == "missing":
        return f"`{last}` is missing. It is required"
    if kind == "extra_forbidden" and _REST_OF_DECIMAL.fullmatch(last) and given is None:
        return f"{last!r} is the rest of a type with a comma: put the type in quotes"
    if kind == "extra_forbidden":
        return f"unknown key {last!r}{nearest(last, list(_fields_at(model, path[:-1])))}"
    written = document.texts.get(path)
    if kind == "literal_error":
        words = [word.strip("'") for word in re.split(", | or ", detail["ctx"]["expected"])]
        if written not in words:
            return f"{given!r} is not one of {', '.join(words)}{nearest(str(given), words)}"
        kind = "string_type"
    if kind == "string_pattern_mismatch":
        field = _fields_at(model, path[:-1]).get(last)
        meaning = (field.description or "") if field is not None else ""
        return f"{given!r} is not valid. Expected {detail['ctx']['pattern']}. {meaning}".strip()
    if kind == "string_type" and written is not None and not isinstance(given, str):
        read_as = _READ_AS.get(type(given), repr(given))
        return f'expected a string, but YAML reads {written} as {read_as}. Write "{written}"'
    if kind in _KINDS:
        return f"expected {_KINDS[kind]}, got {given!r}"[:_GIVEN_MAX]
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should", "it should").replace("Dictionary", "it")
    return f"{message}, got {given!r}"[:_GIVEN_MAX]


def _fields_at(model: type[BaseModel], path: Path) -> dict[str, FieldInfo]:
    """Return the keys that may be at a path of a file, each with its field."""
    annotation: Any = model
    for step in path:
        annotation = _child(annotation, step)
    found = _model_in(annotation)
    return _fields_of(found) if found is not None else {}


def _fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _child(annotation: Any, step: str | int) -> Any:
    """Return the type of an entry of a model, a mapping or a list; None if it has no such entry."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = _fields_of(annotation).get(str(step))
        return field.annotation if field is not None else None
    parts = get_args(annotation)
    if get_origin(annotation) in (dict, list):
        return parts[-1]
    children = (_child(part, step) for part in parts)
    return next((child for child in children if child is not None), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model of an annotation such as `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (dict, list):
        return None
    models = (_model_in(part) for part in get_args(annotation))
    return next((model for model in models if model is not None), None)
