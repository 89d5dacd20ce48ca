"""What is seen of the values at one place of the records."""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from handler.contract.scalar import Literal
from silt.infer.text_formats import DECIMAL, OTHER_FORMATS, TEXT_FORMATS, digits_of, is_of, scale_of

DISTINCT_MAX = 100
"""So many different values of a place are kept."""
SHORT = 64
"""Longer texts are neither compared nor kept."""
FIELDS_MAX = 2_000
"""So many different keys of the objects at a place are kept; with more, the keys are data."""
EXACT_MAX = 1 << 53


class Observation:
    """The values at one place: of which kinds they are, and what else is known of them.

    Numbers with a fraction come as `Literal`, as `parse_exactly` reads them.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.least: int | float | None = None
        self.most: int | float | None = None
        self.inexact = False
        """A number that a double does not hold as it was written."""
        self.large = False
        """An integer beyond 64 bits."""
        self.formats: set[str] = {*TEXT_FORMATS, *OTHER_FORMATS}
        self.scale = 0
        self.scales: set[int] = set()
        self.padded = False
        """A text ends with the padding of base64."""
        self.digits = 0
        """Of decimals, as texts or as numbers: digits behind the point, and before it."""
        self.longest = 0
        self.distinct: Counter[Any] | None = Counter()
        """Short values with how often each was seen; None once there are too many."""
        self.example: str | None = None
        """The first text that is short."""
        self.fields: dict[str, Observation] = {}
        self.rest: Observation | None = None
        """What was seen in fields beyond FIELDS_MAX."""
        self.items: Observation | None = None

    @property
    def values(self) -> int:
        """Return how many values are not null."""
        return self.kinds.total() - self.kinds["null"]

    def see(self, value: Any) -> None:
        """Take in a value."""
        match value:
            case None:
                self.kinds["null"] += 1
            case bool():
                self.kinds["boolean"] += 1
                self._count(value)
            case str():
                self.kinds["string"] += 1
                self._see_text(value)
            case int() | Literal():
                self._see_number(value)
            case dict():
                self.kinds["object"] += 1
                for key, inner in value.items():
                    self._field(key).see(inner)
            case list():
                self.kinds["array"] += 1
                if value and self.items is None:
                    self.items = Observation()
                for item in value:
                    assert self.items is not None
                    self.items.see(item)

    def _field(self, key: str) -> "Observation":
        found = self.fields.get(key)
        if found is None:
            if len(self.fields) >= FIELDS_MAX:
                self.rest = self.rest or Observation()
                return self.rest
            found = self.fields[key] = Observation()
        return found

    def _see_number(self, value: int | Literal) -> None:
        if isinstance(value, Literal) and not value.is_integer:
            self.kinds["float"] += 1
            number: int | float = float(value.text)
            exact = _exact(value.text)
            long = len(value.text) > 15 or "e" in value.text.lower()
            self.inexact |= long and exact != Decimal(repr(number))
            exponent = exact.as_tuple().exponent
            if isinstance(exponent, int):
                self.scale = max(self.scale, -exponent)
                self.digits = max(self.digits, exact.adjusted() + 1)
        else:
            self.kinds["integer"] += 1
            number = int(value.text) if isinstance(value, Literal) else value
            self.large |= not -(1 << 63) <= number < 1 << 63
            self.inexact |= abs(number) > EXACT_MAX
            self.digits = max(self.digits, len(str(abs(number))))
        self._count(number)
        self.least = number if self.least is None else min(self.least, number)
        self.most = number if self.most is None else max(self.most, number)

    def _see_text(self, text: str) -> None:
        self.longest = max(self.longest, len(text))
        if self.example is None and 0 < len(text) <= SHORT:
            self.example = text
        self._count(text)
        self.padded |= text.endswith("=")
        if self.formats:
            seen_before = self.distinct is not None and self.distinct.get(text, 0) > 1
            if not seen_before:
                self.formats = {name for name in self.formats if is_of(name, text)}
        if DECIMAL in self.formats:
            self.scale = max(self.scale, scale_of(text))
            self.scales.add(scale_of(text))
            self.digits = max(self.digits, digits_of(text))

    def _count(self, value: Any) -> None:
        if self.distinct is None:
            return
        if isinstance(value, str) and len(value) > SHORT:
            self.distinct = None
            return
        self.distinct[value] += 1
        if len(self.distinct) > DISTINCT_MAX:
            self.distinct = None

    def merged_fields(self) -> "Observation":
        """Return what was seen in all fields of the objects here, as of one place."""
        result = Observation()
        for field in self.fields.values():
            result.add(field)
        if self.rest is not None:
            result.add(self.rest)
        return result

    def add(self, other: "Observation") -> None:
        """Take in what was seen at another place."""
        self.kinds += other.kinds
        self.inexact |= other.inexact
        self.large |= other.large
        if other.kinds["string"]:
            self.formats &= other.formats
        self.scale = max(self.scale, other.scale)
        self.digits = max(self.digits, other.digits)
        self.longest = max(self.longest, other.longest)
        self.example = self.example or other.example
        for bound in (other.least, other.most):
            if bound is not None:
                self.least = bound if self.least is None else min(self.least, bound)
                self.most = bound if self.most is None else max(self.most, bound)
        if self.distinct is not None and other.distinct is not None:
            self.distinct += other.distinct
        if self.distinct is None or other.distinct is None or len(self.distinct) > DISTINCT_MAX:
            self.distinct = None
        self.scales |= other.scales
        self.padded |= other.padded
        if other.rest is not None:
            self.rest = self.rest or Observation()
            self.rest.add(other.rest)
        for key, field in other.fields.items():
            self._field(key).add(field)
        if other.items is not None:
            self.items = self.items or Observation()
            self.items.add(other.items)

    def samples(self, count: int) -> Iterator[Any]:
        """Yield some of the values that were kept."""
        for value, _ in (self.distinct or Counter()).most_common(count):
            yield value


def _exact(text: str) -> Decimal:
    """Return a number exactly; NaN, which equals nothing, for an exponent beyond all measure."""
    exponent = text.lower().partition("e")[2]
    return Decimal(text) if len(exponent) <= 7 else Decimal("NaN")
