"""Columns of a message's key and headers: what is read, what is null, what is a reject."""

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from silt.testing import assert_rejected, assert_rows
from tests.builders import event, function_for, problems_of, record, rows
from tests.reader import rows_of_folder

HEAD = "topic: orders\ntable: sales/orders\n"
COLUMNS = """columns:
  id: {type: long}
  trace: {type: string, from: _kafka_headers.traceparent}
  retries: {type: integer, from: _kafka_headers.x.retries, accept: [string], minimum: 0}
  sent: {type: timestamp, from: _kafka_headers.sent, format: iso8601}
"""
OF_KEY = """columns:
  id: {type: long}
  customer: {type: long, from: _kafka_key.customer.id, required: true}
  region: {type: string, from: _kafka_key.region}
  rest: {type: json, from: _kafka_key.rest}
"""


def headers(*pairs: tuple[str, bytes | None]) -> list[dict[str, Any]]:
    return [{name: None if value is None else list(value)} for name, value in pairs]


def settle(folder: Path, contract: str, *records: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the rows, and the codes and paths of the dead letters."""
    function_for(folder, contract).handle(event(records), None)
    place = folder / "tables" / "sales" / "orders"
    rejected: list[Any] = []
    dead = place.with_name("orders__dead_letters")
    if dead.exists():
        rejected = rows_of_folder(dead, "error_code, error_path", '"offset"')
    names = [line.split(":")[0].strip() for line in contract.splitlines() if "{" in line]
    if not (place / "_delta_log").exists():
        return [], rejected
    return rows_of_folder(place, ", ".join(names), "_kafka_offset"), rejected


def test_headers_become_columns(tmp_path: Path) -> None:
    found, rejected = settle(
        tmp_path,
        HEAD + COLUMNS,
        record(0, {"id": 0}, headers=headers(("traceparent", b"a"), ("x.retries", b"3"))),
        record(1, {"id": 1}, headers=headers(("traceparent", b"a"), ("traceparent", "é".encode()))),
        record(2, {"id": 2}, headers=headers(("traceparent", None), ("other", b"\xff"))),
        record(3, {"id": 3}),
        record(4, {"id": 4}, headers=headers(("traceparent", b"\xff"))),
        record(5, {"id": 5}, headers=headers(("x.retries", b"-1"))),
        record(6, {"id": 6}, headers=headers(("x.retries", b"many"))),
        record(7, {"id": "x"}, headers=headers(("sent", b"yesterday"))),
    )
    assert [row[:3] for row in found] == [
        (0, "a", 3),
        (1, "é", None),
        (2, None, None),
        (3, None, None),
    ]
    assert rejected == [
        ("not_text", "_kafka_headers.traceparent"),
        ("out_of_range", '_kafka_headers["x.retries"]'),
        ("wrong_type", '_kafka_headers["x.retries"]'),
        ("wrong_type", "id"),
    ]


def test_fields_of_a_json_key_become_columns(tmp_path: Path) -> None:
    found, rejected = settle(
        tmp_path,
        HEAD + OF_KEY,
        record(0, {"id": 0}, key=b'{"customer": {"id": 7}, "region": "eu", "rest": [1.0 ]}'),
        record(1, {"id": 1}, key=b'{"customer": {"id": 7}, "unknown": 1}'),
        record(2, {"id": 2}, key=None),
        record(3, {"id": 3}, key=b'"text"'),
        record(4, {"id": 4}, key=b"{"),
        record(5, {"id": 5}, key=b'{"customer": {"id": 7}, "customer": {"id": 8}}'),
        # Not a way to bring columns of headers along.
        record(6, {"id": 6}, key=b'{"customer": {"id": 7}}, "_kafka_headers": {"a": "b"}'),
        record(7, {"id": 7}, key=b'{"customer": {"id": 1.0}}'),
    )
    assert found == [(0, 7, "eu", "[1.0 ]"), (1, 7, None, None)]
    assert rejected == [
        ("missing", "_kafka_key.customer.id"),
        ("wrong_type", "_kafka_key"),
        ("not_json", "_kafka_key"),
        ("duplicate_key", "_kafka_key"),
        ("not_json", "_kafka_key"),
        ("wrong_type", "_kafka_key.customer.id"),
    ]


def test_key_becomes_text_and_tombstones_keep_it(tmp_path: Path) -> None:
    contract = HEAD + "on_tombstone: row\ncolumns:\n  id: {type: long}\n"
    contract += "  k: {type: string, from: _kafka_key, min_length: 1}\n"
    contract += "  b: {type: binary, from: _kafka_key}\n"
    found, rejected = settle(
        tmp_path,
        contract,
        record(0, {"id": 0}, key="ä".encode()),
        record(1, None, key=b"gone"),
        record(2, {"id": 2}),
        record(3, {"id": 3}, key=b"\xff"),
        record(4, None, key=b""),
    )
    assert found == [(0, "ä", "ä".encode()), (None, "gone", b"gone"), (2, None, None)]
    assert rejected == [("not_text", "_kafka_key"), ("length", "_kafka_key")]


def test_table_can_be_partitioned_by_a_header_and_derive_from_it(tmp_path: Path) -> None:
    contract = HEAD + "partition_by: [tenant, day]\ncolumns:\n  id: {type: long}\n"
    contract += "  tenant: {type: string, from: _kafka_headers.tenant, required: true}\n"
    contract += (
        "  sent: {type: timestamp, from: _kafka_headers.sent}\n  day: {type: date, from: sent}\n"
    )
    given = headers(("tenant", b"a/b"), ("sent", b"2026-05-01T10:00:00Z"))
    records = [record(0, {"id": 0}, headers=given), record(1, {"id": 1})]
    function_for(tmp_path, contract).handle(event(records), None)
    table = DeltaTable(str(tmp_path / "tables" / "sales" / "orders")).to_pyarrow_table()
    assert [(r["tenant"], str(r["day"])) for r in table.to_pylist()] == [("a/b", "2026-05-01")]
    dead = tmp_path / "tables" / "sales" / "orders__dead_letters"
    rejected = rows_of_folder(dead, "error_code, error_path", '"offset"')
    assert rejected == [("missing", "_kafka_headers.tenant")]


def test_samples_with_headers_are_judged(tmp_path: Path) -> None:
    contract = tmp_path / "c.yaml"
    contract.write_text(
        HEAD + "columns:\n  id: {type: long}\n  t: {type: string, from: _kafka_headers.t}\n"
    )
    (row,) = assert_rows(contract, [{"id": 1}])
    assert row == {"id": 1, "t": None}
    assert_rejected(contract, [{"id": "1"}], code="wrong_type")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("{type: long, from: _kafka_headers.n}", ["needs `accept: [string]`"]),
        ("{type: timestamp, unit: ms, from: _kafka_headers.n}", ["needs `accept: [string]`"]),
        ("{type: binary, from: _kafka_headers.n}", ["read as text", "kafka_columns: [headers]"]),
        ("{type: json, from: _kafka_key}", ["_kafka_key.field"]),
        ("{type: string, from: _kafka_headers.}", ["name of the header is missing"]),
        ("{type: string, from: '_kafka_headers.a\"b'}", ["quotes, backslashes"]),
        ("{type: string, from: _kafka_key.}", ["a part that is empty"]),
        ("{type: date, from: _kafka_headers.x, unit: days}", ["has no unit"]),
        ("{type: long, source: [" + "x, " * 101 + "y]}", ["at most 100 parts"]),
        ("{type: string, from: _kafka_headers.a, source: b}", ["`source` is not allowed beside"]),
        ("{type: string, from: _kafka_key..a}", ["a part that is empty"]),
        ("{type: string, from: '_kafka_key.a[0]'}", ["element of an array"]),
        ("{type: string, from: _kafka_offset}", ["the source is of type long"]),
    ],
)
def test_what_no_key_or_header_can_be_is_refused(column: str, words: list[str]) -> None:
    problems = problems_of(HEAD + f"columns:\n  a: {column}\n")
    assert len(problems) == 1, problems
    for word in words:
        assert word in problems[0]


def test_rescue_keeps_no_secret_of_keys_and_headers(tmp_path: Path) -> None:
    """`_rescued` is for fields of the record: a key or a header that is wrong is a reject."""
    contract = HEAD + COLUMNS + "  k: {type: integer, from: _kafka_key.id}\non_invalid: rescue\n"
    found, rejected = settle(
        tmp_path,
        contract,
        record(0, {"id": "x"}, headers=headers(("x.retries", b"3")), key=b'{"id": 5}'),
        record(1, {"id": 1}, headers=headers(("x.retries", b"three"))),
        record(2, {"id": 2}, key=b'{"id": "seven"}'),
        record(3, {"id": 3}, key=b"[1]"),
    )
    assert [(row[0], row[2], row[4]) for row in found] == [(None, 3, 5)]
    assert [path for _, path in rejected] == [
        '_kafka_headers["x.retries"]',
        "_kafka_key.id",
        "_kafka_key",
    ]


def test_rejects_of_value_and_headers_are_listed_together(tmp_path: Path) -> None:
    contract = HEAD + "columns:\n  id: {type: long}\n"
    contract += "  h: {type: string, from: _kafka_headers.h, required: true}\n"
    function_for(tmp_path, contract).handle(event([record(0, {"id": "x"}), *rows(1, 1)]), None)
    dead = tmp_path / "tables" / "sales" / "orders__dead_letters"
    ((message,),) = rows_of_folder(dead, "error_message", '"offset"')
    assert [line.split(":")[0] for line in message.splitlines()] == ["id", "_kafka_headers.h"]
