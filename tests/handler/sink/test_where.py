"""`where`, and several contracts of one topic: each table gets its records, each exactly once."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.app import Function
from handler.errors import TableMismatch, Unavailable
from handler.settings import Settings
from tests.builders import FakeClock, contract_of, event, problems_of, record
from tests.fakes import Memory
from tests.reader import rows_of_folder, rows_of_memory

OK = {"batchItemFailures": []}
HEAD = "topic: orders\ntable: t\ncolumns: {a: {type: long}}\n"


def keeps(where: str, document: Any) -> bool:
    contract = contract_of(f"{HEAD}where: {where}\n")
    assert contract.where is not None
    return contract.where.keeps(document)


CASES: list[tuple[str, Any, bool]] = [
    ("{a: {equals: x}}", {"a": "x"}, True),
    ("{a: {equals: x}}", {"a": "y"}, False),
    ("{a: {equals: x}}", {"a": ["x"]}, False),
    ("{a: {equals: x}}", {"a": {"x": "x"}}, False),
    ("{a: {equals: x}}", {}, False),
    ("{a: {equals: x}}", {"a": None}, False),
    ("{a: {equals: 1}}", {"a": 1}, True),
    ("{a: {equals: 1}}", {"a": 1.0}, True),
    ("{a: {equals: 1}}", {"a": True}, False),
    ("{a: {equals: 1}}", {"a": "1"}, False),
    ("{a: {equals: 0}}", {"a": False}, False),
    ("{a: {equals: true}}", {"a": True}, True),
    ("{a: {equals: true}}", {"a": 1}, False),
    ("{a: {equals: '1'}}", {"a": 1}, False),
    ("{a: {equals: ''}}", {"a": ""}, True),
    ("{a: {in: [x, 1, true]}}", {"a": "x"}, True),
    ("{a: {in: [x, 1]}}", {"a": 1.0}, True),
    ("{a: {in: [x, 1]}}", {"a": True}, False),
    ("{a: {in: [x]}}", {"a": ["x"]}, False),
    ("{a: {prefix: ab}}", {"a": "abc"}, True),
    ("{a: {prefix: ab}}", {"a": "xab"}, False),
    ("{a: {prefix: ab}}", {"a": 5}, False),
    ("{a: {exists: true}}", {"a": 0}, True),
    ("{a: {exists: true}}", {"a": None}, False),
    ("{a: {exists: true}}", {}, False),
    ("{a: {exists: false}}", {}, True),
    ("{a: {exists: false}}", {"a": None}, True),
    ("{a: {exists: false}}", {"a": False}, False),
    ("{a: {minimum: 10}}", {"a": 10}, True),
    ("{a: {minimum: 10}}", {"a": 9.5}, False),
    ("{a: {minimum: 10}}", {"a": "10"}, False),
    ("{a: {minimum: 0}}", {"a": True}, False),
    ("{a: {minimum: b}}", {"a": "c"}, True),
    ("{a: {minimum: b}}", {"a": 5}, False),
    ("{a: {maximum: 10, minimum: 5}}", {"a": 7}, True),
    ("{a: {maximum: 10, minimum: 5}}", {"a": 11}, False),
    ("{a: {equals: x, prefix: y}}", {"a": "x"}, False),
    ("{a.b.c: {equals: 1}}", {"a": {"b": {"c": 1}}}, True),
    ("{a.b.c: {equals: 1}}", {"a": {"b": 1}}, False),
    ("{a.b.c: {equals: 1}}", {"a.b.c": 1}, False),
    ("{a.b.c: {exists: false}}", {"a": [1]}, True),
    ("{a: {equals: 1}, b: {equals: 2}}", {"a": 1, "b": 2}, True),
    ("{a: {equals: 1}, b: {equals: 2}}", {"a": 1, "b": 3}, False),
    ("{any: [{a: {equals: 1}}, {a: {equals: 2}, b: {equals: 3}}]}", {"a": 1}, True),
    ("{any: [{a: {equals: 1}}, {a: {equals: 2}, b: {equals: 3}}]}", {"a": 2}, False),
    ("{any: [{a: {equals: 1}}, {a: {equals: 2}, b: {equals: 3}}]}", {"a": 2, "b": 3}, True),
    ("{c: {equals: 1}, any: [{a: {equals: 1}}]}", {"a": 1}, False),
    ("{any: {equals: x}}", {"any": "x"}, True),
    ("{_kafka_headers.k.v: {equals: x}}", {"_kafka_headers": {"k.v": "x"}}, True),
    ("{_kafka_key: {equals: x}}", {"_kafka_key (text)": "x"}, True),
    ("{_kafka_key.id: {equals: 1}}", {"_kafka_key": {"id": 1}}, True),
]


@pytest.mark.parametrize(("where", "document", "kept"), CASES)
def test_condition_holds_for_values_of_its_type_only(where: str, document: Any, kept: bool) -> None:
    assert keeps(where, document) is kept


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("{}", ["where: there is no condition"]),
        ("{a: {}}", ["where.a: there is no condition here"]),
        ("{a: {equal: 1}}", ["where.a.equal: unknown key", "Did you mean 'equals'?"]),
        ("{a: 5}", ["where.a: expected a mapping, got 5"]),
        ("{any: []}", ["where.any", "at least 1 item"]),
        ("{b: [{x: {equals: 1}}]}", ["where.b", "a list is for `any`"]),
        ("{any: [{x: {equal: 1}}]}", ["where.any.0.x.equal", "Did you mean 'equals'?"]),
        ("{any: [{x: 1}]}", ["where.any.0.x: expected a mapping"]),
        ("{$.a: {equals: 1}}", ["does not begin with $"]),
        ("{'a[0]': {equals: 1}}", ["element of an array"]),
        ("{a: {in: []}}", ["where.a.in: expected a list of values"]),
        ("{a: {equals: [1]}}", ["where.a.equals: expected a string, a number, true or false"]),
        ("{a: {minimum: true}}", ["where.a.minimum: expected a string, a number"]),
        ("{a: {equals: null}}", ["exists: false"]),
        ("{_kafka_headers: {equals: a}}", ["name of the header is missing"]),
        ("[1]", ["where: expected a mapping"]),
        ("", ["there is no condition: leave `where` out"]),
        ("{a: {minimum: }}", ["where.a.minimum: there is no value here"]),
        ("{a: {exists: false, equals: 1}}", ["nothing else can hold"]),
        ("{a: {in: order}}", ["expected a list of values"]),
        ("{_kafka_header.kind: {equals: a}}", ["Did you mean '_kafka_headers'?"]),
        ("{_kafka_partition: {equals: 0}}", ["cannot be on '_kafka_partition'"]),
    ],
)
def test_condition_that_says_nothing_is_refused(where: str, words: list[str]) -> None:
    problems = problems_of(f"{HEAD}where: {where}\n")
    assert len(problems) == 1, problems
    for word in words:
        assert word in problems[0]


# --- several tables of a topic

ORDERS = """topic: orders
table: by_type/orders
where: {type: {equals: order}}
columns:
  id: {type: long, required: true}
  amount: {type: "decimal(6,2)"}
