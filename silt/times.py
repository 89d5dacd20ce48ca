"""Times as a person writes them in an option: a moment, or so long ago."""

import re
from datetime import UTC, datetime, timedelta

from silt.command_errors import UsageError

_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def parse_time(text: str, option: str) -> int:
    """Return a time in microseconds since 1970: a moment, or so long before now. Without an offset
    it is UTC. Raises UsageError, naming the option.
    """
    try:
        if (match := _AGO.fullmatch(text.removesuffix(" ago"))) is not None:
            moment = datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} is {text!r}. Expected a time such as 2026-11-25T10:00Z, 2026-11-25 (UTC), "
            "or 2h and 3d for so long ago."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000_000)
