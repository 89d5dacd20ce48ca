"""Scalars as whole columns: from their wire form to the table's type, and which are wrong.

Values that are not in the usual form are rewritten as a column; one by one are read only decimals
with an exponent, and base64.
"""

import operator
import re
from array import array as longs
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow as pa

from handler.contract.compiled import NO_RULES, Column
from handler.contract.form import USUAL
from handler.contract.patterns import match_column
from handler.contract.scalar import DIGITS_MAX, Refused
from handler.contract.values import read_scalar
from handler.delta import compute
from handler.delta.types import parse_decimal
from handler.validate.places import (
    Finished,
    Places,
    as_microseconds,
    false_rows,
    null_unless,
    rewrite_unmatched,
    union,
)
from handler.validate.time_columns import finish_date, finish_time

TWO_TO_63 = float(1 << 63)
_PLAIN_DECIMAL = r"^(?:\+|(-))?0*([0-9]+)(?:(\.[0-9]*[1-9])0*|\.0+)?\z"
"""A decimal without an exponent: its sign, its digits before the point, its digits behind it."""

_EXPONENT = r"^[+-]?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,6}\z"
_ZERO = r"^[+-]?0+(?:\.0+)?[eE][+-]?[0-9]{1,6}\z"
_SHORT = r"^[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?[eE]"
_LARGE = r"[eE][+-]?0*[1-9][0-9]{2,}\z"
_SMALL = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?[eE][+-]?0*[0-9]{1,2}")
"""What may be written out without thought. With a larger exponent and no more digits than these, a
number is beyond 38 digits on either side of the point, unless it is zero."""
_PART_ROWS = 65_536

Comparison = tuple[Callable[[Any, Any], bool], Callable[[pa.Array, pa.Scalar], pa.Array]]
"""How to compare with a bound: one value in Python, a whole column in Arrow."""
AT_LEAST: Comparison = (operator.ge, compute.greater_equal)
AT_MOST: Comparison = (operator.le, compute.less_equal)
ABOVE: Comparison = (operator.gt, compute.greater)
BELOW: Comparison = (operator.lt, compute.less)


def finish_scalar(array: pa.Array, column: Column) -> Finished:
    """Turn a wire column of scalars into the table's type, without its default."""
    match column.type:
        case "timestamp" | "timestamp_ntz":
            finished = finish_time(array, column)
        case "date":
            finished = finish_date(array, column)
        case "binary":
            finished = _from_base64(array)
        case "double" | "float":
            finished = _from_number(array)
        case _ if parse_decimal(column.type) is not None:
            finished = _to_decimal(array, column.arrow_type)
        case _:
            finished = Finished(array)
    if broken := _broken_rows(finished.array, column):
        finished.wrong = Places(union([finished.wrong, Places(broken)]))
    return finished


def _from_base64(array: pa.Array) -> Finished:
    # Arrow has no base64; `read_scalar` is the one place that says what is standard.
    decoded: list[bytes | None] = []
    wrong = longs("q")
    for row, text in enumerate(array.to_pylist()):
        try:
            decoded.append(None if text is None else read_scalar("binary", USUAL, text).order)
        except Refused:
            decoded.append(None)
            wrong.append(row)
    return Finished(pa.array(decoded, pa.binary()), Places(wrong))


def _from_number(array: pa.Array) -> Finished:
    """Look for what is beyond a float, and for what may have been an integer beyond 64 bits."""
    if all(abs(extreme) < TWO_TO_63 for extreme in compute.extremes(array)):
        return Finished(array)
    array, wrong = null_unless(array, compute.is_finite(array))
    unsure = false_rows(compute.less(compute.abs_(array), pa.scalar(TWO_TO_63, array.type)))
    return Finished(array, wrong, unsure)


def _to_decimal(array: pa.Array, target: pa.DataType) -> Finished:
    # Arrow's cast wraps at 128 bits and looks at the precision afterwards: the digits are counted
    # first: with at most p - s before the point and s behind it nothing can overflow.
    whole = target.precision - target.scale
    fits = f"-?[0-9]{{1,{whole}}}" if whole else "-?0"
    if target.scale:
        fits += f"(\\.[0-9]{{1,{target.scale}}})?"
    array, wrong = rewrite_unmatched(
        array, f"^{fits}\\z", lambda texts: _rewrite_decimals(texts, target)
    )
    return Finished(compute.cast(array, target), wrong)


