"""Rows of older schemas and of other writers, as rows of today's: equal values, or an error."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from handler.delta.conform import conform

UTC = pa.timestamp("us", "UTC")
MOMENT = dt.datetime(2026, 5, 1, 10, tzinfo=dt.UTC)

CASES: list[tuple[str, pa.DataType, list[Any], pa.DataType, list[Any]]] = [
    ("integer to long", pa.int32(), [1, None], pa.int64(), [1, None]),
    ("byte to long", pa.int8(), [-128, 127], pa.int64(), [-128, 127]),
    ("float to double", pa.float32(), [0.5, None], pa.float64(), [0.5, None]),
    (
        "decimal",
        *(pa.decimal128(5, 2), [Decimal("1.50"), None]),
        *(pa.decimal128(38, 2), [Decimal("1.50"), None]),
    ),
    ("large string", pa.large_string(), ["a", None], pa.string(), ["a", None]),
    ("string view", pa.string_view(), ["a", None], pa.string(), ["a", None]),
    (
        "dictionary",
        *(pa.dictionary(pa.int32(), pa.string()), ["a", None, "a"]),
        *(pa.string(), ["a", None, "a"]),
    ),
    ("milliseconds", pa.timestamp("ms", "UTC"), [MOMENT], UTC, [MOMENT]),
    ("Spark's older timestamps", pa.timestamp("us"), [MOMENT.replace(tzinfo=None)], UTC, [MOMENT]),
    (
        "a part that was added",
        *(pa.struct({"a": pa.int32()}), [{"a": 1}, None, {"a": None}]),
        pa.struct({"a": pa.int64(), "b": pa.struct({"c": pa.string()})}),
        [{"a": 1, "b": None}, None, {"a": None, "b": None}],
    ),
    (
        "a part that was moved",
        *(pa.struct({"a": pa.int32(), "b": pa.string()}), [{"a": 1, "b": "x"}]),
        *(pa.struct({"b": pa.string(), "a": pa.int32()}), [{"b": "x", "a": 1}]),
    ),
    (
        "a part in a list",
        *(pa.list_(pa.struct({"a": pa.int32()})), [[{"a": 1}, None], None, []]),
        pa.list_(pa.field("element", pa.struct({"a": pa.int64(), "b": pa.string()}))),
        [[{"a": 1, "b": None}, None], None, []],
    ),
    (
        "a large list",
        *(pa.large_list(pa.int32()), [[1, None], None, []]),
        *(pa.list_(pa.field("element", pa.int64())), [[1, None], None, []]),
    ),
    (
        "a map",
        *(pa.map_(pa.string(), pa.int32()), [[("k", 1), ("l", None)], None, []]),
        *(pa.map_(pa.string(), pa.int64()), [[("k", 1), ("l", None)], None, []]),
    ),
    (
        "a list in a map in a list",
        pa.list_(pa.map_(pa.string(), pa.list_(pa.int32()))),
        [[[("k", [1, None])], None], None],
        pa.list_(pa.field("element", pa.map_(pa.string(), pa.list_(pa.int64())))),
        [[[("k", [1, None])], None], None],
    ),
]


@pytest.mark.parametrize(
    ("have", "given_values", "want", "expected"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
@pytest.mark.parametrize("cut", [0, 1])
def test_values_stay_equal(
    have: pa.DataType, given_values: list[Any], want: pa.DataType, expected: list[Any], cut: int
) -> None:
    """Also of a slice, whose parts are those of the whole array."""
    padding = [given_values[0]] * cut
    array = pa.array(padding + given_values, pa.string() if pa.types.is_dictionary(have) else have)
    if pa.types.is_dictionary(have):
        array = array.dictionary_encode()
    table = pa.table({"x": array.slice(cut)})
    schema = pa.schema({"x": want})
    result = conform(table, schema)
    result.validate(full=True)
    assert result.schema == schema
    assert result["x"].to_pylist() == expected


def test_column_that_a_file_lacks_is_null_and_one_that_the_table_lacks_is_left_out() -> None:
    rows = pa.table({"b": [1, 2], "gone": ["x", "y"]})
    schema = pa.schema({"a": pa.list_(pa.int64()), "b": pa.int64()})
    assert conform(rows, schema).to_pylist() == [{"a": None, "b": 1}, {"a": None, "b": 2}]


@pytest.mark.parametrize(
    ("array", "want"),
    [
        (pa.array([2.5]), pa.int64()),
        (pa.array([1 << 40]), pa.int32()),
        (pa.array([1], pa.timestamp("ns", "UTC")), UTC),
        (pa.array([Decimal("1.55")]), pa.decimal128(5, 1)),
        (pa.array([{"a": 1}]), pa.string()),
    ],
)
def test_value_that_does_not_fit_is_an_error(array: pa.Array, want: pa.DataType) -> None:
    with pytest.raises(pa.ArrowException):
        conform(pa.table({"x": array}), pa.schema({"x": want}))
