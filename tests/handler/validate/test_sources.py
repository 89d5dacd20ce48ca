"""`source` is a path: where it reads, where it is missing, and where a record is ambiguous."""

import json
from typing import Any

import pytest

from handler.contract.warnings import warnings_of
from handler.validate.batch import Checker
from tests.builders import columns_contract, problems_of

DEBEZIUM = """
id: {type: long, required: true, source: payload.after.id}
name: {type: string, source: payload.after.name}
op: {type: string, source: payload.op}
table: {type: string, source: [payload, source, table], default: orders}
plain: {type: long}
"""


def check(columns: str, *records: Any, **keys: str) -> Any:
    return Checker(columns_contract(columns, **keys)).check(
        [json.dumps(each).encode() for each in records]
    )


def rows_of(result: Any) -> list[dict[str, Any]]:
    columns = {name: array.to_pylist() for name, array in result.columns.items()}
    return [
        {name: values[i] for name, values in columns.items()} for i in range(len(result.positions))
    ]


def test_paths_take_values_without_keeping_the_structs() -> None:
    result = check(
        DEBEZIUM,
        {
            "plain": 1,
            "payload": {"op": "c", "after": {"id": 7, "name": "x"}, "source": {"table": "t"}},
        },
        {"payload": {"after": {"id": 8, "name": None}, "source": None}},
        {"payload": {"after": {"id": 9}}},
    )
    assert not result.rejects
    assert list(result.columns) == ["id", "name", "op", "table", "plain"]
    assert rows_of(result) == [
        {"id": 7, "name": "x", "op": "c", "table": "t", "plain": 1},
        {"id": 8, "name": None, "op": None, "table": "orders", "plain": None},
        {"id": 9, "name": None, "op": None, "table": "orders", "plain": None},
    ]


@pytest.mark.parametrize(
    ("record", "code", "path"),
    [
        ({}, "missing", "payload.after.id"),
        ({"payload": None}, "missing", "payload.after.id"),
        ({"payload": {"after": None}}, "missing", "payload.after.id"),
        ({"payload": {"after": {"id": None}}}, "missing", "payload.after.id"),
        ({"payload": {"after": {"id": "7"}}}, "wrong_type", "payload.after.id"),
        ({"payload": {"after": [7]}}, "wrong_type", "payload.after"),
        ({"payload": "x"}, "wrong_type", "payload"),
        ({"payload.after.id": 7}, "ambiguous_source", '["payload.after.id"]'),
        (
            {"payload.after.id": 7, "payload": {"after": {"id": None}}},
            "ambiguous_source",
            '["payload.after.id"]',
        ),
        ({"payload.op": 1, "payload": {"after": {"id": 7}}}, "ambiguous_source", '["payload.op"]'),
    ],
)
def test_a_reject_names_the_whole_path(record: Any, code: str, path: str) -> None:
    good = {"payload": {"after": {"id": 1}}}
    result = check(DEBEZIUM, good, record, good)
    assert list(result.rejects) == [1]
    assert (str(result.rejects[1][0].code), result.rejects[1][0].path) == (code, path)


def test_many_rejects_beyond_the_budget_of_diagnosis_still_name_a_reason() -> None:
    records = [{"payload": {"after": {"id": "7"}}, "filler": "x" * 20_000}] * 150
    result = check(DEBEZIUM, *records)
    assert {str(problems[0].code) for problems in result.rejects.values()} == {"wrong_type"}
    assert {problems[0].path for problems in result.rejects.values()} == {"payload.after.id"}


NESTED = """
customer:
  type: struct
  fields:
    name: {type: string}
    city: {type: string, source: address.city}
    zip: {type: string, source: address.zip, pattern: '^[0-9]+$'}
    rest: {type: struct, source: more.rest, fields: {x: {type: 'decimal(4,2)', source: a.b.x}}}
items:
  type: array
  items:
    type: struct
    fields:
      sku: {type: string, source: product.sku, required: true}
      price: {type: double}
by_name:
  type: map
  values: {type: struct, fields: {d: {type: date, source: when.day}}}
"""


def test_paths_inside_structs_arrays_and_maps_are_relative_to_them() -> None:
    result = check(
        NESTED,
        {
            "customer": {
                "address": {"zip": "10", "city": "Berlin"},
                "name": "n",
                "more": {"rest": {"a": {"b": {"x": 1.25}}}},
            },
            "items": [{"price": 1, "product": {"sku": "s"}}, None],
            "by_name": {"k": {"when": {"day": "2026-05-01"}}, "l": {}},
        },
        {"customer": {"name": "only"}, "items": [], "by_name": {}},
        {},
    )
    assert not result.rejects
    first, second, third = rows_of(result)
    assert list(first["customer"]) == ["name", "city", "zip", "rest"]
    assert str(first["customer"]["rest"]["x"]) == "1.25"
    assert first["items"] == [{"sku": "s", "price": 1.0}, None]
    assert [(k, v and str(v["d"])) for k, v in first["by_name"]] == [
        ("k", "2026-05-01"),
        ("l", "None"),
    ]
    assert second["customer"] == {"name": "only", "city": None, "zip": None, "rest": None}
    assert third == {"customer": None, "items": None, "by_name": None}


