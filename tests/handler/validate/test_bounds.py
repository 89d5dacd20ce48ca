"""What a record costs is bounded by its bytes, and what it is does not depend on its neighbors."""

import json
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.validate import batch, batch_diagnosis, diagnose, slices
from handler.validate.batch import Checker
from handler.validate.batch_diagnosis import DIAGNOSES_VALUES, DIAGNOSIS_VALUES
from handler.validate.size import SPARE_BYTES, VALUES_PER_BYTE
from handler.validate.unknown import rescued_text
from tests.builders import SMALL, columns_contract, event, function_for, record
from tests.reader import rows_of_folder

FIFTY = ", ".join(f"f{i}: {{type: long}}" for i in range(50))
WIDE = f"id: {{type: long}}\na: {{type: array, items: {{type: struct, fields: {{{FIFTY}}}}}}}"


def items(count: int, item: bytes = b"{}", rest: bytes = b'"id":1') -> bytes:
    return b"{" + rest + b',"a":[' + b",".join([item] * count) + b"]}"


def codes(checked: Any) -> dict[int, list[str]]:
    return {i: [str(p.code) for p in problems] for i, problems in checked.rejects.items()}


def test_million_empty_items_of_a_wide_struct_are_too_large() -> None:
    payloads = [items(500_000, b'{"f":0}'), items(1_000_000), b'{"id":1}']
    checked = Checker(columns_contract(WIDE)).check(payloads)
    assert codes(checked) == {0: ["too_large"], 1: ["too_large"]}
    assert checked.positions == [2]
    assert "25000001 values" in checked.rejects[0][0].message
    assert "max_values" in checked.rejects[0][0].message


def test_max_values_counts_every_field_of_every_item() -> None:
    columns = """
id: {type: long}
s: {type: struct, fields: {x: {type: long}, y: {type: array, items: {type: long}}}}
a: {type: array, items: {type: struct, fields: {p: {type: long}, q: {type: long}}}}
m: {type: map, values: {type: long}}
"""
    # id and s.x, three items of y, two of two fields, two keys with their values: 13
    payload = b'{"s":{"y":[1,2,3]},"a":[{},null],"m":{"k":1,"l":null}}'
    assert codes(Checker(columns_contract(columns, max_values="13")).check([payload])) == {}
    refused = Checker(columns_contract(columns, max_values="12")).check([payload])
    assert codes(refused) == {0: ["too_large"]}


def test_values_for_each_byte_are_bounded_whatever_max_values_says() -> None:
    checker = Checker(columns_contract(WIDE, max_values="100000000"))
    most = max(n for n in range(200) if 50 * n <= VALUES_PER_BYTE * (len(items(n)) + SPARE_BYTES))
    assert codes(checker.check([items(most), items(most + 1)])) == {1: ["too_large"]}
    item = b'{"f1":123456}'
    assert codes(checker.check([items(10_000, item)])) == {}, "one short field of fifty is fine"


@pytest.mark.parametrize("crowd", [b"[]", b"{}", b"[[[]]]", b'{"":{}}', b"[0]"])
def test_nearly_empty_containers_without_end_are_too_large(crowd: bytes) -> None:
    """An empty list is two bytes of JSON and 64 in memory, and is ignored by the contract here."""
    many = b'{"id":1,"x":[' + b",".join([crowd] * 100_000) + b"]}"
    few = b'{"id":1,"x":[' + b",".join([crowd] * 20) + b"]}"
    text = orjson.dumps({"id": 1, "x": crowd.decode().replace('"', "'") * 5 + "x" * 400})
    checked = Checker(columns_contract("id: {type: long}")).check([many, few, text, many])
    assert codes(checked) == {0: ["too_large"], 3: ["too_large"]}
    pairs = b'{"id":1,"x":[' + b",".join([b"[0,1]", b'{"a":1}'] * 100_000) + b"]}"
    assert codes(Checker(columns_contract("id: {type: long}")).check([pairs])) == {}


