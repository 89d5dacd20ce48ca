"""Whole columns at once: what the wire brings becomes the table's types, and what does not fit is
named.

The verdict is exact: a value is wrong here if, and only if, `values.read_scalar` or
`compiled.broken_rule` refuses it, and a property test holds the two together.
"""

from array import array as longs
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from handler.contract.compiled import Column, Derived
from handler.delta import compute
from handler.delta.types import Primitive, to_arrow
from handler.validate.places import Finished, Places, Step, union
from handler.validate.scalars import finish_scalar
from handler.validate.wire import reveal

_PART_OF_TIME = {
    "year": compute.year,
    "month": compute.month,
    "day": compute.day,
    "hour": compute.hour,
}


def wire_type(column: Column) -> pa.DataType:
    """Return the Arrow type that a column's JSON is read into. Decimals are texts."""
    match column.type:
        case "struct":
            return struct_of(column.parts)
        case "array":
            return pa.list_(pa.field("element", wire_type(column.parts[0])))
        case "map":
            return pa.map_(pa.string(), wire_type(column.parts[0]))
        case "date" | "timestamp" | "timestamp_ntz":
            return pa.string() if column.form.unit is None else pa.int64()
        case "binary" | "json":
            return pa.string()
    if Primitive(column.type).decimal is not None:
        return pa.string()
    return to_arrow(Primitive(column.type))


def struct_of(columns: Sequence[Column]) -> pa.DataType:
    """Return the wire type of a record, or of a struct within one."""
    return pa.struct([pa.field(c.source, wire_type(c)) for c in columns])


def finish(array: pa.Array, column: Column) -> Finished:
    """Turn a wire column into the table's type, with defaults filled in.

    The JSON kinds were checked before: Arrow's builders would turn 2.5 into 2.
    """
    match column.type:
        case "struct":
            return _finish_struct(array, column)
        case "array":
            inner = finish(array.values, column.parts[0])
            offsets = array.offsets.to_pylist() if inner.wrong or inner.unsure else []
            result = _nested(array, column.arrow_type, [inner.array])
            wrong = _outer(offsets, inner.wrong, lambda row, outer: row - offsets[outer])
            return Finished(result, wrong, _outer_rows(offsets, inner.unsure))
        case "map":
            inner = finish(array.items, column.parts[0])
            offsets = array.offsets.to_pylist() if inner.wrong or inner.unsure else []
            target = column.arrow_type
            entry = pa.struct([target.key_field, target.item_field])
            entries = pa.StructArray.from_arrays([array.keys, inner.array], fields=list(entry))
            result = _nested(array, target, [entries])
            wrong = _outer(offsets, inner.wrong, lambda row, _outer: str(array.keys[row]))
            return Finished(result, wrong, _outer_rows(offsets, inner.unsure))
    finished = finish_scalar(array, column)
    if column.default is not None and finished.array.null_count:
        target = finished.array.type
        is_timestamp = pa.types.is_timestamp(target)
        default = pa.array([column.default.order], pa.int64() if is_timestamp else target)
        finished.array = compute.fill_null(finished.array, compute.cast(default, target)[0])
    return finished


def has_default(column: Column) -> bool:
    """Return whether a column is filled also in records that lack its field."""
    if column.hidden:
        return any(map(has_default, column.parts))
    return column.default is not None


def _finish_struct(array: pa.Array, column: Column) -> Finished:
    # Arrow fills the fields of a null struct with zeros; `flatten` makes them null.
    finished = [
        finish(child, part) for child, part in zip(array.flatten(), column.parts, strict=True)
    ]
    fields = list(column.arrow_type)
    children = [child.array for child in finished]
    if column.shape is not None:
        revealed = dict(reveal(column.parts, children))
        children = [revealed[f.name] for f in fields]
    # Columns inside a hidden struct are filled by their defaults where it is missing.
    validity = None if column.hidden else _validity(array)
    result = pa.Array.from_buffers(pa.struct(fields), len(array), [validity], children=children)

    def lead(row: int) -> tuple[Step, ...]:
        part, child = next(
            (part, child)
            for part, child in zip(column.parts, finished, strict=True)
            if row in child.wrong
        )
        return (part.source, *child.wrong.lead(row))

    wrong = Places(union([child.wrong for child in finished]), lead)
    return Finished(result, wrong, union([Places(child.unsure) for child in finished]))


def _nested(array: pa.Array, type_: pa.DataType, children: Sequence[pa.Array]) -> pa.Array:
    """Return an array of lists or maps with what they hold replaced."""
    # Not `from_arrays(mask=...)`, which imports pyarrow.compute.
    assert array.offset == 0, "a slice has the offsets of the whole"
    buffers = [_validity(array), array.buffers()[1]]
    return pa.Array.from_buffers(type_, len(array), buffers, children=list(children))


def _validity(array: pa.Array) -> pa.Buffer | None:
    """Return the bitmap of values that are not null, None where all are not."""
    return compute.is_valid(array).buffers()[1] if array.null_count else None


def _outer(offsets: Sequence[int], inner: Places, step: Callable[[int, int], Step]) -> Places:
    """Return the places of what an array or a map holds, by the row of the array or map."""

    def lead(outer: int) -> tuple[Step, ...]:
        row = inner.rows[bisect_left(inner.rows, offsets[outer])]
        return (step(row, outer), *inner.lead(row))

    return Places(_outer_rows(offsets, inner.rows), lead)


def _outer_rows(offsets: Sequence[int], rows: Sequence[int]) -> Sequence[int]:
    """Return the rows of an array or map, rising, in which rows of its items are."""
    result = longs("q")
    position = 0
    while position < len(rows):
        outer = bisect_right(offsets, rows[position]) - 1
        result.append(outer)
        position = bisect_left(rows, offsets[outer + 1], position)
    return result


def derive(column: Column, derived: Derived, columns: Mapping[str, pa.Array]) -> pa.Array:
    """Return a derived column, made from finished columns and Kafka columns by name."""
    array = columns[derived.path[0]]
    for name in derived.path[1:]:
        array = compute.struct_field(array, array.type.get_field_index(name))
    target = column.arrow_type
    if array.type == target:
        return array
    part = derived.part or "date"
    if part == "date":
        return compute.cast(array, target)
    return compute.cast(_PART_OF_TIME[part](array), target)
