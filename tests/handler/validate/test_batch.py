"""Every type and rule: what is accepted comes out equal, what is not is a reject with code and
path.

Each case runs through the whole-batch path and through the reference, and both must agree.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import orjson
import pytest

from handler.errors import PROBLEMS_MAX
from handler.validate.batch import Checker
from tests.builders import columns_contract

UTC = dt.UTC


def check(columns: str, *payloads: bytes, **keys: str) -> Any:
    return Checker(columns_contract(columns, **keys)).check(list(payloads))


def value_of(column: str, literal: str) -> Any:
    """Return what a column `a` holds after the JSON literal, or the code of its reject."""
    result = check(f"a: {column}", b'{"a":' + literal.encode() + b"}")
    if result.rejects:
        assert result.rejects[0][0].path.startswith("a") or not result.rejects[0][0].path
        return str(result.rejects[0][0].code)
    array = result.columns["a"]
    if "timestamp" in column:
        # Beyond Python's own reach too: compare microseconds.
        import pyarrow as pa

        return array.cast(pa.int64())[0].as_py()
    return array[0].as_py()


def us(*args: int, **kwargs: int) -> int:
    moment = dt.datetime(*args, **kwargs) - dt.datetime(1970, 1, 1)  # type: ignore[arg-type]
    return moment // dt.timedelta(microseconds=1)


LONG_MAX = 2**63 - 1
CASES = [
    # strings
    ("{type: string}", '"x"', "x"),
    ("{type: string}", '""', ""),
    ("{type: string}", '"\\u0000"', "\0"),
    ("{type: string}", '"\\ud83d\\ude00"', "😀"),
    ("{type: string}", "1", "wrong_type"),
    ("{type: string}", "true", "wrong_type"),
    ("{type: string}", "{}", "wrong_type"),
    ("{type: string}", "null", None),
    ("{type: string, required: true}", "null", "missing"),
    ("{type: string, min_length: 2}", '"a"', "length"),
    ("{type: string, min_length: 2}", '"ab"', "ab"),
    ("{type: string, max_length: 2}", '"äöü"', "length"),
    ("{type: string, max_length: 3}", '"äöü"', "äöü"),
    ("{type: string, pattern: '^a+$'}", '"aa"', "aa"),
    ("{type: string, pattern: '^a+$'}", '"ab"', "pattern"),
    ("{type: string, pattern: 'b'}", '"abc"', "abc"),
    ("{type: string, enum: [x, y]}", '"y"', "y"),
    ("{type: string, enum: [x, y]}", '"z"', "not_allowed"),
    ("{type: string, enum: [x, yy], min_length: 2}", '"x"', "length"),
    ("{type: string, enum: [x, yy], min_length: 2}", '"yy"', "yy"),
    ("{type: string, default: d}", "null", "d"),
    # integers
    ("{type: long}", str(LONG_MAX), LONG_MAX),
    ("{type: long}", str(LONG_MAX + 1), "out_of_range"),
    ("{type: long}", str(-LONG_MAX - 1), -LONG_MAX - 1),
    ("{type: long}", str(-LONG_MAX - 2), "out_of_range"),
    ("{type: long}", "9" * 400, "out_of_range"),
    ("{type: long}", "9" * 5000, "out_of_range"),
    ("{type: long}", "1.0", "wrong_type"),
    ("{type: long}", "1e3", "wrong_type"),
    ("{type: long}", "2.5", "wrong_type"),
    ("{type: long}", '"12"', "wrong_type"),
    ("{type: long}", "true", "wrong_type"),
    ("{type: long}", "-0", 0),
    ("{type: integer}", "2147483647", 2147483647),
    ("{type: integer}", "2147483648", "out_of_range"),
    ("{type: integer}", "-2147483649", "out_of_range"),
    ("{type: short}", "32767", 32767),
    ("{type: short}", "32768", "out_of_range"),
    ("{type: byte}", "-128", -128),
    ("{type: byte}", "-129", "out_of_range"),
    ("{type: byte}", "128", "out_of_range"),
    ("{type: long, minimum: 2}", "2", 2),
    ("{type: long, minimum: 2}", "1", "out_of_range"),
    ("{type: long, maximum: 2}", "2", 2),
    ("{type: long, maximum: 2}", "3", "out_of_range"),
    ("{type: long, exclusive_minimum: 2}", "2", "out_of_range"),
    ("{type: long, exclusive_minimum: 2}", "3", 3),
    ("{type: long, exclusive_maximum: 2}", "2", "out_of_range"),
    ("{type: long, exclusive_maximum: 2}", "1", 1),
    ("{type: long, enum: [1, 2]}", "2", 2),
    ("{type: long, enum: [1, 2]}", "3", "not_allowed"),
    ("{type: long, default: 7}", "null", 7),
    # floating point
    ("{type: double}", "1.5", 1.5),
    ("{type: double}", "1", 1.0),
    ("{type: double}", str(2**53), float(2**53)),
    ("{type: double}", str(2**53 + 1), "inexact"),
    ("{type: double}", str(2**60), float(2**60)),
    ("{type: double}", str(2**64), float(2**64)),
    ("{type: double}", str(2**64 + 1), "inexact"),
    ("{type: double}", "1e300", 1e300),
    ("{type: double}", "1e400", "out_of_range"),
    ("{type: double}", "9" * 400, "out_of_range"),
    ("{type: double}", "true", "wrong_type"),
    ("{type: double}", '"1.5"', "wrong_type"),
    ("{type: double}", "-0.0", -0.0),
    ("{type: float}", "0.5", 0.5),
    ("{type: float}", "0.1", 0.10000000149011612),
    ("{type: float}", str(2**24), float(2**24)),
    ("{type: float}", str(2**24 + 1), "inexact"),
    ("{type: float}", "1e39", "out_of_range"),
    ("{type: float, minimum: 0, maximum: 1}", "1.5", "out_of_range"),
    ("{type: double, minimum: 0.5}", "0.5", 0.5),
    ("{type: double, exclusive_minimum: 0.5}", "0.5", "out_of_range"),
    ("{type: double, enum: [1.5, 2]}", "2", 2.0),
    ("{type: double, enum: [1.5, 2]}", "3", "not_allowed"),
    ("{type: double, default: 1}", "null", 1.0),
    # booleans
    ("{type: boolean}", "true", True),
    ("{type: boolean}", "false", False),
    ("{type: boolean}", "1", "wrong_type"),
    ("{type: boolean}", '"true"', "wrong_type"),
    ("{type: boolean, default: true}", "null", True),
    # binary
    ("{type: binary}", '"QUI="', b"AB"),
    ("{type: binary}", '""', b""),
    ("{type: binary}", '"QUI"', "bad_binary"),
    ("{type: binary}", '"QUJ="', "bad_binary"),
    ("{type: binary}", '"QU I="', "bad_binary"),
    ("{type: binary}", '"_-8="', "bad_binary"),
    ("{type: binary}", "1", "wrong_type"),
    ("{type: binary, max_length: 1}", '"QUI="', "length"),
    ("{type: binary, max_length: 2}", '"QUI="', b"AB"),
    # dates
    ("{type: date}", '"2026-02-28"', dt.date(2026, 2, 28)),
    ("{type: date}", '"0001-01-01"', dt.date(1, 1, 1)),
    ("{type: date}", '"9999-12-31"', dt.date(9999, 12, 31)),
    ("{type: date}", '"2026-02-29"', "bad_date"),
    ("{type: date}", '"0000-01-01"', "bad_date"),
    ("{type: date}", '"2026-2-1"', "bad_date"),
    ("{type: date}", '"20260201"', "bad_date"),
    ("{type: date}", '"2026-02-01T00:00:00Z"', "bad_date"),
    ("{type: date}", '"2026-02-01\\n"', "bad_date"),
    ("{type: date}", "20260201", "wrong_type"),
    ("{type: date, minimum: '2020-01-01'}", '"2019-12-31"', "out_of_range"),
    ("{type: date, minimum: '2020-01-01'}", '"2020-01-01"', dt.date(2020, 1, 1)),
    # timestamps
    ("{type: timestamp}", '"2026-05-01T10:00:00Z"', us(2026, 5, 1, 10)),
    ("{type: timestamp}", '"2026-05-01t10:00:00z"', us(2026, 5, 1, 10)),
    ("{type: timestamp}", '"2026-05-01T10:00:00+05:30"', us(2026, 5, 1, 4, 30)),
    ("{type: timestamp}", '"2026-05-01T10:00:00-00:00"', us(2026, 5, 1, 10)),
    ("{type: timestamp}", '"2026-05-01T10:00:00.1Z"', us(2026, 5, 1, 10, 0, 0, 100_000)),
    ("{type: timestamp}", '"2026-05-01T10:00:00.123456Z"', us(2026, 5, 1, 10, 0, 0, 123_456)),
    ("{type: timestamp}", '"2026-05-01T10:00:00.123456000Z"', us(2026, 5, 1, 10, 0, 0, 123_456)),
    ("{type: timestamp}", '"2026-05-01T10:00:00.1234567Z"', "bad_timestamp"),
    ("{type: timestamp}", '"1969-12-31T23:59:59.999999Z"', -1),
    ("{type: timestamp}", '"2026-05-01T10:00:00"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01 10:00:00Z"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01T10:00Z"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-02-30T10:00:00Z"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01T24:00:00Z"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-06-30T23:59:60Z"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01T10:00:00+24:00"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01T10:00:00+05:60"', "bad_timestamp"),
    ("{type: timestamp}", '"2026-05-01T10:00:00+0530"', "bad_timestamp"),
    ("{type: timestamp}", '"0001-01-01T00:00:00+01:00"', "out_of_range"),
    ("{type: timestamp}", '"9999-12-31T23:59:59-01:00"', "out_of_range"),
    ("{type: timestamp}", '"0001-01-01T00:00:00Z"', us(1, 1, 1)),
    ("{type: timestamp}", "1767225600000", "wrong_type"),
    ("{type: timestamp, unit: s}", "1767225600", us(2026, 1, 1)),
    ("{type: timestamp, unit: ms}", "1767225600123", us(2026, 1, 1, 0, 0, 0, 123_000)),
    ("{type: timestamp, unit: us}", "-1", -1),
    ("{type: timestamp, unit: ms}", "1.5", "wrong_type"),
    ("{type: timestamp, unit: ms}", '"2026-05-01T10:00:00Z"', "wrong_type"),
    ("{type: timestamp, unit: s}", "253402300799", us(9999, 12, 31, 23, 59, 59)),
    ("{type: timestamp, unit: s}", "253402300800", "out_of_range"),
    ("{type: timestamp, unit: s}", str(LONG_MAX), "out_of_range"),
    ("{type: timestamp, unit: s}", str(2**70), "out_of_range"),
    (
        "{type: timestamp, minimum: '2026-01-01T00:00:00Z'}",
        '"2025-12-31T23:59:59Z"',
        "out_of_range",
    ),
    ("{type: timestamp, unit: s, minimum: '2026-01-01T00:00:00Z'}", "1767225599", "out_of_range"),
    ("{type: timestamp, unit: s, minimum: '2026-01-01T00:00:00Z'}", "1767225600", us(2026, 1, 1)),
    ("{type: timestamp_ntz}", '"2026-05-01T10:00:00"', us(2026, 5, 1, 10)),
    ("{type: timestamp_ntz}", '"2026-05-01T10:00:00.5"', us(2026, 5, 1, 10, 0, 0, 500_000)),
    ("{type: timestamp_ntz}", '"2026-05-01T10:00:00Z"', "bad_timestamp"),
    ("{type: timestamp_ntz}", '"2026-05-01T10:00:00+01:00"', "bad_timestamp"),
    # decimals
    ("{type: 'decimal(12,2)'}", '"12.34"', Decimal("12.34")),
    ("{type: 'decimal(12,2)'}", "12.34", Decimal("12.34")),
    ("{type: 'decimal(12,2)'}", "12", Decimal("12.00")),
    ("{type: 'decimal(12,2)'}", '"12.340"', Decimal("12.34")),
    ("{type: 'decimal(12,2)'}", "12.340", Decimal("12.34")),
    ("{type: 'decimal(12,2)'}", '"12.345"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", "12.345", "bad_decimal"),
    ("{type: 'decimal(12,2)'}", "1e2", Decimal("100.00")),
    ("{type: 'decimal(12,2)'}", '"1E+2"', Decimal("100.00")),
    ("{type: 'decimal(12,2)'}", '"1e999999"', "out_of_range"),
    ("{type: 'decimal(12,2)'}", '"1e-999999"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", '"0e999999"', Decimal("0.00")),
    ("{type: 'decimal(12,2)'}", "9999999999.99", Decimal("9999999999.99")),
    ("{type: 'decimal(12,2)'}", "10000000000", "out_of_range"),
    ("{type: 'decimal(12,2)'}", '"-0"', Decimal("0.00")),
    ("{type: 'decimal(12,2)'}", "true", "wrong_type"),
    ("{type: 'decimal(12,2)'}", '"abc"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", '"NaN"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", '""', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", '" 1"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", '"1_0"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", '"\u0661"', "bad_decimal"),
    ("{type: 'decimal(12,2)'}", "0.1000000000000000055511151231257827", "bad_decimal"),
    ("{type: 'decimal(38,18)'}", "0.1", Decimal("0.1")),
    ("{type: 'decimal(38,18)'}", "1.000000000000000001", Decimal("1.000000000000000001")),
    ("{type: 'decimal(38,0)'}", "9" * 38, Decimal("9" * 38)),
    ("{type: 'decimal(38,0)'}", "9" * 39, "out_of_range"),
    ("{type: 'decimal(38,0)'}", str(2**64 + 1), Decimal(2**64 + 1)),
    ("{type: 'decimal(38,0)'}", "9007199254740993.0", Decimal(9007199254740993)),
    ("{type: 'decimal(38,38)'}", '"0.' + "1" * 38 + '"', Decimal("0." + "1" * 38)),
    ("{type: 'decimal(4,1)', minimum: 0.5}", "0.4", "out_of_range"),
    ("{type: 'decimal(4,1)', minimum: 0.5}", "0.5", Decimal("0.5")),
    ("{type: 'decimal(4,1)', enum: [0.5, '1']}", '"1.0"', Decimal("1.0")),
    ("{type: 'decimal(4,1)', enum: [0.5, '1']}", "2", "not_allowed"),
    # Arrow's own cast would wrap these at 128 bits
    ("{type: 'decimal(38,30)'}", "1769777541", "out_of_range"),
    ("{type: 'decimal(38,38)'}", "2147483648", "out_of_range"),
    ("{type: 'decimal(38,38)'}", '"5.1"', "out_of_range"),
    ("{type: 'decimal(38,18)'}", '"67955829685794361978786467"', "out_of_range"),
    ("{type: 'decimal(38,20)'}", '"43634993492442188196903.487073119283"', "out_of_range"),
    ("{type: 'decimal(34,10)'}", '"170141248057988668770964279264"', "out_of_range"),
    ("{type: 'decimal(38,2)'}", '"000000000000000000000000000000000000000001.50"', Decimal("1.50")),
    ("{type: 'decimal(5,2)'}", "1e-400", "bad_decimal"),
    ("{type: 'decimal(5,2)'}", "0e-400", Decimal("0.00")),
    ("{type: timestamp}", '"0000-12-31T23:59:59-00:01"', "bad_timestamp"),
    # nested
    ("{type: array, items: {type: long}}", "[1,null]", [1, None]),
    ("{type: array, items: {type: long}}", "[]", []),
    ("{type: array, items: {type: long, required: true}}", "[1,null]", "missing"),
    ("{type: array, items: {type: long}}", "[1.5]", "wrong_type"),
    ("{type: array, items: {type: long}}", "{}", "wrong_type"),
    ("{type: array, items: {type: long}}", '"ab"', "wrong_type"),
    ("{type: array, min_length: 1, items: {type: long}}", "[]", "length"),
    ("{type: array, max_length: 1, items: {type: long}}", "[1,2]", "length"),
    (
        "{type: array, items: {type: array, items: {type: date}}}",
        '[["2026-01-01"],null]',
        [[dt.date(2026, 1, 1)], None],
    ),
    ("{type: array, items: {type: array, items: {type: date}}}", '[[],["2026-13-01"]]', "bad_date"),
    ("{type: map, values: {type: long}}", '{"x":1,"":null}', [("x", 1), ("", None)]),
    ("{type: map, values: {type: long}}", "{}", []),
    ("{type: map, values: {type: long}}", "[]", "wrong_type"),
    ("{type: map, values: {type: long, required: true}}", '{"x":null}', "missing"),
    ("{type: map, max_length: 1, values: {type: long}}", '{"x":1,"y":2}', "length"),
    ("{type: map, values: {type: 'decimal(4,2)'}}", '{"x":"1.5"}', [("x", Decimal("1.50"))]),
    ("{type: map, values: {type: 'decimal(4,2)'}}", '{"x":1.505}', "bad_decimal"),
    ("{type: struct, fields: {b: {type: long}}}", '{"b":1}', {"b": 1}),
    ("{type: struct, fields: {b: {type: long}}}", "{}", {"b": None}),
    ("{type: struct, fields: {b: {type: long}}}", "null", None),
    ("{type: struct, fields: {b: {type: long}}}", "[]", "wrong_type"),
    ("{type: struct, fields: {b: {type: long, required: true}}}", "{}", "missing"),
    ("{type: struct, fields: {b: {type: long, required: true}}}", "null", None),
    ("{type: struct, fields: {b: {type: long, source: c}}}", '{"c":1,"b":2}', {"b": 1}),
    ("{type: struct, fields: {b: {type: long, default: 3}}}", "{}", {"b": 3}),
    ("{type: struct, fields: {b: {type: long, default: 3}}}", "null", None),
    (
        (
            "{type: struct, fields: {b: {type: map, values: {type: array, items: {type: struct, "
            "fields: {t: {type: date}}}}}}}"
        ),
        '{"b":{"k":[{"t":"2026-01-01"},null]}}',
        {"b": [("k", [{"t": dt.date(2026, 1, 1)}, None])]},
    ),
]


@pytest.mark.parametrize(("column", "literal", "expected"), CASES)
def test_type_takes_exactly_its_values(column: str, literal: str, expected: Any) -> None:
    assert value_of(column, literal) == expected


@pytest.mark.parametrize(("column", "literal", "expected"), CASES)
def test_reference_agrees_with_the_whole_batch(column: str, literal: str, expected: Any) -> None:
    """An unknown field sends the record to the reference; what it says must be the same."""
    payload = b'{"a":' + literal.encode() + b',"unknown":1}'
    result = check(f"a: {column}", payload, unknown_fields="rescue")
    if isinstance(expected, str) and result.rejects:
        assert result.rejects[0][0].code == expected
    else:
        assert not result.rejects, result.rejects
        assert value_of(column, literal) == expected
        assert (
            result.columns["a"].to_pylist()
            == check(f"a: {column}", b'{"a":' + literal.encode() + b"}").columns["a"].to_pylist()
        )


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"", "not_json"),
        (b"nul", "not_json"),
        (b"{", "not_json"),
        (b"\xff", "not_json"),
        (b"\x00\x00\x00\x00\x01", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"a":NaN}', "not_json"),
        (b'{"a":Infinity}', "not_json"),
        (b'{"a":"\\ud800"}', "not_json"),
        (b'{"a":1,}', "not_json"),
        (b"{'a':1}", "not_json"),
        (b'{"a":1}{"a":2}', "not_json"),
        (b'{"a":01}', "not_json"),
        (b"1", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"true", "not_an_object"),
        (b'{"a":1,"a":2}', "duplicate_key"),
        (b'{"a":1,"\\u0061":2}', "duplicate_key"),
        (b'{"a":1,"x":{"b":1,"b":1}}', "duplicate_key"),
        (b'{"a" :1, "a":":"}', "duplicate_key"),
        (b'{"a":1,"x":' + b"[1,22," * 300 + b"[]" + b"]" * 300 + b"}", "too_deep"),
        (b"[" * 10_000 + b"]" * 10_000, "too_large"),
        (b"[1,22," * 10_000 + b"3" + b"]" * 10_000, "too_deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    ],
)
def test_payload_that_is_no_clear_object_is_a_reject(payload: bytes, code: str) -> None:
    good = b'{"a":1}'
    result = check("a: {type: long}", good, payload, good)
    assert result.positions == [0, 2]
    assert [str(p.code) for p in result.rejects[1]] == [code]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":1,"x":"a:b:c"}',
        b'{"a":1,"x":"\\u003a"}',
        b'{"a":1,"x":"\\\\u003a:"}',
        b' { "a" : 1 , "x" : [ { "a" : 2 } , { "a" : 3 } ] } ',
        b'{"a":1,"x":"\\"a\\":1"}',
        b'{"a":1,"x":{"a":2}}',
    ],
)
def test_colons_and_repeated_names_elsewhere_are_no_duplicate_keys(payload: bytes) -> None:
    assert check("a: {type: long}", payload).rejects == {}


def test_two_halves_of_a_record_are_two_rejects() -> None:
    result = check("a: {type: long}", b'{"a":1', b'"b":2}')
    assert sorted(result.rejects) == [0, 1]


def test_a_compensating_escape_in_another_record_does_not_hide_a_duplicate_key() -> None:
    result = check("a: {type: long}", b'{"a":1,"a":2}', b'{"a":1,"x":"\\u003a"}')
    assert list(result.rejects) == [0]


def test_all_problems_of_a_record_are_listed_with_their_paths() -> None:
    columns = """
