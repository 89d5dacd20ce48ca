"""make demo: orders go into a real broker, through the real Lambda runtime client, into a Delta
table on S3.

Some are bad and some are tombstones, the function is killed once in the middle of a batch, and at
the end another engine computes from the producer's own list whether every record is where it
belongs, exactly once.
"""

import contextlib
import fcntl
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from handler.errors import SiltError, counted
from silt import output
from silt.local.broker import EmbeddedBroker
from silt.local.mapping import MappingConfig
from silt.local.orders import BUCKET, PARTITIONS, TOPIC, produce
from silt.local.pollers import LocalMapping, LocalSettings
from silt.local.runtime import Sandbox
from silt.local.s3 import LocalS3
from silt.local.verdict import accounting, judge, read_table

ORDERS = 4_000
LIMIT_S = 120.0
PICTURE_COLUMNS = 130
KILL_AFTER_S = (0.012, 0.010, 0.008, 0.006, 0.004, 0.002, 0.0)
"""How long the function has had its batch when it is killed; where that was too long, sooner."""
TAKEN_LIMIT_S = 5.0
"""A warm function takes its event long before that."""
WARM_AFTER = 5
"""The number of the first invocation that may be killed: by then both sandboxes are warm."""


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
    title = f"sales/orders__dead_letters: {dead_letters.num_rows:,} records by reason"
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
            f"{mapping.starts} processes; "
            f"{counted(sum(p.retries for p in progress), 'retry', 'retries')}."
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
    columns = ["table", "expected", "found", "lost", "duplicated", "invented", "altered"]
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
    output.say(f"{time.monotonic() - began:.0f} seconds. To look around:")
    _suggest_next(folder)
    return right and whole


def _suggest_next(folder: Path) -> None:
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
            raise SiltError("Another demo is running here. Wait until it ends.") from error
        yield


def main() -> int:
    """Run the demo in .silt/demo. Ctrl-C, or a polite kill, leaves nothing running.

    With an argument it also draws what it prints into that file, as an SVG.
    """
    picture = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if picture is not None:
        output.record(PICTURE_COLUMNS)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.default_int_handler)
    try:
        with _alone(Path(".silt/demo.lock")):
            is_right = run(Path(".silt/demo"))
        if picture is not None:
            output.save_picture(picture, "make demo")
        return 0 if is_right else 1
    except KeyboardInterrupt:
        output.say("Stopped; nothing is left running.")
        return 130
    except SiltError as error:
        output.complain(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
