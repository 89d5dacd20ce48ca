"""Time zones: what a local time means in UTC, by the IANA database of the package `tzdata`.

Not the database of the machine: contracts mean the same on every one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from handler.contract.scalar import Refused
from handler.errors import RejectCode

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


@cache
def zone_names() -> Sequence[str]:
    """Return the names of all time zones."""
    from importlib import resources

    return (resources.files("tzdata") / "zones").read_text("ascii").split()


@cache
def _load_zone(name: str) -> "ZoneInfo":
    # Only for contracts with a zone: they take 4 ms to import.
    from importlib import resources
    from zoneinfo import ZoneInfo

    file = resources.files("tzdata") / "zoneinfo"
    for part in name.split("/"):
        file = file / part
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, key=name)


def utc_of(local_us: int, zone: str, fold: str | None) -> int:
    """Return the microseconds since 1970 of a local time, given as if it were UTC.

    Raises Refused for a time that a change to summer time leaves out, and for one that occurs twice
    where `fold` does not say which is meant.
    """
    local = _EPOCH + timedelta(microseconds=local_us)
    there = local.replace(tzinfo=_load_zone(zone))
    first, second = there.utcoffset(), there.replace(fold=1).utcoffset()
    assert first is not None
    assert second is not None
    if first < second:
        raise Refused(
            RejectCode.BAD_TIMESTAMP, f"the clocks of {zone} were put forward over this time"
        )
    if first > second and fold is None:
        raise Refused(
            RejectCode.BAD_TIMESTAMP,
            f"this time occurred twice in {zone}: `fold: earlier` or `later` in the contract says "
            "which is meant",
        )
    offset = second if fold == "later" else first
    return local_us - offset // _MICROSECOND
