"""make demo: orders go into a real broker, through the real Lambda runtime client, into a Delta
table on S3.

Some are bad and some are tombstones, the function is killed once in the middle of a batch, and at
the end another engine computes from the producer's own list whether every record stands where it
belongs, exactly once.
"""

import contextlib
import datetime as dt
import fcntl
import json
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from confluent_kafka import Producer
from deltalake import DeltaTable, QueryBuilder

from handler.errors import SiltError
from silt import output
from silt.local.broker import EmbeddedBroker
from silt.local.mapping import MappingConfig
from silt.local.pollers import LocalMapping, LocalSettings
from silt.local.runtime import Sandbox
from silt.local.s3 import LocalS3

TOPIC = "orders"
ORDERS = 4_000
PARTITIONS = 4
SEED = 20_260_501
BUCKET = "lake"
LIMIT_S = 120.0
KILL_AFTER_S = (0.012, 0.010, 0.008, 0.006, 0.004, 0.002, 0.0)
"""How long the function has had its batch when it is killed; where that was too long, sooner."""
TAKEN_LIMIT_S = 5.0
"""A warm function takes its event long before that."""
WARM_AFTER = 5
"""The number of the first invocation that may be killed: by then both sandboxes are warm."""


@dataclass(frozen=True, slots=True)
class Made:
    """One record as the producer made it, and where it must end: row, dead_letter or skip."""

    value: bytes | None
    fate: str
    code: str | None = None
    row: dict[str, Any] | None = None


@dataclass(slots=True)
class Produced:
    """The producer's own list: each record with the place that the broker confirmed."""

    records: list[tuple[int, int, Made]] = field(default_factory=list)


def make_order(number: int, dice: random.Random) -> Made:
    """Make one order: one in 40 is bad, one in 100 is a tombstone."""
    if number % 100 == 99:
        return Made(None, "skip")
    placed = dt.datetime(2026, 5, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=dice.randrange(172_800))
    skus = [f"sku-{dice.randrange(1000)}" for _ in range(dice.randrange(4))]
    row: dict[str, Any] = {
        "order_id": f"o-{number:06}",
        "amount": f"{dice.randrange(1, 100_000) / 100:.2f}",
        "quantity": dice.randrange(1, 9),
        "status": dice.choice(["new", "paid", "shipped"]),
        "placed_at": placed.isoformat().replace("+00:00", "Z"),
        "customer_id": dice.randrange(1 << 40),
        "skus": skus,
    }
    order: dict[str, Any] = {
        **{k: row[k] for k in ("order_id", "amount", "quantity", "status", "placed_at")},
        "customer": {"id": row["customer_id"], "e_mail": f"c{number}@example.com"},
        "items": [{"sku": sku, "price": dice.randrange(1, 9999) / 100} for sku in skus],
        "tags": {"channel": dice.choice(["web", "shop"])},
    }
    if number % 40 == 7:
        return _spoil(order, number // 40)
    return Made(json.dumps(order).encode(), "row", row=row)


def _spoil(order: dict[str, Any], number: int) -> Made:
    """Break an order in one of the ways that producers do."""
    kind = number % 6
    if kind == 0:
        return Made(json.dumps(order).encode()[:-5], "dead_letter", "not_json")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"quantity": 1.5}, "wrong_type"),
        ({"amount": "12.345"}, "bad_decimal"),
        ({"status": "lost"}, "not_allowed"),
        ({"placed_at": "yesterday"}, "bad_timestamp"),
        ({"order_id": None}, "missing"),
    ]
    change, code = changes[kind - 1]
    return Made(json.dumps({**order, **change}).encode(), "dead_letter", code)


def produce(servers: str, count: int) -> Produced:
    """Produce orders with a real client and keep what the broker confirmed."""
    dice = random.Random(SEED)
    produced = Produced()
    producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 0})

    def confirm(made: Made) -> Any:
        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                raise SiltError(f"The broker did not take a record: {error}")
            produced.records.append((message.partition(), message.offset(), made))

        return delivered

    for number in range(count):
        made = make_order(number, dice)
        producer.produce(
            TOPIC,
            value=made.value,
            key=f"o-{number:06}".encode(),
            partition=number % PARTITIONS,
            headers=[("source", b"demo")],
            on_delivery=confirm(made),
        )
        producer.poll(0)
    producer.flush(30)
    if len(produced.records) != count:
        raise SiltError(f"The broker confirmed {len(produced.records)} of {count} records.")
    return produced


