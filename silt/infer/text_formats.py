"""What texts may be besides strings: the ways in which a contract could read them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.contract.form import ISO8601, USUAL, Form
from handler.contract.scalar import Refused
from handler.contract.values import read_scalar

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,24})(?:\.([0-9]{1,9}))?")
_BASE64 = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9+=])[A-Za-z0-9+/]{16,}={0,2}")
_PADDED_DAY = re.compile(r"[0-9]{2}[./][0-9]{2}[./](?:19|20)[0-9]{2}(?: .*)?")
"""A version such as 4.7.3056 is no date."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FINE = re.compile(r"\.[0-9]{7,}")
_UTC = "UTC"


@dataclass(frozen=True, slots=True)
class TextFormat:
    """A type with the form of its texts, and the keys of a column that say so."""

    type: str
    form: Form
    keys: Mapping[str, Any]

    def takes(self, text: str) -> bool:
        """Return whether a text is of this format."""
        try:
            read_scalar(self.type, self.form, text)
        except Refused:
            return False
        return True


def _pattern(type_name: str, pattern: str, zone: str | None = None) -> TextFormat:
    keys = {"format": pattern, **({"zone": zone} if zone else {})}
    return TextFormat(type_name, Form(format=pattern, zone=zone), keys)


_ISO = Form(format=ISO8601)
TEXT_FORMATS: Mapping[str, TextFormat] = {
    "date": TextFormat("date", USUAL, {}),
    "timestamp": TextFormat("timestamp", USUAL, {}),
    "iso": TextFormat("timestamp", _ISO, {"format": ISO8601}),
    "local": TextFormat("timestamp_ntz", USUAL, {}),
    "local iso": TextFormat("timestamp_ntz", _ISO, {"format": ISO8601}),
    "d/m/y": _pattern("date", "%d/%m/%Y"),
    "m/d/y": _pattern("date", "%m/%d/%Y"),
    "d.m.y": _pattern("date", "%d.%m.%Y"),
    "d/m/y time": _pattern("timestamp_ntz", "%d/%m/%Y %H:%M:%S"),
    "m/d/y time": _pattern("timestamp_ntz", "%m/%d/%Y %H:%M:%S"),
    "d.m.y time": _pattern("timestamp_ntz", "%d.%m.%Y %H:%M:%S"),
    "utc": _pattern("timestamp", "%Y-%m-%d %H:%M:%S UTC", _UTC),
    "utc fraction": _pattern("timestamp", "%Y-%m-%d %H:%M:%S.%f UTC", _UTC),
    "mail": _pattern("timestamp", "%a, %d %b %Y %H:%M:%S %z"),
    "http": _pattern("timestamp", "%a, %d %b %Y %H:%M:%S GMT", _UTC),
    "log": _pattern("timestamp", "%d/%b/%Y:%H:%M:%S %z"),
    "boolean": TextFormat("boolean", Form(accept=("string",)), {"accept": ["string"]}),
    "integer": TextFormat("long", Form(accept=("string",)), {"accept": ["string"]}),
}
"""Formats in the order of preference, by names for each other."""
AMBIGUOUS = (("d/m/y", "m/d/y"), ("d/m/y time", "m/d/y time"))
"""Pairs that say different days of one text: with both, nobody knows."""
DECIMAL, BINARY, UUID, FINE = "decimal", "binary", "uuid", "fine"
OTHER_FORMATS = (DECIMAL, BINARY, UUID, FINE)


def is_of(name: str, text: str) -> bool:
    """Return whether a text is of the format with a name."""
    if name == DECIMAL:
        return _DECIMAL.fullmatch(text) is not None
    if name == UUID:
        return _UUID.fullmatch(text) is not None
    if name == BINARY:
        return _BASE64.fullmatch(text) is not None and TEXT_BINARY.takes(text)
    if name == FINE:
        return _FINE.search(text) is not None and FINE_TIMESTAMP.takes(text)
    if name[:5] in ("d/m/y", "m/d/y", "d.m.y") and _PADDED_DAY.fullmatch(text) is None:
        return False
    return TEXT_FORMATS[name].takes(text)


TEXT_BINARY = TextFormat("binary", USUAL, {})
FINE_TIMESTAMP = TextFormat(
    "timestamp", Form(format=ISO8601, truncate=True), {"format": ISO8601, "fraction": "truncate"}
)


def scale_of(text: str) -> int:
    """Return how many digits a decimal has after its point, none for another text."""
    match = _DECIMAL.fullmatch(text)
    return len(match[1] or "") if match is not None else 0


def digits_of(text: str) -> int:
    """Return how many digits a decimal has before its point."""
    return len(text.partition(".")[0].lstrip("-"))