@pytest.mark.parametrize(
    ("record", "code", "path"),
    [
        (
            {"items": [{"product": {"sku": "s"}}, {"product": {}}]},
            "missing",
            "items[1].product.sku",
        ),
        ({"items": [{"price": 2}]}, "missing", "items[0].product.sku"),
        ({"items": [{"product.sku": "s"}]}, "ambiguous_source", 'items[0]["product.sku"]'),
        ({"customer": {"address": {"zip": "x"}}}, "pattern", "customer.address.zip"),
        ({"customer": {"address": {"zip": 1}}}, "wrong_type", "customer.address.zip"),
        ({"customer": {"address.zip": "1"}}, "ambiguous_source", 'customer["address.zip"]'),
        (
            {"customer": {"more": {"rest": {"a": {"b": {"x": 1.125}}}}}},
            "bad_decimal",
            "customer.more.rest.a.b.x",
        ),
        ({"by_name": {"k": {"when": {"day": "x"}}}}, "bad_date", "by_name.k.when.day"),
        ({"by_name": {"k": {"when.day": "x"}}}, "ambiguous_source", 'by_name.k["when.day"]'),
    ],
)
def test_a_reject_inside_names_the_whole_path(record: Any, code: str, path: str) -> None:
    result = check(NESTED, {}, record)
    assert list(result.rejects) == [1]
    assert (str(result.rejects[1][0].code), result.rejects[1][0].path) == (code, path)


def test_a_literal_key_beside_the_path_is_an_unknown_field() -> None:
    record = {"a.b": 1, "a": {"b": 2, "c": 3}}
    assert rows_of(check("x: {type: long, source: a.b}", record)) == [{"x": 2}]
    result = check("x: {type: long, source: a.b}", record, unknown_fields="rescue")
    assert result.unknown == {0: {'["a.b"]': 1, "a.c": 3}}
    assert check("x: {type: long, source: a.b}", record, unknown_fields="reject").rejects


def test_a_list_names_keys_as_they_are() -> None:
    columns = 'x: {type: long, source: ["a.b", c]}\ny: {type: long, source: ["$oid"]}'
    result = check(columns, {"a.b": {"c": 1}, "$oid": 2}, {"a": {"b": {"c": 1}}})
    assert rows_of(result) == [{"x": 1, "y": 2}, {"x": None, "y": None}]
    # A list says what is meant, so a key with its text is an unknown field like any other.
    assert not check("x: {type: long, source: [a, b]}", {"a.b": 1}).rejects


def test_many_columns_of_one_object_are_null_where_it_is_missing() -> None:
    columns = "\n".join(f"c{i}: {{type: long, source: a.c{i}, default: {i}}}" for i in range(70))
    columns += "\nother: {type: string, source: b.x}"
    (row,) = rows_of(check(columns, {}))
    assert row["c69"] == 69
    assert row["other"] is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("$.payload.id", ["does not begin with $", "'payload.id'", '["$.payload.id"]']),
        ("$oid", ["does not begin with $", '["$oid"]']),
        ("'items[0].id'", ["element of an array", "json", '["items[0].id"]']),
        ("'items[*]'", ["element of an array"]),
        ("a..b", ["a part that is empty", '["a..b"]']),
        (".a", ["a part that is empty"]),
        ("a.", ["a part that is empty"]),
        ("''", ["a part that is empty"]),
        ("a.*.b", ["a part that is *"]),
        ("'a\"b.c'", ["quotes, backslashes"]),
        ("[]", ["expected the name of a field, a path"]),
        ("[1]", ["expected the name of a field, a path"]),
        ("7", ["expected the name of a field, a path"]),
    ],
)
def test_what_is_no_path_is_refused_with_the_right_way(source: str, words: list[str]) -> None:
    text = f"topic: t\ntable: t\ncolumns:\n  x: {{type: long, source: {source}}}\n"
    problems = problems_of(text)
    assert len(problems) == 1
    assert "test.yaml:4" in problems[0]
    for word in words:
        assert word in problems[0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            "a: {type: long, source: p.x}\nb: {type: long, source: [p, x]}",
            ["'b' and 'a' both read the field 'p.x'"],
        ),
        (
            "p: {type: struct, fields: {x: {type: long}}}\nb: {type: long, source: p.y}",
            ["'b' reads a part of 'p', which 'p' reads as a whole", "from: p.y"],
        ),
        (
            "b: {type: long, source: p.y.z}\nq: {type: map, source: p, values: {type: long}}",
            ["'b' reads a part of 'p', which 'q' reads as a whole"],
        ),
    ],
)
def test_columns_that_read_the_same_are_refused(columns: str, words: list[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        columns_contract(columns)
    for word in words:
        assert word in str(caught.value)


def test_check_warns_once_of_paths_that_may_be_names(tmp_path: Any) -> None:
    file = tmp_path / "t.yaml"
    head = "topic: t\ntable: t\ncolumns:\n"
    file.write_text(
        head + "  a: {type: long}\n  x: {type: long, source: p.q}\n  y: {type: long, source: p.r}\n"
    )
    (warning,) = warnings_of(str(file))
    assert "t.yaml:5: columns.x.source: 'p.q' is a path" in warning
    assert "(1 more like it)" in warning
    file.write_text(
        head + '  x: {type: long, source: [p, q]}\n  y: {type: long, source: ["p.r"]}\n'
    )
    assert warnings_of(str(file)) == []
