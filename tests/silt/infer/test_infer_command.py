"""silt infer: from each kind of source to a contract that silt check takes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable

from handler.contract.load import load_contracts
from silt.cli import main
from silt.local.broker import EmbeddedBroker
from tests.builders import contract_of, event, function_for, record, rows
from tests.silt.topics import Topic

ORDERS = [
    {"id": i, "placed_at": "2026-05-01T10:00:00Z", "amount": f"{i}.50", "tags": ["a"]}
    for i in range(30)
]


def infer(capsys: Any, *arguments: str, code: int = 0) -> str:
    """Return what the command prints; it must be a contract that is right."""
    capsys.readouterr()
    assert main(["infer", *map(str, arguments)]) == code
    text = capsys.readouterr().out
    assert isinstance(text, str)
    return text


def types_of(text: str) -> dict[str, str]:
    return {column.name: column.type for column in contract_of(text).columns}


WANTED = {"id": "long", "placed_at": "timestamp", "amount": "decimal(18,2)", "tags": "array"}


@pytest.mark.parametrize("form", ["lines", "array", "one a file", "event", "events", "on failure"])
def test_files_of_every_form_are_read(form: str, tmp_path: Path, capsys: Any) -> None:
    saved = event([record(i, value) for i, value in enumerate(ORDERS)])
    path = tmp_path / "orders.json"
    match form:
        case "lines":
            path.write_text("\n".join(map(json.dumps, ORDERS)) + "\n\n")
        case "array":
            path.write_text(json.dumps(ORDERS, indent=1))
        case "one a file":
            path = tmp_path / "orders"
            path.mkdir()
            for i, value in enumerate(ORDERS):
                (path / f"{i}.json").write_text(json.dumps(value))
        case "event":
            path.write_text(json.dumps(saved, indent=1))
        case "events":
            path.write_text(f"{json.dumps(saved)}\n{json.dumps(saved)}\n")
        case _:
            path.write_text(json.dumps({"payload": json.dumps(saved)}))
    text = infer(capsys, str(path), "--topic", "orders")
    assert types_of(text) == WANTED
    contract = contract_of(text)
    assert (contract.topic, contract.table) == ("orders", "orders")
    assert all(column.required for column in contract.columns)
    assert "# and to the columns: day: {type: date, from: placed_at}" in text


@pytest.fixture(scope="module")
def cluster() -> EmbeddedBroker:
    return EmbeddedBroker()


def test_topic_is_read_from_the_broker(
    cluster: EmbeddedBroker, tmp_path: Path, capsys: Any
) -> None:
    topic = Topic(cluster, tmp_path)
    topic.send(*ORDERS[:20])
    topic.send(*ORDERS[20:], None, partition=1)
    place = ["--topic", topic.name, "--bootstrap-servers", topic.servers]
    text = infer(capsys, *place, "--table", "sales/orders")
    assert types_of(text) == WANTED
    assert f"from 30 records of the topic {topic.name}" in text
    assert "from 5 records" in infer(capsys, *place, "--count", "5")


def test_out_writes_a_contract_that_check_and_the_function_take(
    tmp_path: Path, capsys: Any
) -> None:
    samples = tmp_path / "orders.ndjson"
    samples.write_text("\n".join(map(json.dumps, ORDERS)))
    out = tmp_path / "schemas" / "orders.yaml"
    assert main(["infer", str(samples), "-o", str(out)]) == 0
    assert main(["check", str(out.parent), "--sample", str(samples)]) == 0
    assert "30 samples: 30 would be rows, 0 rejected" in " ".join(capsys.readouterr().out.split())
    assert main(["infer", str(samples), "-o", str(out)]) == 2
    assert "exists. Nothing was written" in capsys.readouterr().err


def test_records_that_no_contract_takes_are_named(tmp_path: Path, capsys: Any) -> None:
    samples = tmp_path / "orders.ndjson"
    lines = [*map(json.dumps, ORDERS), "{broken", "[1]", '{"id":1,"id":2}']
    samples.write_text("\n".join(lines))
    text = infer(capsys, str(samples), code=1)
    assert types_of(text) == WANTED
    for code in ("not_json", "not_an_object", "duplicate_key"):
        assert f"# 1 record would be rejected: {code}." in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty"]),
        ("[1, 2]", ["no record that is a JSON object", "2 not_an_object"]),
        ('{"a\\"b": 1}', ["no record that is a JSON object with fields for columns"]),
        ("{}\n{}\n", ["with fields for columns"]),
    ],
)
def test_source_without_records_is_refused(
    content: str, words: list[str], tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    assert main(["infer", str(path)]) in (1, 2)
    error = " ".join(capsys.readouterr().err.split())
    for word in words:
        assert word in error


def test_what_to_infer_from_must_be_said(tmp_path: Path, capsys: Any) -> None:
    assert main(["infer"]) == 2
    assert "Expected a SOURCE, or --topic and --bootstrap-servers" in capsys.readouterr().err
    assert main(["infer", str(tmp_path / "no.json")]) in (1, 2)
    assert "no.json" in capsys.readouterr().err


def test_table_gives_the_contract_that_made_it(tmp_path: Path, capsys: Any) -> None:
    contract = """topic: orders
table: sales/orders
partition_by: [day]
kafka_columns: [key]
unknown_fields: rescue
columns:
  id: {type: long, description: The number}
  day: {type: date}
  price: {type: "decimal(6,2)"}
  more: {type: struct, fields: {a: {type: json}, b: {type: array, items: {type: json}}}}
  by: {type: map, values: {type: timestamp_ntz}}
