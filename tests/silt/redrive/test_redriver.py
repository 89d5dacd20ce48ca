"""silt redrive: dead letters become rows, each once, whatever comes in between."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from handler.delta.change import Change
from handler.delta.commit import Transaction
from handler.delta.log import Snapshot
from handler.delta.retry import Deadline
from handler.delta.store import ObjectStore
from handler.errors import NotFound, OutOfTime, Superseded, UnsupportedTable
from silt.redrive import redriver as module
from silt.redrive.origins import Origins
from silt.redrive.redrive_report import RedriveReport
from silt.redrive.redriver import Redriver
from silt.redrive.selection import Selection
from tests.builders import NOW_MS, SMALL, FakeClock, contract_of, event, function_for, record, rows
from tests.fakes import Memory, nothing
from tests.reader import read_log, rows_of_memory

RULES = SMALL + "circuit_breaker: {ratio: 1.0}\n"
STRICT = RULES.replace("{type: string}", "{type: string, max_length: 3}")
"""A contract that is wrong: names have more than three letters."""
ALL = Selection()
LETTER_COLUMNS = (
    *("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value"),
    *("error_code", "error_path", "error_message", "contract_version", "failed_at"),
)


class Lake:
    """A table and its dead letters in memory, and the functions that write to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = Memory()
        self.uri = str(folder / "tables" / "sales" / "orders")

    def deliver(self, contract: str, batch: list[dict[str, Any]], **settings: Any) -> None:
        function = function_for(self.folder, contract, open_store=self.memory.open, **settings)
        assert function.handle(event(batch), None) == {"batchItemFailures": []}

    def redriver(
        self, contract: str = RULES, memory: Memory | None = None, **more: Any
    ) -> Redriver:
        opened = (memory or self.memory).open
        return Redriver(
            contract_of(contract), self.uri, clock=FakeClock(), open_store=opened, **more
        )

    def redrive(
        self, contract: str = RULES, selection: Selection = ALL, **more: Any
    ) -> RedriveReport:
        return self.redriver(contract).run(selection, **more)

    def rows(self) -> list[tuple[Any, ...]]:
        return rows_of_memory(self.memory, self.uri, ["_kafka_partition", "_kafka_offset", "id"])

    def letters(self, *columns: str) -> list[tuple[Any, ...]]:
        names = list(dict.fromkeys(["partition", "offset", *(columns or ("redriven_as",))]))
        return rows_of_memory(self.memory, f"{self.uri}__dead_letters", names)

    def txns(self) -> dict[str, Any]:
        table = self.redriver()._rows
        clock = FakeClock()
        return dict(table.read(Deadline(clock, clock.now_s + 60)).txns)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def long(first: int, end: int, **more: Any) -> list[dict[str, Any]]:
    """Return records that STRICT refuses."""
    return [record(i, {"id": i, "name": "long name"}, **more) for i in range(first, end)]


def counts(report: RedriveReport) -> tuple[int, int, int, dict[str, int]]:
    total = report.total
    return total.selected, total.redriven, total.dropped, dict(total.rejected)


def test_letters_become_rows_once_the_contract_is_right(lake: Lake) -> None:
    lake.deliver(STRICT, [*rows(0, 2), *long(2, 5), record(5, b"no JSON")])
    before = lake.letters(*LETTER_COLUMNS)
    report = lake.redrive()
    assert counts(report) == (4, 3, 0, {"not_json": 1})
    assert report.remaining == 1
    assert {code: each.as_json() for code, each in report.codes.items()} == {
        "length": {"selected": 3, "redriven": 3, "dropped": 0, "rejected": {}},
        "not_json": {"selected": 1, "redriven": 0, "dropped": 0, "rejected": {"not_json": 1}},
    }
    assert lake.rows() == [(0, i, i) for i in range(5)]
    assert lake.letters() == [(0, 2, "row"), (0, 3, "row"), (0, 4, "row"), (0, 5, None)]
    assert lake.letters(*LETTER_COLUMNS) == before
    again = lake.redrive()
    assert counts(again) == (1, 0, 0, {"not_json": 1})
    assert lake.rows() == [(0, i, i) for i in range(5)]


def test_policies_for_new_records_do_not_apply(lake: Lake) -> None:
    lake.deliver(STRICT, long(0, 10))
    lake.deliver(STRICT, [record(10, b"no JSON")])
    strict = RULES.replace("ratio: 1.0", "ratio: 0.0, min_records: 1") + "on_invalid: fail\n"
    assert counts(lake.redrive(strict)) == (11, 10, 0, {"not_json": 1})


