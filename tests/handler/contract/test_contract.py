"""Contracts: what is accepted, and that each error says file, line, path and what to do."""

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable
from jsonschema import Draft202012Validator

from handler.contract.contract import by_topic
from handler.contract.load import json_schema, load_contracts
from handler.errors import ContractError
from tests.builders import (
    ROOT,
    SMALL,
    columns_contract,
    contract_of,
    event,
    function_for,
    problems_of,
    record,
)

HEAD = "topic: t\ntable: t\n"


def test_example_contracts_are_right() -> None:
    contracts = load_contracts(ROOT / "schemas")
    assert [contract.topic for contract in contracts] == ["clicks", "orders", "sensors"]


def test_json_schema_is_not_stale() -> None:
    text = (ROOT / "schemas" / "contract.schema.json").read_text()
    assert json.loads(text) == json_schema(), "run: python -m silt.docs"


def test_json_schema_accepts_the_examples_and_refuses_an_unknown_key() -> None:
    import yaml

    validator = Draft202012Validator(json_schema())
    for path in (ROOT / "schemas").glob("*.yaml"):
        document = yaml.safe_load(path.read_text())
        assert list(validator.iter_errors(document)) == []
        assert list(validator.iter_errors({**document, "tabel": "x"}))


def test_kafka_columns_come_first_and_chosen_ones_after_the_contracts() -> None:
    contract = columns_contract("a: {type: long}", kafka_columns="[topic, headers]")
    assert [f.name for f in contract.fields] == [
        "_kafka_partition",
        "_kafka_offset",
        "_kafka_timestamp",
        "a",
        "_kafka_topic",
        "_kafka_headers",
    ]


def test_defaults_of_the_format() -> None:
    contract = contract_of(HEAD + "columns: {a: {type: long}}")
    assert (contract.unknown_fields, contract.on_invalid, contract.on_tombstone) == (
        "ignore",
        "dead_letter",
        "skip",
    )
    assert (contract.redelivered, contract.evolution) == ("look_up", "add_columns")
    assert (contract.circuit_breaker.ratio, contract.circuit_breaker.min_records) == (0.5, 100)


def test_version_changes_with_the_contract_and_carries_the_label() -> None:
    one = contract_of(HEAD + "columns: {a: {type: long}}")
    two = contract_of(HEAD + "columns: {a: {type: integer}}")
    labelled = contract_of(HEAD + 'version: "1.2"\ncolumns: {a: {type: long}}')
    assert one.version != two.version
    assert labelled.version.startswith("1.2+")


