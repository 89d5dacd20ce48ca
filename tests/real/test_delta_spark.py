"""delta-spark, the reference implementation of Delta, reads what Silt writes. Needs Java, Maven."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from handler.delta.retry import Deadline, SystemClock
from handler.maintenance import Maintenance
from handler.settings import Settings
from silt.replay.saved import read_events, saved_file
from tests.builders import ROOT, SMALL, FakeClock, event, function_for, record, rows
from tests.reader import rows_of_folder
from tests.real import jars
from tests.real.delta_spark import Spark

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        not jars.available(),
        reason="delta-spark is Java: it reads the tables where Java and Maven are",
    ),
    pytest.mark.timeout(420),
]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    started = Spark(tmp_path_factory.mktemp("spark"))
    yield started
    started.end()


WIDENED = [
    ["byte", "short", "integer", "long"],
    ["float", "double"],
    ["'decimal(5,2)'", "'decimal(12,2)'", "'decimal(38,2)'"],
]


def widened(folder: Path, kinds: list[str], value: Any) -> Path:
    """Write a row under each type in turn, as a contract that widens its column."""
    for offset, kind in enumerate(kinds):
        contract = f"topic: orders\ntable: t\nevolution: widen\ncolumns: {{n: {{type: {kind}}}}}\n"
        batch = event([record(offset, {"n": value})])
        assert function_for(folder, contract).handle(batch, None) == {"batchItemFailures": []}
    return folder / "tables" / "t"


def test_delta_spark_reads_every_kind_of_table(tmp_path: Path, spark: Spark) -> None:
    folders = {}
    for name in ("orders", "clicks", "sensors"):
        contract = (ROOT / "schemas" / f"{name}.yaml").read_text()
        function = function_for(tmp_path / name, contract)
        ((_, saved),) = read_events(saved_file(ROOT / "events" / f"{name}.json"))
        assert function.handle(saved, None) == {"batchItemFailures": []}
        table = contract.split("table: ")[1].split()[0]
        folders[name] = tmp_path / name / "tables" / table
    times = "topic: orders\ntable: t\ncolumns:\n  id: {type: long}\n  at: {type: timestamp}\n"
    function_for(tmp_path / "times", times + "partition_by: [at]\n").handle(
        event([record(0, {"id": 1, "at": "2026-05-01T10:00:00.000001Z"})]), None
    )
    folders["times"] = tmp_path / "times" / "tables" / "t"
    folders["dead"] = folders["orders"].with_name("orders__dead_letters")
    for kinds in WIDENED:
        name = kinds[0]
        folders[name] = widened(tmp_path / name, kinds, 1)
    # The same table once more behind a checkpoint of the engine.
    shutil.copytree(folders["orders"], tmp_path / "checkpointed")
    DeltaTable(str(tmp_path / "checkpointed")).create_checkpoint()
    folders["checkpointed"] = tmp_path / "checkpointed"
    found = {name: spark.rows(folder) for name, folder in folders.items()}

    orders = sorted(found["orders"], key=lambda row: row["order_id"])
    assert len(orders) == 5
    assert orders == sorted(found["checkpointed"], key=lambda row: row["order_id"])
    first = orders[0]
    assert first["_kafka_timestamp"] == "2026-05-01T10:00:00.000000Z"
    assert (first["amount"], first["quantity"], first["order_date"]) == (12.5, 1, "2026-05-01")
    assert first["customer"] == {"id": 1000, "email": "c0@example.com"}
    assert first["items"][1] == {"sku": "sku-x", "price": 3.0}
    assert (first["tags"], first["_kafka_key"]) == ({"channel": "web"}, "by0wMDAwMDA=")
    assert [row["load_ms"] for row in found["clicks"]] == [180, 181, 182]
    sensor = found["sensors"][0]
    assert (sensor["temperature"], sensor["measured_year"]) == (21.0625, 2026)
    assert sensor["local_time"] == "2026-05-01T12:00:00.500"
    assert sensor["readings"] == {"rpm": 1500.5, "load": 1.0}
    assert sensor["calibrations"] == [{"day": "2026-04-01", "offset": -0.0125}]
    assert sensor["_rescued"] == '{"firmware":{"version":"1.10"}}'
    assert found["times"][0]["at"] == "2026-05-01T10:00:00.000001Z"
    assert [row["error_code"] for row in found["dead"]] == ["bad_decimal"]
    for kinds in WIDENED:
        assert [row["n"] for row in found[kinds[0]]] == [1] * len(kinds), kinds


def test_appends_beside_delta_spark(tmp_path: Path, spark: Spark) -> None:
    """Each appends, reads, deletes and compacts on what the other did since it last looked."""
    table = tmp_path / "tables" / "sales" / "orders"
    warm = function_for(tmp_path)
    warm.handle(event(rows(0, 3)), None)
    spark(f"append {table} 100 102")
    warm.handle(event(rows(2, 5)), None)  # from a snapshot that has not seen Spark's
    spark(f"append {table} 102 103")  # and Spark has not seen ours
    warm.handle(event(rows(0, 6)), None)
    expected = [*range(6), 100, 101, 102]
    assert spark.offsets(table) == expected
    assert spark.offsets(table, 1) == [0, 1, 2]
    spark(f"sql optimize delta.`{table}`")
    warm.handle(event(rows(6, 8)), None)
    spark(f"sql delete from delta.`{table}` where _kafka_offset = 101")
    assert warm.handle(event(rows(0, 9)), None) == {"batchItemFailures": []}
    expected = [*range(9), 100, 102]
    assert spark.offsets(table) == expected
    assert [o for (o,) in rows_of_folder(table)] == expected
    assert len(DeltaTable(str(table)).history()) > 6

    # A table that Spark made, with a checkpoint of its own.
    made = tmp_path / "made" / "tables" / "sales" / "orders"
    spark(f"append {made} 50 53")
    spark(f"sql alter table delta.`{made}` set tblproperties ('delta.checkpointInterval'='2')")
    spark(f"append {made} 53 55")
    assert (made / "_delta_log" / "_last_checkpoint").exists()
    function = function_for(tmp_path / "made")
    for _ in range(2):
        function.handle(event(rows(0, 4)), None)
    assert spark.offsets(made) == [*range(4), *range(50, 55)]
    assert [o for (o,) in rows_of_folder(made)] == [*range(4), *range(50, 55)]


def test_maintenance_beside_delta_spark(tmp_path: Path, spark: Spark) -> None:
    """OPTIMIZE and VACUUM of Spark, our checkpoints and compactions, appends of both."""
    table = tmp_path / "tables" / "sales" / "orders"
    contract = SMALL + "maintenance: {quiet_for: 0m, checkpoint_commits: 2}\n"
    warm = function_for(tmp_path, contract)
    settings = Settings(table_root=str(tmp_path / "tables"), contracts=str(tmp_path / "contracts"))
    expected: list[int] = []
    for first in (0, 10):
        for offset in range(first, first + 6):
            warm.handle(event(rows(offset, offset + 1)), None)
        spark(f"append {table} {100 + first} {102 + first}")
        expected += [*range(first, first + 6), 100 + first, 101 + first]
        if first:
            spark(f"sql optimize delta.`{table}`")
            spark(f"sql vacuum delta.`{table}`")
        Maintenance(settings, clock=FakeClock()).handle({}, None)
    assert spark.offsets(table) == sorted(expected)
    # Rows that are deleted by a vector stay deleted, and a live vector is no file to vacuum.
    properties = "('delta.enableDeletionVectors'='true')"
    spark(f"sql alter table delta.`{table}` set tblproperties {properties}")
    for gone in (3, 12):
        spark(f"sql delete from delta.`{table}` where _kafka_offset = {gone}")
        expected.remove(gone)
        for path in table.rglob("*.bin"):
            os.utime(path, (1, 1))
        run = Maintenance(settings, clock=FakeClock()).new_run("sales/orders")
        deadline = Deadline(SystemClock(), time.monotonic() + 60)
        assert run.look(deadline)
        if gone == 3:
            run._cleaning().vacuum(deadline, dry_run=False)
        else:
            run.keep(deadline, "now")
        assert spark.offsets(table) == sorted(expected)
    assert warm.handle(event(rows(16, 18)), None) == {"batchItemFailures": []}
    assert spark.offsets(table) == sorted([*expected, 16, 17])


@pytest.mark.parametrize(
    ("store", "answer", "stands"),
    [
        ("HDFSLogStore", "refused", "another writer's"),
        ("S3SingleDriverLogStore", "written", "the store's"),
        ("LocalLogStore", "written", "the store's"),
    ],
)
def test_log_store_of_spark_that_erases_a_commit_put_meanwhile(
    tmp_path: Path, spark: Spark, store: str, answer: str, stands: str
) -> None:
    """What docs/maintenance.md says of each: whoever only looks before it writes can erase."""
    commit = tmp_path / f"{1:020}.json"
    assert spark(f"race {store} {commit}") == answer
    assert commit.read_text().splitlines()[0] == stands


def test_ancient_dates_are_read_as_they_were_sent(tmp_path: Path, spark: Spark) -> None:
    """.NET's and Excel's first dates are among them. Spark 3.5 needs a setting for that, which
    docs/query.md names; Spark 4 does not.
    """
    contract = "topic: orders\ntable: t\ncolumns: {d: {type: date}, at: {type: timestamp}}\n"
    dates = ["0001-01-01", "1582-10-14", "1899-12-30", "2026-05-01"]
    batch = [record(i, {"d": date, "at": f"{date}T00:00:00Z"}) for i, date in enumerate(dates)]
    assert function_for(tmp_path, contract).handle(event(batch), None) == {"batchItemFailures": []}
    seen = spark.rows(tmp_path / "tables" / "t")
    assert sorted((row["d"], row["at"][:10]) for row in seen) == [(d, d) for d in dates]