def test_large_record_keeps_its_unknown_fields_as_they_were_written() -> None:
    columns = (
        "id: {type: long}\nd: {type: 'decimal(9,2)'}\ns: {type: struct, fields: {x: {type: long}}}"
    )
    checker = Checker(columns_contract(columns, unknown_fields="rescue"))
    rest = b'"id":1,"d":1.10,"s":{"x":1,"y":-0},"z":[1.50,{"a":12345678901234567890}]'
    large = b"{" + rest + b',"filler":"' + b"x" * (1 << 20) + b'"}'
    checked = checker.check([b"{" + rest + b"}", large])
    assert checked.columns["d"].to_pylist() == [Decimal("1.10")] * 2
    small, text = (rescued_text(checked.unknown[i]) for i in (0, 1))
    assert small == '{"z":[1.50,{"a":12345678901234567890}],"s.y":-0}'
    assert text.startswith('{"z":[1.50,{"a":12345678901234567890}],"filler":"xxx')
    assert text.endswith('xxx","s.y":-0}')


def test_slices_give_the_same_columns_and_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    payloads = [
        orjson.dumps({"id": i, "a": [{"f1": i}] * (i % 7)} if i % 5 else {"id": "x", "a": []})
        for i in range(60)
    ]
    whole = Checker(columns_contract(WIDE)).check(payloads)
    for slice_bytes, finished_bytes in ((1, 1), (1, 1 << 30), (500, 1), (500, 5000)):
        monkeypatch.setattr(slices, "SLICE_BYTES", slice_bytes)
        monkeypatch.setattr(batch, "FINISHED_BYTES", finished_bytes)
        sliced = Checker(columns_contract(WIDE)).check(payloads)
        assert sliced.positions == whole.positions
        assert sliced.rejects == whole.rejects
        for name, column in whole.columns.items():
            assert sliced.columns[name].to_pylist() == column.to_pylist()


def test_slices_are_written_as_one_file_a_partition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", 500)
    monkeypatch.setattr(batch, "FINISHED_BYTES", 1000)
    contract = SMALL.replace("  name:", "  a: {type: array, items: {type: date}}\n  name:") + (
        "  year: {type: integer, from: year(_kafka_timestamp)}\npartition_by: [year]\n"
    )
    days = ["2026-01-01"] * 30
    records = [record(i, {"id": i, "a": days if i % 3 else ["x"]}) for i in range(40)]
    function = function_for(tmp_path, contract + "circuit_breaker: {ratio: 1.0}\n")
    assert function.handle(event([*records, record(40, None)]), None)["batchItemFailures"] == []
    folder = tmp_path / "tables/sales/orders"
    read = rows_of_folder(folder, "id, len(a)")
    assert sorted(read) == [(i, 30) for i in range(40) if i % 3]
    assert len(list(folder.rglob("part-*.parquet"))) == 1


def test_wide_contract_builds_what_a_batch_brings_and_nulls_for_the_rest() -> None:
    wide = "".join(f"c{i}: {{type: 'decimal(9,2)'}}\n" for i in range(100))
    wide += (
        "d: {type: long, default: 7}\ns: {type: struct, fields: {x: {type: long, default: 1}}}\n"
    )
    checked = Checker(columns_contract(wide)).check([b'{"c5":"1.5"}', b'{"c6":2}', b'{"c7":"x"}'])
    assert checked.positions == [0, 1]
    got = {name: column.to_pylist() for name, column in checked.columns.items()}
    assert got.pop("c5") == [Decimal("1.50"), None]
    assert got.pop("c6") == [None, Decimal("2.00")]
    assert got.pop("d") == [7, 7]
    assert set(map(tuple, got.values())) == {(None, None)}
    assert all(len(column) == 2 for column in checked.columns.values())
    narrow = Checker(columns_contract(wide.replace("c5:", "e5:"))).check([b"{}"])
    assert narrow.columns["s"].to_pylist() == [None]


REJECTS = {
    "a kind": b'{"id":"x"}',
    "a range": b'{"id":99999999999999999999}',
    "a decimal": b'{"d":"1.234"}',
    "a decimal number": b'{"d":1.234}',
    "a date": b'{"t":"2026-02-30"}',
    "a length": b'{"s":"toolong"}',
    "a pattern": b'{"s":"B"}',
    "a double": b'{"f":9007199254740993}',
    "a large double": b'{"f":18446744073709551617}',
    "no JSON": b"{",
    "no object": b"1",
    "a key twice": b'{"id":1,"id":1}',
    "too large": b'{"a":[' + b",".join([b"{}"] * 3000) + b"]}",
    "unknown": b'{"zz":1}',
}
MANY = f"""
id: {{type: long}}
d: {{type: "decimal(10,2)"}}
t: {{type: date}}
f: {{type: double}}
s: {{type: string, max_length: 5, pattern: "^[a-z]*\\\\z"}}
a: {{type: array, items: {{type: struct, fields: {{{FIFTY}}}}}}}
"""
GOOD = [b'{"id":1,"d":"1.5","f":0.5}', b'{"id":2,"d":1.5,"f":3}', b'{"f":9007199254740994}', b"{}"]