"""
    function_for(tmp_path, contract).handle(event(rows(0, 2)), None)
    table = tmp_path / "tables" / "sales" / "orders"
    text = infer(capsys, str(table), "--table", "sales/orders")
    before, after = contract_of(contract), contract_of(text)
    assert [c.as_field() for c in after.columns] == [c.as_field() for c in before.columns]
    assert after.partition_by == ("day",)
    # The table takes the contract as it is, but for what only Silt fills.
    (tmp_path / "contracts" / "contract.yaml").write_text(text)
    assert main(["check", str(tmp_path / "contracts"), "--against", str(table)]) == 0


def test_table_of_another_writer_gives_a_contract(tmp_path: Path, capsys: Any) -> None:
    import pyarrow as pa

    schema = pa.schema({"Id": pa.int16(), "t": pa.timestamp("us", "UTC"), "b": pa.binary()})
    DeltaTable.create(str(tmp_path / "theirs"), schema=schema)
    assert types_of(infer(capsys, str(tmp_path / "theirs"))) == {
        "Id": "short",
        "t": "timestamp",
        "b": "binary",
    }


JSON_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["id", "maybe", "kind"],
    "properties": {
        "id": {"type": "integer", "minimum": 1, "description": "The number"},
        "maybe": {"type": ["string", "null"], "maxLength": 5},
        "kind": {"enum": ["a", "b"]},
        "at": {"type": "string", "format": "date-time"},
        "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "price": {"type": "number", "exclusiveMinimum": 0},
        "flag": {"type": "boolean"},
        "who": {"$ref": "#/$defs/person"},
        "mixed": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        "any": {},
        "list": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/person"}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "odd name": {"type": "string", "pattern": "^(?=x)"},
        "code": {"type": "string", "pattern": "^[A-Z]+$"},
        "base": {
            "allOf": [{"$ref": "#/$defs/person"}, {"properties": {"more": {"type": "string"}}}]
        },
    },
    "$defs": {
        "person": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "boss": {"$ref": "#/$defs/person"}},
        }
    },
}


def test_json_schema_gives_a_contract(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "orders.schema.json"
    path.write_text(json.dumps(JSON_SCHEMA))
    text = infer(capsys, str(path))
    contract = contract_of(text)
    assert contract.topic == "orders"
    assert types_of(text) == {
        "id": "long",
        "maybe": "string",
        "kind": "string",
        "at": "timestamp",
        "day": "date",
        "price": "double",
        "flag": "boolean",
        "who": "struct",
        "mixed": "json",
        "any": "json",
        "list": "array",
        "map": "map",
        "odd_name": "string",
        "code": "string",
        "base": "struct",
    }
    columns = {column.name: column for column in contract.columns}
    assert columns["id"].required
    assert columns["id"].rules.minimum == 1
    assert not columns["maybe"].required
    assert set(columns["kind"].rules.allowed) == {"a", "b"}
    assert columns["price"].rules.exclusive_minimum == 0
    assert [part.type for part in columns["who"].parts] == ["string", "json"]
    assert [part.name for part in columns["base"].parts] == ["name", "boss", "more"]
    assert columns["odd_name"].path == ("odd name",)
    assert columns["odd_name"].rules.pattern is None
    assert columns["code"].rules.pattern == "^[A-Z]+$"


AVRO = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long", "doc": "The number"},
        {"name": "n", "type": ["null", "int"], "default": None},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "again", "type": "Kind"},
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "sku", "type": "string"},
                        {"name": "next", "type": ["null", "Line"]},
                    ],
                },
            },
        },
        {"name": "attrs", "type": {"type": "map", "values": "double"}},
        {"name": "either", "type": ["string", "long"]},
        {"name": "raw", "type": "bytes"},
    ],
}


def test_avro_schema_gives_a_contract(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "order.avsc"
    path.write_text(json.dumps(AVRO))
    text = infer(capsys, str(path))
    assert types_of(text) == {
        "id": "long",
        "n": "integer",
        "at": "timestamp",
        "day": "date",
        "kind": "string",
        "again": "string",
        "amount": "decimal(9,2)",
        "lines": "array",
        "attrs": "map",
        "either": "json",
        "raw": "json",
    }
    columns = {column.name: column for column in contract_of(text).columns}
    assert (columns["at"].form.unit, columns["day"].form.unit) == ("ms", "days")
    assert columns["id"].required
    assert not columns["n"].required
    assert [part.type for part in columns["lines"].parts[0].parts] == ["string", "json"]


def test_odcs_contract_goes_out_and_comes_back(tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "orders.odcs.yaml"
    assert main(["contract", "export", "orders", "--odcs", "-o", str(out)]) == 0
    document = yaml.safe_load(out.read_text())
    assert (document["kind"], document["apiVersion"][:2]) == ("DataContract", "v3")
    text = infer(capsys, str(out), "--topic", "orders", "--table", "sales/orders")
    (before,) = [c for c in load_contracts("schemas") if c.topic == "orders"]
    after = {column.name: column for column in contract_of(text).columns}
    for column in before.columns:
        if column.type != "map":  # the standard has no maps
            assert after[column.name].data_type == column.data_type, column.name
            assert after[column.name].required == column.required
    assert after["order_id"].rules == before.columns[0].rules


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "orders"], "In which format?"),
        (["export", "nothing", "--odcs"], "no contract of schemas has the topic 'nothing'"),
    ],
)
def test_export_that_cannot_be_is_refused(arguments: list[str], words: str, capsys: Any) -> None:
    assert main(["contract", *arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
