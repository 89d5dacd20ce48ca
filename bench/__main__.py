"""make bench: the handler's CPU on a warm batch, against a bare floor and against the obvious way.

All take the same event, as the Lambda runtime hands it over, to local disk, each in a process of
its own; rounds alternate, so that the machine's mood hits all alike. CPU is that of the whole
process, threads included. The median of the rounds' ratios is what counts; absolute figures are of
this machine alone.
"""

import base64
import contextlib
import gc
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEventRecord
from deltalake import write_deltalake
from pydantic import BaseModel, Field

from handler.app import Function
from handler.settings import Settings

RECORDS = 10_000
BATCHES = 7
WARM_UP = 2
ROUNDS = int(os.environ.get("ROUNDS", "5"))
COLLECTOR_OFF = ", collector off"

Run = Callable[[dict[str, Any]], None]

CONTRACT = """
topic: orders
table: orders
columns:
  order_id: {type: string, required: true, min_length: 1}
  amount: {type: "decimal(12,2)", required: true, minimum: 0}
  quantity: {type: integer, minimum: 1, default: 1}
  status: {type: string, enum: [new, paid, shipped]}
  placed_at: {type: timestamp, required: true}
  customer:
    type: struct
    fields:
      id: {type: long, required: true}
      email: {type: string, pattern: ".+@.+", source: e_mail}
  items: {type: array, items: {type: struct, fields: {sku: {type: string}, price: {type: double}}}}
  tags: {type: map, values: {type: string}}
"""

WIRE = pa.struct(
    [
        ("order_id", pa.string()),
        ("amount", pa.string()),
        ("quantity", pa.int32()),
        ("status", pa.string()),
        ("placed_at", pa.string()),
        ("customer", pa.struct([("id", pa.int64()), ("e_mail", pa.string())])),
        ("items", pa.list_(pa.struct([("sku", pa.string()), ("price", pa.float64())]))),
        ("tags", pa.map_(pa.string(), pa.string())),
    ]
)


class Customer(BaseModel):
    """The contract's customer as a model."""

    id: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
    email: Annotated[str, Field(pattern=".+@.+")] | None = Field(None, alias="e_mail")


class Item(BaseModel):
    """The contract's item as a model."""

    sku: str | None = None
    price: float | None = None


class Order(BaseModel):
    """The contract's order as a model: the same types and rules."""

    order_id: Annotated[str, Field(min_length=1)]
    amount: Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]
    quantity: Annotated[int, Field(ge=1, lt=1 << 31)] = 1
    status: Literal["new", "paid", "shipped"] | None = None
    placed_at: datetime
    customer: Customer | None = None
    items: list[Item] | None = None
    tags: dict[str, str] | None = None


def order(number: int, dice: random.Random) -> bytes:
    """Return an order of about 330 bytes."""
    return orjson.dumps(
        {
            "order_id": f"o-{number:08}",
            "amount": f"{dice.randrange(100, 100_000) / 100:.2f}",
            "quantity": dice.randrange(1, 9),
            "status": dice.choice(["new", "paid", "shipped"]),
            "placed_at": f"2026-05-01T10:{dice.randrange(60):02}:00.123Z",
            "customer": {"id": dice.randrange(1 << 30), "e_mail": f"customer{number}@example.com"},
            "items": [
                {"sku": f"sku-{dice.randrange(10_000):05}", "price": dice.randrange(9999) / 100}
                for _ in range(3)
            ],
            "tags": {"channel": "web", "country": "DE"},
        }
    )


def event_at(start: int, values: list[str]) -> dict[str, Any]:
    """Return an event whose offsets begin at `start`."""
    now_ms = time.time_ns() // 1_000_000
    records = [
        {
            "topic": "orders",
            "partition": 0,
            "offset": start + i,
            "timestamp": now_ms,
            "timestampType": "CREATE_TIME",
            "key": None,
            "value": value,
            "headers": [],
        }
        for i, value in enumerate(values)
    ]
    return {
        "eventSource": "aws:kafka",
        "eventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/bench/bench-1",
        "bootstrapServers": "b:9098",
        "records": {"orders-0": records},
    }