@given(st.lists(st.sampled_from([*REJECTS.values(), *GOOD]), max_size=12))
@settings(max_examples=200)
def test_no_record_is_rejected_for_its_neighbors(payloads: list[bytes]) -> None:
    checker = Checker(columns_contract(MANY, unknown_fields="reject"))
    together = checker.check(payloads)
    assert sorted(together.rejects) == [i for i, p in enumerate(payloads) if p not in GOOD]
    for i, problems in together.rejects.items():
        assert list(checker.check([payloads[i]]).rejects[0]) == list(problems)


def test_rejects_are_not_examined_beyond_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: how many values the diagnosis looks at."""
    looked = 0
    original = diagnose._value

    def count(*arguments: Any) -> None:
        nonlocal looked
        looked += 1
        original(*arguments)

    monkeypatch.setattr(diagnose, "_value", count)
    columns = "id: {type: long}\na: {type: array, items: {type: long}}"
    checker = Checker(columns_contract(columns))
    large = b'{"a":[' + b"1," * 100_000 + b'"x"]}'
    problems = checker.check([large]).rejects[0]
    assert [(p.path, str(p.code)) for p in problems] == [("a[100000]", "wrong_type")]
    assert looked <= DIAGNOSIS_VALUES + 2
    looked = 0
    many = checker.check([b'{"a":["x",' + b"1," * 900 + b"1]}"] * 500)
    assert all(p[0].path == "a[0]" for p in many.rejects.values())
    assert looked <= DIAGNOSES_VALUES + DIAGNOSIS_VALUES


@pytest.mark.parametrize(
    ("column", "bad", "code"),
    [
        ("{type: long}", '"x"', "wrong_type"),
        ("{type: long, required: true}", "null", "missing"),
        ("{type: byte}", "128", "out_of_range"),
        ("{type: double}", "9007199254740993", "inexact"),
        ("{type: double}", "18446744073709551617", "inexact"),
        ("{type: 'decimal(4,2)'}", '"1.234"', "bad_decimal"),
        ("{type: 'decimal(4,2)'}", "123.4", "out_of_range"),
        ("{type: date}", '"2026-02-30"', "bad_date"),
        ("{type: timestamp, unit: s}", "253402300800", "out_of_range"),
        ("{type: string, pattern: a}", '"b"', "pattern"),
        ("{type: string, enum: [a]}", '"b"', "not_allowed"),
        ("{type: binary}", '"="', "bad_binary"),
        ("{type: array, max_length: 1, items: {type: long}}", "[1,2]", "length"),
        ("{type: map, values: {type: date}}", '{"k":"x"}', "bad_date"),
        ("{type: struct, fields: {b: {type: long}}}", '{"b":1.5}', "wrong_type"),
    ],
)
def test_a_problem_behind_the_budget_has_its_code_and_path(
    column: str, bad: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_diagnosis, "DIAGNOSIS_VALUES", 3)
    checker = Checker(columns_contract(f"a: {{type: array, items: {column}}}"))
    good = {"required": "1", "binary": '"QQ=="', "pattern": '"a"', "enum": '"a"', "map": "{}"}
    filler = next((v for key, v in good.items() if key in column), "null")
    payload = f'{{"a":[{",".join([filler] * 9)},{bad}]}}'.encode()
    (found,) = checker.check([payload]).rejects[0]
    assert str(found.code) == code
    assert found.path.startswith("a[9]")


def test_long_keys_above_many_values_are_not_copied_for_each() -> None:
    key = "k" * 1_000_000
    columns = "m: {type: map, values: {type: array, items: {type: long}}}"
    checked = Checker(columns_contract(columns)).check(
        [orjson.dumps({"m": {key: [None] * 9000 + ["x"]}})]
    )
    assert len(checked.rejects[0][0].path) <= 200


def test_unknown_fields_below_long_keys_are_too_large_not_endless() -> None:
    columns = "m: {type: map, values: {type: struct, fields: {x: {type: long}}}}"
    checker = Checker(columns_contract(columns, unknown_fields="rescue"))
    many = {f"{i}": 1 for i in range(20_000)}
    checked = checker.check([orjson.dumps({"m": {"k" * 100_000: many}}), b'{"m":{"k":{"y":1}}}'])
    assert codes(checked) == {0: ["too_large"]}
    assert checked.unknown == {1: {"m.k.y": 1}}


# Numbers ---------------------------------------------------------------------------------------

DIGITS = st.text("0123456789", min_size=1, max_size=25)
NUMBERS = st.builds(
    lambda sign, whole, fraction, exponent: sign + (whole.lstrip("0") or "0") + fraction + exponent,
    st.sampled_from(["", "-"]),
    DIGITS,
    st.one_of(st.just(""), DIGITS.map(lambda d: "." + d)),
    st.one_of(
        st.just(""),
        st.builds(
            lambda e, sign, digits: e + sign + digits,
            st.sampled_from("eE"),
            st.sampled_from(["", "+", "-"]),
            st.text("0123456789", min_size=1, max_size=3),
        ),
    ),
)
KINDS = ["double", "float", "long", "integer", "decimal(38,10)"]


def as_double(text: str) -> bytes:
    return struct.pack("<d", float(text))


@given(st.sampled_from(KINDS), st.lists(NUMBERS, min_size=1, max_size=4))
@settings(max_examples=600)
def test_a_number_is_kept_to_the_bit_or_rejected(kind: str, texts: list[str]) -> None:
    """Whatever sign, leading digits, length or exponent: nothing is changed silently."""
    checker = Checker(columns_contract(f"n: {{type: '{kind}'}}"))
    checked = checker.check([f'{{"n":{text}}}'.encode() for text in texts])
    for row, i in enumerate(checked.positions):
        value, text = checked.columns["n"][row].as_py(), texts[i]
        integer = not set(text) & set(".eE")
        if kind == "double":
            assert struct.pack("<d", value) == as_double(text)
            assert not integer or int(value) == int(text)
        elif kind == "float":
            assert value == struct.unpack("<f", struct.pack("<f", float(text)))[0]
            assert str(value)[0] == "-" or text[0] != "-"
            assert not integer or int(value) == int(text)
        else:
            assert Decimal(value) == Decimal(text)
        if kind in ("long", "integer"):
            assert integer


@pytest.mark.parametrize(
    "payload",
    [
        b'{"n":-0}',
        b'{"n": -0 }',
        b'{"n":-0\n}',
        b'{"x":"-0,","n":-0,"y":1}',
        b'{"n":-0.0}',
        b'{"n":-0e5}',
    ],
)
def test_sign_of_a_zero_is_kept(payload: bytes) -> None:
    for kind in ("double", "float"):
        checked = Checker(columns_contract(f"n: {{type: {kind}}}")).check([payload, b'{"n":0}'])
        assert [str(v) for v in checked.columns["n"].to_pylist()] == ["-0.0", "0.0"]
    nested = Checker(columns_contract("a: {type: array, items: {type: double}}"))
    array = b'{"a":[0,-0,1]}'
    assert [str(v) for v in nested.check([array]).columns["a"][0].as_py()] == [
        *("0.0", "-0.0", "1.0")
    ]


def test_negative_zero_is_zero_to_an_integer_and_to_a_rule() -> None:
    columns = """
