"""Whole columns at once: what the wire brings becomes the table's types, or the batch is suspect.

Columns are converted and checked as a whole. Only when that fails is the one column read value by
value, with `values.read_scalar`, the reference. `Suspect` names the rows that `culprits` has to
examine: a check here may be too strict, never too lax.
"""

from bisect import bisect_right
from dataclasses import replace
from enum import Enum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from handler.contract_rules import Column, Derived, Rules, broken_rule
from handler.delta_types import Primitive, to_arrow
from handler.values import (
    TIMESTAMP_MAX_US,
    TIMESTAMP_MIN_US,
    UNIT_US,
    Literal,
    Refused,
    read_scalar,
)

TWO_TO_63 = float(1 << 63)
DAY_MIN = -719_162
"""0001-01-01 in days since 1970."""
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
_MOMENT = rf"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}"
_ZONE = r"(Z|[+-][0-9]{2}:[0-9]{2})$"


class Form(Enum):
    """How the wire brings a column."""

    STRINGS = "decimals are strings"
    NUMBERS = "decimals are numbers"
    EXACT = "each value is canonical and obeys the contract: `culprits` has read it"


class Suspect(Exception):
    """Values of a column that may break the contract, by their index in it."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"{len(rows)} values")
        self.rows = rows


class _Unfit(Exception):
    """Some value of a column is not in the form that is converted at once."""


def wire_type(column: Column, form: Form) -> pa.DataType:
    """Return the Arrow type that a column's JSON is read into."""
    match column.type:
        case "struct":
            fields = [pa.field(p.source, wire_type(p, form)) for p in column.parts]
            return pa.struct(fields)
        case "array":
            return pa.list_(pa.field("element", wire_type(column.parts[0], form)))
        case "map":
            return pa.map_(pa.string(), wire_type(column.parts[0], form))
        case "binary" | "date":
            return pa.string()
        case "timestamp" | "timestamp_ntz":
            return pa.string() if column.unit is None else pa.int64()
    if Primitive(column.type).decimal is not None:
        return pa.float64() if form is Form.NUMBERS else pa.string()
    return to_arrow(Primitive(column.type))


def finish(array: pa.Array, column: Column, form: Form) -> pa.Array:
    """Turn a wire column into the table's type, with defaults filled in. Raises Suspect."""
    match column.type:
        case "struct":
            # Arrow fills the fields of a null struct with zeros; `flatten` makes them null.
            children = [
                finish(child, part, form)
                for child, part in zip(array.flatten(), column.parts, strict=True)
            ]
            struct = to_arrow(column.data_type)
            return pa.StructArray.from_arrays(children, fields=list(struct), mask=_mask(array))
        case "array":
            values = _finish_inner(array, array.values, column, form)
            return pa.ListArray.from_arrays(
                array.offsets, values, type=to_arrow(column.data_type), mask=_mask(array)
            )
        case "map":
            items = _finish_inner(array, array.items, column, form)
            return pa.MapArray.from_arrays(
                array.offsets, array.keys, items, type=to_arrow(column.data_type), mask=_mask(array)
            )
    try:
        result = _convert_and_check(array, column, form)
    except (_Unfit, pa.ArrowException):
        canonical = _canonical(array, column)
        result = _convert_and_check(canonical, column, Form.EXACT)
    if column.default is not None and result.null_count:
        wire = pa.array([column.default.wire], wire_type(column, Form.EXACT))
        result = pc.fill_null(result, _convert(wire, column, Form.EXACT)[0])
    return result


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _finish_inner(array: pa.Array, inner: pa.Array, column: Column, form: Form) -> pa.Array:
    """Finish what an array or a map holds; suspects come out as rows of the array or map."""
    try:
        return finish(inner, column.parts[0], form)
    except Suspect as suspect:
        offsets = array.offsets.to_pylist()
        rows = sorted({bisect_right(offsets, row) - 1 for row in suspect.rows})
        raise Suspect(rows) from suspect


def _canonical(array: pa.Array, column: Column) -> pa.Array:
    """Read a column value by value into its canonical wire form. Raises Suspect."""
    wires: list[Any] = []
    suspects: list[int] = []
    for row, value in enumerate(array.to_pylist()):
        if value is None:
            wires.append(None)
            continue
        try:
            if isinstance(value, float):
                if abs(value) >= TWO_TO_63:
                    raise _Unfit  # perhaps an integer that orjson rounded: look at the text
                value = Literal(repr(value)) if Primitive(column.type).decimal else value
            scalar = read_scalar(column.type, column.unit, value)
        except (Refused, _Unfit):
            suspects.append(row)
            continue
        if broken_rule(_without_pattern(column), scalar.order) is not None:
            suspects.append(row)
        wires.append(scalar.wire)
    if suspects:
        raise Suspect(suspects)
    return pa.array(wires, wire_type(column, Form.EXACT))


def _without_pattern(column: Column) -> Rules:
    # The msgspec pass has checked it, and it is the one rule that may cost much.
    return replace(column.rules, pattern=None)