WRONG = [
    # (contract, line, parts of the message)
    ("", 1, ["the file is empty"]),
    ("- a", 1, ["expected a mapping"]),
    ("a: [", 1, ["not valid YAML"]),
    ("table: t\ncolumns: {a: {type: long}}", 1, ["`topic` is missing"]),
    (HEAD + "columns: {}", 3, ["columns", "at least 1"]),
    (HEAD + "columns: {a: {}}", 3, ["columns.a.type", "missing"]),
    (HEAD + "tabel: x\ncolumns: {a: {type: long}}", 3, ["tabel", "Did you mean 'table'?"]),
    (HEAD + "columns:\n  a: {type: strng}", 4, ["columns.a.type", "Did you mean 'string'?"]),
    (HEAD + "columns:\n  a: {type: 'decimal(40,2)'}", 4, ["p from 1 to 38"]),
    (HEAD + "columns:\n  a: {type: 'decimal(4,5)'}", 4, ["p from 1 to 38"]),
    (
        HEAD + "columns:\n  a: {type: long}\n  a: {type: long}",
        5,
        ["is listed twice, first on line 4"],
    ),
    (HEAD + "columns:\n  a: {type: string, enum: [no]}", 4, ["enum.0", 'Write "no"']),
    (HEAD + "columns:\n  a: {type: string, enum: [1.10]}", 4, ["enum.0", "quotes"]),
    (HEAD + "version: 1.10\ncolumns: {a: {type: long}}", 3, ["version", 'Write "1.10"']),
    (HEAD + "columns:\n  a: {type: long, minimum: 010}", 4, ["010", "a different number"]),
    (HEAD + "columns:\n  a: {type: long, minimum: 1_000}", 4, ["1_000", "a different number"]),
    (HEAD + "columns:\n  a: {type: long, minimum: 1:30}", 4, ["1:30", "a different number"]),
    (HEAD + "columns:\n  a: {type: long, required: yes}", 4, ['"yes"', "true"]),
    (HEAD + "columns:\n  on: {type: long}", 4, ["YAML reads on as true"]),
    (HEAD + "columns:\n  a: {type: long, minimum: 1.5}", 4, ["minimum", "not a valid long"]),
    (HEAD + "columns:\n  a: {type: long, minimum: 2, maximum: 1}", 4, ["no value can satisfy"]),
    (HEAD + "columns:\n  a: {type: long, exclusive_minimum: 2, maximum: 2}", 4, ["no value can"]),
    (HEAD + "columns:\n  a: {type: string, min_length: 2, max_length: 1}", 4, ["no value can"]),
    (HEAD + "columns:\n  a: {type: string, min_length: -1}", 4, ["min_length"]),
    (HEAD + "columns:\n  a: {type: string, pattern: '['}", 4, ["not a valid RE2"]),
    (HEAD + "columns:\n  a: {type: string, minimum: 1}", 4, ["`minimum` does not apply"]),
    (HEAD + "columns:\n  a: {type: long, pattern: x}", 4, ["`pattern` does not apply"]),
    (HEAD + "columns:\n  a: {type: long, unit: ms}", 4, ["`unit` does not apply"]),
    (HEAD + "columns:\n  a: {type: timestamp, unit: m}", 4, ["not one of s, ms, us, ns"]),
    (HEAD + "columns:\n  a: {type: long, default: x}", 4, ["default", "not a valid long"]),
    (
        HEAD + "columns:\n  a: {type: long, default: 1, minimum: 2}",
        4,
        ["breaks the column's own rule"],
    ),
    (
        HEAD + "columns:\n  a: {type: long, default: 1, required: true}",
        4,
        ["cannot have a default"],
    ),
    (HEAD + "columns:\n  a: {type: struct}", 4, ["needs `fields`"]),
    (HEAD + "columns:\n  a: {type: array}", 4, ["needs `items`"]),
    (HEAD + "columns:\n  a: {type: map}", 4, ["needs `values`"]),
    (HEAD + "columns:\n  a: {type: long, items: {type: long}}", 4, ["`items` does not apply"]),
    (
        HEAD + "columns:\n  a: {type: struct, fields: {b: {type: long}}, default: {}}",
        4,
        ["`default`"],
    ),
    (HEAD + "columns:\n  a b: {type: long}", 4, ["not a valid column name"]),
    (HEAD + "columns:\n  a.b: {type: long}", 4, ["not a valid column name"]),
    (
        HEAD + "columns:\n  'a\"b': {type: long}",
        4,
        ["not a valid column name", "quotes or line breaks"],
    ),
    (HEAD + "columns:\n  'a\\b': {type: long}", 4, ["not a valid column name"]),
    (HEAD + "columns:\n  a: {type: long, source: 'x\"y'}", 4, ["a.source", "quotes, backslashes"]),
    (HEAD + "columns:\n  ab: {type: long}\n  AB: {type: long}", 5, ["differ only in case"]),
    (
        HEAD + "columns:\n  s: {type: struct, fields: {x: {type: long}, X: {type: long}}}",
        4,
        ["columns.s.fields.X", "differ only in case"],
    ),
    (
        HEAD + "columns:\n  a: {type: long}\n  b: {type: long, source: a}",
        5,
        ["both read the field"],
    ),
    (HEAD + "columns:\n  _kafka_offset: {type: long}", 4, ["reserved for Silt"]),
    (HEAD + "columns:\n  _Rescued: {type: string}", 4, ["reserved for Silt"]),
    (
        HEAD + "columns:\n  d: {type: date, from: placed}\n  place: {type: timestamp}",
        4,
        ["'place'"],
    ),
    (HEAD + "columns:\n  d: {type: date, from: x.y}", 4, ["no column 'x.y'"]),
    (
        HEAD + "columns:\n  d: {type: date, from: t}\n  t: {type: long}",
        4,
        ["source is of type long"],
    ),
    (
        HEAD + "columns:\n  d: {type: date, from: year(t)}\n  t: {type: date}",
        4,
        ["a year needs a column"],
    ),
    (
        HEAD + "columns:\n  d: {type: long, from: hour(t)}\n  t: {type: date}",
        4,
        ["no hour in a date"],
    ),
    (
        HEAD + "columns:\n  d: {type: long, from: week(t)}\n  t: {type: date}",
        4,
        ["is not a valid source"],
    ),
    (
        HEAD + "columns:\n  d: {type: date, from: e}\n  e: {type: date, from: d}",
        4,
        ["is itself derived"],
    ),
    (
        HEAD + "columns:\n  d: {type: date, from: t, minimum: '2020-01-01'}\n  t: {type: date}",
        4,
        ["`minimum` is not allowed on a derived column"],
    ),
    (
        HEAD
        + "columns:\n  s: {type: struct, fields: {d: {type: date, from: t}}}\n  t: {type: date}",
        4,
        ["only a top-level column can be derived"],
    ),
    (
        HEAD + "columns: {a: {type: double}}\npartition_by: [a]",
        4,
        ["of type double", "cannot be partitioned"],
    ),
    (
        HEAD + "columns: {a: {type: float}}\npartition_by: [a]",
        4,
        ["of type float", "cannot be partitioned"],
    ),
    (
        HEAD + "columns: {a: {type: array, items: {type: long}}}\npartition_by: [a]",
        4,
        ["'a' is of type array", "cannot be partitioned"],
    ),
    (
        HEAD + "columns: {boxed: {type: struct, fields: {b: {type: long}}}}\npartition_by: [boxed]",
        4,
        ["'boxed' is of type struct", "cannot be partitioned"],
    ),
    (HEAD + "columns: {ab: {type: long}}\npartition_by: [abc]", 4, ["Did you mean 'ab'?"]),
    (HEAD + "columns: {a: {type: long}}\npartition_by: [a, a]", 4, ["is listed twice"]),
    (HEAD + "columns: {a: {type: string, default: ''}}\npartition_by: [a]", 3, ["null"]),
    (HEAD + "columns: {a: {type: long}}\nunknown_fields: recue", 4, ["Did you mean 'rescue'?"]),
    (HEAD + "columns: {a: {type: long}}\non_invalid:", 4, ["dead_letter, fail"]),
    (HEAD + "columns: {a: {type: long}}\nkafka_columns: [kee]", 4, ["Did you mean 'key'?"]),
    (HEAD + "columns: {a: {type: long}}\ncircuit_breaker: {ratio: 2}", 4, ["ratio"]),
    (HEAD + "columns: {a: {type: long}}\ncircuit_breaker: {min_record: 2}", 4, ["'min_records'"]),
    (HEAD + "columns: {a: {type: long}}\nretired: [a]", 4, ["not retired"]),
    (HEAD + "columns: {a: {type: long}}\nkafka_columns: [foo, bar]", 4, ["kafka_columns.1"]),
    (HEAD + "columns:\n  a: {type: long, pattern: x, default: 1}", 4, ["`pattern` does not apply"]),
    (
        HEAD + "columns:\n  a: {type: long, min_length: 1, default: 1}",
        4,
        ["`min_length` does not apply"],
    ),
    (HEAD + "columns:\n  a: {type: string, pattern: 'a{99999999999999999999}'}", 4, ["1000 times"]),
    (HEAD + f"columns:\n  a: {{type: string, pattern: '{'(' * 3000}'}}", 4, ["not a valid RE2"]),
    (HEAD + f"columns:\n  a: {{type: long, default: {'9' * 5000}}}", 4, ["a different number"]),
    (HEAD + f"columns:\n  a: {{type: long, default: {'[' * 300}{']' * 300}}}", 4, ["deeper than"]),
    (HEAD + "columns:\n  a: {type: string, max_length: 99999999999999999999}", 4, ["max_length"]),
    (HEAD + 'columns:\n  a: {type: string, enum: ["\\ud800"]}', 4, ["surrogate"]),
    (
        HEAD + "columns:\n  a: {type: 'decimal(38,19)', default: 0.1234567890123456789}",
        4,
        ["a different number"],
    ),
    (
        HEAD + "columns:\n  a: {type: 'decimal(\u0661\u0662,2)'}",
        4,
        ["is not a type. Expected decimal(p,s)"],
    ),
    (HEAD + "columns:\n  a: {type: l ong}", 4, ["'l ong' is not a type"]),
    (HEAD + "columns:\n  a: {type: bigint}", 4, ["is not a type. Did you mean 'long'? Types are"]),
    (
        HEAD + "columns:\n  a: {type: text}",
        4,
        ["Did you mean 'string'?", "decimal(p,s), json, struct"],
    ),
    (HEAD + "columns:\n  a: {type: DATE}", 4, ["Did you mean 'date'?"]),
    (HEAD + "columns:\n  a: {type: varchar(20)}", 4, ["Did you mean 'string'?"]),
    (
        HEAD + "columns:\n  a: {type: decimal(12,2)}",
        4,
        ["Put the type in quotes", '"decimal(12,2)"'],
    ),
    (HEAD + "columns:\n  a: {type: decimal(12,2)}", 4, ["'2)' is the rest of a type"]),
    (
        HEAD + "columns:\n  a: {type: jsonb}",
        4,
        ["'jsonb' is not a type. Did you mean 'json'? Types are string, "],
    ),
    ("topic: a b\ntable: t\ncolumns: {a: {type: long}}", 1, ["not a valid Kafka topic name"]),
    ("topic: t\ntable: ../t\ncolumns: {a: {type: long}}", 2, ["is not a valid table"]),
    ("topic: t\ntable: a%20b\ncolumns: {a: {type: long}}", 2, ["is not a valid table"]),
    ("topic: t\ntable: 's3://'\ncolumns: {a: {type: long}}", 2, ["is not a valid table"]),
    ("topic: t\ntable: t\ncolumns: &c {a: {type: array, items: *c}}", 3, ["contains itself"]),
]