@pytest.mark.parametrize(
    ("rule", "closed_as", "in_table"),
    [("skip", "on_tombstone", []), ("row", "row", [(0, 1, None)]), ("dead_letter", None, [])],
)
def test_tombstones_follow_the_rule_of_today(
    lake: Lake, rule: str, closed_as: str | None, in_table: list[Any]
) -> None:
    contract = RULES.replace("id: {type: long, required: true}", "id: {type: long}")
    lake.deliver(contract + "on_tombstone: dead_letter\n", [record(1), record(2, b"x")])
    report = lake.redrive(contract + f"on_tombstone: {rule}\n")
    assert lake.letters() == [(0, 1, closed_as), (0, 2, None)]
    assert lake.rows() == in_table
    assert report.total.dropped == int(rule == "skip")
    assert report.total.rejected == {"not_json": 1, **({} if closed_as else {"tombstone": 1})}


HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    ("selection", "offsets"),
    [
        (Selection(code="length"), [2, 3, 4, 12]),
        (Selection(code="not_json"), []),
        (Selection(path="id"), [6]),
        (Selection(path="name"), [2, 3, 4, 12]),
        (Selection(partition=1), [12]),
        (Selection(offsets={0: [(3, 4), (6, 6)], 2: [(0, 99)]}), [3, 4, 6]),
        (Selection(since_us=NOW_MS * 1000 + HOUR_US), [12]),
        (Selection(until_us=NOW_MS * 1000 + HOUR_US), [2, 3, 4, 6]),
        (Selection(code="length", partition=0, offsets={0: [(4, 9)]}), [4]),
    ],
)
def test_only_what_is_selected_is_redriven(
    lake: Lake, selection: Selection, offsets: list[int]
) -> None:
    strict = STRICT.replace("type: long,", "type: long, maximum: 50,")
    lake.deliver(strict, [*long(2, 5), record(5, b"no JSON"), record(6, {"id": 99})])
    late = FakeClock(NOW_MS + 2 * 3_600_000)
    lake.deliver(strict, long(12, 13, partition=1), clock=late)
    lake.redrive(RULES, selection)
    assert sorted(o for _, o, closed in lake.letters() if closed) == offsets


def test_limit_is_of_letters_and_the_next_run_goes_on(lake: Lake) -> None:
    lake.deliver(STRICT, long(0, 5))
    lake.deliver(STRICT, long(5, 8))
    for left in (5, 2, 0):
        assert lake.redrive(limit=3).remaining == left
    assert lake.rows() == [(0, i, i) for i in range(8)]


def test_dry_run_says_the_same_and_writes_nothing(lake: Lake) -> None:
    lake.deliver(STRICT, [*long(0, 5), record(5, b"no JSON")])
    lake.memory.requests.clear()
    would = lake.redrive(dry_run=True)
    assert not lake.memory.count("put") + lake.memory.count("put_if_absent")
    did = lake.redrive()
    assert counts(would) == counts(did) == (6, 5, 0, {"not_json": 1})
    assert would.remaining == did.remaining == 1


def test_watermarks_are_named_and_never_raised(lake: Lake) -> None:
    """Else `redelivered: skip` would take the rest of a batch for settled, and lose it."""
    lake.deliver(STRICT, [*rows(0, 2), *long(2, 4), *long(7, 9, partition=1)])
    before = lake.txns()
    lake.redrive()
    after = lake.txns()
    assert after["demo-uuid-1/orders/0"] == before["demo-uuid-1/orders/0"]
    assert after["demo-uuid-1/orders/1"].version == -1
    rest = [*rows(0, 2), *long(2, 4), *rows(4, 6), *rows(5, 7, partition=1)]
    lake.deliver(RULES + "redelivered: skip\n", rest)
    kept = [*((0, i, i) for i in range(6)), *((1, i, i) for i in (5, 6, 7, 8))]
    assert lake.rows() == kept


def test_batch_that_comes_again_finds_its_letters_redriven(lake: Lake) -> None:
    batch = [*rows(0, 2), *long(2, 5)]
    lake.deliver(STRICT, batch)
    lake.redrive()
    for contract in (RULES, STRICT):
        lake.deliver(contract, batch)
    assert lake.rows() == [(0, i, i) for i in range(5)]
    assert len(lake.letters()) == 3


