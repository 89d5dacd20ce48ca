"""on_invalid: rescue. A value that is not of its column's type becomes null, and is kept by its
path; the rest of the record is a row.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from handler.contract.compiled import Column
from handler.contract.scalar import Refused
from handler.contract.values import read_scalar
from handler.errors import Problem
from handler.validate.decode import Written, dump_exactly, parse_numbers
from handler.validate.diagnose import join
from handler.validate.places import Step
from handler.validate.slices import Slice
from handler.validate.unknown import TOO_MANY_PATHS, TooManyPaths, characters_max

RESCUED_MAX = 10_000
"""A record with more values of the wrong type is rejected."""
BATCH_VALUES = 500_000
"""So many values of a batch's rejects are looked at."""


class _CannotRescue(Exception):
    """A value that is required is not of its column's type, or the budget is spent."""


def rescue_rejects(
    rejects: Iterable[int],
    payloads: Sequence[bytes],
    columns: Sequence[Column],
    problems: dict[int, Problem],
) -> tuple[Slice, dict[int, dict[str, Any]]]:
    """Return rejects to check once more, and by position the values that are null in them now.

    Adds to `problems` those of which nothing can be kept.
    """
    records, rescued = Slice([], [], []), dict[int, dict[str, Any]]()
    budget = BATCH_VALUES
    for position in sorted(rejects):
        if budget <= 0:
            break  # the others are rejected for what is wrong with them
        payload = payloads[position]
        exact, record = parse_numbers(payload), orjson.loads(payload)
        if not isinstance(exact, dict):
            continue
        rescue = _Rescue(characters_max(payload), budget)
        try:
            rescue.object(exact, record, columns, ())
        except _CannotRescue:
            continue
        except TooManyPaths:
            problems[position] = TOO_MANY_PATHS
            continue
        finally:
            budget = rescue.budget
        # Texts take less room than what they were parsed to.
        rescued[position] = {
            path: Written(dump_exactly(value)) for path, value in rescue.values.items()
        }
        records.append(position, record, payload)
    return records, rescued


class _Rescue:
    """Makes null what is not of its column's type, and keeps it by its path.

    Values that break a rule of their column stay. Records come twice: with each number as it was
    written, and as the parser returns them.
    """

    def __init__(self, characters_max: int, budget: int) -> None:
        self.values: dict[str, Any] = {}
        self.budget = budget
        self._left = characters_max

    def object(
        self, exact: Any, record: Any, columns: Sequence[Column], path: tuple[Step, ...]
    ) -> None:
        """Look at the values of an object. Raises _CannotRescue or TooManyPaths."""
        for column in columns:
            if exact.get(column.source) is not None:
                self._value(exact, record, column.source, column, path)

    def _value(
        self, exact: Any, record: Any, key: Step, column: Column, path: tuple[Step, ...]
    ) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise _CannotRescue
        value, here = exact[key], (*path, key)
        items: Iterable[tuple[Step, Any]] = ()
        match column.type:
            case "json":
                return
            case "struct" if isinstance(value, dict):
                self.object(value, record[key], column.parts, here)
                return
            case "array" if isinstance(value, list):
                items = enumerate(value)
            case "map" if isinstance(value, dict):
                items = value.items()
            case "struct" | "array" | "map":
                self._keep(value, record, key, column, here)
                return
            case _:
                try:
                    read_scalar(column.type, column.form, value)
                except Refused:
                    self._keep(value, record, key, column, here)
                return
        for inner, item in items:
            if item is not None:
                self._value(value, record[key], inner, column.parts[0], here)

    def _keep(
        self, value: Any, record: Any, key: Step, column: Column, path: tuple[Step, ...]
    ) -> None:
        if column.required:
            raise _CannotRescue
        self._left -= sum(len(step) for step in path if isinstance(step, str))
        if self._left < 0 or len(self.values) == RESCUED_MAX:
            raise TooManyPaths
        written = ""
        for step in path:
            written = f"{written}[{step}]" if isinstance(step, int) else join(written, step)
        self.values[written] = value
        record[key] = None
