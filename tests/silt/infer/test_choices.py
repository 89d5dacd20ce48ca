"""What a careful person would say of values: each case was inferred wrongly once."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from silt.cli import main
from tests.builders import contract_of
from tests.silt.infer.test_infer_command import infer, types_of
from tests.silt.infer.test_round_trip import infer as infer_payloads

CASES: list[tuple[str, list[Any], str]] = [
    # words, hex and MIME types are no bytes, and opaque ids stay texts
    ("datacontenttype", ["application/json"], "string"),
    ("signature", ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"], "string"),
    ("payload", ["UNAVAILABLE12345"], "string"),
    ("node_id", ["MDEwOlJlcG9zaXRvcnkxODY4NTMwMDI="], "string"),
    ("payload", ["QUJDREVGR0hJSktMTU5PUA=="], "binary"),
    # versions are neither decimals nor dates; amounts have room for more digits
    ("section", ["1.1", "1.10"], "string"),
    ("os", ["17.4"], "string"),
    ("version", ["4.7.3056"], "string"),
    ("build", ["1.25"], "string"),
    ("price", ["19.90", "5"], "decimal(18,2)"),
    ("price", [19.9, "5.25", 7], "decimal(18,2)"),
    ("btc", ["1.5"], "decimal(18,4)"),
    ("lat", ["45.4", "45.4123"], "decimal(18,6)"),
    # ids keep their zeros
    ("zip", ["01234", "99999"], "string"),
    ("phone", ["+491701234567"], "string"),
    ("order_id", ["12", "13"], "string"),
    ("n", [1, "2"], "long"),
    # times that count from 1970, and those that do not
    ("created_ts", [1_764_000_000], "timestamp"),
    ("ts_ms", [1_764_000_000_000], "timestamp"),
    ("timestamp", [1_764_000_000_000], "timestamp"),
    ("cpu_time", [1_200_000_000], "long"),
    ("elapsed_nanos", [1_500_000_000], "long"),
    ("n", [1_764_000_000], "long"),
    # booleans as texts, only where both were seen
    ("snapshot", ["false"], "string"),
    ("active", ["True", "false"], "boolean"),
    # numbers that no double holds
    ("p", [5e-324, "x"], "json"),
    ("big", [2**64], "json"),
    ("half", [0.5, 2**53 + 1], "json"),
    ("half", [0.5, 1], "double"),
    # dates
    ("born", ["31/12/1999", "01/02/2003"], "date"),
    ("born", ["05/06/1999"], "string"),
    ("at", ["2026-05-01 10:00:00 UTC"], "timestamp"),
    ("at", ["2026-05-01T10:00:00.123456789Z"], "string"),
    ("at", ["2026-05-01T10:00:00Z", "2026-05-01T10:00:00"], "string"),
    ("day", ["2026-05-01", "0001-01-01"], "date"),
    ("at", ["2026-05-01", "2026-05-01T10:00:00Z"], "string"),
    # what says nothing
    ("x", [None], "json"),
    ("x", [[]], "json"),
    ("x", [{}], "json"),
    ("x", [""], "string"),
    ("x", [[1, "a"]], "json"),
    ("x", [[[1], [2]]], "array"),
    # keys that are data
    ("by", [{"alice@example.com": 1}], "map"),
    ("by", [{"2026-05-01": 1, "2026-05-02": 2}], "map"),
    ("by", [{"1": "a", "2": "b"}], "map"),
    ("by", [{"name": 1}], "struct"),
]


@pytest.mark.parametrize(("name", "values", "expected"), CASES)
def test_type_is_what_a_person_would_choose(name: str, values: list[Any], expected: str) -> None:
    payloads = [json.dumps({name: value}).encode() for value in values]
    text, inference = infer_payloads(payloads)
    (column,) = contract_of(text).columns
    assert column.type == expected, text
    assert not inference.refused


def lines(folder: Path, *records: Any) -> str:
    path = folder / "t.ndjson"
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return str(path)


def test_nothing_of_a_person_is_repeated(tmp_path: Path, capsys: Any) -> None:
    people = ["alice.meyer@example.com", "bob@corp.com"]
    records = [
        {
            "mail": people[i % 2],
            "name": ["Alice Meyer", "Bob Ng"][i % 2],
            "diagnosis": ["HIV positive", "healthy"][i % 2],
            "card": 4111111111111111 + i,
            "owners": {people[i % 2]: 1},
            "status": ["new", "paid"][i % 2],
        }
        for i in range(300)
    ]
    text = infer(capsys, lines(tmp_path, *records))
    for word in ("alice", "Alice", "corp.com", "HIV", "healthy", "41111111"):
        assert word not in text
    assert "enum: [new, paid]" in text


def test_what_comes_after_the_records_that_were_looked_at_is_noticed(
    tmp_path: Path, capsys: Any
) -> None:
    early = {"status": "new", "coupon": None, "note": "", "tags": [], "more": {}}
    late = {"status": "void", "coupon": 5, "note": "x", "tags": ["a"], "more": {"k": True}}
    records = [*([early] * 10_500), *([late] * 500)]
    text = infer(capsys, lines(tmp_path, *records))
    types = types_of(text)
    assert types == {
        "status": "string",
        "coupon": "long",
        "note": "string",
        "tags": "array",
        "more": "struct",
    }
    assert "enum" not in text


def test_fields_beyond_all_measure_are_kept(tmp_path: Path, capsys: Any) -> None:
    records = [{"event": "click", **{f"k{i}_{j}": j for j in range(100)}} for i in range(30)]
    text = infer(capsys, lines(tmp_path, *records))
    contract = contract_of(text)
    assert contract.columns[0].type == "string"
    assert contract.unknown_fields == "rescue"
    assert "# Fields beyond 2,000 are kept in _rescued." in text


def test_items_that_are_too_wide_are_kept_as_json(tmp_path: Path, capsys: Any) -> None:
    items = [{f"t{t}": {f"f{f}": 1}} for t in range(20) for f in range(15)]
    text = infer(capsys, lines(tmp_path, *[{"b": items}] * 3))
    assert types_of(text) == {"b": "json"}


@pytest.mark.parametrize(
    "record",
    [
        {"type": "track", "properties": {"plan": "pro"}},
        {"$schema": "/mediawiki/recentchange/1.0.0", "id": 1},
        {"type": "Feature", "properties": {"name": {"en": "x"}}},
        {"type": "record", "fields": {"a": 1}},
    ],
)
def test_record_that_looks_like_a_schema_is_a_record(
    record: Any, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record))
    columns = contract_of(infer(capsys, str(path))).columns
    assert [column.path[0] for column in columns] == list(record)


def schema(capsys: Any, folder: Path, document: Any, code: int = 0) -> str:
    path = folder / "s.schema.json"
    path.write_text(json.dumps(document))
    return infer(capsys, str(path), code=code)


DRAFT = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}


def test_schema_may_be_a_reference_and_contain_itself(tmp_path: Path, capsys: Any) -> None:
    node = {
        "type": "object",
        "properties": {"v": {"type": "integer"}, "up": {"allOf": [{"$ref": "#/definitions/N"}]}},
    }
    root = {"$schema": DRAFT["$schema"], "$ref": "#/definitions/N", "definitions": {"N": node}}
    assert types_of(schema(capsys, tmp_path, root)) == {"v": "long", "up": "json"}


def test_schemas_that_refer_to_each_other_end(tmp_path: Path, capsys: Any) -> None:
    names = range(12)
    definitions = {
        f"T{i}": {
            "type": "object",
            "properties": {f"p{j}": {"$ref": f"#/definitions/T{j}"} for j in names},
        }
        for i in names
    }
    document = {
        **DRAFT,
        "properties": {"t": {"$ref": "#/definitions/T0"}},
        "definitions": definitions,
    }
    text = schema(capsys, tmp_path, document)
    assert len(text.splitlines()) < 5_000


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"type": "integer", "minimum": 0.5}, {"type": "long"}),
        ({"type": "integer", "maximum": 2**64}, {"type": "long"}),
        ({"type": "string", "minLength": 1.0}, {"type": "string"}),
        ({"enum": ["x", None]}, {"type": "string"}),
        ({"type": "array", "items": [{"type": "string"}]}, {"type": "json"}),
        (True, {"type": "json"}),
        ({"type": "object", "properties": ["a"]}, {"type": "json"}),
    ],
)
def test_odd_schema_gives_a_contract_that_is_right(
    column: Any, expected: dict[str, str], tmp_path: Path, capsys: Any
) -> None:
    document = {**DRAFT, "properties": {"c": column}, "required": ["c"]}
    (found,) = contract_of(schema(capsys, tmp_path, document)).columns
    assert found.type == expected["type"]
    assert not (found.required and column == {"enum": ["x", None]})


def test_avro_names_have_namespaces(tmp_path: Path, capsys: Any) -> None:
    def record(space: str, field: str) -> Any:
        fields = [{"name": field, "type": "long"}]
        return {"type": "record", "name": "X", "namespace": space, "fields": fields}

    union = [
        record("b", "of_b"),
        {
            "type": "record",
            "name": "Root",
            "namespace": "a",
            "fields": [
                {"name": "own", "type": record("a", "of_a")},
                {"name": "again", "type": "X"},
                {"name": "other", "type": "b.X"},
                {"name": "nothing", "type": "null"},
                {
                    "name": "wide",
                    "type": {"type": "bytes", "logicalType": "decimal", "precision": 76},
                },
            ],
        },
    ]
    path = tmp_path / "x.avsc"
    path.write_text(json.dumps(union))
    columns = {c.name: c for c in contract_of(infer(capsys, str(path))).columns}
    assert columns["again"].parts[0].name == "of_a"
    assert columns["other"].parts[0].name == "of_b"
    assert not columns["nothing"].required
    assert columns["wide"].type == "json"


def test_files_as_people_have_them(tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    text = '{"a": 1}\r\n{"a": 2}\r\n'
    (folder / "bom.ndjson").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (folder / "old.ndjson.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "pretty.json").write_bytes(b"\xef\xbb\xbf" + b'{\n "a": 3\n}')
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"\x00\x01")
    assert "from 5 records" in infer(capsys, str(folder))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--table", "bad table!!"], "--table: 'bad table!!' is not a valid table"),
        (["--topic", "bad topic!!"], "--topic: 'bad topic!!' is not a valid Kafka topic"),
        (["-o", "{here}/x/y.yaml"], "cannot be written"),
    ],
)
def test_mistake_of_the_user_is_said(
    arguments: list[str], words: str, tmp_path: Path, capsys: Any
) -> None:
    source = lines(tmp_path, {"a": 1})
    (tmp_path / "x").write_text("a file")
    given = [argument.replace("{here}", str(tmp_path)) for argument in arguments]
    assert main(["infer", source, *given]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("text", ['{"a": 2026-13-45}', '{"a":' + "[" * 1200 + "]" * 1200 + "}"])
def test_broken_file_is_no_traceback(text: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    assert main(["infer", str(path)]) == 1
    assert "Nothing can be inferred" in capsys.readouterr().err


def test_partition_suggestion_can_be_pasted(tmp_path: Path, capsys: Any) -> None:
    source = lines(
        tmp_path,
        {"date_of_birth": "1980-01-01", "day": "x", "@timestamp": "2026-05-01T10:00:00Z"},
    )
    text = infer(capsys, source)
    assert "# partition_by: [event_day]" in text
    (line,) = [each for each in text.splitlines() if "and to the columns: " in each]
    column = line.partition("and to the columns: ")[2]
    pasted = text.replace("columns:\n", f"partition_by: [event_day]\ncolumns:\n  {column}\n", 1)
    assert contract_of(pasted).partition_by == ("event_day",)
