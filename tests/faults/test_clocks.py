"""Clocks that are wrong, and tables that forget: no partition stops, no row doubles."""

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from handler.errors import SourceMismatch, TopicRecreated
from handler.kafka.offsets import CLOCK_SKEW_MS
from silt.cli import main
from tests.builders import NOW_MS, SMALL, FakeClock, event, function_for, record, rows
from tests.reader import read_folder, rows_of_folder

OK = {"batchItemFailures": []}
RETENTION = "delta.setTransactionRetentionDuration"
MINUTE_MS, DAY_MS = 60_000, 86_400_000
AGES_S = (14 * 60, 86_400, 60 * 86_400)


def table(folder: Path) -> Path:
    return folder / "tables" / "sales" / "orders"


def offsets(folder: Path) -> list[int]:
    return sorted(o for (o,) in rows_of_folder(table(folder), "_kafka_offset"))


def late(folder: Path, seconds: float, contract: str = SMALL, **settings: Any) -> Any:
    """Return a function whose clock shows a later time than the first delivery."""
    clock = FakeClock()
    clock.sleep(seconds)
    return function_for(folder, contract, clock=clock, **settings)


@pytest.mark.parametrize("mode", ["look_up", "skip"])
@pytest.mark.parametrize("age_s", AGES_S)
@pytest.mark.parametrize(
    "ahead_ms", [-(2**62), -1, 0, 10 * MINUTE_MS, 400 * DAY_MS, 2**62], ids=str
)
def test_tombstone_that_a_rule_drops_is_no_evidence_whatever_its_timestamp(
    mode: str, age_s: int, ahead_ms: int, tmp_path: Path
) -> None:
    contract = SMALL + f"redelivered: {mode}\n"
    odd = record(1, None, timestamp=max(min(NOW_MS + ahead_ms, 2**62), -(2**62)))
    batch = event([*rows(0, 1), odd, *rows(2, 4)])
    assert function_for(tmp_path, contract).handle(batch, None) == OK
    again = late(tmp_path, age_s, contract)
    assert again.handle(batch, None) == OK
    assert again.handle(event([odd, *rows(2, 6)]), None) == OK
    assert offsets(tmp_path) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("age_s", AGES_S)
@pytest.mark.parametrize("ahead_ms", [-(10**12), 0, CLOCK_SKEW_MS + 1, DAY_MS, 10**13], ids=str)
def test_hole_is_filled_once_whatever_its_timestamp(
    age_s: int, ahead_ms: int, tmp_path: Path
) -> None:
    hole = record(1, {"id": 1}, timestamp=NOW_MS + ahead_ms)
    function_for(tmp_path).handle(event([*rows(0, 1), *rows(2, 4)]), None)
    for _ in range(2):
        assert late(tmp_path, age_s).handle(event([hole, *rows(2, 5)]), None) == OK
        assert offsets(tmp_path) == [0, 1, 2, 3, 4]


@pytest.mark.logs_errors
def test_newer_record_below_a_trusted_watermark_is_refused_until_it_is_looked_up(
    tmp_path: Path,
) -> None:
    skip, look_up = (SMALL + f"redelivered: {mode}\n" for mode in ("skip", "look_up"))
    newer = record(1, {"id": 1}, timestamp=NOW_MS + DAY_MS)
    function_for(tmp_path, skip).handle(event([*rows(0, 1), *rows(2, 4)]), None)
    with pytest.raises(TopicRecreated, match="redelivered: look_up"):
        late(tmp_path, 2 * 86_400, skip).handle(event([newer]), None)
    assert late(tmp_path, 2 * 86_400, look_up).handle(event([newer]), None) == OK
    assert late(tmp_path, 2 * 86_400, skip).handle(event([newer]), None) == OK
    assert offsets(tmp_path) == [0, 1, 2, 3]


