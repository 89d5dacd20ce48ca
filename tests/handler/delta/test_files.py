"""Statistics that never lie: bounds are safe whatever the values are."""

import datetime as dt
from decimal import Decimal
from typing import Any
from urllib.parse import quote, unquote

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.delta.bounds import lower_bound, upper_bound
from handler.delta.files import DataFileWriter, data_files, partition_value
from handler.delta.log import new_metadata
from handler.delta.types import Array, Field, Primitive, Struct, from_json, to_arrow, to_json


def stats_of(columns: dict[str, tuple[str, list[Any]]], **configuration: str) -> dict[str, Any]:
    fields = [Field(name, Primitive(kind)) for name, (kind, _) in columns.items()]
    metadata = new_metadata("id", fields, (), None, 0)
    metadata.configuration.update(configuration)  # type: ignore[attr-defined]
    arrays = {n: pa.array(v, to_arrow(Primitive(k))) for n, (k, v) in columns.items()}
    (file,) = data_files(pa.table(arrays), metadata, 0)
    return orjson.loads(file.stats)


def test_statistics_of_each_kind() -> None:
    moment = dt.datetime(2026, 5, 1, 10, 0, 0, 123_456, tzinfo=dt.UTC)
    stats = stats_of(
        {
            "l": ("long", [1, None, 3]),
            "s": ("string", ["b", "a", None]),
            "t": ("timestamp", [moment, moment, None]),
            "n": ("timestamp_ntz", [moment.replace(tzinfo=None), None, None]),
            "d": ("date", [dt.date(2026, 5, 1), None, None]),
            "c": ("decimal(20,2)", [Decimal("123456789012345678.91"), Decimal("0.5"), None]),
            "o": ("boolean", [True, False, None]),
            "b": ("binary", [b"x", None, None]),
            "e": ("long", [None, None, None]),
        }
    )
    assert stats["numRecords"] == 3
    assert stats["nullCount"] == {
        "l": 1,
        "s": 1,
        "t": 1,
        "n": 2,
        "d": 2,
        "c": 1,
        "o": 1,
        "b": 2,
        "e": 3,
    }
    assert stats["minValues"] == {
        "l": 1,
        "s": "a",
        "t": "2026-05-01T10:00:00.123456Z",
        "n": "2026-05-01T10:00:00.123456",
        "d": "2026-05-01",
        "c": 0.5,
        "o": False,
    }
    assert stats["maxValues"] == {
        "l": 3,
        "s": "b",
        "t": "2026-05-01T10:00:00.123456Z",
        "n": "2026-05-01T10:00:00.123456",
        "d": "2026-05-01",
        "c": 123456789012345678.91,
        "o": True,
    }


def test_first_32_leaves_have_statistics_and_a_property_changes_that() -> None:
    columns = {f"c{i:02}": ("long", [i]) for i in range(40)}
    assert len(stats_of(columns)["minValues"]) == 32
    few = {"delta.dataSkippingNumIndexedCols": "3"}
    assert list(stats_of(columns, **few)["nullCount"]) == ["c00", "c01", "c02"]
    all_of_them = {"delta.dataSkippingNumIndexedCols": "-1"}
    assert len(stats_of(columns, **all_of_them)["minValues"]) == 40


@given(st.text(max_size=80), st.text(max_size=80))
def test_bounds_of_strings_are_safe(one: str, other: str) -> None:
    try:
        low, high = sorted([one, other], key=lambda s: s.encode())
    except UnicodeEncodeError:
        return
    assert lower_bound(low).encode() <= low.encode()
    bound = upper_bound(high)
    assert bound is None or bound.encode() >= high.encode()
    assert bound is None or len(bound) <= 32


def test_bound_that_cannot_be_cut_is_whole_or_left_out() -> None:
    assert upper_bound("\U0010ffff" * 40) == "\U0010ffff" * 40
    assert upper_bound("\U0010ffff" * 5_000) is None
    assert upper_bound("a" + "\U0010ffff" * 40) == "b"
    assert upper_bound("\ud7ff" * 33)[-1] == "\ue000"
    assert upper_bound("x" * 32) == "x" * 32
    assert upper_bound("x" * 33) == "x" * 31 + "y"


@given(st.datetimes())
def test_bounds_of_times_are_exact_to_the_microsecond(moment: dt.datetime) -> None:
    for bound in (lower_bound(moment), upper_bound(moment)):
        assert dt.datetime.fromisoformat(bound) == moment


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("string", ["\U0010ffff" * 5_000, "a"]),
        ("timestamp_ntz", [dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)]),
        ("boolean", [True, None]),
        ("boolean", [False, False]),
        ("binary", [b"a"]),
        ("long", [None, None]),
        ("double", [-0.0, 0.0]),
        ("float", [0.1]),
        ("decimal(38,10)", [Decimal("-1234567890123456789012345678.0123456789")]),
        ("date", [dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    ],
)
def test_a_column_has_both_bounds_or_none(kind: str, values: list[Any]) -> None:
    """A bound alone is taken for null by some readers, which then lose the rows of the file."""
    stats = stats_of({"a": (kind, values)})
    assert stats["minValues"].keys() == stats["maxValues"].keys()
    assert ("a" in stats["minValues"]) == (
        kind != "binary" and values != [None, None] and (kind != "string")
    )


