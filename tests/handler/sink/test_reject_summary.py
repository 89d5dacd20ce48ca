"""What a log line says of rejects: codes and paths of the contract, never what a producer named."""

import json
from pathlib import Path
from typing import Any

import pytest

from handler.sink.reject_summary import known_path
from tests.builders import columns_contract, event, function_for, record, rows

COLUMNS = """
id: {type: long, required: true}
after: {type: struct, fields: {birthday: {type: date, source: birthDay}}}
items: {type: array, items: {type: struct, fields: {price: {type: double}}}}
grid: {type: array, items: {type: array, items: {type: long}}}
labels: {type: map, values: {type: struct, fields: {a: {type: long}}}}
user_id: {type: long, source: user id}
dotted: {type: struct, source: ["a.b"], fields: {c: {type: long}}}
tags: {type: array, items: {type: map, values: {type: long}}}
here: {type: long, source: deep.down.here}
"""


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("", ""),
        ("id", "id"),
        ("after.birthDay", "after.birthDay"),
        ("after.secret", "after.*"),
        ("secret", "*"),
        ("secret.after.birthDay", "*"),
        ("items[12].price", "items[*].price"),
        ("items[12]", "items[*]"),
        ("grid[0][3]", "grid[*][*]"),
        ("labels.some customer", "labels.*"),
        ("labels.some.customer.a", "labels.*"),
        ("labels", "labels"),
        ("tags[3].some customer", "tags[*].*"),
        ("items[12]secret", "items[*].*"),
        ("user id", "user id"),
        ('["quo\\"te"]', "*"),
        ('["a.b"].c', '["a.b"].c'),
        ("deep.down.here", "deep.down.here"),
        ("deep.secret", "deep.*"),
        ('["user name"]', "*"),
        ('["user i', "*"),
        ('after["x.y"]', "after.*"),
        ("id[3]", "id.*"),
        ("labels[3]", "labels.*"),
        ("_kafka_timestamp", "_kafka_timestamp"),
        ("_kafka_secret", "*"),
    ],
)
def test_only_names_of_the_contract_are_left(path: str, known: str) -> None:
    assert known_path(columns_contract(COLUMNS).columns, path) == known


def line_of(capsys: Any) -> dict[str, Any]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return next(line for line in lines if line.get("message") == "invocation")


def test_log_line_has_the_most_frequent_reasons_with_an_example(
    tmp_path: Path, capsys: Any
) -> None:
    function = function_for(tmp_path)
    bad = [record(i, {"id": "x"}) for i in range(3, 6)]
    function.handle(event([*rows(0, 3), *bad, record(6, b"no JSON")]), None)
    assert line_of(capsys)["rejects"] == [
        {"code": "wrong_type", "path": "id", "records": 3, "example": "orders-0:3"},
        {"code": "not_json", "path": "", "records": 1, "example": "orders-0:6"},
    ]
    function.handle(event(rows(7, 9)), None)
    assert "rejects" not in line_of(capsys)
    function.handle(event([*bad, *rows(9, 10)]), None)
    assert "rejects" not in line_of(capsys)  # they are dead letters already


def test_circuit_breaker_is_explained_by_its_rejects(tmp_path: Path, capsys: Any) -> None:
    contract = (
        "topic: orders\ntable: t\ncircuit_breaker: {ratio: 0.1, min_records: 1}\n"
        "columns:\n  id: {type: long}\n"
    )
    batch = [record(i, {"id": "x"}) for i in range(4)]
    function_for(tmp_path, contract).handle(event(batch), None)
    line = line_of(capsys)
    assert line["unsettled_because"] == "circuit_breaker"
    assert line["rejects"] == [
        {"code": "wrong_type", "path": "id", "records": 4, "example": "orders-0:0"}
    ]
