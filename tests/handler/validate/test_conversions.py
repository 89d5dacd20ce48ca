"""Named conversions: a golden table of each, through the whole batch and through the reference.

What is accepted is exact, or loses what the contract names; everything else is a reject.
"""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.validate.batch import Checker
from handler.validate.decode import parse_exactly
from handler.validate.diagnose import examine
from handler.validate.wire import wire_columns
from tests.builders import columns_contract, problems_of

LONG_MAX = 2**63 - 1


def checked(column: str, *literals: str) -> Any:
    return Checker(columns_contract(f"a: {column}")).check(
        [b'{"a":' + literal.encode() + b"}" for literal in literals]
    )


def outcome(column: str, *literals: str) -> list[Any]:
    """Return what each literal becomes, or the code of its reject; all of them in one batch."""
    result = checked(column, *literals)
    array = result.columns["a"]
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.string())
    values = iter(array.to_pylist())
    return [
        str(result.rejects[i][0].code) if i in result.rejects else next(values)
        for i in range(len(literals))
    ]


def reference(column: str, literal: str) -> str | None:
    """Return the code with which the reference rejects a literal."""
    columns = wire_columns(columns_contract(f"a: {column}").columns)
    problems, _ = examine(parse_exactly(b'{"a":' + literal.encode() + b"}"), columns, "", 100)
    return str(problems[0].code) if problems else None