def _convert_and_check(array: pa.Array, column: Column, form: Form) -> pa.Array:
    result = _convert(array, column, form)
    if form is not Form.EXACT:
        _check_rules(result, column)
    return result


def _convert(array: pa.Array, column: Column, form: Form) -> pa.Array:
    target = to_arrow(Primitive(column.type))
    match column.type:
        case "timestamp" | "timestamp_ntz" if column.unit is not None:
            return _from_epoch(array, column.unit, target)
        case "timestamp" | "timestamp_ntz":
            zoned = column.type == "timestamp"
            _match(array, _MOMENT + (_ZONE if zoned else "$"))
            return _in_years(pc.cast(array, target))
        case "date":
            _match(array, _DATE)
            dates = pc.cast(array, target)
            # Arrow reads a year 0, which Python's dates do not have.
            if (least := pc.min(dates.cast(pa.int32())).as_py()) is not None and least < DAY_MIN:
                raise _Unfit
            return dates
        case "binary":
            return _from_base64(array)
        case "double" | "float":
            # Beyond 63 bits a double may have been an integer that orjson rounded; look at the
            # text.
            limit = pc.max(pc.abs(array)).as_py()
            if form is not Form.EXACT and limit is not None and limit >= TWO_TO_63:
                raise _Unfit
            return array
    if Primitive(column.type).decimal is not None:
        return _to_decimal(array, target, form)
    return array


def _match(array: pa.Array, pattern: str) -> None:
    if pc.all(pc.match_substring_regex(array, pattern)).as_py() is False:
        raise _Unfit


def _from_epoch(array: pa.Array, unit: str, target: pa.DataType) -> pa.Array:
    factor = UNIT_US[unit]
    low, high = pc.min_max(array).as_py().values()
    if (
        low is not None
        and not TIMESTAMP_MIN_US <= low * factor <= high * factor <= TIMESTAMP_MAX_US
    ):
        raise _Unfit
    return pc.multiply(array, factor).cast(target)


def _in_years(array: pa.Array) -> pa.Array:
    low, high = pc.min_max(array.cast(pa.int64())).as_py().values()
    if low is not None and not TIMESTAMP_MIN_US <= low <= high <= TIMESTAMP_MAX_US:
        raise _Unfit
    return array


def _from_base64(array: pa.Array) -> pa.Array:
    # Arrow has no base64; `read_scalar` is the one place that says what is standard.
    try:
        decoded = [
            None if text is None else read_scalar("binary", None, text).order
            for text in array.to_pylist()
        ]
    except Refused as refused:
        raise _Unfit from refused
    return pa.array(decoded, pa.binary())


def _to_decimal(array: pa.Array, target: pa.DataType, form: Form) -> pa.Array:
    # A double's shortest decimal is the number that was written if that had at most 15 digits: no
    # two decimals of 15 digits share a double. `check` has seen that no longer number is there.
    texts = pc.cast(array, pa.string()) if form is Form.NUMBERS else array
    # Arrow's cast wraps at 128 bits and looks at the precision afterwards: the digits are counted
    # first: with at most p - s before the point and s behind it nothing can overflow.
    whole = target.precision - target.scale
    pattern = f"-?[0-9]{{1,{whole}}}" if whole else "-?0"
    if target.scale:
        pattern += f"(\\.[0-9]{{1,{target.scale}}})?"
    _match(texts, f"^{pattern}$")
    return pc.cast(texts, target)


def _check_rules(array: pa.Array, column: Column) -> None:
    rules = column.rules
    bounds = (
        rules.minimum,
        rules.maximum,
        rules.exclusive_minimum,
        rules.exclusive_maximum,
    )
    if rules.allowed is not None and column.type != "string":
        extremes = _orders(pc.unique(array), column)
    elif any(bound is not None for bound in bounds):
        extremes = _orders(pa.array(pc.min_max(array).values(), array.type), column)
    elif column.type == "binary" and (rules.min_length, rules.max_length) != (None, None):
        extremes = array.to_pylist()
    else:
        return
    for order in extremes:
        if order is not None and broken_rule(rules, order) is not None:
            raise _Unfit


def _orders(array: pa.Array, column: Column) -> list[Any]:
    """Return values as rules compare them: timestamps as microseconds."""
    if pa.types.is_timestamp(array.type):
        return list(array.cast(pa.int64()).to_pylist())
    return list(array.to_pylist())


def derive(column: Column, derived: Derived, columns: dict[str, pa.Array]) -> pa.Array:
    """Return a derived column, made from finished columns and Kafka columns by name."""
    array = columns[derived.path[0]]
    for name in derived.path[1:]:
        array = pc.struct_field(array, [array.type.get_field_index(name)])
    target = to_arrow(column.data_type)
    if array.type == target:
        return array
    part = derived.part or "date"
    if part == "date":
        return pc.cast(array, target)
    extract = {"year": pc.year, "month": pc.month, "day": pc.day, "hour": pc.hour}[part]
    return pc.cast(extract(array), target)


def struct_of(columns: tuple[Column, ...], form: Form) -> pa.DataType:
    """Return the wire type of a whole record."""
    return pa.struct([pa.field(c.source, wire_type(c, form)) for c in columns])
