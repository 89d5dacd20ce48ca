"""`where`: which records of a topic belong in a table. Judged on the JSON as it was sent."""

from typing import Any

import msgspec

from handler.contract.reserved import HEADERS, KEY

KEY_TEXT = "_kafka_key (text)"
"""Where the document of a record has its key as text; as JSON it is at `_kafka_key`."""
RULE = "where"
"""The name of the rule that drops a record which another table, or none, is for."""


class Condition(msgspec.Struct, frozen=True):
    """What one value must be. `path` are the keys that lead to it from the record, or from
    `_kafka_headers` or `_kafka_key`.
    """

    path: tuple[str, ...]
    equals: Any = None
    in_: tuple[Any, ...] | None = None
    prefix: str | None = None
    exists: bool | None = None
    minimum: Any = None
    maximum: Any = None

    def holds(self, document: Any) -> bool:
        """Return whether the value at the path is as it must be: never, if it has another type."""
        value = document
        for key in self.path:
            value = value.get(key) if isinstance(value, dict) else None
        if self.exists is not None and self.exists is (value is None):
            return False
        if value is None:
            return self.exists is False
        if self.equals is not None and not _equal(value, self.equals):
            return False
        if self.in_ is not None and not any(_equal(value, each) for each in self.in_):
            return False
        if self.prefix is not None and not (
            isinstance(value, str) and value.startswith(self.prefix)
        ):
            return False
        if self.minimum is not None and not (
            _comparable(value, self.minimum) and value >= self.minimum
        ):
            return False
        return self.maximum is None or (_comparable(value, self.maximum) and value <= self.maximum)


class Where(msgspec.Struct, frozen=True):
    """Conditions that all hold for the records of a table, and alternatives of which one does."""

    conditions: tuple[Condition, ...]
    alternatives: tuple["Where", ...] = ()

    def keeps(self, document: Any) -> bool:
        """Return whether a record belongs in the table.

        `document` is its object; where `message_paths` asks for them, with `_kafka_headers` (texts
        by name), `_kafka_key` (JSON) and KEY_TEXT.
        """
        if not all(condition.holds(document) for condition in self.conditions):
            return False
        return not self.alternatives or any(each.keeps(document) for each in self.alternatives)

    @property
    def message_paths(self) -> frozenset[tuple[str, ...]]:
        """Return the paths of conditions that begin at the Kafka message."""
        own = {c.path for c in self.conditions if c.path[0] in (HEADERS, KEY, KEY_TEXT)}
        return frozenset(own).union(*(each.message_paths for each in self.alternatives))


def _kind(value: Any) -> type:
    """Return the kind of a JSON scalar: a boolean is not a number, and all numbers are of one
    kind.
    """
    return float if type(value) in (int, float) else type(value)


def _equal(value: Any, wants: Any) -> bool:
    return _kind(value) is _kind(wants) and bool(value == wants)


def _comparable(value: Any, bound: Any) -> bool:
    return _kind(value) is _kind(bound)