BAD = "wrong_type"
BEYOND = "out_of_range"
TIME = "bad_timestamp"
GOLDEN: dict[str, dict[str, Any]] = {
    "{type: long, accept: [string]}": {
        "12": 12,
        '"12"': 12,
        '"-12"': -12,
        '"0"': 0,
        '"-0"': 0,
        '"9223372036854775807"': LONG_MAX,
        '"9223372036854775808"': BEYOND,
        '"99999999999999999999999"': BEYOND,
        '"007"': BAD,
        '"+7"': BAD,
        '" 7"': BAD,
        '"7\\n"': BAD,
        '"1_000"': BAD,
        '"\u0667"': BAD,
        '"0x1F"': BAD,
        '""': BAD,
        '"1.0"': BAD,
        '"1e3"': BAD,
        "1.0": BAD,
        "true": BAD,
        "null": None,
    },
    "{type: byte, accept: [string]}": {'"127"': 127, '"128"': BEYOND, '"-129"': BEYOND},
    "{type: long, accept: [string], minimum: 5, required: true}": {
        '"5"': 5,
        '"4"': BEYOND,
        "null": "missing",
    },
    "{type: long, accept: [integral]}": {
        "5": 5,
        "5.0": 5,
        "1e3": 1000,
        "1E+3": 1000,
        "-0.0": 0,
        "1e-9999999999999999999": BEYOND,
        "0e99999999999999999999": BEYOND,
        "0e300": 0,
        "1200e-2": 12,
        "9007199254740993.0": 9007199254740993,
        "9223372036854775807.0": LONG_MAX,
        "9223372036854775808.0": BEYOND,
        "1e300": BEYOND,
        "18446744073709551616": BEYOND,
        "5.5": BAD,
        "1e-3": BAD,
        "9007199254740993.5": BAD,
        '"5"': BAD,
    },
    "{type: integer, accept: [string, integral]}": {
        '"5.0"': 5,
        '"1e3"': 1000,
        '"5.5"': BAD,
        '"1e999999"': BEYOND,
        '"-1e-999999"': BAD,
        '"0e999999"': 0,
        '"2147483648"': BEYOND,
        "3.0": 3,
    },
    "{type: double, accept: [string]}": {
        "1.5": 1.5,
        '"1.5"': 1.5,
        '"12"': 12.0,
        '"-0"': -0.0,
        '"1e300"': 1e300,
        '"1e400"': BEYOND,
        '"9007199254740993"': "inexact",
        "9007199254740993": "inexact",
        '"0.1"': 0.1,
        '"NaN"': BAD,
        '"Infinity"': BAD,
        '"1,5"': BAD,
        '".5"': BAD,
        '"5."': BAD,
        "true": BAD,
    },
    "{type: float, accept: [string]}": {'"0.5"': 0.5, '"1e39"': BEYOND, '"16777217"': "inexact"},
    "{type: 'decimal(5,2)', accept: [string]}": {
        '"1.50"': Decimal("1.50"),
        "1.5": Decimal("1.50"),
        '"1.505"': "bad_decimal",
        '"x"': "bad_decimal",
    },
    "{type: boolean, accept: [integer]}": {
        "0": False,
        "1": True,
        "-0": False,
        "2": BAD,
        "-1": BAD,
        "1.0": BAD,
        '"1"': BAD,
        "true": True,
    },
    "{type: boolean, accept: [string, integer]}": {
        '"true"': True,
        '"FALSE"': False,
        '"True"': True,
        '"1"': BAD,
        '"yes"': BAD,
        '""': BAD,
        '" true"': BAD,
        "1": True,
        "7": BAD,
        "[]": BAD,
    },
    "{type: string, accept: [number]}": {
        '"x"': "x",
        "5": "5",
        "5.0": "5.0",
        "-0": "-0",
        "-0.0": "-0.0",
        "1E5": "1E5",
        "1e+05": "1e+05",
        "123456789012345678901234567890": "123456789012345678901234567890",
        "0.1000": "0.1000",
        '"5.0"': "5.0",
        "true": BAD,
        "[]": BAD,
        "null": None,
    },
    "{type: string, accept: [boolean], max_length: 4}": {
        "true": "true",
        "false": "length",
        "1": BAD,
        '"x"': "x",
    },
    "{type: string, accept: [boolean, number], enum: ['true', '5']}": {
        "true": "true",
        "5": "5",
        "5.0": "not_allowed",
    },
    "{type: timestamp, format: iso8601}": {
        '"2026-05-01T10:00:00Z"': "2026-05-01 10:00:00.000000Z",
        '"2026-05-01 10:00:00Z"': "2026-05-01 10:00:00.000000Z",
        '"2026-05-01t10:00:00z"': "2026-05-01 10:00:00.000000Z",
        '"2026-05-01T10:00Z"': "2026-05-01 10:00:00.000000Z",
        '"2026-05-01 10:00+02"': "2026-05-01 08:00:00.000000Z",
        '"2026-05-01T10:00:00+0230"': "2026-05-01 07:30:00.000000Z",
        '"2026-05-01T10:00:00-02"': "2026-05-01 12:00:00.000000Z",
        '"2026-05-01T10:00:00,5+0000"': "2026-05-01 10:00:00.500000Z",
        '"2026-05-01 10:00:00.123456 +0000"': "2026-05-01 10:00:00.123456Z",
        '"20260501T100000Z"': "2026-05-01 10:00:00.000000Z",
        '"20260501T100000.25+01"': "2026-05-01 09:00:00.250000Z",
        '"2026-05-01T10:00:00.1234567Z"': TIME,
        '"2026-05-01T10:00:00.1234560Z"': "2026-05-01 10:00:00.123456Z",
        '"2026-05-01T10:00:00"': TIME,
        '"2026-05-01 10:00"': TIME,
        '"2026-05-01"': TIME,
        '"2026-02-29T10:00Z"': TIME,
        '"2026-05-01T24:00:00Z"': TIME,
        '"2026-05-01T10:00:60Z"': TIME,
        '"2026-05-01T10:00:00+2460"': TIME,
        '"2026-05-01T10:00:00+24"': TIME,
        '"2026-05-01T10:00Z\\n"': TIME,
        '"2026-05-01  10:00Z"': TIME,
        '"0001-01-01T00:00+01"': BEYOND,
        "1764000000": BAD,
    },
    "{type: timestamp_ntz, format: iso8601}": {
        '"2026-05-01 10:00"': "2026-05-01 10:00:00.000000",
        '"2026-05-01 10:00:00,25"': "2026-05-01 10:00:00.250000",
        '"20260501T100000"': "2026-05-01 10:00:00.000000",
        '"2026-05-01 10:00Z"': TIME,
        '"2026-05-01 10:00+00"': TIME,
    },
    "{type: timestamp, format: '%d/%m/%Y %H:%M', zone: UTC}": {
        '"01/05/2026 10:30"': "2026-05-01 10:30:00.000000Z",
        '"1/5/2026 9:05"': "2026-05-01 09:05:00.000000Z",
        '"31/02/2026 10:30"': TIME,
        '"01/05/2026 10:30:00"': TIME,
        '"2026-05-01T10:00:00Z"': TIME,
        '"\u0660\u0661/05/2026 10:30"': TIME,
        '"1\u0661/05/2026 10:30"': TIME,
        '""': TIME,
        "5": BAD,
    },
    "{type: timestamp, format: '%a, %d %b %Y %H:%M:%S %z'}": {
        '"Fri, 01 May 2026 10:00:00 +0200"': "2026-05-01 08:00:00.000000Z",
        '"fri, 1 may 2026 10:00:00 Z"': "2026-05-01 10:00:00.000000Z",
        '"Fri, 01 Mai 2026 10:00:00 +0200"': TIME,
        '"Sat, 01 Jan 0001 00:00:00 +0200"': BEYOND,
    },
    "{type: timestamp_ntz, format: '%m/%d/%y %I:%M:%S.%f %p', fraction: truncate}": {
        '"05/01/26 01:02:03.5 PM"': "2026-05-01 13:02:03.500000",
        '"05/01/26 12:00:00.123456789 AM"': "2026-05-01 00:00:00.123456",
        '"05/01/70 12:00:00.0 AM"': "1970-05-01 00:00:00.000000",
        '"05/01/26 13:00:00.0 PM"': TIME,
    },
    "{type: timestamp_ntz, format: '%d.%m.%Y%H%M%S.%f', fraction: truncate}": {
        '"01.05.2026103015.1234567"': "2026-05-01 10:30:15.123456",
        '"01.05.2026103015.5"': "2026-05-01 10:30:15.500000",
    },
    "{type: timestamp, zone: Europe/Berlin}": {
        '"2026-05-01T10:00:00Z"': "2026-05-01 10:00:00.000000Z",
        '"2026-05-01T10:00:00"': "2026-05-01 08:00:00.000000Z",
        '"2026-01-01T10:00:00.5"': "2026-01-01 09:00:00.500000Z",
        # a gap of summer time, and its ends
        '"2026-03-29T01:59:59.999999"': "2026-03-29 00:59:59.999999Z",
        '"2026-03-29T02:00:00"': TIME,
        '"2026-03-29T02:59:59.999999"': TIME,
        '"2026-03-29T03:00:00"': "2026-03-29 01:00:00.000000Z",
        # an overlap, and its ends
        '"2026-10-25T01:59:59.999999"': "2026-10-24 23:59:59.999999Z",
        '"2026-10-25T02:00:00"': TIME,
        '"2026-10-25T02:59:59.999999"': TIME,
        '"2026-10-25T03:00:00"': "2026-10-25 02:00:00.000000Z",
        '"2026-10-25T02:30:00+01:00"': "2026-10-25 01:30:00.000000Z",
        # before zones of whole hours
        '"1880-01-01T00:00:00"': "1879-12-31 23:06:32.000000Z",
        '"0001-01-01T00:00:00"': BEYOND,
        '"9999-12-31T23:59:59"': "9999-12-31 22:59:59.000000Z",
        '"2026-05-01 10:00:00"': TIME,
        '"x"': TIME,
    },
    "{type: timestamp, zone: Europe/Berlin, fold: earlier, format: iso8601}": {
        '"2026-10-25 02:30"': "2026-10-25 00:30:00.000000Z",
        '"2026-03-29 02:30"': TIME,
        '"2026-05-01 10:00+00"': "2026-05-01 10:00:00.000000Z",
    },
    "{type: timestamp, zone: America/New_York, fold: later, format: '%Y-%m-%d %H:%M'}": {
        '"2026-11-01 01:30"': "2026-11-01 06:30:00.000000Z",
        '"2026-03-08 02:30"': TIME,
    },
    "{type: timestamp, fraction: truncate}": {
        '"2026-05-01T10:00:00.1234569Z"': "2026-05-01 10:00:00.123456Z",
        '"1969-12-31T23:59:59.999999999Z"': "1969-12-31 23:59:59.999999Z",
        '"2026-05-01T10:00:00.12345678901234567890+02:00"': "2026-05-01 08:00:00.123456Z",
        '"2026-05-01T10:00:00.1234569"': TIME,
    },
    "{type: timestamp, unit: s, accept: [string]}": {
        "1764000000": "2025-11-24 16:00:00.000000Z",
        '"1764000000"': "2025-11-24 16:00:00.000000Z",
        '"-1"': "1969-12-31 23:59:59.000000Z",
        '"1764000000.5"': BAD,
        "1764000000.5": BAD,
        '"2026-05-01T10:00:00Z"': BAD,
        '"99999999999999999999"': BEYOND,
        '"253402300800"': BEYOND,
    },
    "{type: timestamp, unit: s, accept: [float]}": {
        "1764000000": "2025-11-24 16:00:00.000000Z",
        "1764000000.5": "2025-11-24 16:00:00.500000Z",
        "1764000000.123456": "2025-11-24 16:00:00.123456Z",
        "1764000000.1234560": "2025-11-24 16:00:00.123456Z",
        "1764000000.1234561": TIME,
        "1.764e9": "2025-11-24 16:00:00.000000Z",
        "-0.5": "1969-12-31 23:59:59.500000Z",
        "0e300": "1970-01-01 00:00:00.000000Z",
        "1e300": BEYOND,
        "1e-300": TIME,
        "1e-9999999999999999999": BEYOND,
        '"1764000000"': BAD,
        "true": BAD,
        "-0": "1970-01-01 00:00:00.000000Z",
    },
    "{type: timestamp_ntz, unit: ms, accept: [string, float], fraction: truncate}": {
        '"1764000000000.9999"': "2025-11-24 16:00:00.000999",
        "-0.0009": "1970-01-01 00:00:00.000000",
        "1764000000000": "2025-11-24 16:00:00.000000",
        '"1e-300"': "1970-01-01 00:00:00.000000",
    },
    "{type: timestamp, unit: ns}": {
        "1764000000123456000": "2025-11-24 16:00:00.123456Z",
        "-1000": "1969-12-31 23:59:59.999999Z",
        "1764000000123456789": TIME,
        "9223372036854775808": BEYOND,
    },
    "{type: timestamp, unit: ns, fraction: truncate, accept: [string]}": {
        '"1764000000123456789"': "2025-11-24 16:00:00.123456Z",
        "1764000000123456789": "2025-11-24 16:00:00.123456Z",
        "-999": "1970-01-01 00:00:00.000000Z",
    },
    "{type: timestamp, unit: ns, fraction: truncate}": {
        "1764000000123456789": "2025-11-24 16:00:00.123456Z",
        "-1999": "1969-12-31 23:59:59.999999Z",
    },
    "{type: date, unit: days}": {
        "0": dt.date(1970, 1, 1),
        "-1": dt.date(1969, 12, 31),
        "20574": dt.date(2026, 5, 1),
        "-719162": dt.date(1, 1, 1),
        "-719163": BEYOND,
        "2932896": dt.date(9999, 12, 31),
        "2932897": BEYOND,
        "99999999999999999999": BEYOND,
        "1.0": BAD,
        '"2026-05-01"': BAD,
    },
    "{type: date, accept: [timestamp]}": {
        '"2026-05-01"': dt.date(2026, 5, 1),
        '"2026-05-01T23:30:00-02:00"': dt.date(2026, 5, 2),
        '"1969-12-31T23:59:59.999999Z"': dt.date(1969, 12, 31),
        '"0001-01-01T00:00:00+01:00"': BEYOND,
        '"2026-05-01T10:00:00"': "bad_date",
        '"2026-05-01 10:00"': "bad_date",
        '"2026-02-30"': "bad_date",
    },
    "{type: date, accept: [timestamp], format: iso8601}": {
        '"20260501"': dt.date(2026, 5, 1),
        '"2026-05-01 10:00+00"': dt.date(2026, 5, 1),
        '"20260230"': "bad_date",
    },
    "{type: date, format: '%d.%m.%Y'}": {
        '"01.05.2026"': dt.date(2026, 5, 1),
        '"1.5.2026"': dt.date(2026, 5, 1),
        '"31.02.2026"': "bad_date",
        '"2026-05-01"': "bad_date",
        '"01.01.0001"': dt.date(1, 1, 1),
    },
    "{type: date, format: '%Y%m%d'}": {
        '"20260501"': dt.date(2026, 5, 1),
        '"00010501"': dt.date(1, 5, 1),
        '"2026111"': "bad_date",
        '"202651"': "bad_date",
    },
    "{type: timestamp, format: '%Y%m%d%H%M%S.%f%z'}": {
        '"20260501100000.5Z"': "2026-05-01 10:00:00.500000Z",
        '"20260501100000.500000+01:00"': "2026-05-01 09:00:00.500000Z",
        '"2026050110000.5Z"': TIME,
    },
}
CASES = [
    (column, value, expected)
    for column, table in GOLDEN.items()
    for value, expected in table.items()
]


