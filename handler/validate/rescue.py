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
from handler.validate.decode import parse_numbers
from handler.validate.diagnose import path_of
from handler.validate.places import Step
from handler.validate.slices import Slice
from handler.validate.unknown import TOO_MANY_PATHS, TooManyPaths, characters_max


class _CannotRescue(Exception):
    """A value that is required is not of its column's type."""


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
    for position in sorted(rejects):
        payload = payloads[position]
        exact, record = parse_numbers(payload), orjson.loads(payload)
        if not isinstance(exact, dict):
            continue
        try:
            rescued[position] = _rescue(exact, record, columns, payload)
        except _CannotRescue:
            continue
        except TooManyPaths:
            problems[position] = TOO_MANY_PATHS
            continue
        records.append(position, record, payload)
    return records, rescued


def _rescue(
    exact: dict[str, Any], record: dict[str, Any], columns: Sequence[Column], payload: bytes
) -> dict[str, Any]:
    """Make null what is not of its column's type, and return it by its path.

    `exact` is the record with each number as it was written, `record` as the parser returns it.
    Values that break a rule of their column stay. Raises _CannotRescue or TooManyPaths.
    """
    rescued = _Rescue(characters_max(payload))
    rescued.object(exact, record, columns, ())
    return rescued.values


class _Rescue:
    def __init__(self, left: int) -> None:
        self.values: dict[str, Any] = {}
        self._left = left

    def object(
        self, exact: Any, record: Any, columns: Sequence[Column], path: tuple[Step, ...]
    ) -> None:
        for column in columns:
            if exact.get(column.source) is not None:
                self._value(exact, record, column.source, column, path)

    def _value(
        self, exact: Any, record: Any, key: Step, column: Column, path: tuple[Step, ...]
    ) -> None:
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
        written = path_of(path)
        self._left -= len(written)
        if self._left < 0:
            raise TooManyPaths
        self.values[written] = value
        record[key] = None
