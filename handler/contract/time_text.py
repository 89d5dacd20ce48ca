"""Times as text: RFC 3339, ISO 8601 as it is usually written, and patterns in strptime's words."""

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from handler.contract.form import FINER, ISO8601, Form
from handler.contract.scalar import TIMESTAMP_MAX_US, TIMESTAMP_MIN_US, Refused
from handler.contract.time_zones import utc_of
from handler.errors import RejectCode

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_OFFSET = r"[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?"
_DIALECTS = (
    # 20260501T100000 -> 2026-05-01T10:00:00
    (
        r"^([0-9]{4})([0-9]{2})([0-9]{2})[Tt]([0-9]{2})([0-9]{2})([0-9]{2})",
        r"\1-\2-\3T\4:\5:\6",
    ),
    # a space for T
    (rf"^({_DAY})[Tt ]([0-9]{{2}}:[0-9]{{2}})", r"\1T\2"),
    # no seconds
    (rf"^({_DAY}T[0-9]{{2}}:[0-9]{{2}})( ?(?:{_OFFSET}))?$", r"\1:00\2"),
    # a comma before the fraction
    (rf"^({_DAY}T[0-9:]{{8}}),([0-9])", r"\1.\2"),
    # a space before the offset; +0000 and +00
    (rf"^({_DAY}T[0-9:.]+) ({_OFFSET})$", r"\1\2"),
    (rf"^({_DAY}T[0-9:.]+[+-][0-9]{{2}})([0-9]{{2}})$", r"\1:\2"),
    (rf"^({_DAY}T[0-9:.]+[+-][0-9]{{2}})$", r"\1:00"),
)
_TRUNCATION = (r"([.,][0-9]{6})[0-9]+", r"\1")
_LAST_TRUNCATION = (r"([.,][0-9]{6})[0-9]+(?!.*[.,][0-9])", r"\1")
"""In a text of a pattern, of which only the last number after a point is the fraction."""
_ADJACENT = re.compile("%[YymdHIMSf]%[YymdHIMSf]")
"""Numbers of a pattern with nothing between them."""
COMPACT_DATE = r"^([0-9]{4})([0-9]{2})([0-9]{2})$", r"\1-\2-\3"
"""A date of ISO 8601 without hyphens."""


def rewrites(form: Form) -> Iterator[tuple[str, str]]:
    """Yield regular expressions and what replaces each, in turn, so that a text becomes RFC 3339.

    Python and RE2 mean the same by them. What none of them knows stays as it is.
    """
    if form.format == ISO8601:
        yield from _DIALECTS
    if form.truncate:
        yield _TRUNCATION


def format_time(type_name: str, microseconds: int, timespec: str = "auto") -> str:
    """Return a timestamp in ISO 8601, in UTC if its type has a zone. `timespec`: see isoformat."""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec=timespec) + ("Z" if type_name == "timestamp" else "")


def parse_time(type_name: str, form: Form, text: str) -> int:
    """Return microseconds since 1970, of UTC or, for timestamp_ntz, of its own calendar.

    Raises Refused. The years are not checked.
    """
    zoned = type_name == "timestamp"
    if form.pattern is not None:
        moment, offset = _parse_pattern(text, form)
    else:
        for pattern, replacement in rewrites(form):
            text = re.sub(pattern, replacement, text, count=1)
        moment, offset = _parse_rfc3339(text, zoned=zoned)
    if zoned and offset is None and form.zone is not None:
        return utc_of(moment, form.zone, form.fold)
    if (offset is not None) is not zoned:
        raise _not_like("2026-05-01T10:00:00Z" if zoned else "2026-05-01T10:00:00 (no offset)")
    return moment - (offset or 0)


def parse_day(form: Form, text: str) -> date:
    """Return the date that a text of a pattern is. Raises Refused."""
    try:
        days = _parse_pattern(text, form)[0] // 86_400_000_000
    except Refused as refused:
        raise Refused(RejectCode.BAD_DATE, refused.message) from None
    return date.fromordinal(_EPOCH.toordinal() + days)


def utc_day(microseconds: int) -> date:
    """Return the UTC date of a timestamp. Raises Refused for years beyond 1 to 9999."""
    if not TIMESTAMP_MIN_US <= microseconds <= TIMESTAMP_MAX_US:
        raise Refused(RejectCode.OUT_OF_RANGE, "the date is outside the years 1 to 9999")
    return date.fromordinal(_EPOCH.toordinal() + microseconds // 86_400_000_000)


def _not_like(example: str) -> Refused:
    return Refused(RejectCode.BAD_TIMESTAMP, f"expected a timestamp such as {example}")


def _parse_rfc3339(text: str, *, zoned: bool) -> tuple[int, int | None]:
    """Return microseconds of the text's own calendar, and those of its offset or None."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise _not_like("2026-05-01T10:00:00Z" if zoned else "2026-05-01T10:00:00 (no offset)")
    fraction = (match[5] or "").rstrip("0")
    if len(fraction) > 6:
        raise Refused(RejectCode.BAD_TIMESTAMP, FINER)
    try:
        day = date.fromisoformat(match[1])
        moment = datetime(day.year, day.month, day.day, int(match[2]), int(match[3]), int(match[4]))
        offset = _offset_minutes(match[6])
    except ValueError:
        raise Refused(
            RejectCode.BAD_TIMESTAMP, "the timestamp has an invalid day, time or offset"
        ) from None
    whole = (moment - _EPOCH) // _MICROSECOND + int(fraction.ljust(6, "0"))
    return whole, None if offset is None else offset * 60_000_000


def _offset_minutes(text: str | None) -> int | None:
    if text is None:
        return None
    if text in "Zz":
        return 0
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError(text)
    return (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)


def _parse_pattern(text: str, form: Form) -> tuple[int, int | None]:
    """Return microseconds of the text's own calendar, and those of its offset or None."""
    assert form.format is not None
    if form.truncate:
        text = re.sub(*_LAST_TRUNCATION, text, count=1)
    # strptime takes the digits of every script; a contract means those of ASCII.
    if not text.isascii() and any(c.isdigit() and not c.isascii() for c in text):
        raise _not_of(form)
    try:
        moment = datetime.strptime(text, form.format)
    except ValueError:
        raise _not_of(form) from None
    if _ADJACENT.search(form.format) and not _is_padded(text, form.format, moment):
        raise _not_of(form)
    offset = moment.utcoffset()
    whole = (moment.replace(tzinfo=None) - _EPOCH) // _MICROSECOND
    return whole, None if offset is None else offset // _MICROSECOND


def _is_padded(text: str, pattern: str, moment: datetime) -> bool:
    """Return whether each number has all its digits: without, `2026111` would be a guess."""
    before, *variable = re.split("%[fzaA]", pattern)
    exact = moment.strftime(before.replace("%Y", f"{moment.year:04}")).lower()
    return text.lower().startswith(exact) if variable else text.lower() == exact


def _not_of(form: Form) -> Refused:
    return Refused(RejectCode.BAD_TIMESTAMP, f"expected a text of the format {form.format}")
