"""One record at a time: every problem of a record, or its values in the form that columns are built
from.

This is the reference of what a contract accepts. It runs only for records that `check` could not
pass at once.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.contract_rules import Column, broken_length, broken_rule
from handler.errors import PROBLEMS_MAX, Problem, RejectCode
from handler.values import Refused, kind_of, read_scalar

PATH_LENGTH_MAX = 200

_PATH_LIKE = re.compile(r'[.\[\]"]')

_RULE_CODES = {
    "minimum": RejectCode.OUT_OF_RANGE,
    "maximum": RejectCode.OUT_OF_RANGE,
    "exclusive_minimum": RejectCode.OUT_OF_RANGE,
    "exclusive_maximum": RejectCode.OUT_OF_RANGE,
    "enum": RejectCode.NOT_ALLOWED,
    "min_length": RejectCode.LENGTH,
    "max_length": RejectCode.LENGTH,
    "pattern": RejectCode.PATTERN,
}


@dataclass(slots=True)
class Findings:
    """What one record brought: problems, and fields that the contract lacks by their path."""

    unknown_fields: str
    problems: list[Problem] = field(default_factory=list)
    unknown: dict[str, Any] = field(default_factory=dict)

    def add(self, code: RejectCode, path: str, message: str) -> None:
        """Note a problem, up to the bound."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(Problem(code, path[:PATH_LENGTH_MAX], message))


def examine(
    value: Any, columns: Sequence[Column], unknown_fields: str
) -> tuple[dict[str, Any], Findings]:
    """Examine a record that `parse_exactly` has read.

    Returns its wire values, and what was found.
    """
    findings = Findings(unknown_fields)
    if not isinstance(value, dict):
        message = f"expected an object, got {kind_of(value)}"
        findings.add(RejectCode.NOT_AN_OBJECT, "", message)
        return {}, findings
    return _object(value, columns, "", findings), findings


def join(prefix: str, name: str) -> str:
    """Return the path of a field; a name that looks like a path stands in brackets and quotes.

    So no two fields have one path: `a.b` is b in a, and `["a.b"]` is the field of that name.
    """
    if name and not _PATH_LIKE.search(name):
        return f"{prefix}.{name}" if prefix else name
    return f"{prefix}[{json.dumps(name, ensure_ascii=False)}]"


def _object(
    value: Mapping[str, Any], columns: Sequence[Column], prefix: str, findings: Findings
) -> dict[str, Any]:
    known = {column.source for column in columns}
    for name, item in value.items():
        if name not in known and findings.unknown_fields != "ignore":
            if findings.unknown_fields == "reject":
                message = "the contract has no such field, and unknown_fields is reject"
                findings.add(RejectCode.UNKNOWN_FIELD, join(prefix, name), message)
            else:
                findings.unknown[join(prefix, name)] = item
    return {
        column.source: _value(
            value.get(column.source), column, join(prefix, column.source), findings
        )
        for column in columns
    }


def _value(value: Any, column: Column, path: str, findings: Findings) -> Any:
    """Return a value in its wire form; None where it is missing or wrong."""
    if value is None:
        if column.required:
            findings.add(RejectCode.MISSING, path, "it is required, and missing or null")
        return None
    match column.type:
        case "struct" if isinstance(value, dict):
            return _object(value, column.parts, path, findings)
        case "array" if isinstance(value, list):
            _check_length(value, column, path, findings)
            part = column.parts[0]
            return [_value(item, part, f"{path}[{i}]", findings) for i, item in enumerate(value)]
        case "map" if isinstance(value, dict):
            _check_length(value, column, path, findings)
            part = column.parts[0]
            return {k: _value(item, part, join(path, k), findings) for k, item in value.items()}
        case "struct" | "array" | "map":
            expected = "an array" if column.type == "array" else "an object"
            message = f"expected {expected}, got {kind_of(value)}"
            findings.add(RejectCode.WRONG_TYPE, path, message)
            return None
    try:
        scalar = read_scalar(column.type, column.unit, value)
    except Refused as refused:
        findings.add(refused.code, path, refused.message)
        return None
    if (broken := broken_rule(column.rules, scalar.order)) is not None:
        findings.add(_RULE_CODES[broken[0]], path, broken[1])
    return scalar.wire


def _check_length(value: Any, column: Column, path: str, findings: Findings) -> None:
    if (broken := broken_length(column.rules, value)) is not None:
        findings.add(_RULE_CODES[broken[0]], path, broken[1])
