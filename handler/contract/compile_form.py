"""The keys of a column that name conversions: `unit`, `accept`, `format`, `zone`, `fold`,
`fraction`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from handler.contract.form import DAYS, ISO8601, Form
from handler.contract.model import ColumnModel
from handler.contract.reporting import Path, Report, nearest
from handler.contract.time_zones import zone_names
from handler.delta.types import INTEGER_BITS, parse_decimal

_ACCEPTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(INTEGER_BITS, ("string", "integral")),
    **dict.fromkeys(("double", "float", "decimal"), ("string",)),
    "boolean": ("integer", "string"),
    "string": ("number", "boolean"),
    "date": ("timestamp",),
    "timestamp": ("string", "float"),
    "timestamp_ntz": ("string", "float"),
}
_TIMES = ("timestamp", "timestamp_ntz")
_DIRECTIVES = "YymdHIMSfzpbBaA%"
"""The directives whose meaning no locale and no machine decides, but for English names."""
_FRACTION = re.compile(r"[.,]%f[^.,0-9]*\Z")
_DIRECTIVE = re.compile(r"%(.?)", re.DOTALL)


def compile_form(type_name: str, model: ColumnModel, path: Path, report: Report) -> Form:
    """Return the form of a column's values, and report keys that say nothing or contradict."""
    if type_name not in (*_TIMES, "date"):
        for key in ("unit", "format", "zone", "fold", "fraction"):
            if getattr(model, key) is not None:
                report((*path, key), f"`{key}` does not apply to a column of type {type_name}")
    _check_accept(type_name, model, path, report)
    if type_name in (*_TIMES, "date"):
        _check_time(type_name, model, path, report)
    return Form(
        unit=model.unit,
        accept=tuple(sorted(set(model.accept or ()))),
        format=model.format,
        zone=model.zone,
        fold=model.fold,
        truncate=model.fraction is not None,
    )


def _check_accept(type_name: str, model: ColumnModel, path: Path, report: Report) -> None:
    kind = "decimal" if parse_decimal(type_name) is not None else type_name
    takes = _ACCEPTS.get(kind, ())
    for i, word in enumerate(model.accept or ()):
        if word not in takes:
            what = f"It can accept {' and '.join(takes)}" if takes else "It accepts nothing else"
            report(
                (*path, "accept", i),
                f"{word!r} does not apply to a column of type {type_name}. {what}",
            )
    if model.accept and type_name in _TIMES and model.unit is None:
        report(
            (*path, "accept"),
            "`accept` is for timestamps that count from 1970, and needs `unit`. For other texts "
            "there is `format`",
        )


def _check_time(type_name: str, model: ColumnModel, path: Path, report: Report) -> None:
    if model.unit is not None and (model.unit == DAYS) is not (type_name == "date"):
        right = "days" if type_name == "date" else "s, ms, us or ns"
        report((*path, "unit"), f"the unit of a {type_name} is {right}, not {model.unit}")
    if model.unit is not None:
        for key in ("format", "zone", "fold"):
            if getattr(model, key) is not None:
                report(
                    (*path, key), f"`{key}` is for texts, and with `unit` the values are numbers"
                )
    if model.unit == DAYS and model.accept:
        report((*path, "accept"), "`accept: [timestamp]` is for texts; with `unit` there are none")
    if model.fraction is not None and type_name == "date":
        report((*path, "fraction"), "`fraction` does not apply to a column of type date")
    if model.fold is not None and model.zone is None:
        report((*path, "fold"), "`fold` says which time of a zone is meant, and needs `zone`")
    if model.zone is not None:
        _check_zone(type_name, model.zone, path, report)
    if model.format is not None and model.format != ISO8601:
        _check_pattern(type_name, model.format, model, path, report)


def _check_zone(type_name: str, zone: str, path: Path, report: Report) -> None:
    here = (*path, "zone")
    if type_name != "timestamp":
        report(here, f"`zone` does not apply to a column of type {type_name}, which has no zone")
    elif zone not in zone_names():
        hint = nearest(zone, zone_names()) or ". Expected a name such as Europe/Berlin or UTC"
        report(here, f"{zone!r} is not a time zone{hint}")


def _check_pattern(
    type_name: str, pattern: str, model: ColumnModel, path: Path, report: Report
) -> None:
    here = (*path, "format")
    used = _DIRECTIVE.findall(pattern)
    truncated = model.fraction is not None
    if (reason := _refusal(type_name, pattern, used, truncated=truncated)) is not None:
        report(here, reason)
    elif type_name == "timestamp" and "z" not in used and model.zone is None:
        report(here, "the pattern has no %z, so add `zone`, the time zone of its values, or UTC")
    elif type_name == "timestamp" and "z" in used and model.zone is not None:
        report((*path, "zone"), "the pattern has %z: its values have an offset, and need no `zone`")
    elif "timestamp" in (model.accept or ()):
        report(here, "with a pattern only its texts are taken: leave out `accept`, or the pattern")


def _refusal(type_name: str, pattern: str, used: list[str], *, truncated: bool) -> str | None:
    """Return what is wrong with a pattern."""
    if unknown := [word for word in used if not word or word not in _DIRECTIVES]:
        return (
            f"%{unknown[0]} is not taken in a pattern. Expected iso8601, or directives out of "
            + " ".join(f"%{word}" for word in _DIRECTIVES)
        )
    words = [word for word in used if word != "%"]
    if doubled := {word for word in words if words.count(word) > 1}:
        return f"the pattern has %{min(doubled)} twice"
    year = {"Y", "y"}.intersection(words)
    if len(year) != 1 or "d" not in words or not {"m", "b", "B"}.intersection(words):
        return "a pattern needs one year (%Y), a month (%m, %b) and a day (%d), such as %d/%m/%Y"
    clock = set(words).intersection("HIMSfzp")
    if type_name == "date" and clock:
        return (
            f"the pattern has a time of day (%{min(clock)}), which a date does not keep. Take the "
            "value as a timestamp and derive the date from it: `from: date(column)`"
        )
    if type_name == "timestamp_ntz" and "z" in words:
        return "a timestamp_ntz has no offset, and the pattern has %z. Use the type timestamp"
    if ("I" in words) is not ("p" in words) or {"I", "H"}.issubset(words):
        return "the hour of a pattern is %H, or %I with %p"
    if truncated and not _FRACTION.search(pattern):
        return (
            "`fraction: truncate` needs a pattern with .%f or ,%f, once and at the end of the time"
        )
    sample = datetime(2026, 5, 1, 10, 30, tzinfo=UTC).strftime(pattern)
    try:
        datetime.strptime(sample, pattern)
    except ValueError as error:
        return f"the pattern is ambiguous or invalid: {error}"
    return None
