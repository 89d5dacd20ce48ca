"""YAML as we use it: each value with its line, and each trap of YAML 1.1 as a problem.

PyYAML's SafeLoader composes the nodes; the values are taken from the nodes here, because YAML 1.1
would read `no` as false, `010` as 8, `1:30` as 90 and `2026-05-01` as a date object.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import yaml

from handler.contract.reporting import Path

NODES_MAX = 20_000
"""At most so many values in one file, aliases counted each time: a bound for `&a`/`*a` bombs.
"""

DEPTH_MAX = 100
"""A file is nested at most so deep: a bound for what reads it."""
NUMBER_LENGTH_MAX = 40
_BOOLEANS = ("true", "false")
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?")
_TAG = "tag:yaml.org,2002:"


class Document(msgspec.Struct):
    """A parsed file: plain data, the line and the written text of each path, problems."""

    data: Any = None
    lines: dict[Path, int] = msgspec.field(default_factory=dict)
    texts: dict[Path, str] = msgspec.field(default_factory=dict)
    problems: list[tuple[Path, int, str]] = msgspec.field(default_factory=list)
    nodes: int = 0

    def line(self, path: Path) -> int:
        """Return the line of a path, or of the nearest part of it that was written."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Document:
    """Parse one YAML document. Never raises for what is in the text: it lists problems."""
    document = Document()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error) or type(error).__name__
        document.problems.append(
            ((), mark.line + 1 if mark else 1, f"this is not valid YAML: {what}")
        )
        return document
    if root is None:
        document.problems.append(((), 1, "the file is empty"))
        return document
    try:
        document.data = _value(document, root, (), frozenset())
    except _Unbounded as unbounded:
        # What was read so far would only bring false problems.
        return Document(problems=[(unbounded.path, unbounded.line, unbounded.message)])
    return document


class _Unbounded(Exception):
    """The file repeats itself, or is larger or deeper than a contract can be."""

    def __init__(self, path: Path, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.path, self.line, self.message = path, node.start_mark.line + 1, message


def written_path(data: Any, loc: Sequence[str | int]) -> Path:
    """Drop from pydantic's location what is a branch of a union and no key of the file."""
    path: list[str | int] = []
    for i, step in enumerate(loc):
        if i == len(loc) - 1:
            if isinstance(data, dict) and step not in data:
                path.append(step)  # a missing key is a place of its own
                break
        elif not _has(data, step) and _has(data, loc[i + 1]):
            continue
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            break
        path.append(step)
    return tuple(path)


def _has(data: Any, step: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def describe(file: str, problems: Iterable[tuple[Path, int, str]]) -> list[str]:
    """Return a line for each problem, in the order of the file: its line, its path, what it is."""
    ordered = sorted(set(problems), key=lambda problem: (problem[1], str(problem)))
    dotted = [(line, ".".join(map(str, path)), message) for path, line, message in ordered]
    return [
        f"{file}:{line}: {path + ': ' if path else ''}{message}" for line, path, message in dotted
    ]


def _value(document: Document, node: yaml.Node, path: Path, parents: frozenset[int]) -> Any:
    document.nodes += 1
    document.lines.setdefault(path, node.start_mark.line + 1)
    if len(parents) > DEPTH_MAX:
        raise _Unbounded(path, node, f"it is nested deeper than {DEPTH_MAX} levels")
    if id(node) in parents:
        raise _Unbounded(path, node, "it contains itself, by an alias")
    if document.nodes > NODES_MAX:
        message = (
            f"the file has more than {NODES_MAX:,} values, each use of an alias counted. Split "
            "the topic's fields into fewer columns, or keep rare ones with unknown_fields: rescue"
        )
        raise _Unbounded((), node, message)
    inside = parents | {id(node)}
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, path, inside)
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, n, (*path, i), inside) for i, n in enumerate(node.value)]
    return _scalar(document, node, path)


def _mapping(
    document: Document, node: yaml.MappingNode, path: Path, parents: frozenset[int]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    first_lines: dict[str, int] = {}
    for key_node, value_node in _pairs(document, node, path):
        key = _key(document, key_node, path)
        line = key_node.start_mark.line + 1
        if key in first_lines:
            _problem(
                document,
                (*path, key),
                key_node,
                f"the key {key!r} is listed twice, first on line {first_lines[key]}. Keep one "
                f"of them",
            )
            continue
        first_lines[key] = line
        document.lines[(*path, key)] = line
        result[key] = _value(document, value_node, (*path, key), parents)
    return result


def _key(document: Document, node: yaml.ScalarNode, path: Path) -> str:
    """Return a key as it is written: `true`, `null` and `0` are names like any other."""
    text = str(node.value)
    trap = node.style is None and node.tag == f"{_TAG}bool" and text.lower() not in _BOOLEANS
    if trap or not _is_text(text):
        _scalar(document, node, (*path, text))  # names the trap
    return text


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pairs(
    document: Document, node: yaml.MappingNode, path: Path
) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            _problem(document, path, key, "a key must be a plain word")
        elif key.tag == f"{_TAG}merge":
            _problem(document, path, key, "merge keys (<<) are not supported. Write the keys out")
        else:
            yield key, value


def _scalar(document: Document, node: yaml.Node, path: Path) -> Any:
    text = str(node.value)
    document.texts[path] = text
    if not _is_text(text):
        _problem(
            document, path, node, "this is not valid text: it contains half of a surrogate pair"
        )
        return ""
    tag = node.tag.removeprefix(_TAG)
    if (
        not isinstance(node, yaml.ScalarNode)
        or node.style is not None
        or tag in ("str", "timestamp", "value")
    ):
        return text
    if tag == "null":
        return None
    if tag == "bool":
        if text.lower() in _BOOLEANS:
            return text.lower() == "true"
        meant = str(text.lower() in ("yes", "on")).lower()
        trap = f'YAML reads {text} as {meant}. Write "{text}" for the word, or {meant}'
    elif tag == "int" and _INTEGER.fullmatch(text) and len(text) <= NUMBER_LENGTH_MAX:
        return int(text)
    elif tag == "float" and _FLOAT.fullmatch(text) and _is_exact(text):
        return float(text)
    elif tag in ("int", "float"):
        trap = (
            f"YAML reads {text} as a different number than a person would. "
            f'Write "{text}" for the text, or a plain decimal number'
        )
    else:
        trap = f"the tag {node.tag!r} is not supported"
    _problem(document, path, node, trap)
    return text


def _is_exact(text: str) -> bool:
    """Return whether a double keeps every digit of a number as it is written."""
    return len(text) <= NUMBER_LENGTH_MAX and Decimal(text) == Decimal(repr(float(text)))


def _problem(document: Document, path: Path, node: yaml.Node, message: str) -> None:
    document.problems.append((path, node.start_mark.line + 1, message))
