"""A column of dates or timestamps accepts the same texts as a single value."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from handler.contract.form import USUAL
from handler.contract.scalar import Refused
from handler.contract.values import read_scalar
from handler.validate.scalars import finish_scalar
from handler.validate.time_columns import _cast_usual
from tests.builders import contract_of

DAYS = [
    f"{year}-{month:02}-{day:02}"
    for year in ("0000", "0001", "1900", "2000", "2023", "2024", "9999")
    for month in range(14)
    for day in (0, 1, 28, 29, 30, 31, 32)
]
CLOCKS = [
    f"{hour:02}:{minute:02}:{second:02}"
    for hour in (0, 9, 19, 23, 24, 29, 60)
    for minute in (0, 59, 60)
    for second in (0, 59, 60, 61)
]
ZONES = ["Z", *(f"{s}{hour:02}:{m}" for s in "+-" for hour in (0, 9, 14, 23, 24) for m in (0, 59))]
ODD = [
    *("", "Z", "T", "2024", "2024-01", "2024-1-1", "20240101", "2024-01-01 ", " 2024-01-01"),
    *("2024-01-01T10", "2024-01-01T10:11", "2024-01-01T10:11:12", "2024-01-01 10:11:12Z"),
    *("2024-01-01T10:11:12+0100", "2024-01-01T10:11:12+01", "2024-01-01T10:11:12.Z"),
    *("2024-01-01T10:11:12.1234567Z", "2024-01-01T10:11:12.1234560Z", "2024-01-01t10:11:12z"),
    *("2024-01-01T:::::::Z", "2024-01-01T10:11:1::Z", "2024-01-01T10:11:12+1:::", "-024-01-01"),
    *("2024-01-01T10:11:12Z\n", "2024-01-01\n", "\uff12\uff10\uff12\uff14-01-01", "12024-01-01"),
    *("0000-12-31T23:59:59-23:59", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.999999Z"),
    *("9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00Z", "0001-01-01T23:59:59Z"),
]


def texts(kind: str) -> Iterator[str]:
    yield from ODD
    if kind == "date":
        yield from DAYS
        return
    zones = ZONES if kind == "timestamp" else [""]
    yield from (f"{day}T10:11:12.5{zones[0]}" for day in DAYS)
    yield from (f"2024-02-29T{clock}{zones[0]}" for clock in CLOCKS)
    for day in ("0000-12-31", "0001-01-01", "0001-01-02", "2024-06-30", "9999-12-31"):
        yield from (f"{day}T{clock}{zone}" for clock in ("00:00:00", "23:59:59") for zone in zones)


@pytest.mark.parametrize("kind", ["date", "timestamp", "timestamp_ntz"])
def test_column_accepts_the_same_texts_as_one_value(kind: str) -> None:
    contract = contract_of(f"topic: t\ntable: t\ncolumns: {{c: {{type: {kind}}}}}\n")
    column = next(c for c in contract.columns if c.name == "c")
    good, plain = list[str](), list[str]()
    for text in texts(kind):
        finished = finish_scalar(pa.array([text]), column)
        try:
            order = read_scalar(kind, USUAL, text).order
        except Refused:
            assert list(finished.wrong.rows) == [0], text
            continue
        assert not finished.wrong, text
        expected = pa.array([order], pa.date32() if kind == "date" else pa.int64())
        assert finished.array.view(expected.type) == expected, text
        good.append(text)
        if _cast_usual(pa.array([text]), column) is not None:
            plain.append(text)
    assert len(plain) > 100
    # All at once: by the cast, and by the exact patterns because of one that is wrong.
    whole = _cast_usual(pa.array([*plain, None]), column)
    assert whole is not None
    beside = finish_scalar(pa.array([*plain, None, "x"]), column)
    assert list(beside.wrong.rows) == [len(plain) + 1]
    assert beside.array[:-1] == whole.array
    assert not finish_scalar(pa.array(good), column).wrong