id: {type: long, required: true}
items: {type: array, items: {type: struct, fields: {price: {type: double}, sku: {type: string}}}}
tags: {type: map, values: {type: string}}
"""
    payload = b'{"items":[{"price":true},null,{"price":"x","sku":1}],"tags":{"a":1}}'
    problems = check(columns, payload).rejects[0]
    assert [(p.path, str(p.code)) for p in problems] == [
        ("id", "missing"),
        ("items[0].price", "wrong_type"),
        ("items[2].price", "wrong_type"),
        ("items[2].sku", "wrong_type"),
        ("tags.a", "wrong_type"),
    ]


@pytest.mark.parametrize(
    ("column", "literal", "message"),
    [
        (
            "{type: timestamp, exclusive_maximum: '2024-01-01T01:00:00+01:00'}",
            '"2025-01-01T00:00:00Z"',
            "it must be less than 2024-01-01T00:00:00Z",
        ),
        (
            "{type: timestamp, minimum: '1969-12-31T23:59:59.5Z'}",
            '"1960-01-01T00:00:00Z"',
            "it is less than the minimum 1969-12-31T23:59:59.500000Z",
        ),
        (
            "{type: timestamp_ntz, maximum: '0001-01-01T00:00:00'}",
            '"2025-01-01T00:00:00"',
            "it is more than the maximum 0001-01-01T00:00:00",
        ),
        (
            "{type: timestamp, unit: ms, exclusive_minimum: 1704067200000}",
            "1704067200000",
            "it must be greater than 2024-01-01T00:00:00Z",
        ),
        ("{type: date, minimum: 2024-01-01}", '"2023-12-31"', "the minimum 2024-01-01"),
        ('{type: "decimal(5,2)", maximum: 1.50}', "1.51", "the maximum 1.5"),
        ('{type: "decimal(10,2)", minimum: 100}', "1.51", "the minimum 100"),
        ("{type: long, exclusive_minimum: 2}", "2", "it must be greater than 2"),
    ],
)
def test_message_shows_a_bound_as_text(column: str, literal: str, message: str) -> None:
    (problem,) = check(f"a: {column}", b'{"a":' + literal.encode() + b"}").rejects[0]
    assert problem.message.endswith(message)


def test_problems_are_bounded() -> None:
    payload = orjson.dumps({"a": ["x"] * 1000})
    problems = check("a: {type: array, items: {type: long}}", payload).rejects[0]
    assert len(problems) == PROBLEMS_MAX == 20


def test_long_paths_are_cut() -> None:
    payload = orjson.dumps({"a": {"k" * 100_000: "x"}})
    problems = check("a: {type: map, values: {type: long}}", payload).rejects[0]
    assert len(problems[0].path) <= 200


def test_messages_never_quote_the_record() -> None:
    secret = "s3cr3t"
    columns = """
