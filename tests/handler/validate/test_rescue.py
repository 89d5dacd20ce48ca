"""on_invalid: rescue. What is not of its type is null in the row, and exact in `_rescued`."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.validate.batch import Checker
from handler.validate.unknown import rescued_text
from tests.builders import columns_contract, event, function_for, record
from tests.properties.test_check_properties import CONTRACT, objects
from tests.reader import rows_of_folder

COLUMNS = """
id: {type: long, required: true}
n: {type: long, minimum: 0, default: 7}
d: {type: date}
s: {type: struct, fields: {a: {type: double}, b: {type: long, required: true}}}
l: {type: array, items: {type: byte}, max_length: 3}
m: {type: map, values: {type: boolean}}
p: {type: 'decimal(4,2)', source: q.r}
j: {type: json}
"""


def check(payload: str, **keys: str) -> Any:
    contract = columns_contract(COLUMNS, on_invalid="rescue", **keys)
    return Checker(contract).check([payload.encode()])


def row_of(result: Any) -> dict[str, Any]:
    assert not result.rejects
    return {name: array[0].as_py() for name, array in result.columns.items()}


@pytest.mark.parametrize(
    ("payload", "nulls", "rescued"),
    [
        ('{"id":1,"d":5.0}', {"d": None}, '{"d":5.0}'),
        ('{"id":1,"d":"2026-02-30"}', {"d": None}, '{"d":"2026-02-30"}'),
        ('{"id":1,"n":"x"}', {"n": 7}, '{"n":"x"}'),
        ('{"id":1,"n":99999999999999999999}', {"n": 7}, '{"n":99999999999999999999}'),
        ('{"id":1,"s":[1.50]}', {"s": None}, '{"s":[1.50]}'),
        ('{"id":1,"s":{"a":"x","b":2}}', {"s": {"a": None, "b": 2}}, '{"s.a":"x"}'),
        (
            '{"id":1,"s":{"a":9007199254740993,"b":2}}',
            {"s": {"a": None, "b": 2}},
            '{"s.a":9007199254740993}',
        ),
        ('{"id":1,"l":[1,300,"x"]}', {"l": [1, None, None]}, '{"l[1]":300,"l[2]":"x"}'),
        ('{"id":1,"l":{"k":1}}', {"l": None}, '{"l":{"k":1}}'),
        (
            '{"id":1,"m":{"a.b":0,"c":true}}',
            {"m": [("a.b", None), ("c", True)]},
            '{"m[\\"a.b\\"]":0}',
        ),
        ('{"id":1,"q":"x"}', {"p": None}, '{"q":"x"}'),
        ('{"id":1,"q":{"r":1.234}}', {"p": None}, '{"q.r":1.234}'),
        ('{"id":1,"q":"x","j":{"k" : 1.0 }}', {"p": None, "j": '{"k" : 1.0 }'}, '{"q":"x"}'),
        ('{"id":1,"j":[1.0 ],"d":1}', {"j": "[1.0 ]", "d": None}, '{"d":1}'),
    ],
)
def test_value_of_another_type_is_null_and_kept(
    payload: str, nulls: dict[str, Any], rescued: str
) -> None:
    result = check(payload)
    row = row_of(result)
    assert {name: row[name] for name in nulls} == nulls
    assert row["id"] == 1
    assert rescued_text(result.rescued[0]) == rescued


@pytest.mark.parametrize(
    ("payload", "codes"),
    [
        ('{"id":"x"}', ["wrong_type"]),
        ("{}", ["missing"]),
        ('{"id":1,"s":{"a":1.5,"b":"x"}}', ["wrong_type"]),
        ('{"id":1,"n":-1}', ["out_of_range"]),
        ('{"id":1,"l":[1,2,3,4]}', ["length"]),
        # All that is wrong is listed, also what would have been rescued.
        ('{"id":1,"n":-1,"d":5}', ["out_of_range", "wrong_type"]),
        ('{"id":"x","d":5}', ["wrong_type", "wrong_type"]),
        ("[]", ["not_an_object"]),
        ("{", ["not_json"]),
        ('{"id":1,"d":1,"d":2}', ["duplicate_key"]),
    ],
)
def test_rules_and_required_values_still_reject(payload: str, codes: list[str]) -> None:
    result = check(payload)
    assert [str(problem.code) for problem in result.rejects[0]] == codes
    assert result.unknown == result.rescued == {}


@pytest.mark.parametrize("size", [10, 2 << 20])
def test_unknown_fields_are_kept_beside_rescued_values(size: int) -> None:
    filler = "x" * size
    payload = f'{{"id":1,"d":5.0,"more":{{"k":1.50}},"s":{{"b":1,"c":2}},"filler":"{filler}"}}'
    result = check(payload, unknown_fields="rescue")
    assert row_of(result)["d"] is None
    kept = {**result.unknown[0], **result.rescued[0]}
    text = rescued_text(kept).replace(filler, "")
    assert text == '{"more":{"k":1.50},"filler":"","s.c":2,"d":5.0}'
    assert check('{"id":1,"d":5.0,"more":1}', unknown_fields="reject").rejects


def test_rows_keep_the_order_of_the_offsets_in_the_table(tmp_path: Path) -> None:
    contract = (
        "topic: orders\ntable: sales/orders\non_invalid: rescue\nunknown_fields: add\ncolumns:\n"
    )
    contract += "  id: {type: long, required: true}\n  name: {type: string}\n"
    records = [
        record(i, {"id": i, "name": i if i % 3 == 0 else f"n{i}", **({"new": i} if i > 5 else {})})
        for i in range(9)
    ]
    records.append(record(9, {"id": "x", "name": 5}))
    report = function_for(tmp_path, contract).run(event(records), None)
    assert report.tables[0].line["rescued"] == 3
    table = tmp_path / "tables" / "sales" / "orders"
    found = rows_of_folder(table, "id, name, _rescued, new", "_kafka_offset")
    assert found == [
        (
            i,
            None if i % 3 == 0 else f"n{i}",
            f'{{"name":{i}}}' if i % 3 == 0 else None,
            i if i > 5 else None,
        )
        for i in range(9)
    ]
    dead = rows_of_folder(
        table.with_name("orders__dead_letters"), "error_code, error_path", '"offset"'
    )
    assert dead == [("wrong_type", "id")]


@settings(max_examples=150)
@example([{"a": [True]}])
@example([{"m": {"k": 5}, "r": [1], "a": [{"p": 1}, 7]}])
@given(st.lists(objects, max_size=6))
def test_what_is_accepted_anyway_is_the_same_and_nothing_is_lost(batch: list[Any]) -> None:
    from msgspec.structs import replace

    payloads = [json.dumps(value).encode() for value in batch]
    plain = Checker(CONTRACT).check(payloads)
    rescuing = Checker(replace(CONTRACT, on_invalid="rescue")).check(payloads)
    assert sorted([*rescuing.positions, *rescuing.rejects]) == list(range(len(batch)))
    assert list(rescuing.positions) == sorted(rescuing.positions)
    assert set(plain.positions) <= set(rescuing.positions)
    rows = {position: row for row, position in enumerate(rescuing.positions)}
    for row, position in enumerate(plain.positions):
        for name, array in plain.columns.items():
            assert array[row].equals(rescuing.columns[name][rows[position]])
        assert plain.unknown.get(position) == rescuing.unknown.get(position)
    for position in set(rescuing.positions) - set(plain.positions):
        # Every problem of a record that is a row now is of a value that was kept by its path.
        kept = rescuing.rescued[position]
        assert {problem.path for problem in plain.rejects[position]} <= set(kept)


def test_paths_of_long_keys_are_whole() -> None:
    """Cut to a length for messages, they would be one path, and one value would be lost."""
    long = "k" * 250
    record = {"id": 1, "m": {f"{long}1": "a", f"{long}2": "b"}}
    result = check(json.dumps(record))
    assert [value.text for value in result.rescued[0].values()] == ['"a"', '"b"']
    contract = columns_contract(
        "m: {type: map, values: {type: array, items: {type: long}}}", on_invalid="rescue"
    )
    payload = json.dumps({"m": {long: ["a", "b", "c"]}}).encode()
    assert len(Checker(contract).check([payload]).rescued[0]) == 3


def test_records_of_very_many_wrong_values_are_rejected() -> None:
    contract = columns_contract("a: {type: array, items: {type: string}}", on_invalid="rescue")
    payload = b'{"a":[' + b",".join([b"1"] * 50_000) + b"]}"
    result = Checker(contract).check([payload, b'{"a":[1]}'])
    assert str(result.rejects[0][0].code) == "too_large"
    assert list(result.rescued) == [1]


def test_rescued_values_become_no_columns(tmp_path: Path) -> None:
    contract = "topic: orders\ntable: sales/orders\non_invalid: rescue\nunknown_fields: add\n"
    contract += "columns:\n  id: {type: long}\n  email: {type: string, source: e_mail}\n"
    value = {"id": 1, "e_mail": 5, "new": "x"}
    function_for(tmp_path, contract).handle(event([record(0, value)]), None)
    table = tmp_path / "tables" / "sales" / "orders"
    found = rows_of_folder(table, "id, email, new, _rescued", "id")
    assert found == [(1, None, "x", '{"e_mail":5}')]
    with pytest.raises(Exception, match="e_mail"):
        rows_of_folder(table, "e_mail", "id")