@pytest.mark.parametrize(("column", "literal", "expected"), CASES)
def test_conversion_of_a_value_alone(column: str, literal: str, expected: Any) -> None:
    (result,) = outcome(column, literal)
    assert result == expected
    assert type(result) is type(expected)
    if isinstance(result, float):
        assert str(result) == str(expected)  # the sign of -0.0


@pytest.mark.parametrize("column", GOLDEN)
def test_conversions_of_a_batch_are_those_of_its_values(column: str) -> None:
    table = GOLDEN[column]
    assert outcome(column, *table) == list(table.values())


CODES = {
    BAD,
    BEYOND,
    TIME,
    "bad_date",
    "bad_decimal",
    "inexact",
    "missing",
    "length",
    "not_allowed",
}


@pytest.mark.parametrize(("column", "literal", "expected"), CASES)
def test_reference_agrees(column: str, literal: str, expected: Any) -> None:
    assert reference(column, literal) == (expected if expected in CODES else None)


@pytest.mark.parametrize("column", GOLDEN)
def test_conversions_work_in_arrays_maps_and_structs(column: str) -> None:
    table = {k: v for k, v in GOLDEN[column].items() if k != "null"}
    good = [literal for literal, value in table.items() if value not in CODES]
    values = [table[literal] for literal in good]
    nested = (
        f"{{type: array, items: {{type: struct, fields: {{m: {{type: map, values: {column}}}}}}}}}"
    )
    items = ",".join(f'{{"m":{{"k":{literal}}}}}' for literal in good)
    result = checked(nested, f"[{items}]", "[]")
    assert not result.rejects
    array = result.columns["a"][0].as_py()
    found = [dict(item["m"])["k"] for item in array]
    if "timestamp" in column and found and isinstance(found[0], dt.datetime):
        found = [value.replace(tzinfo=None).isoformat(" ", "microseconds") for value in found]
        values = [value.removesuffix("Z") for value in values]
    assert found == values
    for literal, value in table.items():
        if value in CODES:
            result = checked(nested, f'[{items}{"," if items else ""}{{"m":{{"k":{literal}}}}}]')
            problem = result.rejects[0][0]
            assert str(problem.code) == value
            assert problem.path == f"a[{len(good)}].m.k"


