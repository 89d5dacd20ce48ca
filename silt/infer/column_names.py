"""Names that Delta takes, for keys that it does not."""

import re

_INVALID = re.compile(r"[\s,;{}()=.\[\]]+")
_UNREADABLE = re.compile(r'["\\\x00-\x1f]')
NAME_MAX = 120


def is_readable(key: str) -> bool:
    """Return whether a column can read a key: quotes, backslashes and control characters cannot."""
    return _UNREADABLE.search(key) is None


class Names:
    """The names of one level. At the top some are reserved for Silt."""

    def __init__(self, *, top: bool) -> None:
        self._top = top
        self._taken: set[str] = set()

    def name_of(self, key: str) -> str:
        """Return the name for a key: the key itself where Delta takes it, and no other has it."""
        clear = "".join(c if c.isprintable() else " " for c in key)
        name = _INVALID.sub("_", clear)[:NAME_MAX].strip("_") if _INVALID.search(clear) else key
        name = name[:NAME_MAX] or "field"
        lower = name.lower()
        if self._top and (lower.startswith("_kafka_") or lower == "_rescued"):
            name = f"x{name}"
        unique, number = name, 2
        while unique.lower() in self._taken:
            unique, number = f"{name}_{number}", number + 1
        self._taken.add(unique.lower())
        return unique
