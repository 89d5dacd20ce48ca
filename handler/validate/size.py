"""How many values a record becomes: what a few bytes of JSON can expand to.

`{}` in an array of structs of fifty fields is three bytes and fifty values.
"""

from collections.abc import Iterator, Sequence
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


SLICE_VALUES = 4_000_000
"""Columns are made from so many values at once: what the parser's objects and Arrow's builders need
at one time is bounded by it."""


class Sizes:
    """Counts the leaf values that records of a contract become."""

    def __init__(self, columns: Sequence[Column], values_max: int) -> None:
        self._repeated = tuple(column for column in columns if _repeats(column))
        self._values_max = values_max
        self.flat = sum(_width(column) for column in columns)
        self._item = max((_item_width(column) for column in self._repeated), default=0)

    def limit(self, payload: bytes) -> int:
        """Return how many values a record of these bytes may become."""
        expanded = VALUES_PER_BYTE * (len(payload) + SPARE_BYTES)
        return min(self._values_max, self.flat + expanded)

    def bound(self, payload: bytes) -> int:
        """Return a number of values that a record of these bytes cannot exceed."""
        return self.flat + len(payload) // _BYTES_OF_AN_ITEM * self._item

    def count(self, record: Any) -> int:
        """Return how many leaf values a parsed record becomes.

        A struct counts in full, also where it is null or has few of its fields.
        """
        if not self._repeated or not isinstance(record, dict):
            return self.flat
        return self.flat + sum(_items(record.get(c.source), c) for c in self._repeated)

    def slices(self, batch: Slice, verdict: Verdict) -> Iterator[Slice]:
        """Refuse records that expand to too many values, and part the others by how many they are.

        There is always one slice, if only an empty one.
        """
        bounds = [self.bound(payload) for payload in batch.payloads]
        limits = [self.limit(payload) for payload in batch.payloads]
        if sum(bounds) > SLICE_VALUES:
            bounds = [self.count(record) for record in batch.objects]
        for i, limit in enumerate(limits):
            if bounds[i] > limit and (size := self.count(batch.objects[i])) > limit:
                verdict.final[batch.positions[i]] = Problem(
                    RejectCode.TOO_LARGE,
                    "",
                    f"the record's {len(batch.payloads[i])} bytes become {size} values of the "
                    f"contract's columns, and at most {limit} are taken: see max_values",
                )
                bounds[i] = 0
        if sum(bounds) <= SLICE_VALUES:
            yield batch.without(verdict.final) if verdict.final else batch
            return
        start = size = 0
        for i, values in enumerate(bounds):
            if size and size + values > SLICE_VALUES:
                yield batch.between(start, i).without(verdict.final)
                start, size = i, 0
            size += values
        yield batch.between(start, len(bounds)).without(verdict.final)


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