class KillOnce:
    """Kills the function once, when it is warm and in the middle of a batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tries = 0
        self._killed = False

    def __call__(self, sandbox: Sandbox, number: int) -> None:
        if number >= WARM_AFTER and not self._killed:
            threading.Thread(target=self._kill, args=(sandbox,), daemon=True).start()

    def _kill(self, sandbox: Sandbox) -> None:
        ends_at = time.monotonic() + TAKEN_LIMIT_S
        while not sandbox.busy:
            if time.monotonic() > ends_at:
                return
            time.sleep(0.0005)
        with self._lock:
            after_s = KILL_AFTER_S[min(self._tries, len(KILL_AFTER_S) - 1)]
            self._tries += 1
            time.sleep(after_s)
            if self._killed or not sandbox.kill_busy():
                return  # the answer was faster: the next batch will do
            self._killed = True
        output.say("  kill -9: the function was in the middle of a batch", "yellow")


def ingest(servers: str, s3: LocalS3, folder: Path, count: int) -> LocalMapping:
    """Run the mapping until every record is settled. Raises SiltError when that takes too long."""
    settings = LocalSettings(
        servers=servers,
        topic=TOPIC,
        group_id="silt-demo",
        environment={
            **s3.environment,
            "SILT_TABLE_ROOT": f"s3://{BUCKET}/demo",
            "SILT_CONTRACTS": str(Path("schemas").absolute()),
            "SILT_SOURCE": "demo",
        },
        pollers=2,
        log=folder / "function.log",
    )
    config = MappingConfig(batch_size=200, maximum_batching_window_s=0.5)
    kill = KillOnce()
    mapping = LocalMapping(
        settings, config, tell=lambda line: output.say(f"  {line}", "yellow"), on_invoke=kill
    )
    mapping.start()
    ends_at = time.monotonic() + LIMIT_S
    try:
        while mapping.records < count:
            mapping.check()
            if time.monotonic() > ends_at:
                raise SiltError(f"Only {mapping.records} of {count} records are settled.")
            time.sleep(0.05)
    finally:
        mapping.close()
    return mapping


def read_table(s3: LocalS3, name: str) -> pa.Table:
    """Read a table with the Delta engine, which shares no code with the function."""
    table = DeltaTable(f"s3://{BUCKET}/demo/{name}", storage_options=s3.environment)
    query = QueryBuilder().register("t", table).execute("select * from t")
    return pa.table(query.read_all())


VERDICT = """
with expected as (select * from produced where fate = ?),
     found as (select * from {table}),
     twice as (select 1 from found group by partition, "offset" having count(*) > 1)
select
  (select count(*) from expected) as expected,
  (select count(*) from found) as found,
  (select count(*) from expected anti join found using (partition, "offset")) as lost,
  (select count(*) from twice) as doubled,
  (select count(*) from found anti join expected using (partition, "offset")) as invented,
  (select count(*) from expected e join found f using (partition, "offset")
     where (e.content, e.code) is distinct from (f.content, f.code)) as altered
