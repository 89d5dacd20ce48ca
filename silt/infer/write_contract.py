"""A contract as the text of a YAML file, with what was seen as comments."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from silt.infer.inferred import Inferred

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_PLAIN = re.compile(r"true|false|yes|no|on|off|null|y|n|~", re.IGNORECASE)
COMMENT_MAX = 160


def inline(value: Any) -> str:
    """Return a value as YAML on one line. Everything that YAML could read otherwise is quoted."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            if _PLAIN.fullmatch(value) and not _NOT_PLAIN.fullmatch(value):
                return value
            return '"' + "".join(map(_quoted, value)) + '"'
        case dict():
            return "{" + ", ".join(f"{inline(k)}: {inline(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(inline, value)) + "]"
    return str(value)


def _quoted(character: str) -> str:
    """Return a character as it is in double quotes of YAML."""
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def write_contract(
    topic: str,
    table: str,
    columns: Mapping[str, Inferred],
    *,
    keys: Mapping[str, Any],
    head: Sequence[str],
    tail: Sequence[str] = (),
    draft: bool = False,
) -> str:
    """Return the text of a contract. `head` and `tail` become comments.

    A `draft` takes nothing but what was seen where that says little.
    """
    lines = [_comment(line) for line in head]
    lines += [f"topic: {inline(topic)}", f"table: {inline(table)}"]
    lines += [f"{key}: {inline(value)}" for key, value in keys.items()]
    lines.append("columns:")
    for name, column in columns.items():
        lines += _column(name, column, 1, draft)
    lines += [_comment(line) for line in tail]
    return "\n".join(lines) + "\n"


def _comment(line: str) -> str:
    return f"# {_printable(line)}" if line else ""


def _printable(text: str) -> str:
    """Return a text for a comment: on one line, whatever the data is."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _column(name: str, column: Inferred, depth: int, draft: bool) -> Iterator[str]:
    """Yield the lines of a column: one, unless it has parts."""
    indent = "  " * depth
    if draft and column.placeholder is not None:
        column = _as_placeholder(column, column.placeholder)
    notes = _printable("; ".join(column.notes)[:COMMENT_MAX])
    comment = f"  # {notes}" if notes else ""
    if column.fields is None and column.inner is None:
        yield f"{indent}{inline(name)}: {inline(column.keys)}{comment}"
        return
    yield f"{indent}{inline(name)}:{comment}"
    for key, value in column.keys.items():
        yield f"{indent}  {key}: {inline(value)}"
    if column.fields is not None:
        yield f"{indent}  fields:"
        for part, inner in column.fields.items():
            yield from _column(part, inner, depth + 2, draft)
    if column.inner is not None:
        part = "items" if column.type == "array" else "values"
        yield from _column(part, column.inner, depth + 1, draft)


def _as_placeholder(column: Inferred, keys: Mapping[str, Any]) -> Inferred:
    inner = Inferred({"type": "string"}) if keys["type"] in ("array", "map") else None
    return Inferred({**column.keys, **keys}, inner=inner)
