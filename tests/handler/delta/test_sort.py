"""Rows that are sorted in little memory are sorted as in much, and none is lost."""

import datetime as dt
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.delta.sort import sort_rows

KINDS: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "long": (pa.int64(), lambda i: i * 7919 % 101 - 50),
    "string": (pa.string(), lambda i: "é" * (i % 3) + str(i * 31 % 17)),
    "decimal": (pa.decimal128(20, 2), lambda i: Decimal(i * 31 % 17) / 4),
    "double": (pa.float64(), lambda i: (i * 31 % 17) / 3 - 2),
    "date": (pa.date32(), lambda i: dt.date(2026, 1, 1 + i * 31 % 17)),
    "timestamp": (
        pa.timestamp("us", "UTC"),
        lambda i: dt.datetime(2026, 1, 1 + i * 31 % 17, tzinfo=dt.UTC),
    ),
}


def batches(kind: str, count: int, rows: int) -> Iterator[pa.Table]:
    type_, value = KINDS[kind]
    for start in range(0, count * rows, rows):
        numbers = range(start, start + rows)
        yield pa.table(
            {
                "k": pa.array([value(i) if i % 11 else None for i in numbers], type_),
                "row": pa.array(numbers, pa.int64()),
                "s": pa.array([{"x": "y" * 50, "l": [i]} for i in numbers]),
            }
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("buffer_bytes", [1 << 30, 50_000, 1_000])
def test_rows_are_sorted_and_whole(kind: str, buffer_bytes: int) -> None:
    given_rows = pa.concat_tables(batches(kind, 20, 100))
    parts = list(sort_rows(batches(kind, 20, 100), ["k", "row"], buffer_bytes))
    result = pa.concat_tables(parts)
    assert result.equals(given_rows.sort_by([("k", "ascending"), ("row", "ascending")]))
    assert (len(parts) > 1) == (buffer_bytes < given_rows.nbytes)


@pytest.mark.parametrize("value", [5, None])
def test_rows_of_one_value_are_split_too_and_stay_in_order(value: int | None) -> None:
    def same() -> Iterator[pa.Table]:
        for start in range(0, 5_000, 1_000):
            numbers = pa.array(range(start, start + 1_000))
            yield pa.table({"k": pa.array([value] * 1_000, pa.int64()), "v": numbers})

    parts = list(sort_rows(same(), ["k"], 10_000))
    assert max(part.nbytes for part in parts) < 30_000
    assert pa.concat_tables(parts)["v"].to_pylist() == list(range(5_000))


def test_no_rows_stay_no_rows() -> None:
    assert list(sort_rows(iter([]), ["k"], 1)) == []


def test_local_files_are_removed_whatever_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rows = sort_rows(batches("long", 20, 100), ["k"], 50_000)
    next(rows)
    assert list(tmp_path.iterdir())
    rows.close()
    assert not list(tmp_path.iterdir())

    def broken() -> Iterator[pa.Table]:
        yield from batches("long", 20, 100)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(sort_rows(broken(), ["k"], 50_000))
    assert not list(tmp_path.iterdir())


values = st.lists(st.tuples(st.none() | st.integers(-3, 3), st.none() | st.text(max_size=2)))


@settings(max_examples=50)
@given(tables=st.lists(values, min_size=1, max_size=8), buffer_bytes=st.integers(1, 2_000))
def test_any_rows_are_sorted(tables: list[Any], buffer_bytes: int) -> None:
    schema = pa.schema({"a": pa.int64(), "b": pa.string(), "n": pa.int64()})
    made, number = [], 0
    for rows in tables:
        made.append(
            pa.table(
                {
                    "a": [a for a, _ in rows],
                    "b": [b for _, b in rows],
                    "n": range(number, number + len(rows)),
                },
                schema=schema,
            )
        )
        number += len(rows)
    keys = [("a", "ascending"), ("b", "ascending"), ("n", "ascending")]
    parts = list(sort_rows(iter(made), ["a", "b", "n"], buffer_bytes))
    result = pa.concat_tables(parts) if parts else schema.empty_table()
    assert result.equals(pa.concat_tables(made).sort_by(keys))