n: {type: long}
d: {type: double, enum: [0.0], minimum: 0}
t: {type: timestamp, unit: ms}
"""
    checked = Checker(columns_contract(columns)).check([b'{"n":-0,"d":-0,"t":-0}'])
    assert checked.rejects == {}
    assert checked.columns["n"].to_pylist() == [0]


def test_unknown_negative_zero_is_kept_as_it_was_written() -> None:
    checked = Checker(columns_contract("a: {type: long}", unknown_fields="rescue")).check(
        [b'{"x":-0}']
    )
    assert json.loads(rescued_text(checked.unknown[0])) == {"x": 0}
    assert rescued_text(checked.unknown[0]) == '{"x":-0}'


@pytest.mark.parametrize(
    "text", ["\\u003a", "\\u003A", "\\\\u003a:", "\\u003cb\\u003e", "\\\\\\u003a"]
)
def test_escaped_colons_are_counted(text: str) -> None:
    good = f'{{"a":1,"x":"{text}"}}'.encode()
    twice = f'{{"a":1,"x":"{text}","a":2}}'.encode()
    checked = Checker(columns_contract("a: {type: long}")).check([good, twice, good])
    assert codes(checked) == {1: ["duplicate_key"]}


def test_unknown_field_beside_many_known_ones_below_long_names_is_kept() -> None:
    columns = """
