"""make bench: the handler's CPU on a warm batch, against a bare floor and against the obvious way.

All three take the same event, as the Lambda runtime hands it over, to local disk; rounds alternate, so that the
machine's mood hits all alike. CPU is that of the whole process, threads included. The median of the rounds' ratios
is what counts; absolute figures are of this machine alone.
"""

import base64
import contextlib
import io
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from deltalake import write_deltalake
from pydantic import BaseModel

from handler.app import Function
from handler.settings import Settings

RECORDS = 10_000
ROUNDS = int(os.environ.get("ROUNDS", "11"))
FLOOR_RATIO_MAX = 1.6
OBVIOUS_RATIO_MIN = 6.0

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
    id: int
    e_mail: str | None = None


class Item(BaseModel):
    sku: str | None = None
    price: float | None = None


class Order(BaseModel):
    order_id: str
    amount: str
    quantity: int = 1
    status: str | None = None
    placed_at: str
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


def floor(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Return what cannot be done without: base64, orjson, columns, Parquet, two files."""

    def run(event: dict[str, Any]) -> None:
        payloads = [base64.b64decode(r["value"]) for r in event["records"]["orders-0"]]
        columns = pa.array([orjson.loads(payload) for payload in payloads], WIRE)
        pq.write_table(pa.Table.from_struct_array(columns), folder / "floor.parquet")
        (folder / "floor.json").write_bytes(b"x" * 2000)

    return run


def silt(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Return the handler, whole: check, statistics, commit, log line and metrics included."""
    (folder / "contracts").mkdir()
    (folder / "contracts" / "orders.yaml").write_text(CONTRACT)
    settings = Settings(
        table_root=str(folder / "tables"), contracts=str(folder / "contracts"), log_level="INFO"
    )
    function = Function(settings)

    def run(event: dict[str, Any]) -> None:
        answer = function.handle(event, None)
        assert answer == {"batchItemFailures": []}

    return run


def obvious(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Return what a user writes today: a processor, a model a record, the engine's append."""

    def run(event: dict[str, Any]) -> None:
        rows: list[dict[str, Any]] = []
        processor = BatchProcessor(event_type=EventType.Kafka)

        def handle(record: Any) -> None:
            model = Order.model_validate_json(base64.b64decode(record["value"]))
            rows.append(model.model_dump())

        records = [r for group in event["records"].values() for r in group]
        with processor(records, handle):
            processor.process()
        write_deltalake(str(folder / "obvious"), pa.Table.from_pylist(rows), mode="append")

    return run


def main() -> int:
    """Run the rounds and print the ratios. Returns 1 if one misses its aim."""
    dice = random.Random(1)
    payloads = [order(i, dice) for i in range(RECORDS)]
    values = [base64.b64encode(payload).decode() for payload in payloads]
    size = sum(map(len, payloads)) / RECORDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = {"floor": floor(folder), "silt": silt(folder), "obvious": obvious(folder)}
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(ROUNDS + 2):
            event = event_at(number * RECORDS, values)
            for way, run in ways.items():
                with contextlib.redirect_stdout(io.StringIO()):
                    begun = time.process_time()
                    run(event)
                    took = time.process_time() - begun
                if number >= 2:  # two rounds to warm up
                    spent[way].append(took)
    print(f"{RECORDS:,} records of {size:.0f} bytes, {ROUNDS} rounds; CPU, median of the rounds:")
    for way, times in spent.items():
        each = statistics.median(times) / RECORDS * 1e6
        print(f"  {way:8} {statistics.median(times) * 1000:7.1f} ms  {each:6.2f} us a record")
    to_floor = statistics.median(s / f for s, f in zip(spent["silt"], spent["floor"], strict=True))
    less = statistics.median(o / s for o, s in zip(spent["obvious"], spent["silt"], strict=True))
    print(f"silt / floor:   {to_floor:5.2f}  (aim: at most {FLOOR_RATIO_MAX})")
    print(f"obvious / silt: {less:5.2f}  (aim: at least {OBVIOUS_RATIO_MIN})")
    return int(to_floor > FLOOR_RATIO_MAX or less < OBVIOUS_RATIO_MIN)


if __name__ == "__main__":
    sys.exit(main())
