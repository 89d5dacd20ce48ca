"""Records of a batch that are checked together."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Slice:
    """Records that are checked together, by their indices in the batch."""

    positions: list[int]
    objects: list[Any]
    payloads: list[bytes]

    def without(self, refused: Container[int]) -> "Slice":
        """Return the records that were not refused, by their indices in the batch."""
        kept = [i for i, position in enumerate(self.positions) if position not in refused]
        return Slice(*([part[i] for i in kept] for part in self.parts))

    def between(self, start: int, stop: int) -> "Slice":
        """Return some of the records, by their indices in this slice."""
        return Slice(*(part[start:stop] for part in self.parts))

    def append(self, position: int, value: Any, payload: bytes) -> None:
        """Add a record."""
        for part, item in zip(self.parts, (position, value, payload), strict=True):
            part.append(item)

    @property
    def parts(self) -> tuple[list[Any], ...]:
        """Return the three lists."""
        return self.positions, self.objects, self.payloads