@pytest.mark.parametrize(("text", "line", "parts"), WRONG)
def test_wrong_contract_names_line_and_cause(text: str, line: int, parts: list[str]) -> None:
    problems = problems_of(text)
    matching = [p for p in problems if all(part in p for part in parts)]
    assert matching, problems
    assert matching[0].startswith(f"test.yaml:{line}: "), problems


def test_all_problems_of_a_file_are_shown_at_once() -> None:
    problems = problems_of(
        "topic: 1\ntabel: x\ncolumns:\n  a: {type: strng}\n  b: hello\n  c: {type: array}\n"
        "partition_by: [nope]\nunknown_fields: recue\n"
    )
    text = "\n".join(problems)
    for part in ("topic", "tabel", "table", "strng", "columns.b", "items", "nope", "recue"):
        assert part in text


def test_two_contracts_for_one_table_are_refused(tmp_path) -> None:
    for name, topic, table in (
        ("a", "t", "x"),
        ("b", "t", "y"),
        ("c", "u", "x"),
        ("d", "v", "x__dead_letters"),
    ):
        text = f"topic: {topic}\ntable: {table}\ncolumns: {{a: {{type: long}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ContractError) as caught:
        load_contracts(tmp_path)
    assert len(caught.value.problems) == 2
    assert "c.yaml:2: table: 'x' is the table of" in str(caught.value)
    assert "a table can have only one contract" in str(caught.value)


