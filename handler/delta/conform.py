"""Rows of a file of an older schema, or of another writer, as rows of today's.

A column or a part of a struct that the file lacks is null, a narrower type is widened, and a value
that today's type cannot hold is an error: nothing changes silently.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from handler.delta.log import Metadata


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns of a schema, in its order.

    Raises pa.ArrowException for a value that does not fit.
    """
    if rows.schema.equals(schema):
        return rows
    columns = []
    for field in schema:
        index = _place(rows.schema, field.name)
        if index < 0:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        chunks = [_conform(chunk, field.type) for chunk in rows.column(index).chunks]
        columns.append(pa.chunked_array(chunks, field.type))
    return pa.table(columns, schema=schema)


def _conform(array: pa.Array, want: pa.DataType) -> pa.Array:
    if array.type.equals(want):
        return array
    if pa.types.is_dictionary(array.type):
        return _conform(array.dictionary_decode(), want)
    have = array.type
    if array.offset:  # the parts of a slice are those of the whole array
        array = pa.concat_arrays([array, array[:0]])
    mask = array.is_null() if array.null_count else None
    if pa.types.is_struct(want) and pa.types.is_struct(have):
        parts = [_part(array, have, field) for field in want]
        return pa.StructArray.from_arrays(parts, fields=list(want), mask=mask)
    if pa.types.is_list(want) and (pa.types.is_list(have) or pa.types.is_large_list(have)):
        values = _conform(array.values, want.value_type)
        offsets = array.offsets.cast(pa.int32())
        return pa.ListArray.from_arrays(offsets, values, type=want, mask=mask)
    if pa.types.is_map(want) and pa.types.is_map(have):
        keys, items = _conform(array.keys, want.key_type), _conform(array.items, want.item_type)
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=want, mask=mask)
    return pc.cast(array, want)


def _part(array: pa.StructArray, have: pa.StructType, field: pa.Field) -> Any:
    index = _place(have, field.name)
    if index < 0:
        return pa.nulls(len(array), field.type)
    return _conform(array.field(index), field.type)


def _place(fields: Any, name: str) -> int:
    """Return the place of a field, -1 if it is missing. Raises if only the case differs.

    Spark takes such a column for the same, others do not: to fill it with nulls would lose it.
    """
    index: int = fields.get_field_index(name)
    if index < 0 and (twin := _twin([field.name for field in fields], name)) is not None:
        raise pa.ArrowInvalid(f"the file has {twin!r} for {name!r}: only the case differs")
    return index


def _twin(names: list[str], name: str) -> str | None:
    return next((each for each in names if each.lower() == name.lower()), None)


def other_case(schema: pa.Schema, metadata: Metadata) -> str | None:
    """Return a column of a file that differs from one of the table only in case, if any does."""
    for f in metadata.data_fields:
        if schema.get_field_index(f.name) < 0 and (twin := _twin(schema.names, f.name)) is not None:
            return twin
    return None