@pytest.mark.parametrize("literal", ["{}", "[]", "[1, 2]", '{"k": "v"}'])
@pytest.mark.parametrize("column", GOLDEN)
def test_no_conversion_takes_objects_and_arrays(column: str, literal: str) -> None:
    assert outcome(column, literal) == ["wrong_type"]


def test_a_default_fills_columns_with_conversions() -> None:
    columns = """
l: {type: long, accept: [string, integral], default: 5}
e: {type: timestamp, unit: ms, accept: [string], default: '2026-05-01T10:00:00Z'}
p: {type: timestamp, format: '%d/%m/%Y', zone: Europe/Berlin, default: '2026-05-01T10:00:00Z'}
d: {type: date, unit: days, default: '2026-05-01'}
q: {type: date, format: '%d/%m/%Y', default: '2026-05-01', minimum: '2026-01-01'}
"""
    result = Checker(columns_contract(columns)).check([b"{}", b'{"l":"6","e":"0","d":0}'])
    assert not result.rejects
    assert [str(array[0].as_py()) for array in result.columns.values()] == [
        "5",
        "2026-05-01 10:00:00+00:00",
        "2026-05-01 10:00:00+00:00",
        "2026-05-01",
        "2026-05-01",
    ]


# --- JSON as its text

whitespace = st.text(" \t\r\n", max_size=3)