def test_bounds_in_structs_are_both_or_none() -> None:
    inner = Struct((Field("b", Primitive("boolean")), Field("s", Primitive("string"))))
    metadata = new_metadata("id", [Field("x", inner)], (), None, 0)
    rows = [{"b": True, "s": "\U0010ffff" * 5_000}, {"b": False, "s": "a"}, None]
    (file,) = data_files(pa.table({"x": pa.array(rows, to_arrow(inner))}), metadata, 0)
    stats = orjson.loads(file.stats)
    assert (stats["minValues"], stats["maxValues"]) == ({"x": {"b": False}}, {"x": {"b": True}})


NASTY = [
    *(
        "New York",
        "東京",
        "a/b",
        "a%20b",
        "%",
        "=",
        "a=b",
        "__HIVE_DEFAULT_PARTITION__",
        "a:b",
        "..",
    ),
    *(" ", "a\nb", "\\", '"', "😀", "x" * 300, "x" * 299 + "y", "日" * 100, "event:type", "~", "+"),
]


def folders_of(values: list[Any], column: str = "p") -> list[str]:
    fields = [Field("a", Primitive("long")), Field(column, Primitive("string"))]
    table = pa.table({"a": range(len(values)), column: values})
    files = data_files(table, new_metadata("id", fields, (column,), None, 0), 0)
    folders = {f.partition_values[column]: f.key.rsplit("/", 1)[0] for f in files}
    return [folders[value] for value in values]


def test_folders_are_percent_encoded_partition_values() -> None:
    assert folders_of(["New York", "東京", None, "a-b_c.d"]) == [
        *("p=New%20York", "p=%E6%9D%B1%E4%BA%AC", "p=__HIVE_DEFAULT_PARTITION__", "p=a-b_c.d"),
    ]
    assert folders_of(["x"], "größe: %") == ["gr%C3%B6%C3%9Fe%3A%20%25=x"]


def test_folders_are_read_back_as_their_values() -> None:
    for value, folder in zip(NASTY, folders_of(NASTY), strict=True):
        name = folder.removeprefix("p=")
        assert len(folder) <= 255
        if len(quote(value, safe="")) < 250:
            assert unquote(name) == value
        else:
            start, _, digest = name.rpartition("-")
            assert value.startswith(unquote(start))
            assert len(digest) == 16


def test_long_folders_are_short_and_differ() -> None:
    folders = folders_of(["x" * 300, "x" * 299 + "y", "日" * 100, "日" * 99 + "本"])
    assert len(set(folders)) == 4
    assert all(len(folder) == 255 or "%" in folder for folder in folders)


def test_key_of_many_partition_columns_fits_into_an_object_store() -> None:
    columns = [f"p{i}" for i in range(8)]
    fields = [Field("a", Primitive("long")), *(Field(c, Primitive("string")) for c in columns)]
    table = pa.table({"a": [1], **{c: ["日" * 80] for c in columns}})
    (file,) = data_files(table, new_metadata("id", fields, tuple(columns), None, 0), 0)
    assert len(file.key) < 720
    assert file.key.count("/") == 8


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("first", ["a", "a" * 10_000])
@pytest.mark.parametrize("last", ["b", "b" * 10_000, "\U0010ffff" * 2_000])
def test_string_too_long_for_parquet_statistics_still_has_bounds(
    groups: int, first: str, last: str
) -> None:
    """A reader may take a missing bound for null, where other files have one."""
    fields = (Field("s", Primitive("string")),)
    metadata = new_metadata("id", fields, (), None, 0)
    sink = pa.BufferOutputStream()
    with DataFileWriter(sink, pa.schema({"s": pa.string()}), {}, metadata) as writer:
        for group in range(groups):
            writer.write(pa.table({"s": [first, None, last] if group == 0 else ["aa", None, "ab"]}))
    stats = orjson.loads(writer.data_file(0, sink.getvalue().to_pybytes()).stats)
    low, high = stats["minValues"]["s"], stats["maxValues"]["s"]
    assert low == min(first, "aa" if groups > 1 else first)[:32]
    assert high == {"b": "b", "b" * 10_000: "b" * 31 + "c"}.get(last, last)


def test_bound_that_would_be_longer_than_a_row_is_worth_is_left_out() -> None:
    stats = stats_of({"s": ("string", ["a", "\U0010ffff" * 5_000]), "n": ("long", [1, 2])})
    assert (stats["minValues"], stats["maxValues"]) == ({"n": 1}, {"n": 2})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E+3"), "1000"),
        (dt.date(2026, 5, 1), "2026-05-01"),
        (dt.datetime(2026, 5, 1, tzinfo=dt.UTC), "2026-05-01T00:00:00.000000Z"),
        (dt.datetime(2026, 5, 1), "2026-05-01 00:00:00.000000"),
        ("x", "x"),
    ],
)
def test_partition_values_are_the_protocols_text(value: Any, text: str | None) -> None:
    assert partition_value(value) == text


def test_empty_batch_is_no_file() -> None:
    metadata = new_metadata("id", [Field("a", Primitive("long"))], (), None, 0)
    assert data_files(pa.table({"a": pa.array([], pa.int64())}), metadata, 0) == ()


def test_types_survive_the_schema() -> None:
    nested = Struct((Field("a", Array(Primitive("decimal(5,2)"), False), True, {"comment": "x"}),))
    assert from_json(to_json(nested)) == nested