def test_contracts_may_share_a_topic(tmp_path) -> None:
    for name, table in (("a", "x"), ("b", "y")):
        text = f"topic: t\ntable: {table}\ncolumns: {{a: {{type: long}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    contracts = by_topic(load_contracts(tmp_path))
    assert [contract.table for contract in contracts["t"]] == ["x", "y"]


def test_empty_folder_is_an_error(tmp_path) -> None:
    with pytest.raises(ContractError, match="there is no contract here"):
        load_contracts(tmp_path)


def test_file_that_is_no_text_is_an_error(tmp_path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ContractError, match="UTF-8"):
        load_contracts(tmp_path)


def test_python_tag_is_read_as_plain_data() -> None:
    contract = contract_of(HEAD + "columns: {a: !!python/object:os.system {type: long}}")
    assert contract.columns[0].type == "long"


def test_words_of_yaml_are_names_like_any_other_as_keys() -> None:
    contract = contract_of(
        HEAD + "columns: {true: {type: long}, null: {type: long}, 0: {type: long}}"
    )
    assert [column.name for column in contract.columns] == ["true", "null", "0"]


def test_decimal_is_written_as_delta_writes_it() -> None:
    contract = columns_contract("a: {type: 'decimal( 05, 02 )'}")
    assert contract.columns[0].type == "decimal(5,2)"


@pytest.mark.parametrize("outer", ["lake", "lake/", "s3://b/lake"])
def test_table_within_another_is_refused(tmp_path: Path, outer: str) -> None:
    """A vacuum of the outer one would delete the inner one's files."""
    inner = f"{outer.rstrip('/')}/orders"
    for name, table in (("a", outer), ("b", inner)):
        text = f"topic: {name}\ntable: {table}\ncolumns: {{id: {{type: long}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ContractError, match=r"b.yaml:2: table: .* are nested"):
        load_contracts(tmp_path)