@st.composite
def json_texts(draw: Any, depth: int = 3) -> str:
    """Return JSON as a producer may write it: any spaces, escapes and numbers."""
    kind = draw(st.integers(0, 6 if depth else 4))
    if kind == 0:
        return str(draw(st.sampled_from(["null", "true", "false"])))
    if kind == 1:
        numbers = [
            "0",
            "-0",
            "1.0",
            "1E5",
            "1e-05",
            "123456789012345678901234567890",
            "0.10",
            "-0.0",
        ]
        return str(draw(st.sampled_from(numbers)))
    if kind <= 4:
        text = draw(st.text(max_size=6))
        return json.dumps(text, ensure_ascii=draw(st.booleans()))
    gap = lambda: draw(whitespace)  # noqa: E731
    items = draw(st.lists(json_texts(depth=depth - 1), max_size=4))
    if kind == 5:
        return "[" + gap() + ",".join(gap() + item + gap() for item in items) + "]"
    pairs = [f'{gap()}"k{i}"{gap()}:{gap()}{item}{gap()}' for i, item in enumerate(items)]
    return "{" + gap() + ",".join(pairs) + "}"


NESTED_JSON = """
a: {type: json}
s: {type: struct, fields: {j: {type: json, source: x.y}, d: {type: 'decimal(3,1)'}}}
l: {type: array, items: {type: json}}
m: {type: map, values: {type: array, items: {type: struct, fields: {j: {type: json}}}}}
"""