def _rewrite_decimals(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Rewrite decimals without signs and zeros that say nothing; what is no decimal stays wrong."""
    array = compute.if_else(compute.less_equal(compute.binary_length(array), DIGITS_MAX), array, "")
    zero = match_column(array, _ZERO)
    plain = _strip_decimals(compute.if_else(zero, "0", array))
    large = compute.and_(match_column(array, _SHORT), match_column(array, _LARGE))
    mask = compute.and_not(match_column(array, _EXPONENT), compute.or_(large, zero))
    mask = compute.fill_null(mask, False)
    rows = compute.indices_nonzero(mask)
    if not len(rows):
        return plain
    type_name = f"decimal({target.precision},{target.scale})"
    written = [
        pa.array([_without_exponent(text, type_name) for text in part.to_pylist()], pa.string())
        for part in _parts(compute.take(array, rows))
    ]
    return compute.replace_with_mask(plain, mask, _strip_decimals(pa.concat_arrays(written)))


def _parts(array: pa.Array) -> Iterator[pa.Array]:
    """Part an array so that few of its values are Python's objects at once."""
    for start in range(0, len(array), _PART_ROWS):
        yield array.slice(start, _PART_ROWS)


def _strip_decimals(array: pa.Array) -> pa.Array:
    return compute.replace_first_substring_regex(array, _PLAIN_DECIMAL, r"\1\2\3")


def _without_exponent(text: str, type_name: str) -> str:
    """Return a decimal written out, or text that is no decimal."""
    if _SMALL.fullmatch(text):
        return f"{Decimal(text):f}"
    try:
        return str(read_scalar(type_name, USUAL, text).wire)
    except Refused:
        return ""


def _broken_rows(array: pa.Array, column: Column) -> Sequence[int]:
    """Return the rows of a finished scalar column that break one of its rules."""
    if column.rules == NO_RULES:
        return ()
    held = [mask for mask in _rules_held(array, column) if compute.all_(mask).as_py() is False]
    if not held:
        return ()
    return false_rows(reduce(compute.and_kleene, held))


def _rules_held(array: pa.Array, column: Column) -> Iterator[pa.Array]:
    """Yield which values obey a rule, for each rule that some value may break."""
    rules = column.rules
    if rules.pattern is not None:
        yield match_column(array, rules.pattern)
    if (rules.min_length, rules.max_length) != (None, None):
        length = (
            compute.binary_length(array) if column.type == "binary" else compute.utf8_length(array)
        )
        bounds = [(rules.min_length, AT_LEAST), (rules.max_length, AT_MOST)]
        yield from _bounds_held(length, bounds)
    orders = as_microseconds(array)
    if rules.allowed is not None:
        values = pa.array([*sorted(rules.allowed), None], orders.type)  # null is allowed here
        if pa.types.is_floating(orders.type):  # -0.0 is 0.0 to a rule
            orders, values = compute.add(orders, _zero(orders)), compute.add(values, _zero(orders))
        yield compute.is_in(orders, value_set=values)
    bounds = [
        (rules.minimum, AT_LEAST),
        (rules.maximum, AT_MOST),
        (rules.exclusive_minimum, ABOVE),
        (rules.exclusive_maximum, BELOW),
    ]
    yield from _bounds_held(orders, bounds)


def _bounds_held(values: pa.Array, bounds: Iterable[tuple[Any, Comparison]]) -> Iterator[pa.Array]:
    """Yield which values obey a bound, for each bound that the least or the greatest breaks."""
    given = [(bound, comparison) for bound, comparison in bounds if bound is not None]
    extremes = compute.extremes(values) if given else ()
    for bound, (holds, compare) in given:
        if not all(holds(extreme, bound) for extreme in extremes):
            yield compare(values, pa.scalar(bound, values.type))


def _zero(array: pa.Array) -> pa.Scalar:
    return pa.scalar(0.0, array.type)