"""
CLICKS = """topic: orders
table: by_type/clicks
where: {type: {equals: click}, page: {exists: true}}
columns:
  id: {type: long, required: true}
  page: {type: string}
"""
ALL = """topic: orders
table: by_type/all
columns:
  id: {type: string, accept: [number]}
  type: {type: string}
  amount: {type: json}
"""


def function_of(folder: Path, *contracts: str, **more: Any) -> Function:
    schemas = folder / "contracts"
    schemas.mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(contracts):
        (schemas / f"{i}.yaml").write_text(text)
    values = {"table_root": str(folder / "tables"), "contracts": str(schemas), **more}
    return Function(Settings(**values), clock=FakeClock(), random=lambda: 0.5)


def rows_in(folder: Path, table: str, columns: str = "id") -> list[Any]:
    place = folder / "tables" / "by_type" / table
    if not (place / "_delta_log").exists():
        return []
    order = "_kafka_offset" if "__" not in table else '"offset"'
    return rows_of_folder(place, columns, order)


def lines_of(capsys: Any, message: str | None = "invocation") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if message is None or line.get("message") == message]


MIXED = [
    record(0, {"id": 0, "type": "order", "amount": 1.50}),
    record(1, {"id": 1, "type": "click", "page": "/"}),
    record(2, {"id": 2, "type": "other"}),
    record(3, {"id": "x", "type": "order"}),
    record(4, {"id": 4, "type": "click"}),
    record(5, b"{"),
    record(6, None),
    record(7, {"id": 7, "type": ["order"]}),
]


def test_each_table_gets_its_records_and_its_own_accounting(tmp_path: Path, capsys: Any) -> None:
    function = function_of(tmp_path, ORDERS, CLICKS, ALL)
    assert function.handle(event(MIXED), None) == OK
    assert rows_in(tmp_path, "orders", "id, amount::varchar") == [(0, "1.50")]
    assert rows_in(tmp_path, "clicks", "id, page") == [(1, "/")]
    assert rows_in(tmp_path, "all", "id, amount") == [
        ("0", "1.5"),
        ("1", None),
        ("2", None),
        ("x", None),
        ("4", None),
    ]
    dead = "error_code, error_path"
    assert rows_in(tmp_path, "orders__dead_letters", dead) == [
        ("wrong_type", "id"),
        ("not_json", None),
    ]
    assert rows_in(tmp_path, "clicks__dead_letters", dead) == [("not_json", None)]
    assert rows_in(tmp_path, "all__dead_letters", dead) == [
        ("not_json", None),
        ("wrong_type", "type"),
    ]
    captured = lines_of(capsys, None)
    parts = {
        line["table"]: [
            line[p] for p in ("delivered", "appended", "dead_lettered", "skipped_by_rule")
        ]
        for line in captured
        if line.get("message") == "invocation"
    }
    assert parts == {
        "by_type/orders": [8, 1, 2, 5],
        "by_type/clicks": [8, 1, 1, 6],
        "by_type/all": [8, 5, 2, 1],
    }
    # Each of six tables, dead letters included, is made and appended to.
    attempts = [line["commit_attempts"] for line in captured if line.get("message") == "invocation"]
    assert attempts == [12, 12, 12]
    metrics = [line for line in captured if "_aws" in line]
    tables = {line["table"] for line in metrics if "table" in line}
    assert tables == {"by_type/orders", "by_type/clicks", "by_type/all"}
    # The topic's own metrics add up those of its tables.
    assert sum(line.get("appended", [0])[0] for line in metrics if "table" not in line) == 7
    assert not any("matched_none" in line for line in metrics)


def test_tables_do_not_see_each_others_conversions(tmp_path: Path) -> None:
    """Conversions change the parsed objects: each table begins with what was sent."""
    head = "topic: orders\ntable: by_type/{}\ncolumns:\n  id: {{type: long}}\n  v: {}\n"
    contracts = (
        head.format("orders", "{type: timestamp, unit: s, accept: [float]}"),
        head.format("clicks", "{type: double}"),
        head.format("all", "{type: json}"),
    )
    function = function_of(tmp_path, *contracts)
    assert function.handle(event([record(0, b'{"id": 0, "v": 1764000000.50}')]), None) == OK
    assert rows_in(tmp_path, "clicks", "v") == [(1764000000.5,)]
    assert rows_in(tmp_path, "all", "v") == [("1764000000.50",)]
    assert rows_in(tmp_path, "orders", "epoch_us(v)") == [(1764000000500000,)]


def test_record_that_where_drops_is_no_evidence_of_a_recreated_topic(tmp_path: Path) -> None:
    function = function_of(tmp_path, ORDERS)
    assert (
        function.handle(event([record(0, {"id": 0, "type": "order"}, timestamp=10**12)]), None)
        == OK
    )
    other = record(0, {"id": 0, "type": "other"}, timestamp=2 * 10**12)
    assert function_of(tmp_path, ORDERS).handle(event([other]), None) == OK


def test_records_that_no_table_is_for_are_counted(tmp_path: Path, capsys: Any) -> None:
    assert function_of(tmp_path, ORDERS, CLICKS).handle(event(MIXED), None) == OK
    metrics = [line for line in lines_of(capsys, None) if "matched_none" in line]
    # 2 and 7 are of another type, 4 has no page. What is no object may be anybody's.
    assert [line["matched_none"] for line in metrics] == [[3]]


def test_redelivery_duplicates_nothing_in_any_table(tmp_path: Path, capsys: Any) -> None:
    for start in (0, 0, 3):
        function = function_of(tmp_path, ORDERS, CLICKS, ALL)
        assert function.handle(event(MIXED[start:]), None) == OK
    assert [len(rows_in(tmp_path, t)) for t in ("orders", "clicks", "all")] == [1, 1, 5]
    assert len(rows_in(tmp_path, "orders__dead_letters", "error_code")) == 2
    assert [line["duplicates"] for line in lines_of(capsys)][3:6] == [3, 2, 7]


@pytest.mark.logs_errors
def test_table_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: Any) -> None:
    function_of(tmp_path, ORDERS, CLICKS, ALL).handle(event(MIXED[:2]), None)
    broken = ORDERS.replace("id: {type: long, required: true}", "id: {type: string}")
    function = function_of(tmp_path, broken, CLICKS, ALL)
    capsys.readouterr()
    more = [
        record(10, {"id": 10, "type": "click", "page": "/a"}),
        record(11, {"id": 11, "type": "order"}),
        record(12, {"id": 12, "type": "click", "page": "/b"}),
    ]
    answer = function.handle(event(more), None)
    # Only what belongs in the table that failed is delivered again.
    assert [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]] == [11]
    assert rows_in(tmp_path, "clicks") == [(1,), (10,), (12,)]
    assert len(rows_in(tmp_path, "all")) == 5
    lines = lines_of(capsys, None)
    (failed,) = [line for line in lines if line.get("message") == "table failed"]
    assert (failed["table"], failed["error"]) == ("by_type/orders", "TableMismatch")
    assert any(line.get("contract_drift") == [1] for line in lines)
    function_of(tmp_path, ORDERS, CLICKS, ALL).handle(event(more), None)
    assert rows_in(tmp_path, "orders") == [(0,), (11,)]
    assert rows_in(tmp_path, "clicks") == [(1,), (10,), (12,)]


@pytest.mark.logs_errors
def test_function_raises_where_every_table_failed(tmp_path: Path) -> None:
    function_of(tmp_path, ORDERS, CLICKS).handle(event(MIXED[:2]), None)
    broken = [text.replace("long, required: true", "string") for text in (ORDERS, CLICKS)]
    with pytest.raises(TableMismatch, match="by_type/orders does not fit"):
        function_of(tmp_path, *broken).handle(event(MIXED), None)


class Killed(BaseException):
    """Ends the process between two tables."""


@pytest.mark.parametrize("table", [0, 1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_kill_between_two_tables_loses_and_doubles_nothing(
    table: int, after: bool, tmp_path: Path
) -> None:
    contracts = (ORDERS, CLICKS, ALL)
    function = function_of(tmp_path, *contracts)
    writer = function._writer("orders").writers[table]
    write = writer.write

    def killed(*arguments: Any, **options: Any) -> Any:
        if after:
            write(*arguments, **options)
        raise Killed

    writer.write = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        function.handle(event(MIXED), None)
    assert function_of(tmp_path, *contracts).handle(event(MIXED), None) == OK
    assert [rows_in(tmp_path, t) for t in ("orders", "clicks")] == [[(0,)], [(1,)]]
    assert sorted(rows_in(tmp_path, "all")) == [("0",), ("1",), ("2",), ("4",), ("x",)]
    assert len(rows_in(tmp_path, "orders__dead_letters", '"offset"')) == 2
    assert len(rows_in(tmp_path, "clicks__dead_letters", '"offset"')) == 1


def test_record_that_is_unsettled_in_one_table_is_reported(tmp_path: Path) -> None:
    strict = ORDERS + "on_invalid: fail\n"
    answer = function_of(tmp_path, strict, CLICKS).handle(event(MIXED[:5]), None)
    assert [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]] == [3]
    assert rows_in(tmp_path, "clicks") == [(1,)]
    assert rows_in(tmp_path, "orders") == [(0,)]


def test_what_may_be_another_tables_does_not_trip_the_circuit_breaker(tmp_path: Path) -> None:
    breaker = "circuit_breaker: {ratio: 0.5, min_records: 3}\n"
    junk = [record(i, b"junk") for i in range(6)]
    orders = [record(10 + i, {"id": "x", "type": "order"}) for i in range(3)]
    function = function_of(tmp_path, ORDERS + breaker)
    assert function.handle(event(junk), None) == OK
    assert len(function.handle(event(orders), None)["batchItemFailures"]) == 3
    # Without `where` it is this table's producer that sends junk.
    alone = function_of(tmp_path / "alone", ALL + breaker)
    assert len(alone.handle(event(junk), None)["batchItemFailures"]) == 6


def test_conditions_on_headers_and_keys(tmp_path: Path) -> None:
    by_header = ORDERS.replace(
        "{type: {equals: order}}", "{_kafka_headers.kind: {in: [a, b]}, _kafka_key.n: {minimum: 5}}"
    )
    by_key = CLICKS.replace(
        "{type: {equals: click}, page: {exists: true}}", "{_kafka_key: {prefix: x}}"
    )

    def kind(*values: bytes | None) -> list[dict[str, Any]]:
        return [{"kind": None if v is None else list(v)} for v in values]

    function = function_of(tmp_path, by_header, by_key)
    records = [
        record(0, {"id": 0}, headers=kind(b"a"), key=b'{"n": 5}'),
        record(1, {"id": 1}, headers=kind(b"a", b"c"), key=b'{"n": 5}'),
        record(2, {"id": 2}, headers=kind(b"c", b"b"), key=b'{"n": 4}'),
        record(3, {"id": 3}, headers=kind(b"\xff"), key=b'{"n": 9}'),
        record(4, {"id": 4}, headers=kind(None), key=b"xyz"),
        record(5, {"id": 5}, key=b"x\xff"),
        record(7, {"id": 7}, headers=kind(b"\xff")),
        record(6, {"id": 6, "_kafka_headers": {"kind": "a"}, "_kafka_key": {"n": 5}}),
    ]
    assert function.handle(event(records), None) == OK
    assert rows_in(tmp_path, "orders") == [(0,)]
    assert rows_in(tmp_path, "clicks") == [(4,)]


def test_header_and_key_that_are_no_text_are_there(tmp_path: Path) -> None:
    without = [
        text.replace(before, f"{{{path}: {{exists: false}}}}")
        for text, before, path in (
            (ORDERS, "{type: {equals: order}}", "_kafka_headers.kind"),
            (CLICKS, "{type: {equals: click}, page: {exists: true}}", "_kafka_key"),
        )
    ]
    records = [
        record(0, {"id": 0}, headers=[{"kind": [255]}], key=b"\xff"),
        record(1, {"id": 1}, headers=[{"kind": None}]),
    ]
    assert function_of(tmp_path, *without).handle(event(records), None) == OK
    assert rows_in(tmp_path, "orders") == rows_in(tmp_path, "clicks") == [(1,)]


def test_table_that_is_down_leaves_time_to_the_others(tmp_path: Path) -> None:
    """Each has its share of the time: in the order of the files the first would take it all."""

    def refuse(_verb: str, _key: str) -> None:
        raise Unavailable("503 SlowDown")

    clock = FakeClock()
    down, up = Memory(before=refuse), Memory(before=lambda _verb, _key: clock.sleep(0.15))

    def open_store(uri: str) -> Any:
        is_down = uri.endswith(("/orders", "/orders__dead_letters"))
        return (down if is_down else up).open(uri)

    function_of(tmp_path, ORDERS, CLICKS)  # writes the contracts
    values = {"table_root": "s3://lake", "contracts": str(tmp_path / "contracts")}
    function = Function(Settings(**values), clock=clock, open_store=open_store, random=lambda: 0.5)
    batch = [
        record(0, {"id": 0, "type": "order"}),
        record(1, {"id": 1, "type": "click", "page": "/"}),
    ]
    answer = function.handle(event(batch), None)
    assert [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]] == [0]
    assert rows_of_memory(up, "s3://lake/by_type/clicks", ["id"]) == [(1,)]


def test_dry_run_says_what_each_table_would_get(tmp_path: Path) -> None:
    report = function_of(tmp_path, ORDERS, CLICKS, dry_run=True).run(event(MIXED), None)
    assert [table.line["would"]["append"] for table in report.tables] == [1, 1]
    assert len(report.failures) == 4
    assert report.why == "by_type/orders: dry run; by_type/clicks: dry run"


kinds = st.sampled_from(["order", "click", "other", None])


@settings(max_examples=30)
@given(
    st.lists(kinds, min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 8)), max_size=6),
)
def test_whatever_is_delivered_again_each_table_has_its_records_once(
    tmp_path_factory: pytest.TempPathFactory, types: list[Any], deliveries: list[tuple[int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("where")
    records = [
        record(i, {"id": i, "type": kind, "page": "/"}) if kind is not None else record(i, b"[]")
        for i, kind in enumerate(types)
    ]
    for start, length in [*deliveries, (0, len(records))]:
        if batch := records[start : start + length]:
            assert function_of(folder, ORDERS, CLICKS, ALL).handle(event(batch), None) == OK

    def ids(wanted: Iterable[Any]) -> list[tuple[int]]:
        return [(i,) for i, kind in enumerate(types) if kind in wanted]

    assert rows_in(folder, "orders") == ids(["order"])
    assert rows_in(folder, "clicks") == ids(["click"])
    everything = [(str(i),) for (i,) in ids(["order", "click", "other"])]
    assert sorted(rows_in(folder, "all")) == sorted(everything)
    for table in ("orders", "clicks", "all"):
        assert rows_in(folder, f"{table}__dead_letters", '"offset"') == ids([None])
