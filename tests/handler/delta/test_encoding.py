"""Columns have a dictionary where their values repeat, and nowhere else; small files are snappy."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.delta.change import DataFile
from handler.delta.encoding import SAMPLE_ROWS, SMALL_BYTES, dictionary_columns
from handler.delta.files import DataFileWriter
from handler.delta.log import new_metadata
from handler.delta.types import Field, Primitive
from tests.reader import read_parquet

ROWS = 2 * SAMPLE_ROWS
ITEM = pa.struct([("kind", pa.string()), ("number", pa.int64())])


def write(*groups: pa.Table) -> DataFile:
    """Write a file of some row groups."""
    sink = pa.BufferOutputStream()
    metadata = new_metadata("t", (Field("c", Primitive("long")),), (), None, 0)
    with DataFileWriter(sink, groups[0].schema, {}, metadata) as writer:
        for rows in groups:
            writer.write(rows)
    return writer.data_file(0, sink.getvalue().to_pybytes())


def chunks(file: DataFile) -> list[Any]:
    """Return what the footer says of each column."""
    assert isinstance(file.payload, bytes)
    group = pq.ParquetFile(pa.BufferReader(file.payload)).metadata.row_group(0)
    return [group.column(i) for i in range(group.num_columns)]


def encoded(rows: pa.Table) -> set[str]:
    """Write rows, and return which of Parquet's columns have a dictionary page."""
    return {c.path_in_schema for c in chunks(write(rows)) if c.has_dictionary_page}


COLUMNS: list[tuple[str, pa.DataType, Any, Any]] = [
    ("string", pa.string(), lambda i: f"v{i}", lambda i: f"v{i % 9}"),
    ("long", pa.int64(), lambda i: i, lambda i: i % 9),
    ("double", pa.float64(), lambda i: i / 7, lambda i: (i % 9) / 7),
    ("timestamp", pa.timestamp("us", "UTC"), lambda i: i, lambda i: i % 9),
    ("binary", pa.binary(), lambda i: b"%d" % i, lambda i: b"%d" % (i % 9)),
]


@pytest.mark.parametrize(("name", "kind", "distinct", "repeated"), COLUMNS)
def test_only_repeated_values_get_a_dictionary(
    name: str, kind: pa.DataType, distinct: Any, repeated: Any
) -> None:
    def column(make: Any) -> pa.Array:
        return pa.array([None if i % 10 == 0 else make(i) for i in range(ROWS)], kind)

    rows = pa.table({"distinct": column(distinct), "repeated": column(repeated)})
    assert encoded(rows) == {"repeated"}, name


def test_parts_of_structs_arrays_and_maps_are_decided_alone() -> None:
    items = [{"kind": "ab"[i % 2], "number": i} for i in range(ROWS)]
    rows = pa.table(
        {
            "s": pa.array(items, ITEM),
            "a": pa.array([[item, item] if i % 3 else None for i, item in enumerate(items)],
                          pa.list_(pa.field("element", ITEM))),
            "m": pa.array([[("k", i), ("l", i * 7)] for i in range(ROWS)],
                          pa.map_(pa.string(), pa.int64())),
        }
    )  # fmt: skip
    # In the array each number is there twice.
    assert encoded(rows) == {
        "s.kind",
        "a.list.element.kind",
        "a.list.element.number",
        "m.key_value.key",
    }


def test_columns_of_chunks_and_of_nulls_are_decided_too() -> None:
    half = pa.array(["x"] * SAMPLE_ROWS)
    rows = pa.table({"c": pa.chunked_array([half, half]), "n": pa.nulls(ROWS, pa.int64())})
    assert dictionary_columns(rows) == ["c", "n"]


def test_small_file_has_no_dictionary() -> None:
    rows = pa.table({"c": ["x"] * (SAMPLE_ROWS - 1)})
    assert dictionary_columns(rows) == []
    assert encoded(rows) == set()


def test_values_after_the_sample_may_be_of_any_number() -> None:
    """A dictionary that grows too large is given up by Parquet's writer; nothing is lost."""
    values = ["x"] * SAMPLE_ROWS + [f"{i:0100}" for i in range(20_000)]
    file = write(pa.table({"c": values}))
    assert isinstance(file.payload, bytes)
    assert read_parquet(file.payload)["c"].to_pylist() == values


@pytest.mark.parametrize(
    ("nbytes", "codec"), [(8, "snappy"), (SMALL_BYTES, "snappy"), (SMALL_BYTES + 8, "zstd")]
)
def test_first_rows_choose_the_codec_and_the_name_says_it(nbytes: int, codec: str) -> None:
    rows = pa.table({"c": pa.array(range(nbytes // 8), pa.int64())})
    file = write(rows, pa.table({"c": pa.array(range(10_000), pa.int64())}))
    assert file.key.endswith(f".{codec}.parquet")
    assert {chunk.compression for chunk in chunks(file)} == {codec.upper()}


def test_file_without_rows_can_be_read() -> None:
    empty = pa.table({"c": pa.array([], pa.int64())})
    sink = pa.BufferOutputStream()
    metadata = new_metadata("t", (Field("c", Primitive("long")),), (), None, 0)
    with DataFileWriter(sink, empty.schema, {}, metadata):
        pass
    assert read_parquet(sink.getvalue().to_pybytes()).num_rows == 0
