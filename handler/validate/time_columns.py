"""Timestamps and dates as whole columns."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from msgspec.structs import replace

from handler.contract.compiled import Column
from handler.contract.form import DAYS, ISO8601, UNIT_NS
from handler.contract.patterns import match_column
from handler.contract.scalar import TIMESTAMP_MAX_US, TIMESTAMP_MIN_US, Refused
from handler.contract.time_text import COMPACT_DATE, rewrites
from handler.contract.time_zones import utc_of
from handler.contract.values import DATE_MAX, DATE_MIN, read_scalar
from handler.delta import compute
from handler.validate.places import (
    Finished,
    Places,
    as_microseconds,
    is_within,
    null_outside,
    null_unless,
    places_of_new_nulls,
    rewrite_unmatched,
    union,
)

_DAY_US = 86_400_000_000
_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DAY = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
"""A day that is in the calendar, from year 1 on."""
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_DATE = rf"^{_DAY}\z"
_MOMENT = {
    "timestamp": rf"^{_DAY}T{_CLOCK}{_ZONE}\z",
    "timestamp_ntz": rf"^{_DAY}T{_CLOCK}\z",
}
_SHAPE_OF_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_SHAPE_OF_CLOCK = r"[0-9:]{8}(?:\.[0-9]{1,6})?"
_SHAPE = {
    "date": rf"^{_SHAPE_OF_DAY}\z",
    "timestamp": rf"^{_SHAPE_OF_DAY}T{_SHAPE_OF_CLOCK}(?:Z|[+-][0-9:]{{5}})\z",
    "timestamp_ntz": rf"^{_SHAPE_OF_DAY}T{_SHAPE_OF_CLOCK}\z",
}
"""Only texts of these shapes go to Arrow's cast, which knows the calendar and the clock, but reads
other forms too. RE2 compiles a pattern for each column of each batch: these in a third of the time
that the exact ones take."""
_ZEROS_BEYOND_MICROSECONDS = r"(\.[0-9]{6})0+"


def finish_time(array: pa.Array, column: Column) -> Finished:
    """Turn a wire column into timestamps."""
    if column.form.unit is not None:
        return _from_epoch(array, column)
    if column.form.pattern is not None:
        moments, wrong = _by_value(array, lambda text: _order(column, text))
        return Finished(compute.cast(moments, column.arrow_type), wrong)
    if (usual := _cast_usual(array, column)) is not None:
        return usual
    if column.form.zone is not None:
        return _from_local(_rewrite(array, column), column)
    array, wrong = rewrite_unmatched(
        array, _MOMENT[column.type], lambda texts: _rewrite(texts, column)
    )
    return _in_years(compute.cast(array, column.arrow_type), wrong)


def finish_date(array: pa.Array, column: Column) -> Finished:
    """Turn a wire column into dates."""
    form = column.form
    if form.unit == DAYS:
        array, wrong = null_outside(array, DATE_MIN, DATE_MAX)
        return Finished(compute.cast(array, pa.int32(), pa.date32()), wrong)
    if form.pattern is not None:
        days, wrong = _by_value(array, lambda text: _order(column, text).toordinal() + DATE_MIN - 1)
        return Finished(compute.cast(days, pa.int32(), pa.date32()), wrong)
    if (usual := _cast_usual(array, column)) is not None:
        return usual
    held = match_column(array, _DATE)
    if form.format == ISO8601 and compute.all_(held).as_py() is False:
        array = _replace(array, *COMPACT_DATE)
        held = match_column(array, _DATE)
    if "timestamp" in form.accept and compute.all_(held).as_py() is False:
        return _from_timestamps(array, held, column)
    array, wrong = null_unless(array, held)
    return Finished(compute.cast(array, pa.date32()), wrong)


def _cast_usual(array: pa.Array, column: Column) -> Finished | None:
    """Return texts as dates or timestamps, None where the exact patterns have to decide."""
    if compute.all_(match_column(array, _SHAPE[column.type])).as_py() is False:
        return None
    try:
        finished = compute.cast(array, column.arrow_type)
    except pa.ArrowInvalid:
        return None
    # Arrow takes the year 0. With an offset such a text may be a time of 0001-01-01 in UTC.
    if column.type == "date":
        known = is_within(finished.view(pa.int32()), DATE_MIN, DATE_MAX)
    else:
        low = TIMESTAMP_MIN_US + _DAY_US
        known = is_within(as_microseconds(finished), low, TIMESTAMP_MAX_US)
    return Finished(finished) if known else None


def _rewrite(array: pa.Array, column: Column) -> pa.Array:
    """Rewrite texts that are not RFC 3339 in capital letters, as far as the contract takes them."""
    for pattern, replacement in rewrites(column.form):
        array = _replace(array, pattern, replacement)
    # Small letters are allowed, and zeros beyond the microseconds, which .NET and Go write.
    return _replace(compute.ascii_upper(array), _ZEROS_BEYOND_MICROSECONDS, r"\1")


def _replace(array: pa.Array, pattern: str, replacement: str) -> pa.Array:
    return compute.replace_first_substring_regex(array, pattern, replacement)


def _from_epoch(array: pa.Array, column: Column) -> Finished:
    unit = column.form.unit
    assert unit is not None
    target = column.arrow_type
    if unit == "ns":
        microseconds = compute.divide(array, 1000)
        wrong = Places()
        if not column.form.truncate:
            exact = compute.equal(compute.multiply(microseconds, 1000), array)
            microseconds, wrong = null_unless(microseconds, exact)
        return Finished(compute.cast(microseconds, target), wrong)
    factor = UNIT_NS[unit] // 1000
    low, high = TIMESTAMP_MIN_US // factor, TIMESTAMP_MAX_US // factor
    array, wrong = null_outside(array, low, high)
    return Finished(compute.cast(compute.multiply(array, factor), target), wrong)


def _in_years(array: pa.Array, wrong: Places) -> Finished:
    array, beyond = null_outside(array, TIMESTAMP_MIN_US, TIMESTAMP_MAX_US)
    return Finished(array, Places(union([wrong, beyond])))


def _from_local(array: pa.Array, column: Column) -> Finished:
    """Turn RFC 3339 with or without an offset into timestamps."""
    zone, fold = column.form.zone, column.form.fold
    assert zone is not None
    target = column.arrow_type
    is_local = match_column(array, _MOMENT["timestamp_ntz"])
    others = compute.if_else(is_local, None, array)
    others, wrong = null_unless(others, match_column(others, _MOMENT[column.type]))
    local = compute.cast(compute.if_else(is_local, array, None), pa.timestamp("us"), pa.int64())
    # Offsets change at whole seconds: times of one second have the same.
    seconds = compute.divide(compute.subtract(local, TIMESTAMP_MIN_US), 1_000_000)

    def offset_at(second: int) -> int:
        moment = second * 1_000_000 + TIMESTAMP_MIN_US
        return utc_of(moment, zone, fold) - moment

    offsets, refused = _by_value(seconds, offset_at)
    moments = compute.coalesce(
        compute.cast(others, target, pa.int64()), compute.add(local, offsets)
    )
    return _in_years(compute.cast(moments, target), Places(union([wrong, refused])))


def _from_timestamps(array: pa.Array, held: pa.Array, column: Column) -> Finished:
    """Turn texts into dates: those that hold a date, and the UTC dates of timestamps."""
    moments = finish_time(compute.if_else(held, None, array), replace(column, type="timestamp"))
    days = compute.cast(compute.if_else(held, array, None), pa.date32())
    return Finished(compute.coalesce(days, compute.cast(moments.array, pa.date32())), moments.wrong)


def _order(column: Column, text: str) -> Any:
    return read_scalar(column.type, column.form, text).order


def _by_value(array: pa.Array, read: Callable[[Any], int]) -> tuple[pa.Array, Places]:
    """Read each distinct value by itself, as integers; those that are refused are null."""
    encoded = compute.dictionary_encode(array)
    results: list[int | None] = []
    for value in encoded.dictionary.to_pylist():
        try:
            results.append(read(value))
        except Refused:
            results.append(None)
    result = compute.take(pa.array(results, pa.int64()), encoded.indices)
    return result, places_of_new_nulls(result, array)
