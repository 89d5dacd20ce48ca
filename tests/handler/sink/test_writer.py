"""The function as a whole, over local disk: what is in the tables, and what AWS is told."""

import json
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from deltalake import DeltaTable

from handler.errors import (
    EventError,
    SourceMismatch,
    TableMismatch,
    TopicRecreated,
    UnknownTopic,
    Unsettled,
)
from handler.sink import table_schema
from tests.builders import (
    NOW_MS,
    SMALL,
    Context,
    FakeClock,
    event,
    function_for,
    record,
    rows,
)
from tests.reader import read_folder, rows_of_folder

OK = {"batchItemFailures": []}


def table(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders"


def dead(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders__dead_letters"


def offsets(folder: Path, partition: int = 0) -> list[int]:
    if not table(folder).exists():
        return []
    read = rows_of_folder(table(folder), "_kafka_partition, _kafka_offset")
    return [offset for p, offset in read if p == partition]


def dead_offsets(folder: Path) -> list[int]:
    return [o for (o,) in rows_of_folder(dead(folder), '"offset"')] if dead(folder).exists() else []


def failed(*coordinates: tuple[int, int]) -> dict[str, Any]:
    return {
        "batchItemFailures": [
            {"itemIdentifier": {"partition": f"orders-{p}", "offset": o}} for p, o in coordinates
        ]
    }


def summary(out: str) -> dict[str, Any]:
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return next(line for line in reversed(lines) if line.get("message") == "invocation")


def test_batch_becomes_rows_that_the_engine_reads(tmp_path: Path) -> None:
    assert function_for(tmp_path).handle(event(rows(0, 3)), None) == OK
    engine = DeltaTable(str(table(tmp_path)))
    read = duckdb.from_arrow(engine.to_pyarrow_dataset()).order("_kafka_offset")
    columns = read.project("_kafka_partition, _kafka_offset, epoch_ms(_kafka_timestamp), id, name")
    expected = [(0, i, NOW_MS - 100_000 + i, i, f"n{i}") for i in range(3)]
    assert columns.fetchall() == expected
    assert engine.version() == 1  # made and governed, then appended to
    assert engine.transaction_version("demo-uuid-1/orders/0") == 2


def test_redelivery_is_settled_without_a_commit(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    for _ in range(3):
        assert function.handle(event(rows(0, 3)), None) == OK
    assert function_for(tmp_path).handle(event(rows(0, 3)), None) == OK
    assert offsets(tmp_path) == [0, 1, 2]
    assert read_folder(table(tmp_path)).version == 1


def test_redelivery_with_other_boundaries_appends_only_what_is_new(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    function.handle(event(rows(0, 5)), None)
    function.handle(event(rows(3, 8)), None)
    function.handle(event(rows(0, 9)), None)
    assert offsets(tmp_path) == list(range(9))


def test_hole_below_the_watermark_is_appended_once(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    function.handle(event(rows(5, 8)), None)
    function.handle(event(rows(0, 8)), None)
    function.handle(event(rows(0, 3)), None)
    assert offsets(tmp_path) == list(range(8))
    state = read_folder(table(tmp_path))
    assert state.txns == {"demo-uuid-1/orders/0": 7}
    assert state.infos[-1]["isBlindAppend"] is False


def test_rejects_become_dead_letters_whole(tmp_path: Path) -> None:
    headers = [{"h": [1, -1]}, {"h": []}, {"n": None}]
    bad = record(1, b"\xff\x00", key=b"k\x00", headers=headers, timestamp_type="LOG_APPEND_TIME")
    function = function_for(tmp_path)
    assert function.handle(event([*rows(0, 1), bad, *rows(2, 3)]), None) == OK
    assert offsets(tmp_path) == [0, 2]
    (letter,) = rows_of_folder(
        dead(tmp_path),
        'topic, partition, "offset", epoch_ms(timestamp), timestamp_type, key, value, headers, '
        "error_code, error_path, error_message, length(contract_version), epoch_ms(failed_at)",
        "1",
    )
    assert letter[:7] == ("orders", 0, 1, NOW_MS - 99_999, "LOG_APPEND_TIME", b"k\x00", b"\xff\x00")
    assert letter[7] == [
        {"name": "h", "value": b"\x01\xff"},
        {"name": "h", "value": b""},
        {"name": "n", "value": None},
    ]
    assert letter[8:10] == ("not_json", None)
    assert "not valid JSON" in letter[10]
    assert letter[11:] == (12, NOW_MS)


def test_dead_letters_are_written_once(tmp_path: Path) -> None:
    batch = [*rows(0, 1), record(1, b"x"), record(2, {"id": "x", "name": 5})]
    function = function_for(tmp_path)
    for _ in range(2):
        function.handle(event(batch), None)
    function_for(tmp_path).handle(event([*batch[1:], record(3, b"y")]), None)
    assert dead_offsets(tmp_path) == [1, 2, 3]
    messages = rows_of_folder(dead(tmp_path), "error_message, error_path", '"offset"')
    assert messages[1][0].splitlines()[0].startswith("id: expected an integer, got a string")
    assert messages[1][0].splitlines()[1].startswith("name: expected a string, got an integer")
    assert messages[1][1] == "id"


def test_tombstones_by_rule(tmp_path: Path) -> None:
    for rule in ("skip", "dead_letter", "row"):
        folder = tmp_path / rule
        contract = SMALL + f"on_tombstone: {rule}\nkafka_columns: [key]\n"
        function = function_for(folder, contract)
        batch = [*rows(0, 1), record(1, None, key=b"gone")]
        assert function.handle(event(batch), None) == OK
        assert function.handle(event(batch), None) == OK
        assert offsets(folder) == ([0, 1] if rule == "row" else [0])
        assert dead_offsets(folder) == ([1] if rule == "dead_letter" else [])
    read = rows_of_folder(table(tmp_path / "row"), "id, name, _kafka_key", "_kafka_offset")
    assert read == [(0, "n0", None), (None, None, b"gone")]


def test_fail_commits_what_comes_before_and_reports_the_rest(tmp_path: Path) -> None:
    function = function_for(tmp_path, SMALL + "on_invalid: fail\n")
    batch = [*rows(0, 2), record(2, b"x"), *rows(3, 5), *rows(0, 2, partition=1)]
    assert function.handle(event(batch), None) == failed((0, 2), (0, 3), (0, 4))
    assert offsets(tmp_path) == [0, 1]
    assert offsets(tmp_path, 1) == [0, 1]
    assert dead_offsets(tmp_path) == []
    assert function.handle(event([*batch[:2], *rows(2, 5)]), None) == OK
    assert offsets(tmp_path) == list(range(5))


def test_circuit_breaker_writes_nothing(tmp_path: Path) -> None:
    contract = SMALL + "circuit_breaker: {ratio: 0.5, min_records: 3}\n"
    function = function_for(tmp_path, contract)
    batch = [*rows(0, 1), record(1, b"x"), record(2, b"y")]
    assert function.handle(event(batch), None) == failed((0, 0), (0, 1), (0, 2))
    assert (offsets(tmp_path), dead_offsets(tmp_path)) == ([], [])


def test_without_partial_responses_the_function_raises_after_committing(tmp_path: Path) -> None:
    function = function_for(tmp_path, SMALL + "on_invalid: fail\n", partial_batch_response=False)
    with pytest.raises(Unsettled, match=r"2 records unsettled .* orders-0 offset 1"):
        function.handle(event([*rows(0, 1), record(1, b"x"), *rows(2, 3)]), None)
    assert offsets(tmp_path) == [0]
    assert function.handle(event(rows(0, 3)), None) == OK


@pytest.mark.logs_errors
def test_recreated_topic_is_refused_until_its_generation_is_raised(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 5)), None)
    again = [record(i, {"id": 100 + i}, timestamp=NOW_MS + i) for i in range(3)]
    with pytest.raises(TopicRecreated, match="SILT_GENERATION=1"):
        function_for(tmp_path).handle(event(again), None)
    assert offsets(tmp_path) == list(range(5))
    later = function_for(tmp_path, generation=1)
    for _ in range(2):
        assert later.handle(event(again), None) == OK
    assert sorted(rows_of_folder(table(tmp_path), "id")) == [
        (i,) for i in (0, 1, 2, 3, 4, 100, 101, 102)
    ]
    with pytest.raises(SourceMismatch, match="Set SILT_GENERATION=1"):
        function_for(tmp_path).handle(event(rows(5, 6)), None)


@pytest.mark.logs_errors
def test_second_source_is_refused(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    other = event(rows(1, 2), arn="arn:aws:kafka:r:1:cluster/x/other-2")
    with pytest.raises(SourceMismatch, match="SILT_SOURCE=demo-uuid-1"):
        function_for(tmp_path).handle(other, None)
    assert function_for(tmp_path, source="demo-uuid-1").handle(other, None) == OK


@pytest.mark.logs_errors
def test_unknown_topic_and_broken_event_fail_loudly(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    with pytest.raises(UnknownTopic, match=r"'other'.*There are contracts for orders"):
        function.handle(event([record(0, {}, topic="other")]), None)
    with pytest.raises(EventError):
        function.handle({}, None)


def test_trusted_watermark_does_not_bring_deleted_rows_back(tmp_path: Path) -> None:
    for mode, brought_back in (("skip", []), ("look_up", [0, 1, 2])):
        folder = tmp_path / mode
        function = function_for(folder, SMALL + f"redelivered: {mode}\n")
        function.handle(event(rows(0, 3)), None)
        DeltaTable(str(table(folder))).delete()
        assert function.handle(event(rows(0, 3)), None) == OK
        assert offsets(folder) == brought_back


def test_dry_run_commits_nothing_and_reports_everything(tmp_path: Path, capsys) -> None:
    function = function_for(tmp_path, dry_run=True)
    batch = event([*rows(0, 2), record(2, b"x"), record(3, None)])
    assert function.handle(batch, None) == failed((0, 0), (0, 1), (0, 2))
    assert not (tmp_path / "tables").exists()
    line = summary(capsys.readouterr().out)
    assert line["would"] == {"append": 2, "dead_letter": 1, "leave_unsettled": 0}
    assert line["unsettled"] == 3


def test_summary_and_commit_carry_the_accounting(tmp_path: Path, capsys) -> None:
    function = function_for(tmp_path)
    function.handle(event(rows(0, 2)), None)
    batch = [*rows(1, 3), record(3, None), record(4, b"secret"), record(4, b"secret")]
    function.handle(event(batch), None)
    out = capsys.readouterr().out
    line = summary(out)
    expected = {
        "delivered": 5,
        "appended": 1,
        "dead_lettered": 1,
        "skipped_by_rule": 1,
        "duplicates": 2,
        "unsettled": 0,
    }
    assert {name: line[name] for name in expected} == expected
    info = read_folder(table(tmp_path)).infos[-1]["silt"]
    assert info["delivered"] == 5
    assert info["streams"][0]["stream"] == "demo-uuid-1/orders/0"
    assert (info["streams"][0]["first_offset"], info["streams"][0]["last_offset"]) == (1, 4)
    metrics = [json.loads(text) for text in out.splitlines() if "_aws" in text][-1]
    assert (metrics["topic"], metrics["delivered"], metrics["appended"]) == ("orders", [5.0], [1.0])
    for name in (
        "freshness_ms",
        "commit_attempts",
        "parse_ms",
        "check_ms",
        "write_ms",
        "cold_start",
    ):
        assert name in metrics
    assert "secret" not in out


def test_why_a_batch_was_decided_again_is_in_the_log_line_and_a_metric(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = function_for(tmp_path), function_for(tmp_path)
    first.handle(event(rows(0, 1)), None)
    second.handle(event(rows(1, 2)), None)
    capsys.readouterr()
    first.handle(event(rows(2, 3)), None)  # its snapshot has not seen the second's commit
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    (line,) = [each for each in lines if each.get("message") == "invocation"]
    (metrics,) = [each for each in lines if "_aws" in each]
    assert line["decided_again_because"] == {"stream of sales/orders": 1}
    assert line["decided_again"] == 1
    assert metrics["decided_again"] == [1.0]


def test_two_partitions_in_one_event(tmp_path: Path) -> None:
    batch = [*rows(0, 3), *rows(10, 12, partition=7)]
    assert function_for(tmp_path).handle(event(batch), None) == OK
    assert (offsets(tmp_path), offsets(tmp_path, 7)) == ([0, 1, 2], [10, 11])
    assert read_folder(table(tmp_path)).txns == {
        "demo-uuid-1/orders/0": 2,
        "demo-uuid-1/orders/7": 11,
    }


PARTITIONED = """
topic: orders
table: sales/orders
columns:
  id: {type: long, required: true}
  site: {type: string}
  at: {type: timestamp}
  day: {type: date, from: at}
  ok: {type: boolean}
  price: {type: "decimal(6,0)"}
partition_by: [site, day, ok, price]
"""


def test_partitioned_batch_puts_one_file_a_partition(tmp_path: Path) -> None:
    values = [
        {"id": 1, "site": "a/b=c %ä", "at": "2026-05-01T10:00:00Z", "ok": True, "price": "15"},
        {"id": 2, "site": None},
        {"id": 3, "site": "x" * 2000, "at": "1969-12-31T23:59:59Z", "ok": False, "price": -1},
        {"id": 4, "site": "a/b=c %ä", "at": "2026-05-01T23:59:59Z", "ok": True, "price": 15.0},
    ]
    batch = [record(i, value) for i, value in enumerate(values)]
    batch.append(record(9, {"id": 5, "site": ""}))
    assert function_for(tmp_path, PARTITIONED).handle(event(batch), None) == OK
    assert dead_offsets(tmp_path) == [9]
    engine = DeltaTable(str(table(tmp_path)))
    assert len(engine.file_uris()) == 3
    read = (
        duckdb.from_arrow(engine.to_pyarrow_dataset())
        .order("id")
        .project("id, site, day, ok, price")
    )
    import datetime as dt
    from decimal import Decimal

    first = ("a/b=c %ä", dt.date(2026, 5, 1), True, Decimal(15))
    assert read.fetchall() == [
        (1, *first),
        (2, None, None, None, None),
        (3, "x" * 2000, dt.date(1969, 12, 31), False, Decimal(-1)),
        (4, *first),
    ]


def test_partitions_by_time_read_back(tmp_path: Path) -> None:
    contract = (
        SMALL + "  at: {type: timestamp}\n  ntz: {type: timestamp_ntz}\npartition_by: [at, ntz]\n"
    )
    value = {"id": 1, "at": "2026-05-01T10:00:00.000001Z", "ntz": "2026-05-01T11:00:00.5"}
    assert function_for(tmp_path, contract).handle(event([record(0, value)]), None) == OK
    engine = DeltaTable(str(table(tmp_path)))
    rows_ = engine.to_pyarrow_dataset().to_table(columns=["at", "ntz"]).to_pylist()
    assert rows_[0]["at"].isoformat() == "2026-05-01T10:00:00.000001+00:00"
    assert rows_[0]["ntz"].isoformat() == "2026-05-01T11:00:00.500000"


@pytest.mark.parametrize("timestamp", [2**62, -(2**62), 253402300800000, -62135596800001])
def test_record_with_an_impossible_timestamp_is_a_dead_letter(
    tmp_path: Path, timestamp: int
) -> None:
    batch = event([*rows(0, 1), record(1, {"id": 1}, timestamp=timestamp)])
    function = function_for(tmp_path)
    for _ in range(2):
        assert function.handle(batch, None) == OK
    assert offsets(tmp_path) == [0]
    (letter,) = rows_of_folder(dead(tmp_path), "error_code, error_path, timestamp")
    assert letter == ("out_of_range", "_kafka_timestamp", None)


def test_deadline_that_has_passed_reports_everything_in_time(tmp_path: Path, capsys) -> None:
    function = function_for(tmp_path, clock=FakeClock())
    answer = function.handle(event(rows(0, 2)), Context(remaining_ms=3100))
    assert answer == failed((0, 0), (0, 1))
    assert "too few to" in summary(capsys.readouterr().out)["unsettled_because"]
    assert function.handle(event(rows(0, 2)), Context(remaining_ms=30_000)) == OK


def test_all_kafka_columns_and_the_wide_example(tmp_path: Path) -> None:
    from tests.builders import ROOT

    contract = (ROOT / "schemas" / "sensors.yaml").read_text()
    value = {"machine": "m", "site": "s", "measured_at": 1767225600000001, "extra": {"a": 1.10}}
    raw = orjson.dumps(value).replace(b"1.1}", b"1.10}")
    headers = [{"h": [1]}]
    item = record(3, raw, topic="sensors", key=b"k", headers=headers)
    assert function_for(tmp_path, contract).handle(event([item]), None) == OK
    (read,) = rows_of_folder(
        tmp_path / "tables" / "plant" / "sensors",
        "machine, epoch_us(measured_at), _kafka_timestamp_type, _kafka_key, _kafka_headers, "
        "_rescued",
    )
    assert read == (
        "m",
        1767225600000001,
        "CREATE_TIME",
        b"k",
        [{"name": "h", "value": b"\x01"}],
        '{"extra":{"a":1.10}}',
    )


@pytest.mark.logs_errors
def test_table_that_does_not_fit_lists_the_differences(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    other = """
topic: orders
table: sales/orders
columns:
  id: {type: string}
  NAME: {type: string}
"""
    with pytest.raises(TableMismatch) as caught:
        function_for(tmp_path, other).handle(event([record(5, {"id": "x"})]), None)
    text = str(caught.value)
    for part in (
        "id: the table has long, the contract string",
        "NAME",
        "only the case differs",
        "name:",
        "retired: [name]",
    ):
        assert part in text
    with pytest.raises(TableMismatch, match="partitioned by"):
        function_for(tmp_path, SMALL + "partition_by: [id]\n").handle(event(rows(5, 6)), None)


@pytest.mark.logs_errors
def test_value_with_bad_base64_is_an_event_error(tmp_path: Path) -> None:
    function = function_for(tmp_path)
    broken = event([record(0, {"id": 1}) | {"value": "%%%"}])
    with pytest.raises(EventError, match="orders-0 offset 0: its value is not valid base64"):
        function.handle(broken, None)


def test_dry_run_that_runs_out_of_time_says_so(tmp_path: Path) -> None:
    function = function_for(tmp_path, dry_run=True)
    assert function.handle(event(rows(0, 1)), Context(remaining_ms=3000)) == failed((0, 0))


def test_partition_column_of_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a release before made it: a new one of such a name is refused."""
    monkeypatch.setattr(table_schema, "unreadable_partitions", lambda _contract: ())
    contract = SMALL + "  größe%: {type: string}\npartition_by: [größe%]\n"
    batch = event([record(0, {"id": 0, "größe%": "ü/ä"}), record(1, {"id": 1})])
    assert function_for(tmp_path, contract).handle(batch, None) == OK
    read = DeltaTable(str(table(tmp_path))).to_pyarrow_dataset().to_table().sort_by("id")
    assert read["größe%"].to_pylist() == ["ü/ä", None]


def test_clock_that_runs_ahead_does_not_stop_a_redelivery(tmp_path: Path) -> None:
    ahead = NOW_MS + 3_600_000
    batch = event([record(i, {"id": i}, timestamp=ahead + i) for i in range(3)])
    for mode in ("look_up", "skip"):
        folder = tmp_path / mode
        clock = FakeClock()
        function = function_for(folder, SMALL + f"redelivered: {mode}\n", clock=clock)
        for _ in range(3):
            assert function.handle(batch, None) == OK
            clock.sleep(3_000)
        assert offsets(folder) == [0, 1, 2]


def test_source_by_setting_needs_no_cluster_in_the_event(tmp_path: Path) -> None:
    bare = {
        k: v
        for k, v in event(rows(0, 1)).items()
        if k not in ("eventSourceArn", "bootstrapServers")
    }
    assert function_for(tmp_path, source="prod").handle(bare, None) == OK
    assert read_folder(table(tmp_path)).txns == {"prod/orders/0": 0}


def test_column_derived_from_a_kafka_column_that_is_not_kept(tmp_path: Path) -> None:
    contract = SMALL + "  of: {type: string, from: _kafka_topic}\n  __row: {type: long}\n"
    function = function_for(tmp_path, contract + "partition_by: [__row]\n")
    batch = event([record(0, {"id": 0, "__row": 1}), record(1, {"id": 1, "__row": 2})])
    assert function.handle(batch, None) == OK
    assert rows_of_folder(table(tmp_path), "of") == [("orders",), ("orders",)]
    assert "_kafka_topic" not in [f["name"] for f in read_folder(table(tmp_path)).fields]


@pytest.mark.logs_errors
@pytest.mark.parametrize(
    "changes", [{"timestampType": 5}, {"headers": [{"\ud800": [1]}]}, {"headers": [{5: [1]}]}]
)
def test_odd_parts_of_an_event_are_event_errors(tmp_path: Path, changes: dict[str, Any]) -> None:
    contract = SMALL + "kafka_columns: [timestamp_type, headers]\n"
    with pytest.raises(EventError, match="orders-0 offset 0"):
        function_for(tmp_path, contract).handle(event([record(0, {"id": 0}) | changes]), None)