class Killed(BaseException):
    """The process is gone."""


def killing(number: int) -> Callable[[str, str], None]:
    """Return a hook that ends the process at a request."""
    left = itertools.count(number, -1)

    def kill(_verb: str, _key: str) -> None:
        if next(left) == 1:
            raise Killed

    return kill


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_request_and_run_again(tmp_path: Path, when: str) -> None:
    """A row may be beside an open letter in between; in the end each record is there once."""
    total, number, beside = 0, 0, 0
    while True:
        number += 1
        lake = Lake(tmp_path / f"{when}{number}")
        lake.deliver(STRICT, [*rows(0, 2), *long(2, 4), record(4, b"no JSON")])
        lake.deliver(STRICT, long(5, 7))
        setattr(lake.memory, when, killing(number))
        try:
            lake.redrive()
        except Killed:
            total += 1
        else:
            break
        setattr(lake.memory, when, nothing)
        present = {offset for _, offset, _ in lake.rows()}
        open_letters = {offset for _, offset, closed in lake.letters() if closed is None}
        assert present | open_letters == set(range(7))
        beside += bool(present & open_letters)
        again = lake.redrive()
        assert again.total.rejected == {"not_json": 1}
        assert lake.rows() == [(0, i, i) for i in (0, 1, 2, 3, 5, 6)]
        assert [o for _, o, closed in lake.letters() if closed is None] == [4]
    assert total > 15
    assert beside > 2