a: {type: long}
b: {type: timestamp}
c: {type: 'decimal(4,2)'}
d: {type: string, enum: [x]}
"""
    payload = orjson.dumps(dict.fromkeys("abcd", secret))
    problems = check(columns, payload).rejects[0]
    assert len(problems) == 4
    assert secret not in "\n".join(map(str, problems))
    for broken in (secret.encode(), b'{"a":"' + secret.encode()):
        assert secret not in str(check("a: {type: long}", broken).rejects[0][0])


def test_unknown_fields_are_rejected_or_kept_by_policy() -> None:
    columns = "a: {type: long}\ns: {type: struct, fields: {b: {type: long}}}"
    payload = b'{"a":1,"x":1.10,"s":{"b":2,"y":[12345678901234567890123]}}'
    rejected = check(columns, payload, unknown_fields="reject")
    assert [(p.path, str(p.code)) for p in rejected.rejects[0]] == [
        ("x", "unknown_field"),
        ("s.y", "unknown_field"),
    ]
    assert check(columns, payload, unknown_fields="ignore").unknown == {}
    kept = check(columns, payload, unknown_fields="rescue")
    from handler.validate.unknown import rescued_text

    assert rescued_text(kept.unknown[0]) == '{"x":1.10,"s.y":[12345678901234567890123]}'


def test_rows_keep_the_order_of_the_batch_when_some_are_examined() -> None:
    payloads = [
        b'{"a":"2026-05-01T10:00:00Z"}',
        b'{"a":"2026-05-01t11:00:00z"}',
        b"x",
        b'{"a":"2026-05-01T12:00:00Z","u":1}',
        b'{"a":"2026-05-01T13:00:00Z"}',
        b'{"a":"no"}',
    ]
    result = check("a: {type: timestamp}", *payloads, unknown_fields="rescue")
    assert result.positions == [0, 1, 3, 4]
    assert [v.hour for v in result.columns["a"].to_pylist()] == [10, 11, 12, 13]
    assert sorted(result.rejects) == [2, 5]


def test_decimals_as_strings_and_numbers_in_one_batch() -> None:
    payloads = [b'{"a":"1.5"}', b'{"a":2.5}', b'{"a":3}', b'{"a":4.00000000000000000001}']
    result = check("a: {type: 'decimal(6,2)'}", *payloads)
    assert result.columns["a"].to_pylist() == [Decimal("1.50"), Decimal("2.50"), Decimal("3.00")]
    assert list(result.rejects) == [3]


def test_empty_batch_gives_empty_columns() -> None:
    result = check("a: {type: long}\nb: {type: map, values: {type: date}}")
    assert result.positions == []
    assert [len(a) for a in result.columns.values()] == [0, 0]


def test_underflow_is_seen_beside_any_neighbour() -> None:
    alone = check("a: {type: 'decimal(5,2)'}", b'{"a":1e-400}')
    beside = check("a: {type: 'decimal(5,2)'}", b'{"a":1e-400}', b'{"a":"1.0"}', b'{"a":2}')
    assert list(alone.rejects) == list(beside.rejects) == [0]


def test_unknown_fields_whose_paths_look_alike_are_both_kept() -> None:
    columns = """