customer_shipping_address_history:
  type: array
  items: {type: struct, fields: {g: {type: struct, fields: {x: {type: long}}}}}
"""
    checker = Checker(columns_contract(columns, unknown_fields="rescue"))
    history = [{"g": {"x": 1}}] * 200
    last = {"g": {"x": 1, "y": 2}}
    payload = orjson.dumps({"v": 1, "customer_shipping_address_history": [*history, last]})
    checked = checker.check([payload])
    assert checked.rejects == {}
    assert checked.unknown[0] == {"v": 1, "customer_shipping_address_history[200].g.y": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("0e100", "0"), ("-0.00E+999999", "0"), ("1e001", "10"), ("0.1e001", "1")),
        *(("1e-4", "0.0001"), ("10000e-4", "1"), ("1" + "0" * 60 + "e-60", "1")),
        *(("0." + "0" * 60 + "1e61", "1"), ("1e15", "1000000000000000")),
        *(("1e100", None), ("1e-100", None), ("e", None), ("1e", None), ("0e1234567", None)),
        *(("1e16", None), ("1e-5", None), ("1e999999", None), ("9e-999999", None)),
    ],
)
@pytest.mark.parametrize("quoted", [True, False])
def test_decimal_with_an_exponent_is_taken_exactly_or_rejected(
    text: str, value: str | None, quoted: bool
) -> None:
    try:
        number = json.loads(text, parse_float=float)
    except ValueError:
        number = None
    if not quoted and (number is None or abs(number) == float("inf")):
        return  # not a JSON number that a double holds
    payload = f'{{"a":"{text}"}}' if quoted else f'{{"a":{text}}}'
    checked = Checker(columns_contract("a: {type: 'decimal(20,4)'}")).check([payload.encode()])
    assert checked.columns["a"].to_pylist() == ([Decimal(value)] if value is not None else [])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_default_of_an_epoch_may_be_written_as_a_timestamp(unit: str) -> None:
    column = f"{{type: timestamp, unit: {unit}, default: '2026-05-01T10:00:00Z'}}"
    columns = f"t: {column}\na: {{type: array, items: {column}}}"
    checked = Checker(columns_contract(columns)).check([b'{"a":[null]}', b'{"t":0}'])
    moment = checked.columns["t"].to_pylist()
    assert [str(m) for m in moment] == ["2026-05-01 10:00:00+00:00", "1970-01-01 00:00:00+00:00"]
    assert str(checked.columns["a"][0].as_py()[0]) == "2026-05-01 10:00:00+00:00"


def test_default_of_an_epoch_may_be_finer_than_its_unit() -> None:
    columns = "t: {type: timestamp, unit: s, default: '2026-05-01T10:00:00.5Z'}"
    checked = Checker(columns_contract(columns)).check([b"{}"])
    assert str(checked.columns["t"][0].as_py()) == "2026-05-01 10:00:00.500000+00:00"


def test_repeated_keys_are_named_behind_other_rejects_without_end() -> None:
    """Only so many are looked for; what is rejected for something else does not count."""
    columns = "id: {type: long}\na: {type: array, items: {type: long}}"
    checker = Checker(columns_contract(columns, max_values=10))
    large = b'{"id":1,"a":[' + b",".join([b"1"] * 1_000) + b"]}"
    rejects = checker.check([*[large] * 250, b'{"k":1,"k":2}']).rejects
    assert "has the key 'k' twice" in rejects[250][0].message


def test_large_rejects_have_all_their_problems() -> None:
    columns = "a: {type: long}\nb: {type: string}\nc: {type: long}"
    payload = orjson.dumps({"a": "x", "b": "z" * 20_000, "c": "y"})
    rejects = Checker(columns_contract(columns)).check([payload] * 200).rejects
    assert [[p.path for p in rejects[i]] for i in (0, 199)] == [["a", "c"]] * 2
