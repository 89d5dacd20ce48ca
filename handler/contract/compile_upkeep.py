"""What a contract file says of the upkeep of its two tables, compiled and checked."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from handler.contract.model import MaintenanceModel, RetentionModel
from handler.contract.reporting import Path, Report
from handler.contract.upkeep import DAY_MS, RETENTION_MIN_MS, Upkeep

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": DAY_MS}
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TARGET_MIN, _TARGET_MAX = 1 << 20, 1 << 30
_UNSORTABLE = ("json", "struct", "array", "map", "binary", "boolean")


def compile_upkeep(
    given: MaintenanceModel,
    partition_by: Collection[str],
    types: Mapping[str, str],
    report: Report,
) -> tuple[Upkeep, Upkeep]:
    """Return the upkeep of the table and of its dead letters; report what is wrong with it.

    `types` are the table's columns, each with its type.
    """
    here: Path = ("maintenance",)
    target = _size(given.target_file_size)
    if not _TARGET_MIN <= target <= _TARGET_MAX:
        report((*here, "target_file_size"), "a file must be from 1 MiB to 1 GiB")
    _check_sort(given.sort_by, partition_by, types, report)
    retain_ms, log_retain_ms = _retention(given, here, report)
    rows = Upkeep(
        enabled=given.enabled,
        target_file_size=target,
        sort_by=tuple(given.sort_by),
        checkpoint_commits=given.checkpoint_commits,
        quiet_for_ms=_time_ms(given.quiet_for),
        retain_ms=retain_ms,
        log_retain_ms=log_retain_ms,
    )
    own = given.dead_letters
    expire_ms = None
    if own is not None:
        within: Path = (*here, "dead_letters")
        retain_ms, log_retain_ms = _retention(own, within, report)
        expire_ms = _long_enough(own.expire, "a redriven dead letter", (*within, "expire"), report)
    dead_letters = replace(
        rows,
        sort_by=(),
        retain_ms=retain_ms,
        log_retain_ms=log_retain_ms,
        expire_ms=expire_ms,
    )
    return rows, dead_letters


def _retention(given: RetentionModel, here: Path, report: Report) -> list[int | None]:
    times: list[int | None] = []
    for key, what in (("retain", "a file that was removed"), ("log_retain", "a commit")):
        times.append(_long_enough(getattr(given, key), what, (*here, key), report))
    return times


def _long_enough(text: str | None, what: str, here: Path, report: Report) -> int | None:
    """Return a time, and report one that is too short."""
    time_ms = _time_ms(text) if text is not None else None
    if time_ms is not None and time_ms < RETENTION_MIN_MS:
        report(here, f"{what} is kept for 1d at least: a reader or a writer may still need it")
    return time_ms


def default_upkeep() -> Upkeep:
    """Return how a table is kept of which no contract is known."""
    given = MaintenanceModel.model_validate({})
    return compile_upkeep(given, (), {}, lambda _path, _message: None)[0]


def _check_sort(
    sort_by: Sequence[str], partition_by: Collection[str], types: Mapping[str, str], report: Report
) -> None:
    for i, name in enumerate(sort_by):
        here: Path = ("maintenance", "sort_by", i)
        if name not in types:
            report(here, f"{name!r} is not a column of the table")
        elif name in partition_by:
            report(here, f"{name!r} is a partition column, so it never differs within a file")
        elif types[name] in _UNSORTABLE:
            report(
                here,
                f"{name!r} is not a number, string, date or timestamp, so rows cannot be "
                f"sorted by it",
            )
        elif name in sort_by[:i]:
            report(here, f"{name!r} is listed twice")


def _time_ms(text: str) -> int:
    return int(text[:-1]) * _UNITS_MS[text[-1]]


def _size(text: str) -> int:
    match: Any = re.fullmatch(r"(\d+) ?([KMG]iB)", text)
    return int(match[1]) * _UNITS[match[2]]