@pytest.mark.logs_errors
def test_filled_hole_leaves_the_time_at_which_the_watermark_was_raised(tmp_path: Path) -> None:
    """Else a hole that is filled late would make the trusted watermark newer than it is."""
    skip = SMALL + "redelivered: skip\n"
    function_for(tmp_path).handle(event([*rows(0, 1), *rows(2, 4)]), None)
    raised = read_folder(table(tmp_path)).txns
    late(tmp_path, 86_400).handle(event(rows(1, 2)), None)
    assert read_folder(table(tmp_path)).txns == raised
    with pytest.raises(TopicRecreated):
        late(tmp_path, 2 * 86_400, skip).handle(
            event([record(3, {"id": 9}, timestamp=NOW_MS + DAY_MS // 2)]), None
        )


@pytest.mark.logs_errors
def test_time_of_the_watermark_is_read_from_a_checkpoint(tmp_path: Path) -> None:
    skip = SMALL + "redelivered: skip\n"
    function_for(tmp_path, skip).handle(event([*rows(0, 1), *rows(2, 4)]), None)
    DeltaTable(str(table(tmp_path))).create_checkpoint()
    for commit in sorted((table(tmp_path) / "_delta_log").glob("*.json"))[:-1]:
        commit.unlink()
    newer = record(1, {"id": 1}, timestamp=NOW_MS + DAY_MS)
    with pytest.raises(TopicRecreated, match="before it was made"):
        late(tmp_path, 2 * 86_400, skip).handle(event([newer]), None)


@pytest.mark.logs_errors
def test_raising_the_generation_doubles_nothing(tmp_path: Path) -> None:
    """The remedy that TopicRecreated names, where the alarm was false."""
    first = event([*rows(0, 3), record(3, b"x")])
    function_for(tmp_path).handle(first, None)
    raised = function_for(tmp_path, generation=1)
    for _ in range(2):
        assert raised.handle(first, None) == OK
    assert raised.handle(event(rows(2, 6)), None) == OK
    assert function_for(tmp_path, generation=3).handle(event(rows(0, 7)), None) == OK
    assert offsets(tmp_path) == [0, 1, 2, 4, 5, 6]  # 3 is a dead letter, and came as a row then
    with pytest.raises(SourceMismatch):
        function_for(tmp_path).handle(first, None)


def test_raising_the_generation_under_another_source_doubles_nothing(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    renamed = function_for(tmp_path, generation=1, source="new-name")
    assert renamed.handle(event(rows(0, 4)), None) == OK
    assert offsets(tmp_path) == [0, 1, 2, 3]


def test_recreated_topic_in_a_raised_generation_gets_each_record_once(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 5)), None)
    again = [record(i, {"id": 100 + i}, timestamp=NOW_MS + i) for i in range(3)]
    later = function_for(tmp_path, generation=1)
    for _ in range(3):
        assert later.handle(event(again), None) == OK
    ids = sorted(i for (i,) in rows_of_folder(table(tmp_path), "id"))
    assert ids == [0, 1, 2, 3, 4, 100, 101, 102]


def test_old_rows_are_not_read_in_a_later_generation(tmp_path: Path) -> None:
    """Files of another time are passed over by their statistics: counted by what is not there."""
    function_for(tmp_path).handle(event(rows(0, 5)), None)
    for file in table(tmp_path).glob("*.parquet"):
        file.unlink()  # a look-up that read it would fail
    later = function_for(tmp_path, generation=1)
    again = [record(i, {"id": 100 + i}, timestamp=NOW_MS + i) for i in range(3)]
    assert later.handle(event(again), None) == OK


def test_function_warns_when_a_generation_begins(tmp_path: Path, capsys) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    later = function_for(tmp_path, generation=1)
    for expected in (1, 0):
        capsys.readouterr()
        later.handle(event(rows(0, 4)), None)
        assert capsys.readouterr().out.count("generation 1 begins") == expected


# Tables that forget ------------------------------------------------------------------------------


def forget(folder: Path) -> None:
    """Let the engine write a checkpoint without old watermarks; remove the commits behind it."""
    log = folder / "_delta_log"
    DeltaTable(str(folder)).create_checkpoint()
    last = max(log.glob("*.json"))
    for commit in log.glob("*.json"):
        if commit != last:
            commit.unlink()


def add_property(folder: Path, name: str, value: str) -> None:
    DeltaTable(str(folder)).alter.set_table_properties({name: value}, raise_if_not_exists=False)


def unset_property(folder: Path, name: str) -> None:
    """Commit what ALTER TABLE ... UNSET TBLPROPERTIES does."""
    read = read_folder(folder)
    metadata = dict(read.metadata)
    metadata["configuration"] = {k: v for k, v in metadata["configuration"].items() if k != name}
    commit = folder / "_delta_log" / f"{read.version + 1:020}.json"
    commit.write_text(json.dumps({"metaData": metadata}) + "\n")


@pytest.mark.parametrize("mode", ["look_up", "skip"])
def test_table_that_forgets_its_watermarks_doubles_nothing(mode: str, tmp_path: Path) -> None:
    contract = SMALL + f"redelivered: {mode}\n"
    past = FakeClock(NOW_MS - 400 * DAY_MS)  # the engine goes by the machine's clock
    function_for(tmp_path, contract, clock=past).handle(event(rows(0, 4)), None)
    add_property(table(tmp_path), RETENTION, "interval 30 days")
    forget(table(tmp_path))
    assert not any("orders/0" in name for name in read_folder(table(tmp_path)).txns)
    assert function_for(tmp_path, contract).handle(event(rows(0, 4)), None) == OK
    assert offsets(tmp_path) == [0, 1, 2, 3]
    assert function_for(tmp_path, contract).handle(event(rows(2, 6)), None) == OK
    assert offsets(tmp_path) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("mode", ["look_up", "skip"])
@pytest.mark.parametrize("generation", [0, 1])
@pytest.mark.parametrize("unset", [False, True])
def test_low_watermark_of_a_filled_hole_is_not_trusted_where_the_high_one_was_forgotten(
    mode: str, generation: int, unset: bool, tmp_path: Path
) -> None:
    contract = SMALL + f"redelivered: {mode}\n"
    past = FakeClock(NOW_MS - 400 * DAY_MS)
    batch = [*rows(0, 1), *rows(2, 10), record(10, b"x"), record(12, b"y")]
    function_for(tmp_path, contract, clock=past).handle(event(batch), None)
    tables = [table(tmp_path), table(tmp_path).with_name("orders__dead_letters")]
    for folder in tables:
        add_property(folder, RETENTION, "interval 30 days")
        forget(folder)
    function = function_for(tmp_path, contract, generation=generation)
    assert function.handle(event([*rows(0, 3), record(11, b"z")]), None) == OK
    if unset:  # the marker of ours stays
        for folder in tables:
            unset_property(folder, RETENTION)
    for _ in range(2):
        again = function_for(tmp_path, contract, generation=generation)
        assert again.handle(event([*rows(3, 10), *batch[-2:]]), None) == OK
    assert offsets(tmp_path) == list(range(10))
    dead = sorted(o for (o,) in rows_of_folder(tables[1], '"offset"'))
    assert dead == [10, 11, 12]


def test_what_was_forgotten_stays_so_when_the_property_is_unset(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 1)), None)
    add_property(table(tmp_path), RETENTION, "interval 30 days")
    function_for(tmp_path).handle(event(rows(1, 2)), None)
    metadata = read_folder(table(tmp_path)).metadata
    assert metadata["configuration"]["silt.txns_forgotten"] == "true"
    unset_property(table(tmp_path), RETENTION)
    for _ in range(2):
        function_for(tmp_path).handle(event(rows(0, 3)), None)
    assert offsets(tmp_path) == [0, 1, 2]


