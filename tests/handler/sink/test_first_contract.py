"""A first contract that was wrong does not stick: a table without rows takes the next schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from handler.delta.retry import SystemClock
from handler.delta.store import open_store
from handler.errors import TableMismatch
from silt.cli import main
from tests.builders import SMALL, FakeClock, event, function_for, record, rows
from tests.fakes import Memory, MemoryTable
from tests.reader import rows_of_folder

WRONG = [
    SMALL.replace("type: long", "type: date"),
    SMALL.replace("name: {type: string}", "name: {type: array, items: {type: long}}"),
    SMALL + "partition_by: [id]\n",
    SMALL + "  more: {type: double}\n",
    SMALL.replace("id: {type: long", "ID: {type: long"),
    SMALL + "evolution: none\n",
]
BAD = [record(0, b"no JSON"), record(1, None)]


def schema_of(folder: Path) -> dict[str, str]:
    fields = json.loads(DeltaTable(folder / "tables/sales/orders").schema().to_json())["fields"]
    return {f["name"]: f["type"] for f in fields if not f["name"].startswith("_kafka")}


@pytest.mark.parametrize("wrong", WRONG)
def test_table_without_rows_takes_the_schema_of_the_next_contract(
    tmp_path: Path, wrong: str, capsys: Any
) -> None:
    function_for(tmp_path, wrong).handle(event(BAD), None)
    before = DeltaTable(tmp_path / "tables/sales/orders").metadata()
    right = SMALL.replace("evolution: none\n", "") + "  extra: {type: integer}\n"
    capsys.readouterr()
    function = function_for(tmp_path, right)
    assert function.handle(event(rows(2, 5, extra=7)), None) == {"batchItemFailures": []}
    assert "has no rows, so it takes the schema of the contract" in capsys.readouterr().out or (
        wrong.endswith("none\n")
    )
    assert schema_of(tmp_path) == {"id": "long", "name": "string", "extra": "integer"}
    assert rows_of_folder(tmp_path / "tables/sales/orders", "id, extra") == [
        (2, 7),
        (3, 7),
        (4, 7),
    ]
    after = DeltaTable(tmp_path / "tables/sales/orders").metadata()
    assert (after.id, after.partition_columns) == (before.id, [])
    place = ["--table-root", f"{tmp_path}/tables", "--contracts", f"{tmp_path}/contracts"]
    assert main(["audit", "sales/orders", *place, "--allow-gaps"]) == 0
    # Now it has rows: what does not fit is refused as ever.
    with pytest.raises(TableMismatch):
        function_for(tmp_path, WRONG[1]).run(event(rows(5, 6)), None)
    assert schema_of(tmp_path)["name"] == "string"


def test_dry_run_health_and_status_know_it(tmp_path: Path, capsys: Any) -> None:
    function_for(tmp_path, WRONG[0]).handle(event(BAD), None)
    log = tmp_path / "tables/sales/orders/_delta_log"
    commits = sorted(log.iterdir())
    function = function_for(tmp_path, SMALL, dry_run=True)
    report = function.run(event(rows(2, 5)), None)
    assert report.tables[0].line["would"] == {"append": 3, "dead_letter": 0, "leave_unsettled": 0}
    health = function_for(tmp_path, clock=SystemClock()).handle({"silt": "health"}, None)
    found = health["findings"][0]
    assert found["state"] == "ok", found
    assert sorted(log.iterdir()) == commits
    place = ["--table-root", f"{tmp_path}/tables", "--contracts", f"{tmp_path}/contracts"]
    capsys.readouterr()
    assert main(["status", *place]) == 0
    assert "the next batch gives it the columns" in " ".join(capsys.readouterr().out.split())


def test_table_whose_rows_were_all_deleted_takes_a_new_schema(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event(rows(0, 5)), None)
    DeltaTable(tmp_path / "tables/sales/orders").delete()
    function_for(tmp_path, WRONG[1]).handle(event([record(5, {"id": 5, "name": [1]})]), None)
    assert rows_of_folder(tmp_path / "tables/sales/orders", "id, name") == [(5, [1])]


def test_table_of_somebody_else_is_never_replaced(tmp_path: Path) -> None:
    import pyarrow as pa
    from deltalake import write_deltalake

    empty = pa.table({"id": pa.array([], pa.string()), "mine": pa.array([], pa.string())})
    write_deltalake(str(tmp_path / "tables/sales/orders"), empty)
    with pytest.raises(TableMismatch, match="the table has string, the contract long"):
        function_for(tmp_path).run(event(rows(0, 1)), None)
    assert schema_of(tmp_path) == {"id": "string", "mine": "string"}


def test_row_that_comes_in_between_keeps_the_table_as_it_is(tmp_path: Path) -> None:
    """The old contract appends after the new one has seen that there is no row."""
    memory, clock = Memory(), FakeClock()
    more: Any = {"open_store": memory.open, "clock": clock, "table_root": "s3://lake"}
    old = function_for(tmp_path / "old", WRONG[1], **more)
    old.handle(event(BAD), None)
    appended = list[bool]()

    def append_first(verb: str, key: str) -> None:
        # The takeover of the table; that of its dead letters has a commit more before it.
        taking = verb == "put_if_absent" and key.endswith("01.json")
        if taking and not appended:
            appended.append(True)
            batch = [record(2, {"id": 2, "name": [1]})]
            assert old.handle(event(batch), None) == {"batchItemFailures": []}

    new = function_for(tmp_path / "new", SMALL, **more)
    memory.before = append_first
    with pytest.raises(TableMismatch):
        new.run(event(rows(3, 4)), None)
    assert appended


class HookedDisk(Memory):
    """Tables on local disk, where each request is seen first."""

    def open(self, uri: str) -> MemoryTable:
        self.stores.setdefault(uri, open_store(uri))
        return super().open(uri)


def test_row_of_a_stream_that_the_table_knows_keeps_it_as_it_is(tmp_path: Path) -> None:
    """All rows were deleted; the old contract appends the next one during the takeover."""
    disk, uri = HookedDisk(), tmp_path / "tables/sales/orders"
    more: Any = {"open_store": disk.open, "table_root": str(tmp_path / "tables")}
    old = function_for(tmp_path / "old", WRONG[1], **more)
    old.handle(event([record(0, {"id": 0, "name": [0]})]), None)
    DeltaTable(uri).delete()
    appended = list[bool]()

    def append_first(verb: str, key: str) -> None:
        if verb == "put_if_absent" and key.endswith("03.json") and not appended:
            appended.append(True)
            batch = [record(1, {"id": 1, "name": [1]})]
            assert old.handle(event(batch), None) == {"batchItemFailures": []}

    new = function_for(tmp_path / "new", SMALL, **more)
    disk.before = append_first
    with pytest.raises(TableMismatch):
        new.run(event(rows(3, 4)), None)
    assert appended
    assert rows_of_folder(uri, "id, name") == [(1, [1])]
    kept: Any = schema_of(tmp_path)["name"]
    assert kept["elementType"] == "long"


def test_dry_run_of_records_that_were_there_before_knows_it(tmp_path: Path) -> None:
    """They are looked up, and the table is read again."""
    function_for(tmp_path).handle(event(rows(0, 5)), None)
    DeltaTable(tmp_path / "tables/sales/orders").delete()
    batch = [record(i, {"id": i, "name": [1]}) for i in range(6)]
    report = function_for(tmp_path, WRONG[1], dry_run=True).run(event(batch), None)
    assert report.tables[0].line["would"]["append"] == 6
    assert (
        function_for(tmp_path, WRONG[1]).run(event(batch), None).tables[0].counts["appended"] == 6
    )


def test_emptiness_is_known_from_a_checkpoint_too(tmp_path: Path) -> None:
    """A file of a checkpoint counts, one that a later commit removed does not."""
    uri = tmp_path / "tables/sales/orders"
    for numbers in ((0, 3), (3, 6)):
        function_for(tmp_path).handle(event(rows(*numbers)), None)
    DeltaTable(uri).create_checkpoint()
    with pytest.raises(TableMismatch):
        function_for(tmp_path, WRONG[1]).run(event(rows(6, 7)), None)
    DeltaTable(uri).delete("_kafka_offset < 3")
    with pytest.raises(TableMismatch):
        function_for(tmp_path, WRONG[1]).run(event(rows(6, 7)), None)
    add_again(uri)
    DeltaTable(uri).delete()
    function_for(tmp_path, WRONG[1]).run(event([record(7, {"id": 7, "name": [1]})]), None)
    assert rows_of_folder(uri, "id, name") == [(7, [1])]


def add_again(uri: Path) -> None:
    """Name a file of the checkpoint in a commit again, as new statistics do."""
    log = uri / "_delta_log"
    added = [
        json.loads(line)
        for path in sorted(log.glob("*.json"))
        for line in path.read_text().splitlines()
        if '"add"' in line
    ]
    version = DeltaTable(uri).version() + 1
    added[-1]["add"]["dataChange"] = False
    (log / f"{version:020}.json").write_text(json.dumps(added[-1]) + "\n")