def _as_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(json_texts(), whitespace).filter(lambda t: _as_utf8(t[0])), min_size=1, max_size=4
    )
)
def test_json_is_kept_byte_for_byte_at_every_depth(batch: list[tuple[str, str]]) -> None:
    payloads = [
        (
            f'{{{gap}"a"{gap}:{gap}{text}{gap},"s":{{"x":{{"y":{gap}{text}}},"d":1.5}},"l":[{text}{gap},'
            f'{gap}{text}],"m":{{"k":[{{"j":{text}{gap}}},null]}},"other":{text}}}'
        ).encode()
        for text, gap in batch
    ]
    for keys in ({}, {"unknown_fields": "rescue"}):
        result = Checker(columns_contract(NESTED_JSON, **keys)).check(payloads)
        assert not result.rejects
        for i, (text, _gap) in enumerate(batch):
            expected = None if text == "null" else text
            assert result.columns["a"][i].as_py() == expected
            assert result.columns["s"][i].as_py()["j"] == expected
            assert result.columns["l"][i].as_py() == [expected, expected]
            assert dict(result.columns["m"][i].as_py())["k"] == [{"j": expected}, None]


@pytest.mark.parametrize(
    ("payload", "code", "path"),
    [
        (b'{"a":{"k":1,"k":2}}', "duplicate_key", ""),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "too_deep", ""),
        (b'{"a":{"k":NaN}}', "not_json", ""),
        (b'{"a":1e400}', "out_of_range", ""),
        (b'{"a":"\xff"}', "not_json", ""),
        (b'{"a":null}', "missing", "a"),
        (b"{}", "missing", "a"),
    ],
)
def test_json_that_is_refused(payload: bytes, code: str, path: str) -> None:
    result = Checker(columns_contract("a: {type: json, required: true}")).check([payload])
    assert (str(result.rejects[0][0].code), result.rejects[0][0].path) == (code, path)


def test_json_of_a_megabyte_is_kept() -> None:
    text = json.dumps([{"k": ["x" * 50, 1.50, None]} for _ in range(12_000)])
    result = Checker(columns_contract("a: {type: json}")).check([f'{{"a":{text}}}'.encode()])
    assert result.columns["a"][0].as_py() == text


