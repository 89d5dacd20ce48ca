"""How a table follows its contract and its data, alone and beside others."""

import json
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from handler.contract.contract import REDRIVE_FIELDS
from handler.delta.types import Primitive
from handler.errors import Superseded, TableMismatch, UnsupportedTable
from handler.sink import arrow_tables as handler_rows
from handler.sink import table_schema
from handler.sink.evolution import widens
from silt.cli import main
from tests.builders import SMALL, event, function_for, problems_of, record, rows
from tests.fakes import Memory
from tests.reader import read_folder, rows_of_folder, rows_of_memory

OK = {"batchItemFailures": []}


def create_by_engine(folder: Path) -> None:
    """Make the table of the small contract as another writer would."""
    import pyarrow as pa

    schema = pa.schema(
        {
            "_kafka_partition": pa.int32(),
            "_kafka_offset": pa.int64(),
            "_kafka_timestamp": pa.timestamp("us", "UTC"),
            "id": pa.int64(),
            "name": pa.string(),
        }
    )
    DeltaTable.create(str(folder), schema=schema)


MORE = (
    SMALL
    + """
  price: {type: "decimal(6,2)", default: 1}
  more: {type: struct, fields: {a: {type: long}}}
"""
)


def table(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders"


def dead(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders__dead_letters"


def names(folder: Path) -> list[str]:
    return [f["name"] for f in read_folder(table(folder)).fields]


@pytest.mark.logs_errors
def test_new_columns_of_the_contract_are_added_and_old_rows_stay(tmp_path: Path) -> None:
    old = function_for(tmp_path)
    old.handle(event(rows(0, 2)), None)
    new = function_for(tmp_path, MORE)
    assert new.handle(event([record(2, {"id": 2, "price": "2.5", "more": {"a": 1}})]), None) == OK
    assert names(tmp_path)[-2:] == ["price", "more"]
    # The sandbox of the old contract sees the change, and does not fit any more.
    with pytest.raises(Superseded, match="was taken over"):
        old.handle(event(rows(3, 4)), None)
    with pytest.raises(TableMismatch, match="retired"):
        old.handle(event(rows(3, 4)), None)
    engine = DeltaTable(str(table(tmp_path))).to_pyarrow_dataset().to_table()
    read = sorted(zip(engine["id"].to_pylist(), engine["more"].to_pylist(), strict=True))
    assert read == [(0, None), (1, None), (2, {"a": 1})]


def test_field_is_added_inside_a_struct(tmp_path: Path) -> None:
    function_for(tmp_path, MORE).handle(event(rows(0, 1)), None)
    deeper = MORE.replace("{a: {type: long}}", "{a: {type: long}, b: {type: date}}")
    batch = [record(1, {"id": 1, "more": {"a": 1, "b": "2026-05-01"}})]
    assert function_for(tmp_path, deeper).handle(event(batch), None) == OK
    engine = DeltaTable(str(table(tmp_path))).to_pyarrow_dataset().to_table().sort_by("id")
    assert [str(m["b"]) if m else m for m in engine["more"].to_pylist()] == [None, "2026-05-01"]


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("contract", "message"),
    [
        (MORE + "evolution: none\n", "does not have this column .* evolution is none"),
        (SMALL.replace("long", "integer"), "the table has long, the contract integer"),
        (SMALL.replace("name", "title"), r"write `retired: \[name\]`"),
        (SMALL.replace("  name: {type: string}\n", ""), "is no longer in it"),
    ],
)
def test_change_that_would_lose_something_is_refused(
    tmp_path: Path, contract: str, message: str
) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    before = [read_folder(folder).metadata for folder in (table(tmp_path), dead(tmp_path))]
    with pytest.raises(TableMismatch, match=message):
        function_for(tmp_path, contract).handle(event([record(1, {"id": 1})]), None)
    assert read_folder(table(tmp_path)).version == 1
    assert [read_folder(f).metadata for f in (table(tmp_path), dead(tmp_path))] == before


@pytest.mark.logs_errors
def test_field_dropped_inside_a_struct_is_refused_until_it_is_retired(tmp_path: Path) -> None:
    deep = SMALL + "  s: {type: struct, fields: {a: {type: long}, b: {type: long}}}\n"
    shallow = SMALL + "  s: {type: struct, fields: {a: {type: long}}}\n"
    function_for(tmp_path, deep).handle(event([record(0, {"id": 0, "s": {"a": 1, "b": 2}})]), None)
    with pytest.raises(TableMismatch, match=r"retired: \[s.b\]"):
        function_for(tmp_path, shallow).handle(event([record(1, {"id": 1})]), None)
    retired = shallow + "retired: [s.b]\n"
    batch = [record(1, {"id": 1, "s": {"a": 3, "b": 4}})]
    assert function_for(tmp_path, retired).handle(event(batch), None) == OK
    assert rows_of_folder(table(tmp_path), "s.a, s.b", "_kafka_offset") == [(1, 2), (3, None)]


TEXTS = ["string", "array, items: {type: string}", "map, values: {type: string}"]


@pytest.mark.logs_errors
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("json_first", [False, True])
def test_plain_text_does_not_become_the_text_of_json(
    text: str, inside: bool, json_first: bool, tmp_path: Path
) -> None:
    def contract(kind: str) -> str:
        column = f"{{type: {kind}}}"
        if inside:
            column = f"{{type: array, items: {{type: struct, fields: {{x: {column}}}}}}}"
        return SMALL + f"  t: {column}\n"

    kinds = [text, text.replace("string", "json")]
    before, after = reversed(kinds) if json_first else kinds
    function_for(tmp_path, contract(before)).handle(event(rows(0, 1)), None)
    with pytest.raises(TableMismatch, match="one has the text of JSON, the other has strings"):
        function_for(tmp_path, contract(after)).handle(event(rows(1, 2)), None)
    assert function_for(tmp_path, contract(before)).handle(event(rows(1, 2)), None) == OK


def test_string_column_of_another_writer_takes_the_text_of_json(tmp_path: Path) -> None:
    create_by_engine(table(tmp_path))
    contract = SMALL.replace("name: {type: string}", "name: {type: json}")
    batch = [record(0, b'{"id": 0, "name": {"first" : [1.0]}}')]
    assert function_for(tmp_path, contract).handle(event(batch), None) == OK
    assert rows_of_folder(table(tmp_path), "name", "id") == [('{"first" : [1.0]}',)]


def test_retired_column_stays_and_is_no_longer_filled(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    contract = SMALL.replace("  name: {type: string}\n", "") + "retired: [name]\n"
    assert function_for(tmp_path, contract).handle(event(rows(1, 2)), None) == OK
    assert rows_of_folder(table(tmp_path), "id, name", "id") == [(0, "n0"), (1, None)]


@pytest.mark.logs_errors
def test_widening_is_by_choice_and_only_what_readers_truly_read(tmp_path: Path) -> None:
    def contract(kind: str, evolution: str) -> str:
        return SMALL + f"  n: {{type: {kind}}}\nevolution: {evolution}\n"

    def put(offset: int, kind: str, evolution: str) -> Any:
        batch = [record(offset, {"id": offset, "n": 100})]
        return function_for(tmp_path, contract(kind, evolution)).handle(event(batch), None)

    put(0, "byte", "widen")
    with pytest.raises(TableMismatch, match="`evolution: widen` allows"):
        put(1, "short", "add_columns")
    assert put(1, "short", "widen") == OK
    assert put(2, "long", "widen") == OK
    with pytest.raises(TableMismatch, match="the table has long, the contract double"):
        put(3, "double", "widen")
    with pytest.raises(TableMismatch, match="the table has long, the contract short"):
        put(3, "short", "widen")
    engine = DeltaTable(str(table(tmp_path)))
    assert engine.to_pyarrow_dataset().to_table()["n"].to_pylist() == [100] * 3
    assert [n for (n,) in rows_of_folder(table(tmp_path), "n")] == [100] * 3
    engine.optimize.compact()
    engine.create_checkpoint()
    assert put(3, "long", "widen") == OK


ADD = SMALL + "unknown_fields: add\n"


def test_fields_of_the_data_become_columns(tmp_path: Path) -> None:
    values = [
        {"id": 0, "flag": True, "count": 7, "ratio": 1, "note": "x", "deep": {"a": 1}},
        {"id": 1, "flag": "no", "count": 1.5, "ratio": 0.5, "big": 2**70, "bad name": 1},
    ]
    batch = [record(i, json.dumps(value).encode()) for i, value in enumerate(values)]
    function = function_for(tmp_path, ADD)
    assert function.handle(event(batch), None) == OK
    read = rows_of_folder(table(tmp_path), "flag, count, ratio, note, _rescued", "id")
    # A column is as wide as what its batch holds: integers beside fractions make doubles.
    assert read == [
        (True, 7.0, 1.0, "x", '{"deep":{"a":1}}'),
        (None, 1.5, 0.5, None, '{"flag":"no","big":1180591620717411303424,"bad name":1}'),
    ]
    # A later batch meets the table's types: what does not fit them is kept, never cast.
    later = [record(2, {"id": 2, "flag": False, "ratio": 2**53 + 1, "note": 5, "deep": None})]
    assert function.handle(event(later), None) == OK
    assert rows_of_folder(table(tmp_path), "flag, ratio, note, _rescued", "id")[2] == (
        False,
        None,
        None,
        '{"ratio":9007199254740993,"note":5,"deep":null}',
    )
    assert DeltaTable(str(table(tmp_path))).version() == 2


def test_columns_of_the_contract_always_win(tmp_path: Path) -> None:
    function = function_for(tmp_path, ADD)
    batch = [record(0, {"id": 0, "NAME": "x", "_kafka_offset": 9, "_rescued": 1})]
    assert function.handle(event(batch), None) == OK
    (read,) = rows_of_folder(table(tmp_path), "name, _kafka_offset, _rescued")
    assert read == (None, 0, '{"NAME":"x","_kafka_offset":9,"_rescued":1}')


def test_at_most_fifty_columns_are_added_at_once(tmp_path: Path) -> None:
    value = {"id": 0, **{f"f{i:03}": i for i in range(60)}}
    assert function_for(tmp_path, ADD).handle(event([record(0, value)]), None) == OK
    assert len([n for n in names(tmp_path) if n.startswith("f0")]) == 50
    ((rescued,),) = rows_of_folder(table(tmp_path), "_rescued")
    assert rescued.count(":") == 10


def test_two_sandboxes_that_evolve_at_once_both_succeed(tmp_path: Path) -> None:
    shared = Memory()
    first, second = Memory(stores=shared.stores), Memory(stores=shared.stores)
    one = function_for(tmp_path, ADD, open_store=first.open)
    other = function_for(tmp_path, ADD, open_store=second.open)
    for function, partition in ((one, 0), (other, 1)):
        function.handle(event(rows(0, 1, partition=partition)), None)
    one.handle(event(rows(1, 2)), None)

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            first.before = lambda verb, key: None
            batch = [record(1, {"id": 1, "x": "text", "y": 1}, partition=1)]
            assert other.handle(event(batch), None) == OK

    first.before = before
    assert one.handle(event([record(2, {"id": 2, "x": 5, "z": 1})]), None) == OK
    uri = str(table(tmp_path))
    columns = ["_kafka_partition", "_kafka_offset", "_rescued"]
    read = rows_of_memory(shared, uri, columns)
    # The slower one decided again: x is a string by then, so its number is kept beside.
    assert read == [(0, 0, None), (0, 1, None), (0, 2, '{"x":5}'), (1, 0, None), (1, 1, None)]


def test_timestamp_without_zone_raises_the_protocol_of_an_old_table(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    contract = SMALL + "  t: {type: timestamp_ntz}\n"
    batch = [record(1, {"id": 1, "t": "2026-05-01T10:00:00"})]
    assert function_for(tmp_path, contract).handle(event(batch), None) == OK
    protocol = read_folder(table(tmp_path)).protocol
    assert (protocol["minReaderVersion"], protocol["minWriterVersion"]) == (3, 7)
    assert protocol["readerFeatures"] == ["timestampNtz"]
    assert set(protocol["writerFeatures"]) == {"appendOnly", "invariants", "timestampNtz"}
    engine = DeltaTable(str(table(tmp_path))).to_pyarrow_dataset().to_table()
    assert [str(t) for t in engine["t"].to_pylist()].count("2026-05-01 10:00:00") == 1


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("action", "name"),
    [
        ({"protocol": {"minReaderVersion": 4, "minWriterVersion": 7}}, "protocol 4/7"),
        (
            {
                "protocol": {
                    "minReaderVersion": 3,
                    "minWriterVersion": 7,
                    "readerFeatures": ["v2Checkpoint"],
                    "writerFeatures": ["v2Checkpoint", "rowTracking"],
                }
            },
            "v2Checkpoint, rowTracking",
        ),
    ],
)
def test_unknown_protocol_feature_is_refused_by_name(
    tmp_path: Path, action: dict[str, Any], name: str
) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    (table(tmp_path) / "_delta_log" / f"{1:020}.json").write_text(json.dumps(action))
    with pytest.raises(UnsupportedTable, match=name):
        function_for(tmp_path).handle(event(rows(1, 2)), None)


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    ("configuration", "metadata", "name"),
    [
        ({"delta.columnMapping.mode": "name"}, {}, "columnMapping"),
        ({"delta.constraints.positive": "id > 0"}, {}, "check constraint positive"),
        ({}, {"delta.generationExpression": "1"}, "generated columns"),
        ({}, {"delta.identity.start": 1}, "identity columns"),
        ({}, {"delta.invariants": "{}"}, "column invariants"),
    ],
)
def test_feature_of_an_old_protocol_that_is_in_use_is_refused_by_name(
    tmp_path: Path, configuration: dict[str, str], metadata: dict[str, Any], name: str
) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    state = read_folder(table(tmp_path))
    fields = state.fields
    fields[3]["metadata"] |= metadata
    changed = state.metadata | {
        "schemaString": json.dumps({"type": "struct", "fields": fields}),
        "configuration": configuration,
    }
    actions = [{"protocol": {"minReaderVersion": 2, "minWriterVersion": 6}}, {"metaData": changed}]
    text = "\n".join(map(json.dumps, actions))
    (table(tmp_path) / "_delta_log" / f"{1:020}.json").write_text(text)
    with pytest.raises(UnsupportedTable, match=name):
        function_for(tmp_path).handle(event(rows(1, 2)), None)


def test_harmless_features_are_appended_to(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors", "columnMapping"],
        "writerFeatures": ["deletionVectors", "columnMapping", "changeDataFeed", "appendOnly"],
    }
    (table(tmp_path) / "_delta_log" / f"{1:020}.json").write_text(
        json.dumps({"protocol": protocol})
    )
    assert function_for(tmp_path).handle(event(rows(0, 2)), None) == OK
    assert len(rows_of_folder(table(tmp_path))) == 2


def test_table_made_by_the_engine_is_appended_to(tmp_path: Path) -> None:
    create_by_engine(table(tmp_path))
    assert function_for(tmp_path).handle(event(rows(0, 3)), None) == OK
    assert function_for(tmp_path).handle(event(rows(0, 3)), None) == OK
    assert len(rows_of_folder(table(tmp_path))) == 3


@pytest.mark.parametrize(
    ("have", "want", "fits"),
    [
        ("byte", "long", True),
        ("integer", "short", False),
        ("float", "double", True),
        ("double", "float", False),
        ("integer", "double", False),
        ("decimal(5,2)", "decimal(6,2)", True),
        ("decimal(5,2)", "decimal(5,2)", False),
        ("decimal(5,2)", "decimal(7,3)", False),
        ("decimal(5,2)", "decimal(4,2)", False),
        ("date", "timestamp", False),
    ],
)
def test_widenings(have: str, want: str, fits: bool) -> None:
    assert widens(Primitive(have), Primitive(want)) is fits


@pytest.mark.logs_errors
def test_columns_of_silt_itself_can_be_retired(tmp_path: Path) -> None:
    before = SMALL + "unknown_fields: rescue\nkafka_columns: [topic, key]\n"
    function_for(tmp_path, before).handle(event(rows(0, 1)), None)
    with pytest.raises(TableMismatch, match=r"retired: \[_rescued\]"):
        function_for(tmp_path, SMALL + "kafka_columns: [key]\n").handle(event(rows(1, 2)), None)
    after = SMALL + "kafka_columns: [key]\nretired: [_rescued, _kafka_topic]\n"
    assert function_for(tmp_path, after).handle(event(rows(1, 2)), None) == OK
    assert rows_of_folder(table(tmp_path), "_kafka_topic", "_kafka_offset") == [
        ("orders",),
        (None,),
    ]
    assert problems_of(SMALL + "retired: [_kafka_offset]\n")
    assert problems_of(SMALL + "unknown_fields: add\nretired: [_rescued]\n")


@pytest.mark.logs_errors
def test_table_that_allows_no_nulls_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    schema = pa.schema(
        [
            pa.field("_kafka_partition", pa.int32(), nullable=False),
            pa.field("_kafka_offset", pa.int64(), nullable=False),
            pa.field("_kafka_timestamp", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("id", pa.int64()),
            pa.field("name", pa.string(), nullable=False),
        ]
    )
    DeltaTable.create(str(table(tmp_path)), schema=schema)
    with pytest.raises(TableMismatch, match="ALTER COLUMN name DROP NOT NULL") as caught:
        function_for(tmp_path).handle(event([record(0, {"id": 0})]), None)
    assert len(caught.value.differences) == 1


def test_data_adds_no_column_beyond_max_columns(tmp_path: Path, capsys) -> None:
    """Keys that are ids would make a column each, in a table that no reader opens any more."""
    contract = SMALL + "unknown_fields: add\nmax_columns: 9\n"
    function = function_for(tmp_path, contract)
    for i in range(4):
        batch = [record(10 * i + k, {"id": k, f"key-{10 * i + k}": k}) for k in range(3)]
        assert function.handle(event(batch), None) == OK
    folder = tmp_path / "tables/sales/orders"
    read = DeltaTable(str(folder)).to_pyarrow_dataset().to_table()
    assert len(read.column_names) == 9
    added = [name for name in read.column_names if name.startswith("key-")]
    assert added == ["key-0", "key-1", "key-2"]
    rescued = [json.loads(text) for text in read["_rescued"].to_pylist() if text]
    assert sorted(value for fields in rescued for value in fields) == sorted(
        f"key-{10 * i + k}" for i in (1, 2, 3) for k in range(3)
    )
    out = capsys.readouterr().out
    assert '"fields_beyond_max_columns":[3.0]' in out
    assert out.count("are kept in _rescued") == 3


def test_contract_may_have_more_columns_than_data_may_add(tmp_path: Path) -> None:
    contract = SMALL + "unknown_fields: add\nmax_columns: 1\n"
    function = function_for(tmp_path, contract)
    assert function.handle(event([record(0, {"id": 1, "name": "x", "new": 2})]), None) == OK
    read = DeltaTable(str(tmp_path / "tables/sales/orders")).to_pyarrow_dataset().to_table()
    assert "new" not in read.column_names
    assert read["_rescued"].to_pylist() == ['{"new":2}']


BELOW_A_MAP = {
    "a map of structs": "{type: map, values: %s}",
    "an array of maps": "{type: array, items: {type: map, values: %s}}",
    "a map of arrays": "{type: map, values: {type: array, items: %s}}",
    "a struct with a map": "{type: struct, fields: {x: {type: map, values: %s}}}",
}
ONE_FIELD = "{type: struct, fields: {a: {type: integer}}}"
TWO_FIELDS = "{type: struct, fields: {a: {type: integer}, b: {type: long}}}"
WIDER = "{type: struct, fields: {a: {type: long}}}"


@pytest.mark.logs_errors
@pytest.mark.parametrize("kind", BELOW_A_MAP)
def test_field_is_not_added_below_a_map(kind: str, tmp_path: Path) -> None:
    """deltalake would read the table no more: 'Cannot cast column'."""
    head = SMALL + "  m: "
    before, after, wider = (
        head + BELOW_A_MAP[kind] % inner + "\nevolution: widen\n"
        for inner in (ONE_FIELD, TWO_FIELDS, WIDER)
    )
    function_for(tmp_path, before).handle(event(rows(0, 1)), None)
    with pytest.raises(TableMismatch, match="a field cannot be added below a map"):
        function_for(tmp_path, after).handle(event(rows(1, 2)), None)
    assert function_for(tmp_path, wider).handle(event(rows(1, 2)), None)["batchItemFailures"] == []


def test_table_that_has_a_field_below_a_map_already_goes_on(tmp_path: Path) -> None:
    contract = SMALL + "  m: " + BELOW_A_MAP["a map of structs"] % TWO_FIELDS + "\n"
    for start in range(2):
        answer = function_for(tmp_path, contract).handle(event(rows(start, start + 1)), None)
        assert answer["batchItemFailures"] == []


def test_part_that_is_added_takes_no_bounds_from_the_columns_behind_it(tmp_path: Path) -> None:
    """Bounds in some files only are misleading: deltalake's pyarrow dataset takes them for null."""
    many = "".join(f"  c{i}: {{type: long}}\n" for i in range(40))
    contract = SMALL + "  s: {type: struct, fields: {%s}}\n" + many
    fields = [f"f{i}: {{type: long}}" for i in range(3)]
    for i in (1, 2, 3):
        value = {"id": i, "s": {"f0": i}} | {f"c{k}": 10 * i for k in range(40)}
        function = function_for(tmp_path, contract % ", ".join(fields[:i]))
        assert function.handle(event([record(i, value)]), None) == {"batchItemFailures": []}
    bounds = [
        set(json.loads(add["stats"])["minValues"])
        for add in read_folder(tmp_path / "tables/sales/orders").adds.values()
    ]
    assert bounds[0] == bounds[1] == bounds[2]
    last = max(bounds[0], key=lambda name: int(name[1:]) if name[1:].isdecimal() else -1)
    dataset = DeltaTable(str(tmp_path / "tables/sales/orders")).to_pyarrow_dataset()
    for column in ("c0", last, "c39"):
        assert dataset.to_table(filter=pc.field(column) >= 10).num_rows == 3, column


PLAIN = "is a name that polars cannot read"


@pytest.mark.logs_errors
@pytest.mark.parametrize("name", ["event:type", "é", "a/b", "a%20b"])
def test_table_partitioned_by_a_name_that_is_not_plain_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    contract = SMALL + f"  '{name}': {{type: string}}\npartition_by: ['{name}']\n"
    with pytest.raises(TableMismatch, match=PLAIN):
        function_for(tmp_path, contract).handle(event([record(0, {"id": 1})]), None)
    assert main(["check", str(tmp_path / "contracts")]) == 1
    assert PLAIN in capsys.readouterr().err


@pytest.mark.logs_errors
def test_table_partitioned_by_fractions_is_not_made_and_an_existing_one_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = SMALL + "  d: {type: 'decimal(10,2)'}\npartition_by: [d]\n"
    batch = event([record(0, {"id": 1, "d": "-1.50"})])
    with pytest.raises(TableMismatch, match=r"'d' is a decimal\(10,2\).* Partition by a column"):
        function_for(tmp_path, contract).handle(batch, None)
    assert main(["check", str(tmp_path / "contracts")]) == 1
    assert "partition_by: 'd' is a decimal(10,2)" in capsys.readouterr().err
    monkeypatch.setattr(table_schema, "unreadable_partitions", lambda _contract: ())
    function_for(tmp_path, contract).handle(batch, None)  # as a release before this one made it
    monkeypatch.undo()
    more = event([record(1, {"id": 2, "d": "0.25"})])
    assert function_for(tmp_path, contract).handle(more, None)["batchItemFailures"] == []
    assert sorted(rows_of_folder(tmp_path / "tables/sales/orders", "id")) == [(1,), (2,)]


def test_dead_letters_of_the_release_before_and_after_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deployed, rolled back, deployed again: the columns of redrives are in nobody's way."""

    def deliver(offset: int) -> None:
        answer = function_for(tmp_path).handle(event([record(offset, b"x")]), None)
        assert answer["batchItemFailures"] == []

    for offset, fields in enumerate([(), REDRIVE_FIELDS, (), REDRIVE_FIELDS]):
        monkeypatch.setattr(table_schema, "REDRIVE_FIELDS", fields)
        monkeypatch.setattr(handler_rows, "REDRIVE_FIELDS", fields)
        deliver(offset)
    folder = str(tmp_path / "tables/sales/orders__dead_letters")
    read = DeltaTable(folder).to_pyarrow_table().sort_by("offset")
    assert read["offset"].to_pylist() == [0, 1, 2, 3]
    assert read["redriven_at"].null_count == read["redriven_as"].null_count == 4
