"""Any bytes give rows plus rejects that add up, and the fast path agrees with the reference."""

import json
from decimal import Context, Decimal
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.validate.batch import Checker
from handler.validate.decode import parse_exactly, parse_payloads
from handler.validate.diagnose import examine
from handler.validate.wire import LiteralKeys, wire_columns
from tests.builders import columns_contract

CONTRACT = columns_contract(
    """
s: {type: string, max_length: 3}
e: {type: string, enum: [x, y]}
l: {type: long, minimum: -5}
b: {type: byte}
d: {type: double}
f: {type: float}
o: {type: boolean}
n: {type: binary}
da: {type: date}
t: {type: timestamp}
u: {type: timestamp, unit: ms}
z: {type: timestamp_ntz}
c: {type: 'decimal(10,3)', minimum: -100}
a: {type: array, items: {type: struct, fields: {p: {type: double}, q: {type: 'decimal(5,1)',
      required: true}}}}
m: {type: map, values: {type: date}}
r: {type: struct, fields: {x: {type: long, required: true}, z: {type: double, source: y.p}}}
w1: {type: date, source: w.x}
j: {type: json}
k: {type: struct, fields: {p: {type: json}, q: {type: long, accept: [string, integral]}}}
li: {type: array, items: {type: byte, accept: [string, integral]}}
ds: {type: double, accept: [string]}
bi: {type: boolean, accept: [integer, string]}
sn: {type: string, accept: [number, boolean], max_length: 4}
ti: {type: timestamp, format: iso8601, zone: Europe/Berlin, fraction: truncate}
tp: {type: timestamp_ntz, format: '%Y-%m-%dT%H:%M:%S'}
te: {type: timestamp, unit: s, accept: [string, float]}
tn: {type: timestamp, unit: ns}
dd: {type: date, unit: days}
dt: {type: date, accept: [timestamp], format: iso8601}
w2: {type: 'decimal(5,1)', source: w.y.x}
""",
    unknown_fields="rescue",
)

texts = st.one_of(
    st.text(max_size=4),
    st.sampled_from(["x", "y", "1.5", "-0.10", "1e3", "2026-05-01", "2026-05-01T10:00:00Z"]),
    st.sampled_from(["2026-05-01T10:00:00", "2026-02-30", "QUI=", "QUJ=", "1e999", "0000-01-01"]),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes().map(lambda moment: moment.isoformat() + "+01:00"),
    st.dates().map(str),
    st.sampled_from(["2026-03-29T02:30:00", "2026-10-25 02:30", "2026-05-01 10:00:00,1234567+02"]),
    st.sampled_from(["20260501", "20260501T100000Z", "True", "12", "5.0", "-0", "1764000000.5"]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2).map(str),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**66), 2**66),
    st.integers(-200, 200),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-100, 100).map(lambda number: round(number, 2)),
    texts,
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["p", "q", "x", "y", "k"]), inner, max_size=3),
    ),
    max_leaves=6,
)
NAMES = [column.source for column in CONTRACT.columns]
objects = st.dictionaries(st.sampled_from([*NAMES, "w.x", "unknown"]), values, max_size=5)
payloads = st.one_of(
    st.binary(max_size=30),
    values.map(lambda value: json.dumps(value).encode()),
    objects.map(lambda value: json.dumps(value).encode()),
    objects.map(lambda value: json.dumps(value, separators=(",", ":")).encode()),
)


@settings(max_examples=250)
@given(st.lists(payloads, max_size=8))
def test_any_bytes_give_rows_and_rejects_that_add_up(batch: list[bytes]) -> None:
    result = Checker(CONTRACT).check(batch)
    assert sorted([*result.positions, *result.rejects]) == list(range(len(batch)))
    assert list(result.positions) == sorted(result.positions)
    for array in result.columns.values():
        assert len(array) == len(result.positions)
        array.validate(full=True)


@settings(max_examples=250)
@given(st.lists(objects, max_size=6))
def test_the_whole_batch_accepts_exactly_what_the_reference_accepts(batch: list[Any]) -> None:
    payloads = [json.dumps(value).encode() for value in batch]
    result = Checker(CONTRACT).check(payloads)
    parsed = parse_payloads(payloads)
    columns = wire_columns(CONTRACT.columns)
    literal_keys = LiteralKeys(CONTRACT.columns)
    for i, payload in enumerate(payloads):
        if i in parsed.problems:
            assert i in result.rejects
            continue
        problems, _ = examine(parse_exactly(payload), columns, "rescue", 10_000)
        ambiguous = literal_keys.problem(batch[i]) is not None
        assert (i in result.rejects) == bool(problems or ambiguous)
        alone = Checker(CONTRACT).check([payload])
        assert (i in result.rejects) == bool(alone.rejects)
        if i in result.positions:
            row = list(result.positions).index(i)
            for name, array in result.columns.items():
                assert array.slice(row, 1).equals(alone.columns[name]), name


@settings(max_examples=300)
@given(objects)
def test_a_field_that_comes_twice_is_always_seen(value: dict[str, Any]) -> None:
    text = json.dumps(value).encode()
    assert not any(p.code == "duplicate_key" for p in parse_payloads([text]).problems.values())
    for name in value:
        again = text[:-1] + b"," + json.dumps(name).encode() + b":0}"
        problems = parse_payloads([again]).problems
        assert problems, again
        assert problems[0].code in ("duplicate_key", "out_of_range")


@settings(max_examples=300)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_a_decimal_number_is_taken_as_it_is_written(numbers: list[float]) -> None:
    contract = columns_contract("c: {type: 'decimal(38,10)'}")
    payloads = [orjson.dumps({"c": number}) for number in numbers]
    result = Checker(contract).check(payloads)
    for row, i in enumerate(result.positions):
        written = json.loads(payloads[i], parse_float=Decimal, parse_int=Decimal)["c"]
        assert result.columns["c"][row].as_py() == written


@settings(max_examples=500)
@given(
    st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p))),
    st.from_regex(r"-?(0|[1-9][0-9]{0,38})(\.[0-9]{1,39})?([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.booleans(),
)
def test_a_decimal_is_taken_exactly_or_refused(
    kind: tuple[int, int], text: str, quoted: bool
) -> None:
    precision, scale = kind
    contract = columns_contract(f"c: {{type: 'decimal({precision},{scale})'}}")
    payload = f'{{"c":"{text}"}}' if quoted else f'{{"c":{text}}}'
    result = Checker(contract).check([payload.encode()])
    exact = Decimal(text)
    digits = exact.normalize(Context(prec=200)).as_tuple()
    assert isinstance(digits.exponent, int)
    behind = max(0, -digits.exponent) if exact else 0
    before = max(0, len(digits.digits) + digits.exponent) if exact else 0
    fits = behind <= scale and before <= precision - scale
    if not result.rejects:
        assert fits
        assert result.columns["c"][0].as_py() == exact
    elif fits:
        # A number beyond a double's reach is refused by the parser before its column is known.
        assert not quoted
        assert result.rejects[0][0].code == "out_of_range"