def test_large_rejects_name_the_right_value() -> None:
    columns = "e: {type: timestamp, unit: s, accept: [string]}\nj: {type: json}\nx: {type: date}"
    filler = "y" * 20_000
    payload = f'{{"e":"1764000000","j":[1.0],"x":"no","filler":"{filler}"}}'.encode()
    result = Checker(columns_contract(columns)).check([payload])
    assert [(p.path, str(p.code)) for p in result.rejects[0]] == [("x", "bad_date")]


# --- what a contract may say


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            "{type: long, accept: [number]}",
            ["accept.0", "'number' does not apply", "string and integral"],
        ),
        ("{type: long, accept: [text]}", ["not one of string, integral"]),
        ("{type: long, accept: []}", ["at least 1"]),
        ("{type: binary, accept: [string]}", ["accepts nothing else"]),
        ("{type: json, accept: [string]}", ["accepts nothing else"]),
        ("{type: json, default: 1}", ["`default` does not apply"]),
        ("{type: json, pattern: x}", ["`pattern` does not apply"]),
        ("{type: json, max_length: 1}", ["`max_length` does not apply"]),
        ("{type: timestamp, accept: [string]}", ["needs `unit`", "`format`"]),
        ("{type: timestamp, unit: days}", ["the unit of a timestamp is s, ms, us or ns"]),
        ("{type: date, unit: ms}", ["the unit of a date is days"]),
        ("{type: date, unit: days, accept: [timestamp]}", ["with `unit` there are none"]),
        ("{type: timestamp, unit: ms, format: iso8601}", ["`format` is for texts"]),
        ("{type: timestamp, unit: ms, zone: UTC}", ["`zone` is for texts"]),
        ("{type: long, format: iso8601}", ["`format` does not apply"]),
        ("{type: string, zone: UTC}", ["`zone` does not apply"]),
        ("{type: date, fraction: truncate}", ["`fraction` does not apply"]),
        ("{type: timestamp, fraction: round}", ["not one of truncate"]),
        ("{type: timestamp, fold: later}", ["needs `zone`"]),
        ("{type: timestamp_ntz, zone: UTC}", ["has no zone"]),
        ("{type: timestamp, zone: Europe/Berlni}", ["not a time zone", "'Europe/Berlin'"]),
        ("{type: timestamp, zone: CESTX}", ["not a time zone"]),
        ("{type: timestamp, zone: ../../etc/passwd}", ["not a time zone", "Europe/Berlin or UTC"]),
        ("{type: timestamp, format: '%Y-%m-%d'}", ["has no %z", "`zone`"]),
        ("{type: timestamp, format: '%Y-%m-%d %z', zone: UTC}", ["need no `zone`"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d %z'}", ["has no offset"]),
        ("{type: timestamp_ntz, format: '%Y-%m'}", ["needs one year"]),
        ("{type: timestamp_ntz, format: '%d/%m'}", ["needs one year"]),
        ("{type: timestamp_ntz, format: '%Y %j'}", ["%j is not taken"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d %Z'}", ["%Z is not taken"]),
        ("{type: timestamp_ntz, format: '%c'}", ["%c is not taken"]),
        ("{type: timestamp_ntz, format: '%s'}", ["%s is not taken"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d%'}", ["% is not taken"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d %Y'}", ["has %Y twice"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d %I'}", ["%I with %p"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d %H %p'}", ["%I with %p"]),
        ("{type: timestamp_ntz, format: iso}", ["needs one year"]),
        ("{type: timestamp_ntz, format: '%Y%m%d.%H%M%S%f', fraction: truncate}", [".%f"]),
        ("{type: timestamp_ntz, format: '%Y-%m-%d', fraction: truncate}", [".%f"]),
        ("{type: date, format: '%Y-%m-%d %H:%M'}", ["time of day", "from: date(column)"]),
        ("{type: date, format: '%Y-%m-%d', accept: [timestamp]}", ["leave out `accept`"]),
    ],
)
def test_form_that_says_nothing_or_contradicts_is_refused(column: str, words: list[str]) -> None:
    problems = problems_of(f"topic: t\ntable: t\ncolumns:\n  a: {column}\n")
    assert len(problems) == 1, problems
    assert problems[0].startswith("test.yaml:4: columns.a")
    for word in words:
        assert word in problems[0]
