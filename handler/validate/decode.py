"""How bytes become JSON, and the limits: strict JSON, 254 levels, no key twice in one object."""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import orjson

from handler.contract.scalar import INT64_MIN, Literal
from handler.errors import Problem, RejectCode

NAMED_KEY_BYTES_MAX = 4096
NAMED_KEYS_MAX = 200
"""A repeated key is named in records up to this size, and in so many of a batch: to find it takes a
slower parser."""

BYTES_OF_A_CONTAINER = 6
SPARE_CONTAINERS = 64
"""A record may have one array or object for so many of its bytes, and some more."""
SPARED_BYTES_MAX = 1024
"""Smaller records are not counted: they are objects for one time only, beside few others."""

_UINT64_MAX = (1 << 64) - 1


class Parsed(msgspec.Struct, frozen=True):
    """What came of a batch of payloads: the objects of those that are JSON, and a problem for the
    others.

    `positions` are the indices of `objects` in the batch.
    """

    objects: list[Any]
    positions: list[int]
    problems: Mapping[int, Problem]


def parse_payloads(payloads: Sequence[bytes], named_keys_max: int = NAMED_KEYS_MAX) -> Parsed:
    """Parse JSON documents, all at once; each document alone only if that fails.

    At most so many repeated keys are named.
    """
    crowded = set[int]()
    if max(map(len, payloads), default=0) > SPARED_BYTES_MAX:
        sizes = enumerate(payloads)
        crowded = {i for i, p in sizes if len(p) > SPARED_BYTES_MAX and _is_crowded(p)}
    objects, positions, problems = _parse_all(payloads, crowded)
    whole = payloads if not problems else [payloads[i] for i in positions]
    try:
        if _has_no_repeated_key(objects, b"[" + b",".join(whole) + b"]"):
            return Parsed(objects, positions, problems)
    except _Deep:
        pass
    clear: list[tuple[int, Any]] = []
    for i, value in zip(positions, objects, strict=True):
        name_it = len(problems) < named_keys_max
        if (problem := _ambiguity(value, payloads[i], name_it=name_it)) is None:
            clear.append((i, value))
        else:
            problems[i] = problem
    return Parsed([value for _, value in clear], [i for i, _ in clear], problems)


def _is_crowded(payload: bytes) -> bool:
    """Return whether a payload has more arrays and objects than its bytes may have.

    An empty list is two bytes of JSON and 64 in memory.
    """
    most = len(payload) // BYTES_OF_A_CONTAINER + SPARE_CONTAINERS
    return payload.count(b"[") + payload.count(b"{") > most


def _parse_all(
    payloads: Sequence[bytes], crowded: Collection[int]
) -> tuple[list[Any], list[int], dict[int, Problem]]:
    if not crowded:
        with suppress(orjson.JSONDecodeError):
            return list(map(orjson.loads, payloads)), list(range(len(payloads))), {}
    objects, positions, problems = list[Any](), list[int](), dict[int, Problem]()
    for i, payload in enumerate(payloads):
        if i in crowded:
            problems[i] = _CROWDED
            continue
        try:
            objects.append(orjson.loads(payload))
            positions.append(i)
        except orjson.JSONDecodeError as error:
            problems[i] = _unparsable(str(error))
    return objects, positions, problems


class _Deep(Exception):
    """A value is nested deeper than orjson writes."""


def _has_no_repeated_key(value: Any, text: bytes) -> bool:
    """Return whether no object in the text has a key twice. Raises _Deep.

    A parser keeps the last of two equal keys, so the value written again has fewer colons than the
    text. Colons inside strings count on both sides, also where the text has them as an escape.
    Many producers write as orjson does, and there is nothing to count.
    """
    try:
        again = orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise _Deep from error
    return again == text or again.count(b":") == text.count(b":") + _escaped_colons(text)


def _escaped_colons(text: bytes) -> int:
    """Return how often a string of the text has a colon as an escape."""
    if b"\\u003" not in text:
        return 0
    rest = text.replace(b"\\\\", b"")  # of a run of backslashes, the last one if they are odd
    return rest.count(b"\\u003a") + rest.count(b"\\u003A")


def _ambiguity(value: Any, payload: bytes, *, name_it: bool) -> Problem | None:
    """Return what is wrong with one value that orjson has parsed, with a repeated key's name."""
    try:
        if _has_no_repeated_key(value, payload):
            return None
    except _Deep:
        return _TOO_DEEP
    key = ""
    if name_it and len(payload) <= NAMED_KEY_BYTES_MAX:
        try:
            parse_exactly(payload)
        except DuplicateKey as error:
            key = f" {error.key!r}"
    return Problem(RejectCode.DUPLICATE_KEY, "", f"an object has the key{key} twice")


def _unparsable(reason: str) -> Problem:
    if "depth limit" in reason:
        return _TOO_DEEP
    if "number is infinity" in reason:
        message = "a number is beyond the range of a double"
        return Problem(RejectCode.OUT_OF_RANGE, "", message)
    # The parser's own words name the place but never quote the text.
    return Problem(RejectCode.NOT_JSON, "", f"the value is not valid JSON: {reason}")


_CROWDED = Problem(
    RejectCode.TOO_LARGE,
    "",
    "the record has more than one bracket or brace for every six of its bytes: nearly empty "
    "arrays and "
    "objects take many times their bytes in memory",
)
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


def parse_numbers(payload: bytes) -> Any:
    """Parse as `parse_exactly` does, where no object has a key twice: that was looked for."""
    return _NUMBERS.decode(payload.decode())


def _parse_int(text: str) -> int | Literal:
    if len(text) > 20 or text == "-0":  # an int has no sign of zero, a double has
        return Literal(text)
    number = int(text)
    return number if INT64_MIN <= number <= _UINT64_MAX else Literal(text)


_NUMBERS = json.JSONDecoder(parse_float=Literal, parse_int=_parse_int)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKey(key)
            seen.add(key)
    return result


class Written(msgspec.Struct, frozen=True):
    """A value of `parse_exactly` that was written as text already, to spare its memory."""

    text: str


def dump_exactly(value: Any) -> str:
    """Write a value of `parse_exactly` as JSON text again, numbers as they were."""
    return orjson.dumps(value, default=_write_literal).decode()


def _write_literal(value: Any) -> orjson.Fragment:
    assert isinstance(value, Literal | Written)
    return orjson.Fragment(value.text)