"""


def judge(produced: Produced, rows: pa.Table, dead_letters: pa.Table) -> list[tuple[Any, ...]]:
    """Compare both tables with the producer's list, in SQL. Returns a line for rows and one for
    dead letters.

    A line has the counts of expected, found, lost, doubled, invented and altered records.
    """
    database = duckdb.connect()
    database.execute("set TimeZone='UTC'")
    listed = [
        {
            "partition": partition,
            "offset": offset,
            "fate": made.fate,
            "code": made.code,
            "value": made.value if made.fate == "dead_letter" else None,
            **(made.row or {}),
        }
        for partition, offset, made in produced.records
    ]
    database.register("listed", pa.Table.from_pylist(_with_all_names(listed)))
    database.register("rows_read", rows)
    database.register("dead_read", dead_letters)
    order = (
        "(order_id, cast(amount as decimal(12,2)), cast(quantity as integer), status, "
        "cast(placed_at as timestamptz), cast({customer} as bigint), {skus})"
    )
    sent = order.format(customer="customer_id", skus="skus")
    found = order.format(customer="customer.id", skus="[item.sku for item in items]")
    database.execute(f"""
        create table produced as select partition, "offset", fate, code,
          case when fate = 'row'
            then cast({sent} as varchar)
            else hex(value) end as content
        from listed;
        create table rows_found as select _kafka_partition as partition, _kafka_offset as "offset",
          cast(null as varchar) as code,
          cast({found} as varchar) as content
        from rows_read;
        create table dead_found as select partition, "offset", error_code as code,
          hex(value) as content
        from dead_read;
    """)
    result = []
    for fate, table in (("row", "rows_found"), ("dead_letter", "dead_found")):
        line = database.execute(VERDICT.format(table=table), [fate]).fetchone()
        assert line is not None
        result.append(line)
    return result


def _with_all_names(listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for entry in listed for name in entry))
    return [{name: entry.get(name) for name in names} for entry in listed]


def accounting(log: Path) -> dict[str, int]:
    """Add up what the invocations said of themselves; the killed one said nothing."""
    totals: dict[str, int] = {}
    for line in log.read_text().splitlines():
        if '"message":"invocation"' in line and line.startswith("{"):
            entry = json.loads(line)
            for name in (
                "delivered",
                "appended",
                "dead_lettered",
                "skipped_by_rule",
                "duplicates",
                "unsettled",
            ):
                totals[name] = totals.get(name, 0) + entry[name]
    return totals


def keep(s3: LocalS3, folder: Path) -> None:
    """Copy the tables to local disk, so that they can be looked at when the server is gone."""
    client = s3.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="demo/"):
        for entry in page.get("Contents", []):
            target = folder / entry["Key"].removeprefix("demo/")
            target.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, entry["Key"], str(target))


def show(rows: pa.Table, dead_letters: pa.Table) -> None:
    """Print some rows, and the dead letters by reason."""
    database = duckdb.connect()
    database.register("r", rows)
    database.register("d", dead_letters)
    sample = database.execute(
        "select _kafka_partition, _kafka_offset, order_id, amount, quantity, status, "
        "cast(order_date as varchar), len(items) from r order by 1, 2 limit 5"
    ).fetchall()
    columns = ["partition", "offset", "order_id", "amount", "quantity", "status", "order_date"]
    output.table(f"sales/orders: {rows.num_rows:,} rows", [*columns, "items"], sample)
    reasons = database.execute(
        "select error_code, coalesce(error_path, ''), count(*), any_value(error_message) from d "
        "group by 1, 2 order by 3 desc, 1"
    ).fetchall()
    title = f"sales/orders__dead_letters: {dead_letters.num_rows:,} records, whole, by reason"
    output.table(title, ["code", "path", "records", "message of one of them"], reasons)


def run(folder: Path) -> bool:
    """Run the whole demo in a folder. Returns whether the verdict is exactly once."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    with LocalS3(folder / "s3", BUCKET) as s3:
        broker = EmbeddedBroker()
        output.say(f"An S3 server is up at {s3.endpoint}, a Kafka broker at {broker.servers}.")
        produced = produce(broker.servers, ORDERS)
        output.say(f"{ORDERS:,} records are in topic {TOPIC}, over {PARTITIONS} partitions.")
        output.say("The event source mapping invokes handler.app.lambda_handler ...")
        mapping = ingest(broker.servers, s3, folder, ORDERS)
        progress = mapping.progress
        crashes = sum(p.outcomes.get("crash", 0) for p in progress)
        output.say(
            f"{sum(p.invocations for p in progress)} invocations, {crashes} of them killed, in "
            f"{mapping.starts} processes; {sum(p.retries for p in progress)} batches came again."
        )
        rows = read_table(s3, "sales/orders")
        dead_letters = read_table(s3, "sales/orders__dead_letters")
        keep(s3, folder / "tables")
    output.say()
    show(rows, dead_letters)
    totals = accounting(folder / "function.log")
    output.table(
        "Accounting of the invocations that ended", ["what", "records"], list(totals.items())
    )
    verdict = judge(produced, rows, dead_letters)
    skipped = sum(1 for _, _, made in produced.records if made.fate == "skip")
    lines = [
        [name, *counts] for name, counts in zip(("rows", "dead letters"), verdict, strict=True)
    ]
    columns = ["table", "expected", "found", "lost", "doubled", "invented", "altered"]
    output.table("Verdict, by DuckDB from the producer's own list", columns, lines)
    right = all(counts[0] == counts[1] and not any(counts[2:]) for counts in verdict)
    whole = sum(counts[1] for counts in verdict) + skipped == ORDERS
    if right and whole:
        output.say(
            f"Exactly once: {verdict[0][1]:,} rows + {verdict[1][1]:,} dead letters + {skipped} "
            f"tombstones skipped by rule = {ORDERS:,} records, and every value is as it was sent.",
            "bold green",
        )
    else:
        output.complain("NOT exactly once: see the counts above.")
    if not crashes:
        output.complain(
            "The function was too fast to be killed in the middle of a batch this time."
        )
    output.say(f"{time.monotonic() - began:.0f} seconds. To look further:")
    _tell_more(folder)
    return right and whole


def _tell_more(folder: Path) -> None:
    table = f"DeltaTable('{folder}/tables/sales/orders')"
    for command in (
        f'.venv/bin/python -c "from deltalake import DeltaTable; print({table}.history(3))"',
        f"tail -n 2 {folder}/function.log",
        ".venv/bin/silt check schemas",
        ".venv/bin/silt replay events/orders.json --table-root .silt/tables --dry-run",
        ".venv/bin/silt dev --help",
    ):
        output.say(f"  {command}")


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold a lock, so that a second demo does not clear the folder of the first."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SiltError("Another demo is running here. Wait for its end.") from error
        yield


def main() -> int:
    """Run the demo in .silt/demo. Ctrl-C, or a polite kill, leaves nothing running."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.default_int_handler)
    try:
        with _alone(Path(".silt/demo.lock")):
            return 0 if run(Path(".silt/demo")) else 1
    except KeyboardInterrupt:
        output.say("Ended; nothing is left running.")
        return 130
    except SiltError as error:
        output.complain(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