def test_status_and_health_report_a_table_that_forgets(tmp_path: Path, capsys) -> None:
    function = function_for(tmp_path)
    function.handle(event(rows(0, 2)), None)
    add_property(table(tmp_path), RETENTION, "interval 30 days")
    answer = function_for(tmp_path).handle({"silt": "health"}, None)
    warned = [f for f in answer["findings"] if f["check"] == "log"]
    assert [f["state"] for f in warned] == ["warning"]
    assert "delta.setTransactionRetentionDuration" in warned[0]["reason"]
    capsys.readouterr()
    place = ["--table-root", str(tmp_path / "tables"), "--contracts", str(tmp_path / "contracts")]
    main(["status", *place, "--json"])
    (orders,) = json.loads(capsys.readouterr().out)
    assert any("setTransactionRetention" in remark["message"] for remark in orders["remarks"])


# Dry runs and replays ----------------------------------------------------------------------------


def test_warm_dry_run_sees_what_others_have_written(tmp_path: Path) -> None:
    dry = function_for(tmp_path, dry_run=True)
    batch = event(rows(0, 20))
    assert dry.run(batch, None).tables[0].line["would"]["append"] == 20
    function_for(tmp_path).handle(event(rows(0, 10)), None)
    assert dry.run(batch, None).tables[0].line["would"]["append"] == 10
    function_for(tmp_path).handle(batch, None)
    assert dry.run(batch, None).tables[0].line["would"]["append"] == 0


