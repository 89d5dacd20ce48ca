"""The kinds of JSON that a contract takes: one msgspec type, compiled once, for a whole batch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from itertools import count
from operator import or_
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from handler.contract.compiled import Column, Rules
from handler.delta.types import INTEGER_BITS
from handler.errors import Problem, RejectCode
from handler.validate.diagnose import problem

_AT = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_INDEX = re.compile(r"\$\[([0-9]+)\]")
_AT_ONCE = 256
"""So many records of a list are tried at once: those behind a refused one are copied."""
_names = count()


_JSON = bool | int | float | str | list[Any] | dict[str, Any]
"""Any kind of JSON but null."""


def object_type(columns: Iterable[Column], *, strict: bool, only_usual: bool = False) -> Any:
    """Make the msgspec type of an object; its instances are dropped, so need no collector.

    `strict` takes no unknown fields, `only_usual` only the kinds that need no conversion.
    """
    fields: list[Any] = []
    rename = {}
    for i, column in enumerate(sorted(columns, key=lambda c: not c.required)):
        type_ = _type(column, strict=strict, only_usual=only_usual)
        rename[f"f{i}"] = column.source
        fields.append((f"f{i}", type_) if column.required else (f"f{i}", type_, None))
    return msgspec.defstruct(
        f"Object{next(_names)}", fields, rename=rename, forbid_unknown_fields=strict, gc=False
    )


def _type(column: Column, *, strict: bool, only_usual: bool) -> Any:
    match column.type:
        case "struct":
            plain = object_type(column.parts, strict=strict, only_usual=only_usual)
        case "array":
            inner = _type(column.parts[0], strict=strict, only_usual=only_usual)
            plain = _with_length(GenericAlias(list, inner), column.rules)
        case "map":
            inner = _type(column.parts[0], strict=strict, only_usual=only_usual)
            plain = _with_length(GenericAlias(dict, (str, inner)), column.rules)
        case _:
            plain = _scalar_type(column, only_usual)
    return plain if column.required else plain | None


def _scalar_type(column: Column, only_usual: bool) -> Any:
    usual = _usual_type(column)
    if only_usual:
        return usual
    if column.type.startswith("decimal"):
        return str | float  # takes integers too
    accepted = [_ACCEPTED[word] for word in column.form.accept if word in _ACCEPTED]
    return reduce(or_, accepted, usual)


_ACCEPTED: Mapping[str, Any] = {
    "string": str,
    "number": float,
    "integral": float,
    "float": float,
    "boolean": bool,
    "integer": Annotated[int, msgspec.Meta(ge=0, le=1)],
}
"""The kinds of JSON by the words of `accept`."""


def _usual_type(column: Column) -> Any:
    if column.type in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[column.type] - 1)
        return Annotated[int, msgspec.Meta(ge=-limit, le=limit - 1)]
    if column.type == "boolean":
        return bool
    if column.type in ("double", "float"):
        return float  # takes integers too, and no booleans
    if column.form.unit is not None:
        return Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    return _JSON if column.type == "json" else str


def _with_length(type_: Any, rules: Rules) -> Any:
    if rules.min_length is None and rules.max_length is None:
        return type_
    return Annotated[type_, msgspec.Meta(min_length=rules.min_length, max_length=rules.max_length)]


def all_convert(records: Sequence[Any], type_: Any) -> bool:
    """Return whether all records are of a type; nothing is converted."""
    try:
        msgspec.convert(records, GenericAlias(list, type_))
    except msgspec.ValidationError:
        return False
    return True


def refusals(records: Sequence[Any], type_: Any) -> dict[int, str]:
    """Return which records are not of a type, by their indices, and why, in msgspec's words.

    msgspec stops at the first one of a list, and says which it is: the others are tried again.
    """
    refused: dict[int, str] = {}
    for start in range(0, len(records), _AT_ONCE):
        stop = min(start + _AT_ONCE, len(records))
        while start < stop:
            try:
                msgspec.convert(records[start:stop], GenericAlias(list, type_))
                break
            except msgspec.ValidationError as error:
                indices = _INDEX.findall(str(error))
            if len(indices) != 1:  # a field has a name that reads like an index
                return _refusals_one_by_one(records, type_)
            start += int(indices[0])
            refused[start] = _refusal(records[start], type_) or ""
            start += 1
    return refused


def _refusals_one_by_one(records: Sequence[Any], type_: Any) -> dict[int, str]:
    refusals = ((i, _refusal(record, type_)) for i, record in enumerate(records))
    return {i: message for i, message in refusals if message is not None}


def _refusal(record: Any, type_: Any) -> str | None:
    try:
        msgspec.convert(record, type_)
    except msgspec.ValidationError as error:
        return str(error)
    return None


def kind_problem(message: str) -> Problem:
    """Return what msgspec found in an object as a problem; `message` never quotes the record."""
    match = _AT.fullmatch(message)
    what, path = (match[1], match[2] or "") if match is not None else (message, "")
    if missing := re.search(r"missing required field `(.*)`", what, re.DOTALL):
        path = f"{path}.{missing[1]}" if path else missing[1]
        return problem(RejectCode.MISSING, path, "it is required, and missing or null")
    if what.endswith("got `null`"):
        return problem(RejectCode.MISSING, path, "it is required, and missing or null")
    text = what.replace("`", "").replace("Expected", "expected")
    if " of length " in what:
        return problem(RejectCode.LENGTH, path, text)
    if re.search(r" [<>]=? -?[0-9]", what) or "out of range" in what:
        return problem(RejectCode.OUT_OF_RANGE, path, text)
    return problem(RejectCode.WRONG_TYPE, path, f"{text}. Silt never casts")