MAINTENANCE = {
    "target_file_size: 12": "12 is not a valid size, such as 128 MiB",
    "target_file_size: 2 GiB": "from 1 MiB to 1 GiB",
    "retain: 23h": "is kept for 1d at least",
    "log_retain: 1w": "'1w' is not a valid time, such as 12h or 7d",
    "dead_letters: {retain: 5m}": "is kept for 1d at least",
    "dead_letters: 7": "expected a mapping, got 7",
    "sort_by: [nothing]": "'nothing' is not a column of the table",
    "sort_by: [day]": "'day' is a partition column",
    "sort_by: [id, id]": "'id' is listed twice",
    "sort_by: [s]": "'s' is not a number, string, date or timestamp",
    "quiet_fo: 1h": "unknown key 'quiet_fo'. Did you mean 'quiet_for'?",
    "checkpoint_commits: 0": "greater than or equal to 1",
}


@pytest.mark.parametrize("keys", MAINTENANCE)
def test_bad_maintenance_is_named_with_its_line(keys: str) -> None:
    text = (
        "topic: t\ntable: t\ncolumns:\n  id: {type: long}\n  day: {type: date}\n"
        "  s: {type: struct, fields: {x: {type: long}}}\npartition_by: [day]\n"
        f"maintenance: {{{keys}}}\n"
    )
    (problem,) = problems_of(text)
    assert problem.startswith("test.yaml:8: maintenance.")
    assert MAINTENANCE[keys] in problem


def test_maintenance_makes_no_new_version_of_the_contract() -> None:
    """It decides about no record: no table has to be taken over for it."""
    text = "topic: t\ntable: t\ncolumns: {id: {type: long}}\n"
    kept = contract_of(
        f"{text}maintenance: {{retain: 3d, sort_by: [id], target_file_size: 1 GiB}}\n"
    )
    assert kept.version == contract_of(text).version
    assert kept.upkeep.retain_ms == 3 * 86_400_000
    assert kept.upkeep.target_file_size == 1 << 30
    assert (kept.upkeep.sort_by, kept.dead_letter_upkeep.sort_by) == (("id",), ())


def nested(structs: int, arrays: int = 0) -> str:
    """Return a contract with a column of structs within structs, and arrays in the innermost."""
    inner = "{type: long}"
    for _ in range(arrays):
        inner = f"{{type: array, items: {inner}}}"
    for _ in range(structs):
        inner = f"{{type: struct, fields: {{f: {inner}}}}}"
    return f"topic: orders\ntable: sales/orders\ncolumns: {{id: {{type: long}}, a: {inner}}}\n"


@pytest.mark.parametrize(("structs", "arrays"), [(32, 0), (31, 3), (20, 20), (0, 30)])
def test_deepest_nesting_that_is_allowed_can_be_read(
    structs: int, arrays: int, tmp_path: Path
) -> None:
    contract = nested(structs, arrays)
    assert problems_of(contract) == []
    function_for(tmp_path, contract).handle(event([record(0, {"id": 1})]), None)
    table = DeltaTable(str(tmp_path / "tables/sales/orders"))
    table.create_checkpoint()
    assert table.to_pyarrow_dataset().to_table()["id"].to_pylist() == [1]


@pytest.mark.parametrize(("structs", "arrays"), [(33, 0), (32, 1), (40, 0), (0, 31)])
def test_nesting_that_readers_cannot_open_is_refused(structs: int, arrays: int) -> None:
    (problem,) = problems_of(nested(structs, arrays))
    assert "columns.a: 'a' is nested too deep" in problem
    assert "At most 32 structs" in problem


def test_contract_of_too_many_values_says_that_alone() -> None:
    columns = "".join(f"  c{i}: {{type: long, required: true}}\n" for i in range(8_000))
    (problem,) = problems_of(f"topic: t\ntable: t\ncolumns:\n{columns}")
    assert "more than 20,000 values" in problem
    alias = "topic: t\ntable: t\ncolumns:\n  a: &a {type: struct, fields: {x: {type: long}}}\n"
    alias += "".join(f"  b{i}: *a\n" for i in range(9_000))
    (problem,) = problems_of(alias)
    assert "more than 20,000 values" in problem


def test_version_stays_the_same_with_a_release_that_has_new_keys() -> None:
    """Another version takes the tables over: a release alone must not be one."""
    assert contract_of(SMALL).version == "b6c5a67c4848"
    same = SMALL.replace("{type: string}", "{type: string, required: false}")
    assert contract_of(same + "on_invalid: dead_letter\n").version == contract_of(SMALL).version
    assert contract_of(SMALL + "on_invalid: fail\n").version != contract_of(SMALL).version