a: {type: struct, fields: {x: {type: long}}}
l: {type: array, items: {type: struct, fields: {x: {type: long}}}}
m: {type: map, values: {type: struct, fields: {x: {type: long}}}}
"""
    payload = (
        b'{"a":{"b":1},"a.b":2,"l":[{"y":3}],"l[0].y":4,"m":{"k":{"z.z":5},"k.z":{"z":6}},"":7}'
    )
    result = check(columns, payload, unknown_fields="rescue")
    assert sorted(result.unknown[0].values()) == [1, 2, 3, 4, 5, 6, 7]
    assert result.unknown[0]["a.b"] == 1
    assert result.unknown[0]['["a.b"]'] == 2


@pytest.mark.parametrize("precision", [1, 5, 18, 19, 37, 38])
def test_decimals_at_the_edge_of_every_scale(precision: int) -> None:
    for scale in range(precision + 1):
        column = f"{{type: 'decimal({precision},{scale})'}}"
        largest = ("9" * (precision - scale) or "0") + ("." + "9" * scale if scale else "")
        assert value_of(column, f'"{largest}"') == Decimal(largest)
        beyond = "1" + "0" * (precision - scale)
        assert value_of(column, f'"{beyond}"') == "out_of_range", column
        assert value_of(column, beyond) == "out_of_range", column


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("{type: date}", 20_000, "expected a date as a string, got an integer"),
        ("{type: date}", {}, "expected a date as a string, got an object"),
        ("{type: binary}", 7, "expected bytes as a base64 string, got an integer"),
        ("{type: string}", 7, "expected a string, got an integer"),
        ("{type: timestamp}", 1_764_000_000, "add `unit` to the contract: s, ms, us or ns"),
        ("{type: timestamp_ntz}", 1_764_000_000, "add `unit` to the contract: s, ms, us or ns"),
        ("{type: timestamp}", 1.5, "expected a timestamp as a string, got a number"),
        ("{type: timestamp}", True, "expected a timestamp as a string, got a boolean"),
    ],
)
def test_message_names_what_the_column_is_for(column: str, value: object, message: str) -> None:
    (problems,) = check(f"a: {column}", orjson.dumps({"a": value})).rejects.values()
    assert message in problems[0].message
