"""A column of a contract that is being inferred."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Inferred:
    """A column, a field or an item of a contract. `keys` are those of the YAML besides its parts.

    `notes` become comments.
    """

    keys: dict[str, Any]
    fields: dict[str, "Inferred"] | None = None
    inner: "Inferred | None" = None
    notes: list[str] = field(default_factory=list)
    placeholder: dict[str, Any] | None = None
    """Keys that take only what was seen, so that the first other value is noticed."""

    @property
    def type(self) -> str:
        """Return its type."""
        return str(self.keys["type"])
