"""Why a record is rejected: its problems with their paths, as far as a budget of values reaches.

Whether a record is rejected was decided by `batch`; `examine` is the reference that a property test
holds it to. Records that are accepted never come here.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from handler.contract.compiled import Column, broken_length, broken_rule
from handler.contract.scalar import Refused, kind_of
from handler.contract.values import read_scalar
from handler.errors import PROBLEMS_MAX, Problem, RejectCode

PATH_LENGTH_MAX = 200
PATTERN_COST = 20
"""A pattern on a single text takes as long as so many other values."""

_PATH_LIKE = re.compile(r'[.\[\]"]')

RULE_CODES = {
    "minimum": RejectCode.OUT_OF_RANGE,
    "maximum": RejectCode.OUT_OF_RANGE,
    "exclusive_minimum": RejectCode.OUT_OF_RANGE,
    "exclusive_maximum": RejectCode.OUT_OF_RANGE,
    "enum": RejectCode.NOT_ALLOWED,
    "min_length": RejectCode.LENGTH,
    "max_length": RejectCode.LENGTH,
    "pattern": RejectCode.PATTERN,
}


class _Enough(Exception):
    """The budget is spent, or as many problems are listed as a record may have."""


class Diagnosis(msgspec.Struct):
    """The problems of one record. `budget` is how many more of its values may be looked at."""

    budget: int
    refuse_unknown: bool
    problems: list[Problem] = msgspec.field(default_factory=list)

    def add(self, code: RejectCode, path: str, message: str) -> None:
        """List a problem; the last one that fits ends the diagnosis."""
        self.problems.append(problem(code, path, message))
        if len(self.problems) == PROBLEMS_MAX:
            raise _Enough

    def spend(self, values: int) -> None:
        """Take values from the budget; end the diagnosis where it is spent."""
        self.budget -= values
        if self.budget < 0:
            raise _Enough


def problem(code: RejectCode, path: str, message: str) -> Problem:
    """Return a problem whose path is cut to a bound."""
    return Problem(code, path[:PATH_LENGTH_MAX], message)


def examine(
    value: Any, columns: Sequence[Column], unknown_fields: str, budget: int
) -> tuple[list[Problem], int]:
    """List the problems of a record that `parse_exactly` has read, in the order of the contract.

    Returns them with what is left of the budget. A number of values is looked at, never more; a
    record whose problems lie behind them has none listed here.
    """
    diagnosis = Diagnosis(budget, unknown_fields == "reject")
    try:
        if isinstance(value, dict):
            _object(value, columns, "", diagnosis)
        else:
            diagnosis.add(*not_an_object(value))
    except _Enough:
        pass
    return diagnosis.problems, max(diagnosis.budget, 0)


def not_an_object(value: Any) -> tuple[RejectCode, str, str]:
    """Return what is wrong with a record that is not a JSON object."""
    return RejectCode.NOT_AN_OBJECT, "", f"expected an object, got {kind_of(value)}"


def join(prefix: str, name: str) -> str:
    """Return the path of a field; a name that looks like a path is in brackets and quotes.

    So no two fields have one path: `a.b` is b in a, and `["a.b"]` is the field of that name.
    """
    if name and not _PATH_LIKE.search(name):
        return f"{prefix}.{name}" if prefix else name
    return f"{prefix}[{json.dumps(name, ensure_ascii=False)}]"


def _join_short(prefix: str, name: str) -> str:
    """Return the path of a field, never much longer than what is kept of it.

    A key of a megabyte above a hundred thousand values would be copied for each of them.
    """
    return join(prefix[:PATH_LENGTH_MAX], name[:PATH_LENGTH_MAX])


def path_of(steps: Sequence[str | int]) -> str:
    """Return the path that leads to a value from its record."""
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else _join_short(path, step)
    return path


def problem_at(value: Any, column: Column, steps: Sequence[str | int]) -> Problem:
    """Return what is wrong with the one value that the steps lead to, from a column's value."""
    path = path_of((column.source, *steps))
    for step in steps:
        value = value[step]
        if column.type == "struct":
            column = next(part for part in column.parts if part.source == step)
        else:
            column = column.parts[0]
    diagnosis = Diagnosis(PATTERN_COST + 1, refuse_unknown=False)
    _value(value, column, path, diagnosis)
    return diagnosis.problems[0]


def _object(
    value: Mapping[str, Any], columns: Sequence[Column], prefix: str, diagnosis: Diagnosis
) -> None:
    if diagnosis.refuse_unknown:
        known = {column.source for column in columns}
        for name in value:
            if name not in known:
                diagnosis.spend(1)
                message = "the contract has no such field, and unknown_fields is reject"
                diagnosis.add(RejectCode.UNKNOWN_FIELD, _join_short(prefix, name), message)
    for column in columns:
        name = column.source
        path = _join_short(prefix, name) if prefix or not name.isidentifier() else name
        _value(value.get(name), column, path, diagnosis)


def _value(value: Any, column: Column, path: str, diagnosis: Diagnosis) -> None:
    diagnosis.spend(PATTERN_COST if column.rules.pattern is not None else 1)
    if value is None:
        if column.hidden:
            _object({}, column.parts, path, diagnosis)
        elif column.required:
            diagnosis.add(RejectCode.MISSING, path, "it is required, and missing or null")
        return
    part = column.parts[0] if column.parts else column
    match column.type:
        case "struct" if isinstance(value, dict):
            _object(value, column.parts, path, diagnosis)
        case "array" if isinstance(value, list):
            _check_length(value, column, path, diagnosis)
            for i, item in enumerate(value):
                _value(item, part, f"{path}[{i}]", diagnosis)
        case "map" if isinstance(value, dict):
            _check_length(value, column, path, diagnosis)
            for key, item in value.items():
                _value(item, part, _join_short(path, key), diagnosis)
        case "struct" | "array" | "map":
            expected = "an array" if column.type == "array" else "an object"
            message = f"expected {expected}, got {kind_of(value)}"
            diagnosis.add(RejectCode.WRONG_TYPE, path, message)
        case "json":
            pass
        case _:
            _scalar(value, column, path, diagnosis)


def _scalar(value: Any, column: Column, path: str, diagnosis: Diagnosis) -> None:
    try:
        scalar = read_scalar(column.type, column.form, value)
    except Refused as refused:
        diagnosis.add(refused.code, path, refused.message)
        return
    if (broken := broken_rule(column.type, column.rules, scalar.order)) is not None:
        diagnosis.add(RULE_CODES[broken[0]], path, broken[1])


def _check_length(value: Any, column: Column, path: str, diagnosis: Diagnosis) -> None:
    if (broken := broken_length(column.rules, value)) is not None:
        diagnosis.add(RULE_CODES[broken[0]], path, broken[1])
