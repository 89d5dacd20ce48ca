"""Fields of the JSON that the contract lacks: found by their paths, kept as they were written."""

from collections.abc import Mapping, Sequence
from typing import Any

from handler.contract.compiled import Column
from handler.errors import Problem, RejectCode
from handler.validate.decode import dump_exactly
from handler.validate.diagnose import join
from handler.validate.size import SPARE_BYTES

CHARACTERS_PER_BYTE = 20
"""The paths of a record's unknown fields may have so many characters for each of its bytes."""


def characters_max(payload: bytes) -> int:
    """Return how many characters the paths of a record's unknown fields may have."""
    return CHARACTERS_PER_BYTE * (len(payload) + SPARE_BYTES)


TOO_MANY_PATHS = Problem(
    RejectCode.TOO_LARGE,
    "",
    "the paths of the fields that _rescued would keep are many times as long as the record",
)


class TooManyPaths(Exception):
    """The paths of a record's unknown fields are far longer than the record."""


class UnknownFields:
    """Collects the unknown fields of records of one contract."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._level = _Level(columns)

    def collect(self, record: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
        """Return the unknown fields of a record that `parse_exactly` has read, by path.

        Raises TooManyPaths: a long key above many fields would be repeated for each of them.
        """
        result: dict[str, Any] = {}
        _Collection(result, characters_max(payload)).object(record, self._level, None)
        return result


def rescued_text(unknown: Mapping[str, Any]) -> str:
    """Return unknown fields as the JSON text of `_rescued`: paths to values, as written."""
    return dump_exactly(unknown)


class _Level:
    """The known fields of one object, and those of them in which there may be unknown ones."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.known = frozenset(column.source for column in columns)
        self.inside = tuple((column.source, column) for column in columns if _has_objects(column))


def _has_objects(column: Column) -> bool:
    return column.type == "struct" or any(_has_objects(part) for part in column.parts)


_Path = tuple[Any, str | int] | None
"""The way to a value: that to what holds it, and its name or index there. It is written out only
for unknown fields: a long key above many known ones would be copied for each of them."""


class _Collection:
    def __init__(self, fields: dict[str, Any], characters_max: int) -> None:
        self._fields = fields
        self._left = characters_max
        self._levels: dict[int, _Level] = {}
        self._ends: dict[str, str] = {}

    def object(self, value: Mapping[str, Any], level: _Level, path: _Path) -> None:
        if not level.known.issuperset(value):
            prefix = self._written(path)
            for name, item in value.items():
                if name not in level.known:
                    written = self._join(prefix, name)
                    self._left -= len(written)
                    if self._left < 0:
                        raise TooManyPaths
                    self._fields[written] = item
        for source, column in level.inside:
            self._value(value.get(source), column, (path, source))

    def _value(self, value: Any, column: Column, path: _Path) -> None:
        if not value:
            return
        if column.type == "struct" and isinstance(value, dict):
            self.object(value, self._level_of(column), path)
        elif column.type == "array" and isinstance(value, list):
            part = column.parts[0]
            level = self._level_of(part) if part.type == "struct" else None
            for i, item in enumerate(value):
                # Most items have nothing unknown, and nothing within that could have.
                plain = not isinstance(item, dict) or (level and level.known.issuperset(item))
                if level is None or level.inside or not plain:
                    self._value(item, part, (path, i))
        elif column.type == "map" and isinstance(value, dict):
            part = column.parts[0]
            for key, item in value.items():
                self._value(item, part, (path, key))

    def _written(self, path: _Path) -> str:
        steps: list[str | int] = []
        while path is not None:
            path, step = path
            steps.append(step)
        self._left -= sum(len(step) for step in steps if isinstance(step, str))
        if self._left < 0:
            raise TooManyPaths
        written = ""
        for step in reversed(steps):
            written = f"{written}[{step}]" if isinstance(step, int) else self._join(written, step)
        return written

    def _join(self, prefix: str, name: str) -> str:
        """Return the path of a field; the end of a name that occurs again is kept."""
        if not prefix:
            return join("", name)
        end = self._ends.get(name)
        if end is None:
            end = self._ends[name] = join("x", name)[1:]
        return prefix + end

    def _level_of(self, column: Column) -> _Level:
        level = self._levels.get(id(column))
        return level or self._levels.setdefault(id(column), _Level(column.parts))