def floor(folder: Path) -> Run:
    """Return what cannot be done without: base64, orjson, columns, Parquet, two files."""

    def run(event: dict[str, Any]) -> None:
        payloads = [base64.b64decode(r["value"]) for r in event["records"]["orders-0"]]
        columns = pa.array([orjson.loads(payload) for payload in payloads], WIRE)
        pq.write_table(pa.Table.from_struct_array(columns), folder / "floor.parquet")
        (folder / "floor.json").write_bytes(b"x" * 2000)

    return run


def silt(folder: Path) -> Run:
    """Return the handler, whole: check, statistics, commit, log line and metrics included."""
    (folder / "contracts").mkdir()
    (folder / "contracts" / "orders.yaml").write_text(CONTRACT)
    root, contracts = str(folder / "tables"), str(folder / "contracts")
    with contextlib.redirect_stdout(io.StringIO()):  # the logger keeps the stream it is made with
        function = Function(Settings(table_root=root, contracts=contracts))

    def run(event: dict[str, Any]) -> None:
        answer = function.handle(event, None)
        assert answer == {"batchItemFailures": []}

    return run


def obvious(folder: Path) -> Run:
    """Return what a user writes today: a processor, a model a record, the engine's append."""

    def run(event: dict[str, Any]) -> None:
        rows: list[dict[str, Any]] = []
        processor = BatchProcessor(event_type=EventType.Kafka)

        def handle(record: KafkaEventRecord) -> None:
            rows.append(
                {
                    "_kafka_partition": record.partition,
                    "_kafka_offset": record.offset,
                    "_kafka_timestamp": datetime.fromtimestamp(record.timestamp / 1000, UTC),
                    **Order(**record.json_value).model_dump(),
                }
            )

        records = [r for group in event["records"].values() for r in group]
        with processor(records, handle):
            processor.process()
        assert len(rows) == RECORDS
        write_deltalake(str(folder / "obvious"), pa.Table.from_pylist(rows), mode="append")

    return run


WAYS = {"floor": floor, "silt": silt, "obvious": obvious}


def measure(way: str) -> float:
    """Return the median CPU seconds of a warm batch, in a process that does nothing else."""
    dice = random.Random(1)
    values = [base64.b64encode(order(i, dice)).decode() for i in range(RECORDS)]
    times = []
    with tempfile.TemporaryDirectory() as name:
        run = WAYS[way.removesuffix(COLLECTOR_OFF)](Path(name))
        if way.endswith(COLLECTOR_OFF):
            gc.disable()
        for number in range(WARM_UP + BATCHES):
            event = event_at(number * RECORDS, values)
            with contextlib.redirect_stdout(io.StringIO()):
                begun = time.process_time()
                run(event)
                took = time.process_time() - begun
            times.append(took)
    return statistics.median(times[WARM_UP:])


def main() -> int:
    """Measure each way in turn, each time in a process of its own, and print the ratios."""
    ways = ("floor", "floor" + COLLECTOR_OFF, "silt", "obvious")
    spent: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way in ways:
            child = [sys.executable, "-m", "bench", way]
            output = subprocess.run(child, check=True, capture_output=True, text=True).stdout
            spent[way].append(float(output.strip().splitlines()[-1]))
    print(f"{RECORDS:,} records of 327 bytes, {ROUNDS} rounds of {BATCHES} batches, CPU medians:")
    for way, times in spent.items():
        each = statistics.median(times) / RECORDS * 1e6
        print(f"  {way:20} {statistics.median(times) * 1000:7.1f} ms  {each:6.2f} us a record")

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(spent[one], spent[other], strict=True))

    print(f"silt / floor:                {ratio('silt', ways[0]):5.2f}  (aim: at most 1.6)")
    print(f"silt / floor, collector off: {ratio('silt', ways[1]):5.2f}")
    print(f"obvious / silt:              {ratio('obvious', 'silt'):5.2f}  (aim: at least 6)")
    print(f"obvious / floor:             {ratio('obvious', ways[0]):5.2f}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1]))
    else:
        sys.exit(main())
