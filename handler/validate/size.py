"""How many values a record becomes: what a few bytes of JSON can expand to.

`{}` in an array of structs of fifty fields is three bytes and fifty values.
"""

from collections.abc import Sequence
from typing import Any

from handler.contract.compiled import Column
from handler.errors import Problem, RejectCode
from handler.validate.checked import Verdict
from handler.validate.slices import Slice

VALUES_PER_BYTE = 4
"""A record may become so many values for each of its bytes. Without this bound, many small records
in one event expand as far as a single large one may not (decision 0013)."""
SPARE_BYTES = 512
"""Counted as if each record had so many bytes more: a small record may have a few wide items."""
_BYTES_OF_AN_ITEM = 2
"""The shortest item of an array: a digit and its comma."""


SLICE_VALUES = 1_000_000
"""The records of a slice become so many values at most, without those in arrays and maps."""
VALUE_BYTES = 8
"""What a value of a column takes at least, null or not."""


class Sizes:
    """Counts the leaf values that records of a contract become."""

    def __init__(self, columns: Sequence[Column], values_max: int) -> None:
        self._repeated = tuple(column for column in columns if _repeats(column))
        self._values_max = values_max
        self.flat = sum(_width(column) for column in columns)
        self._item = max((_item_width(column) for column in self._repeated), default=0)

    @property
    def records_max(self) -> int:
        """Return how many records a slice may have: small ones of a wide contract would become many
        values, most of them null.
        """
        return max(1, SLICE_VALUES // max(1, self.flat))

    def limit(self, size: int) -> int:
        """Return how many values a record of so many bytes may become."""
        return min(self._values_max, self.flat + VALUES_PER_BYTE * (size + SPARE_BYTES))

    def bound(self, size: int) -> int:
        """Return a number of values that a record of so many bytes cannot exceed."""
        return self.flat + size // _BYTES_OF_AN_ITEM * self._item

    def count(self, record: Any) -> int:
        """Return how many leaf values a parsed record becomes.

        A struct counts in full, also where it is null or has few of its fields.
        """
        if not self._repeated or not isinstance(record, dict):
            return self.flat
        return self.flat + sum(_items(record.get(c.source), c) for c in self._repeated)

    def refuse_large(self, part: Slice, verdict: Verdict) -> Slice:
        """Refuse records that expand to too many values, and return the others."""
        if not self._repeated and self.flat <= self._values_max:
            return part  # without arrays and maps, all records become the same number of values
        sizes = list(map(len, part.payloads))
        if not sizes or self._are_small(min(sizes), max(sizes)):
            return part
        refused = dict[int, Problem]()
        for i, size in enumerate(sizes):
            limit = self.limit(size)
            if self.bound(size) > limit and (count := self.count(part.objects[i])) > limit:
                refused[part.positions[i]] = Problem(
                    RejectCode.TOO_LARGE,
                    "",
                    f"the record's {size} bytes become {count} values of the contract's columns, "
                    f"and at most {limit} are taken: see max_values",
                )
        verdict.final.update(refused)
        return part.without(refused) if refused else part

    def _are_small(self, least: int, most: int) -> bool:
        """Return whether no record of these sizes can become too many values."""
        bound = self.bound(most)
        # Up to so many values a byte, a longer record's limit grows at least as its bound does.
        is_narrow = self._item <= VALUES_PER_BYTE * _BYTES_OF_AN_ITEM
        return bound <= (self._values_max if is_narrow else self.limit(least))


def _width(column: Column) -> int:
    """Return the leaf values of a column itself, without the items of arrays and maps."""
    match column.type:
        case "struct":
            return sum(_width(part) for part in column.parts)
        case "array" | "map":
            return 0
    return 1


def _repeats(column: Column) -> bool:
    return column.type in ("array", "map") or any(_repeats(part) for part in column.parts)


def _item_width(column: Column) -> int:
    """Return the widest item of any array or map in a column; a map's key is a value too."""
    inner = max((_item_width(part) for part in column.parts), default=0)
    if column.type in ("array", "map"):
        return max(inner, _width(column.parts[0]) + (column.type == "map"), 1)
    return inner


def _items(value: Any, column: Column) -> int:
    """Return the leaf values within the arrays and maps of a column."""
    match column.type, value:
        case "struct", dict():
            return sum(_items(value.get(part.source), part) for part in column.parts)
        case "array", list():
            part = column.parts[0]
            own = len(value) * max(_width(part), 1)
            return own + (sum(_items(item, part) for item in value) if _repeats(part) else 0)
        case "map", dict():
            part = column.parts[0]
            own = len(value) * (_width(part) + 1)
            inner = value.values() if _repeats(part) else ()
            return own + sum(_items(item, part) for item in inner)
    return 0
