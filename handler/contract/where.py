"""`where`: which records of a topic belong in a table. Judged on the JSON as it was sent."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from handler.contract.message_paths import HEADERS, KEY, check_header
from handler.contract.model import ConditionModel
from handler.contract.reserved import Report, nearest
from handler.contract.source_paths import parse_source
from handler.contract.yaml_file import Path

KEY_TEXT = "_kafka_key (text)"
"""Where the document of a record has its key as text; as JSON it is at `_kafka_key`."""
RULE = "where"
"""The name of the rule that drops a record which another table, or none, is for."""


class Condition(msgspec.Struct, frozen=True):
    """What one value must be. `path` are the keys that lead to it from the record, or from
    `_kafka_headers` or `_kafka_key`.
    """

    path: tuple[str, ...]
    model: ConditionModel

    def holds(self, document: Any) -> bool:
        """Return whether the value at the path is as it must be: never, if it has another type."""
        value = document
        for key in self.path:
            value = value.get(key) if isinstance(value, dict) else None
        wants = self.model
        if wants.exists is not None and wants.exists is (value is None):
            return False
        if value is None:
            return wants.exists is False
        if wants.equals is not None and not _equal(value, wants.equals):
            return False
        if wants.in_ is not None and not any(_equal(value, each) for each in wants.in_):
            return False
        if wants.prefix is not None and not (
            isinstance(value, str) and value.startswith(wants.prefix)
        ):
            return False
        if wants.minimum is not None and not (
            _comparable(value, wants.minimum) and value >= wants.minimum
        ):
            return False
        return wants.maximum is None or (
            _comparable(value, wants.maximum) and value <= wants.maximum
        )


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


def _check_condition(wants: ConditionModel, place: Path, report: Report) -> None:
    """Report a condition that says nothing, or contradicts itself."""
    given = wants.model_fields_set
    if not given:
        report(place, "there is no condition here. Expected one such as {equals: order}")
    for name in sorted(given):
        if getattr(wants, name) is None:
            hint = ": for null or a missing field write exists: false" if name == "equals" else ""
            report((*place, name.rstrip("_")), f"there is no value here{hint}")
    if wants.exists is False and given != {"exists"}:
        report(place, "exists: false is about a value that is missing: nothing else can hold of it")


def compile_where(
    model: Mapping[str, ConditionModel | Sequence[Mapping[str, ConditionModel]]],
    here: Path,
    report: Report,
) -> Where:
    """Compile the conditions of a contract, and report what is wrong with them."""
    conditions, alternatives = [], []
    if not model:
        report(here, "there is no condition: leave `where` out to take every record")
    for name, wants in model.items():
        place = (*here, name)
        if not isinstance(wants, ConditionModel):
            if name != "any":
                report(place, "expected conditions such as {equals: order}; a list is for `any`")
            alternatives += [
                compile_where(each, (*place, i), report) for i, each in enumerate(wants)
            ]
            continue
        _check_condition(wants, place, report)
        root, _, rest = name.partition(".")
        if name == KEY:
            path: tuple[str, ...] = (KEY_TEXT,)
        elif root == HEADERS:
            path = (root, *check_header(rest, place, report))
        elif root.startswith("_kafka_") and root != KEY:
            hint = nearest(root, (HEADERS, KEY)) or f". Expected {HEADERS} or {KEY}"
            report(place, f"a condition cannot be on {root!r}{hint}")
            path = (root,)
        else:
            path = parse_source(name, place, report)
        conditions.append(Condition(path, wants))
    return Where(tuple(conditions), tuple(alternatives))
