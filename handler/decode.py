"""How bytes become JSON, and the limits: strict JSON, 254 levels, no key twice in one object."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from handler.errors import Problem, RejectCode
from handler.values import INT64_MIN, Literal

_UINT64_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Parsed:
    """What came of a batch of payloads: the objects of those that are JSON, and a problem for the
    others.

    `positions` are the indices of `objects` in the batch.
    """

    objects: list[Any]
    positions: list[int]
    problems: Mapping[int, Problem]


def parse_payloads(payloads: Sequence[bytes]) -> Parsed:
    """Parse a batch of JSON documents.

    The batch is checked at once; culprits are sought only if that fails.
    """
    try:
        objects = list(map(orjson.loads, payloads))
        if _is_unambiguous(objects, b"".join(payloads)):
            return Parsed(objects, list(range(len(objects))), {})
    except orjson.JSONDecodeError:
        pass
    objects, positions, problems = [], [], {}
    for i, payload in enumerate(payloads):
        problem, value = _parse_one(payload)
        if problem is None:
            objects.append(value)
            positions.append(i)
        else:
            problems[i] = problem
    return Parsed(objects, positions, problems)


def _is_unambiguous(value: Any, text: bytes) -> bool:
    """Return True if no object in the text can have had a key twice; False means: look closer.

    A parser keeps the last of two equal keys, so the value written again has fewer colons than the
    text. Colons inside strings count on both sides, unless they were written as an escape.
    """
    try:
        again = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):  # deeper than orjson writes
        return False
    escaped = b"\\" in text and b"\\u003" in text  # the short search is ten times as fast
    return again.count(b":") == text.count(b":") and not escaped


def _parse_one(payload: bytes) -> tuple[Problem | None, Any]:
    try:
        value = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        if "depth limit" in str(error):
            return _TOO_DEEP, None
        if "number is infinity" in str(error):
            return Problem(
                RejectCode.OUT_OF_RANGE, "", "a number is beyond the range of a double"
            ), None
        # The parser's own words name the place but never quote the text.
        return Problem(RejectCode.NOT_JSON, "", f"the value is no JSON: {error}"), None
    try:
        orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return _TOO_DEEP, None
    if not _is_unambiguous(value, payload):
        try:
            parse_exactly(payload)
        except DuplicateKey as error:
            return Problem(
                RejectCode.DUPLICATE_KEY, "", f"an object has the key {error.key!r} twice"
            ), None
    return None, value


_TOO_DEEP = Problem(RejectCode.TOO_DEEP, "", "the value is nested deeper than 254 levels")


class DuplicateKey(Exception):
    """An object of the payload has one key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key[:100]


def parse_exactly(payload: bytes) -> Any:
    """Parse JSON that orjson has accepted, with each number as it was written.

    Integers of 64 bits are `int`, every other number is a `Literal`. Raises DuplicateKey.
    """
    return json.loads(
        payload, parse_float=Literal, parse_int=_parse_int, object_pairs_hook=_unique_object
    )


def _parse_int(text: str) -> int | Literal:
    if len(text) > 20:
        return Literal(text)
    number = int(text)
    return number if INT64_MIN <= number <= _UINT64_MAX else Literal(text)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKey(key)
            seen.add(key)
    return result


def dump_exactly(value: Any) -> str:
    """Write a value of `parse_exactly` as JSON text again, numbers as they were."""
    option = orjson.OPT_PASSTHROUGH_DATACLASS
    return orjson.dumps(value, default=_write_literal, option=option).decode()


def _write_literal(value: Any) -> orjson.Fragment:
    assert isinstance(value, Literal)
    return orjson.Fragment(value.text)
