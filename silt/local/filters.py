"""The filters of a mapping (FilterCriteria): EventBridge's patterns over a record's value.

A record goes to the function if one of the filters takes it; the others are passed over, and their
offsets are committed with the batch. AWS filters on `value` only, as JSON where the value is JSON
and as text where it is text (developer guide, 'Filtering events from Amazon MSK').
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FILTERS_MAX = 10
"""AWS allows 5, and 10 on request."""

Matches = Callable[[Any], bool]
_MISSING = object()


class FilterError(ValueError):
    """A filter is no pattern, or uses what this twin does not know."""


class Filters:
    """The filters of a mapping, parsed once."""

    def __init__(self, patterns: Sequence[str]) -> None:
        if len(patterns) > FILTERS_MAX:
            raise FilterError(f"A mapping has at most {FILTERS_MAX} filters, not {len(patterns)}.")
        self._filters = [_parse(pattern) for pattern in patterns]

    def take(self, value: bytes | None) -> bool:
        """Return whether a record with this value goes to the function."""
        if not self._filters:
            return True
        if value is None:
            return False
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return False  # Kafka messages that are filtered must be UTF-8
        parsed = _json(text)
        return any(matches(text, parsed) for matches in self._filters)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _MISSING


def _parse(pattern: str) -> Callable[[str, Any], bool]:
    try:
        parsed = json.loads(pattern)
    except ValueError as error:
        raise FilterError(f"The filter {pattern!r} is not JSON: {error}") from error
    if not isinstance(parsed, dict) or set(parsed) != {"value"}:
        raise FilterError(
            f"The filter {pattern!r} is not over 'value' alone: AWS filters Kafka by nothing else. "
            'Expected a pattern such as {"value": {"status": ["paid"]}}.'
        )
    of_value = parsed["value"]
    if isinstance(of_value, list):
        rules = _rules(of_value, pattern)
        return lambda text, _json: any(rule(text) for rule in rules)
    fields = _fields(of_value, pattern)
    return lambda _text, json: isinstance(json, dict) and fields(json)


def _fields(pattern: Any, whole: str) -> Matches:
    """Return what asks an object for each of its fields."""
    if not isinstance(pattern, dict) or not pattern:
        raise FilterError(f"In the filter {whole!r} there is no object of fields: {pattern!r}.")
    asked: dict[str, Matches] = {}
    choices: list[Matches] = []
    for name, expected in pattern.items():
        if name == "$or" and isinstance(expected, list) and expected:
            choices = [_fields(each, whole) for each in expected]
        elif isinstance(expected, list):
            asked[name] = _any_of(_rules(expected, whole))
        else:
            asked[name] = _nested(_fields(expected, whole))

    def matches(value: Any) -> bool:
        result = all(ask(value.get(name, _MISSING)) for name, ask in asked.items())
        return result and (not choices or any(choice(value) for choice in choices))

    return matches


def _nested(fields: Matches) -> Matches:
    def matches(value: Any) -> bool:
        if isinstance(value, list):  # one of several objects is enough
            return any(matches(each) for each in value)
        # A field that is not there is asked all the same: {"exists": false} may be wanted.
        return fields(value if isinstance(value, dict) else {})

    return matches


def _any_of(rules: Sequence[Matches]) -> Matches:
    def matches(value: Any) -> bool:
        values = value if isinstance(value, list) else [value]
        return any(rule(each) for each in values for rule in rules)

    return matches


def _rules(expected: Sequence[Any], whole: str) -> list[Matches]:
    if not expected:
        raise FilterError(f"In the filter {whole!r} there is an empty list of rules.")
    return [_rule(each, whole) for each in expected]


def _rule(expected: Any, whole: str) -> Matches:
    if not isinstance(expected, dict):
        return lambda value: _same(value, expected)
    if len(expected) != 1:
        raise FilterError(
            f"In the filter {whole!r} a rule has {len(expected)} names: {expected!r}."
        )
    ((name, argument),) = expected.items()
    try:
        made = _OPERATORS[name](argument)
    except (KeyError, TypeError, ValueError):
        made = None
    if made is None:
        raise FilterError(
            f"In the filter {whole!r} the rule {expected!r} is not known here: "
            f"{', '.join(sorted(_OPERATORS))}."
        )
    return made


def _same(value: Any, expected: Any) -> bool:
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    return value is not _MISSING and bool(value == expected)


def _text(of: Callable[[str, str], bool]) -> Callable[[Any], Matches | None]:
    def make(argument: Any) -> Matches | None:
        if not isinstance(argument, str):
            return None
        return lambda value: isinstance(value, str) and of(value, argument)

    return make


def _anything_but(argument: Any) -> Matches | None:
    if isinstance(argument, Mapping):
        return None
    refused = argument if isinstance(argument, list) else [argument]
    return lambda value: value is not _MISSING and not any(_same(value, each) for each in refused)


def _exists(argument: Any) -> Matches | None:
    if not isinstance(argument, bool):
        return None
    return lambda value: (value is not _MISSING) == argument


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numeric(argument: Any) -> Matches | None:
    if not isinstance(argument, list) or len(argument) not in (2, 4):
        return None
    if not all(map(_is_number, argument[1::2])):
        return None
    parts = [(_COMPARISONS[o], n) for o, n in zip(argument[::2], argument[1::2], strict=True)]
    return lambda value: _is_number(value) and all(compare(value, n) for compare, n in parts)


_OPERATORS: dict[str, Callable[[Any], Matches | None]] = {
    "prefix": _text(str.startswith),
    "suffix": _text(str.endswith),
    "equals-ignore-case": _text(lambda value, wanted: value.lower() == wanted.lower()),
    "anything-but": _anything_but,
    "exists": _exists,
    "numeric": _numeric,
}
