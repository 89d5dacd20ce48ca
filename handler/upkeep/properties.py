"""How long a table keeps what is no longer part of it: its contract's word, and its properties.

The properties are Delta's own, so that every engine that maintains the table keeps the same.
"""

import re
from collections.abc import Mapping

import msgspec

from handler.contract.upkeep import DAY_MS, RETENTION_MIN_MS, Upkeep

FILES, LOG = "delta.deletedFileRetentionDuration", "delta.logRetentionDuration"
CLEANUP = "delta.enableExpiredLogCleanup"
HOUR_MS = 3_600_000
FILES_DEFAULT_MS, LOG_DEFAULT_MS = 7 * DAY_MS, 30 * DAY_MS
_UNITS_MS = {
    "millisecond": 1,
    "second": 1000,
    "minute": 60_000,
    "hour": HOUR_MS,
    "day": DAY_MS,
    "week": 7 * DAY_MS,
}
_INTERVAL = re.compile(rf"(?:interval\s+)?(\d+)\s+({'|'.join(_UNITS_MS)})s?", re.IGNORECASE)


class Retention(msgspec.Struct, frozen=True):
    """What a table is to keep: files and commits, in milliseconds.

    `properties` are to be set on the table for that. `why_not_vacuum` and `why_not_clean` say why
    its files or its log are left alone, None where they are not.
    """

    files_ms: int
    log_ms: int
    properties: Mapping[str, str]
    why_not_vacuum: str | None
    why_not_clean: str | None


def retention(upkeep: Upkeep, configuration: Mapping[str, str]) -> Retention:
    """Return what holds for a table with these properties."""
    files_ms, set_files = _read_retention(FILES, upkeep.retain_ms, FILES_DEFAULT_MS, configuration)
    log_ms, set_log = _read_retention(LOG, upkeep.log_retain_ms, LOG_DEFAULT_MS, configuration)
    why = why_not_vacuum = None
    if files_ms is None:
        why_not_vacuum = f"{FILES} is {configuration[FILES]!r}, which is not a known interval"
    if configuration.get(CLEANUP, "true").lower() == "false":
        why = f"{CLEANUP} is false"
    elif log_ms is None or log_ms < RETENTION_MIN_MS:
        why = f"{LOG} is {configuration[LOG]!r}; expected an interval of a day or more"
    return Retention(
        files_ms=max(files_ms if files_ms is not None else FILES_DEFAULT_MS, RETENTION_MIN_MS),
        log_ms=max(log_ms if log_ms is not None else LOG_DEFAULT_MS, RETENTION_MIN_MS),
        properties={**set_files, **set_log},
        why_not_vacuum=why_not_vacuum,
        why_not_clean=why,
    )


def _read_retention(
    name: str, wanted_ms: int | None, default_ms: int, configuration: Mapping[str, str]
) -> tuple[int | None, dict[str, str]]:
    """Return the time that holds, and the property that has to be set for it.

    None is a property that cannot be read. What the contract says nothing of is left as it is.
    """
    has_ms = _milliseconds(configuration[name]) if name in configuration else default_ms
    if wanted_ms is None:
        return has_ms, {}
    hours = -(-wanted_ms // HOUR_MS)
    if hours * HOUR_MS == has_ms:
        return has_ms, {}
    return hours * HOUR_MS, {name: f"interval {hours} hours"}


def _milliseconds(text: str) -> int | None:
    match = _INTERVAL.fullmatch(text.strip())
    return int(match[1]) * _UNITS_MS[match[2].lower()] if match is not None else None