def replay(folder: Path, *more: str) -> list[str]:
    (folder / "event.json").write_text(json.dumps(event(rows(0, 5))))
    place = ["--table-root", str(folder / "tables"), "--contracts", str(folder / "contracts")]
    return ["replay", str(folder / "event.json"), *place, *more]


def test_replay_in_a_new_generation_asks_first(tmp_path: Path, capsys, monkeypatch) -> None:
    function_for(tmp_path).handle(event(rows(0, 3)), None)
    assert main(replay(tmp_path, "--generation", "1")) == 2
    printed = capsys.readouterr().err
    assert "makes it refuse functions of the earlier one" in printed
    assert "--yes" in printed
    assert offsets(tmp_path) == [0, 1, 2]
    assert main(replay(tmp_path, "--generation", "1", "--dry-run")) == 0
    assert "refuse functions" in capsys.readouterr().err
    assert offsets(tmp_path) == [0, 1, 2]
    assert main(replay(tmp_path, "--generation", "1", "--yes")) == 0
    assert offsets(tmp_path) == [0, 1, 2, 3, 4]
    capsys.readouterr()
    assert main(replay(tmp_path, "--generation", "1")) == 0
    assert "refuse functions" not in capsys.readouterr().err


def test_replay_asks_where_a_generation_begins_in_the_dead_letters(tmp_path: Path, capsys) -> None:
    function_for(tmp_path).handle(event([record(0, b"x")]), None)
    assert main(replay(tmp_path, "--generation", "1")) == 2
    assert "refuse functions" in capsys.readouterr().err


# What the metric is given ------------------------------------------------------------------------


@pytest.mark.parametrize("timestamp", [-1, 0, 5, NOW_MS // 1000, -(2**40)])
def test_timestamp_that_is_no_age_is_not_in_the_freshness(timestamp: int, tmp_path: Path) -> None:
    odd = record(1, {"id": 1}, timestamp=timestamp)
    report = function_for(tmp_path).run(event([*rows(0, 1), odd]), None)
    assert report.tables[0].measures["freshness_ms"] == 100_000
    assert report.tables[0].counts["appended"] == 2
    alone = function_for(tmp_path).run(event([record(2, {"id": 1}, timestamp=timestamp)]), None)
    assert "freshness_ms" not in alone.tables[0].measures
    ahead = event([record(3, {"id": 3}, timestamp=NOW_MS + 10**12)])
    assert function_for(tmp_path).run(ahead, None).tables[0].measures["freshness_ms"] == 0