def test_large_file_is_redriven_in_parts(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LETTERS_AT_ONCE", 1)
    monkeypatch.setattr("handler.delta.rows.BATCH_ROWS_MAX", 3)
    lake.deliver(STRICT, [*long(0, 5), record(5, b"no JSON"), *long(6, 10)])
    seen: list[int] = []
    assert counts(lake.redrive(progress=seen.append)) == (10, 9, 0, {"not_json": 1})
    assert [count for count in seen if count] == [3, 3, 3, 1]
    assert [o for _, o, closed in lake.letters() if closed is None] == [5]


def test_compaction_of_the_letters_meanwhile_is_noticed(lake: Lake) -> None:
    """The rows are appended, the file is gone: what it held is found in its successor."""
    lake.deliver(STRICT, long(0, 3))
    lake.deliver(STRICT, [*long(3, 5), record(5, b"no JSON")])
    other = lake.redriver(memory=Memory(stores=lake.memory.stores))

    def redrive_too(verb: str, key: str) -> None:
        if verb == "put" and "__dead" not in key and len(lake.rows()) == 0:
            lake.memory.before = nothing
            other.run(ALL)

    lake.memory.before = redrive_too
    report = lake.redrive()
    assert lake.rows() == [(0, i, i) for i in range(5)]
    assert [o for _, o, closed in lake.letters() if closed is None] == [5]
    assert report.remaining == 1


def test_record_without_a_storable_timestamp_stays_rejected(lake: Lake) -> None:
    lake.deliver(RULES, [record(0, {"id": 0}, timestamp=1 << 60), *rows(1, 2)])
    report = lake.redrive()
    assert counts(report) == (1, 0, 0, {"out_of_range": 1})
    assert lake.letters() == [(0, 0, None)]


def test_dead_letters_of_an_older_release_get_the_columns(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("table_schema", "arrow_tables"):
        monkeypatch.setattr(f"handler.sink.{where}.REDRIVE_FIELDS", ())
    lake.deliver(STRICT, [*long(0, 2), record(2, b"no JSON")])
    monkeypatch.undo()
    assert counts(lake.redrive(dry_run=True)) == (3, 2, 0, {"not_json": 1})
    assert counts(lake.redrive()) == (3, 2, 0, {"not_json": 1})
    assert lake.letters() == [(0, 0, "row"), (0, 1, "row"), (0, 2, None)]


def change_table(lake: Lake, properties: dict[str, str], *, rows: bool = False) -> None:
    """Set properties of the dead letters, or of the table, as another writer does."""
    redriver = lake.redriver()
    table = redriver._rows if rows else redriver._letters
    clock = FakeClock()
    deadline = Deadline(clock, clock.now_s + 60)

    def propose(snapshot: Snapshot) -> Change:
        assert snapshot.metadata is not None
        return Change((), {}, {}, snapshot.metadata.with_configuration(properties))

    Transaction([table], deadline).commit_change(table, propose)


def test_table_whose_rows_may_not_change_is_refused_before_anything_is_written(lake: Lake) -> None:
    lake.deliver(STRICT, long(0, 2))
    change_table(lake, {"delta.appendOnly": "true"})
    with pytest.raises(UnsupportedTable, match=r"appendOnly \(delta.appendOnly\)"):
        lake.redrive()
    assert lake.rows() == []


def test_term_that_is_lost_ends_the_run_and_names_the_governor(lake: Lake) -> None:
    lake.deliver(STRICT, [*rows(0, 1), *long(1, 3)])
    done: list[int] = []

    def take_over(verb: str, key: str) -> None:
        if verb == "put" and not done:
            done.append(1)
            lake.memory.before = nothing
            lake.deliver(STRICT, rows(3, 4))

    lake.memory.before = take_over
    with pytest.raises(Superseded, match=contract_of(STRICT).version):
        lake.redrive()
    assert lake.rows() == [(0, 0, 0), (0, 3, 3)]
    assert lake.letters() == [(0, 1, None), (0, 2, None)]
    assert lake.redrive().total.redriven == 2


def test_letters_are_of_the_generation_of_their_commit(lake: Lake) -> None:
    """The same offsets in two generations are two records; each names the stream it came from."""
    lake.deliver(STRICT, [*rows(0, 1), *long(1, 3)])
    second = [record(i, {"id": 10 + i, "name": "long name"}, timestamp=NOW_MS + i) for i in (1, 2)]
    lake.deliver(STRICT, second, generation=1)
    report = lake.redrive(STRICT.replace("3}", "30}"))
    assert counts(report) == (4, 4, 0, {})
    assert lake.rows() == [(0, 0, 0), (0, 1, 1), (0, 1, 11), (0, 2, 2), (0, 2, 12)]
    assert redriven_streams(lake) == ["demo-uuid-1/orders/0", "demo-uuid-1/orders/0/1"]


def redriven_streams(lake: Lake) -> list[str]:
    """Return the streams that the commits of redrives name, in order."""
    return [
        stream["stream"]
        for info in infos(lake)
        if info.get("silt", {}).get("redrive")
        for stream in info["silt"]["streams"]
    ]


def infos(lake: Lake) -> list[dict[str, Any]]:
    """Return what the commits of the table say of themselves."""
    store = lake.memory.stores[lake.uri]
    keys = [entry.key for entry in store.list("_delta_log", "_delta_log/")]
    return read_log(keys, lambda key: store.get(key).data).infos


def test_generation_has_to_be_named_when_the_log_has_lost_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The letters of an unknown stream stay; those of others are redriven."""
    lake.deliver(STRICT, [*long(1, 3), *long(1, 2, partition=1)])
    lake.deliver(STRICT, [record(1, {"id": 11, "name": "long"}, timestamp=NOW_MS)], generation=1)
    monkeypatch.setattr(Origins, "_written_by", lambda *_: set())
    report = lake.redrive()
    assert counts(report) == (4, 1, 0, {"unknown_stream": 3})
    (note,) = report.notes
    assert "may be of demo-uuid-1/orders/0, demo-uuid-1/orders/0/1" in note
    assert "Use --generation" in note
    assert lake.rows() == [(1, 1, 1)]
    assert counts(lake.redriver(generation=1).run(ALL)) == (3, 3, 0, {})
    assert lake.rows() == [(0, 1, 1), (0, 1, 11), (0, 2, 2), (1, 1, 1)]


def forget_streams(lake: Lake) -> None:
    """Write the logs again without a trace of the streams, as engines do that let them expire."""
    for uri in (lake.uri, f"{lake.uri}__dead_letters"):
        store, fresh = lake.memory.stores[uri], ObjectStore(MemoryStore())
        for entry in store.list("", ""):
            data = store.get(entry.key).data
            if entry.key.endswith(".json"):
                lines = [line for line in bytes(data).splitlines() if b'"txn":{' not in line]
                data = b"\n".join(lines)
            fresh.put(entry.key, data)
        lake.memory.stores[uri] = fresh


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "names no stream of orders-0 any more. Use --source and --generation"),
        ({"generation": 1}, "names no stream of orders-0 any more. Use --source"),
    ],
)
def test_table_that_forgot_its_streams_needs_their_name(
    lake: Lake, named: dict[str, Any], message: str
) -> None:
    lake.deliver(STRICT, long(0, 2))
    forget_streams(lake)
    report = lake.redriver(**named).run(ALL)
    assert counts(report) == (2, 0, 0, {"unknown_stream": 2})
    assert message in report.notes[0]
    assert counts(lake.redriver(deployed_source="demo-uuid-1").run(ALL)) == (2, 2, 0, {})
    lake.deliver(RULES, rows(2, 3))


def test_source_of_a_deployment_is_no_evidence_where_the_log_has_some(lake: Lake) -> None:
    """The topic has moved to another cluster: its older letters are of the one before."""
    lake.deliver(STRICT, long(1, 3))
    moved = "arn:aws:kafka:eu-west-1:123456789012:cluster/demo/other-uuid"
    function = function_for(lake.folder, STRICT, open_store=lake.memory.open, generation=1)
    function.handle(event([record(7, {"id": 7, "name": "long"})], arn=moved), None)
    report = lake.redriver(deployed_source="other-uuid").run(ALL)
    assert counts(report) == (3, 3, 0, {})
    assert redriven_streams(lake) == ["demo-uuid-1/orders/0", "other-uuid/orders/0/1"]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"source": "typo"}, "are of demo-uuid-1/orders/0, and not of what"),
        ({"generation": 5}, "are of demo-uuid-1/orders/0, and not of what"),
        ({"source": "demo-uuid-1", "generation": 5}, "are of demo-uuid-1/orders/0, and not"),
    ],
)
def test_wrong_name_of_a_stream_writes_nothing_that_stops_the_function(
    lake: Lake, named: dict[str, Any], message: str
) -> None:
    lake.deliver(STRICT, long(0, 2))
    report = lake.redriver(**named).run(ALL)
    assert counts(report) == (2, 0, 0, {"unknown_stream": 2})
    assert message in report.notes[0]
    lake.deliver(RULES, rows(2, 3))
    assert lake.rows() == [(0, 2, 2)]


@pytest.mark.parametrize("named", [{"source": "typo"}, {"source": "demo-uuid-1", "generation": 1}])
def test_name_that_the_function_does_not_have_is_refused_for_a_forgotten_stream(
    lake: Lake, named: dict[str, Any]
) -> None:
    lake.deliver(STRICT, long(0, 2))
    forget_streams(lake)
    lake.deliver(STRICT, rows(5, 6, partition=1))
    report = lake.redriver(**named).run(ALL)
    assert "is fed by demo-uuid-1/orders/1, and --source and --generation name" in report.notes[0]
    lake.deliver(RULES, rows(6, 7, partition=1))
    assert lake.rows() == [(1, 5, 5), (1, 6, 6)]


def test_what_is_settled_of_a_file_is_closed_when_the_run_ends_early(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LETTERS_AT_ONCE", 1)
    monkeypatch.setattr("handler.delta.rows.BATCH_ROWS_MAX", 3)
    lake.deliver(STRICT, long(0, 9))
    redriver = lake.redriver()
    write, calls = redriver._writer.write, itertools.count(1)

    def fail_at_the_third(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 3:
            raise OutOfTime("too late")
        return write(*arguments, **options)

    monkeypatch.setattr(redriver._writer, "write", fail_at_the_third)
    with pytest.raises(OutOfTime):
        redriver.run(ALL)
    assert [o for _, o, closed in lake.letters() if closed] == [0, 1, 2, 3, 4, 5]
    assert counts(lake.redrive()) == (3, 3, 0, {})


def test_letter_beside_its_row_is_closed_whatever_the_contract_says_today(lake: Lake) -> None:
    lake.deliver(STRICT, long(0, 2))

    def kill_once_rows_are_there(verb: str, _key: str) -> None:
        if verb == "put" and lake.rows():
            raise Killed

    lake.memory.before = kill_once_rows_are_there
    with pytest.raises(Killed):
        lake.redrive()
    lake.memory.before = nothing
    assert lake.letters() == [(0, 0, None), (0, 1, None)]
    assert counts(lake.redrive(STRICT)) == (2, 2, 0, {})
    assert lake.letters() == [(0, 0, "row"), (0, 1, "row")]
    assert lake.rows() == [(0, 0, 0), (0, 1, 1)]


def test_nothing_is_done_where_there_are_no_dead_letters(lake: Lake) -> None:
    with pytest.raises(NotFound, match=r"There is no Delta table at .*Nothing was redriven"):
        lake.redrive()
    lake.deliver(RULES, rows(0, 3))
    report = lake.redrive()
    assert (report.total.selected, report.remaining) == (0, 0)
