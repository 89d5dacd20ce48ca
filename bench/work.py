"""The kinds of work that are measured: a contract, the payloads of one event, and the event.

The same numbers everywhere: a kind of work is the same bytes in each round and for each way.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from silt.local.events import KafkaRecord, event_of

SOURCE = {
    "eventSource": "aws:kafka",
    "eventSourceArn": "arn:aws:kafka:us-east-1:123456789012:cluster/bench/bench-1",
    "bootstrapServers": "b:9098",
}

ORDERS = """
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

CLICKS = """
topic: orders
table: clicks
columns:
  user_id: {type: long, required: true}
  page: {type: string, required: true}
  at: {type: timestamp, unit: ms, required: true}
  seconds: {type: double}
  mobile: {type: boolean}
"""

PAYMENTS = """
topic: orders
table: payments
columns:
  id: {type: long, required: true}
  net: {type: "decimal(18,4)", required: true}
  gross: {type: "decimal(18,4)", required: true}
  rate: {type: "decimal(9,6)"}
  booked_on: {type: date}
"""

Payloads = list[bytes]
RECORDS = 10_000


@dataclass(frozen=True)
class Work:
    """One kind of work.

    `limit` names the schema of `bench.limit`, where the work is within it; `obvious` says that the
    obvious function does this work.
    """

    name: str
    contract: str
    payloads: Callable[[], Payloads]
    limit: str = ""
    obvious: bool = False


def event_at(start: int, payloads: Payloads, partitions: int = 1) -> dict[str, Any]:
    """Return an event of AWS's shape whose offsets begin at `start`, of so many partitions of the
    topic.
    """
    now_ms = time.time_ns() // 1_000_000
    records = [
        KafkaRecord("orders", i % partitions, start + i, now_ms, "CREATE_TIME", None, payload)
        for i, payload in enumerate(payloads)
    ]
    return event_of(records, SOURCE)


def order(number: int, dice: random.Random, *, items: int = 3, name: str = "") -> bytes:
    """Return an order; of about 330 bytes where it has three items."""
    return orjson.dumps(
        {
            "order_id": f"o-{number:08}",
            "amount": f"{dice.randrange(100, 100_000) / 100:.2f}",
            "quantity": dice.randrange(1, 9),
            "status": dice.choice(["new", "paid", "shipped"]),
            "placed_at": f"2026-05-01T10:{dice.randrange(60):02}:00.123Z",
            "customer": {
                "id": dice.randrange(1 << 30),
                "e_mail": f"{name}customer{number}@example.com",
            },
            "items": [
                {"sku": f"sku-{dice.randrange(10_000):05}", "price": dice.randrange(9999) / 100}
                for _ in range(items)
            ],
            "tags": {"channel": "web", "country": "DE"},
        }
    )


def orders(count: int = RECORDS) -> Payloads:
    """Return clean orders."""
    dice = random.Random(1)
    return [order(i, dice) for i in range(count)]


def large_orders() -> Payloads:
    """Return as many orders of some 910 bytes as an event of 6 MB holds."""
    dice = random.Random(1)
    return [order(i, dice, items=19, name="x" * 30) for i in range(4_325)]


def clicks() -> Payloads:
    """Return flat records of some 88 bytes."""
    dice = random.Random(1)
    at_ms = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp() * 1000)
    return [
        orjson.dumps(
            {
                "user_id": dice.randrange(1 << 30),
                "page": f"/p/{dice.randrange(500)}",
                "at": at_ms + i,
                "seconds": dice.randrange(10_000) / 100,
                "mobile": dice.random() < 0.6,
            }
        )
        for i in range(10_000)
    ]


def payments() -> Payloads:
    """Return records of decimals, some as numbers and some as text, as producers send them."""
    dice = random.Random(1)
    return [
        orjson.dumps(
            {
                "id": i,
                "net": f"{dice.randrange(1 << 40) / 10_000:.4f}",
                "gross": dice.randrange(1 << 30) / 100,
                "rate": f"{dice.randrange(999_999) / 1_000_000:.6f}",
                "booked_on": f"2026-05-{dice.randrange(1, 29):02}",
            }
        )
        for i in range(10_000)
    ]


def with_rejects(every: int, *changes: Mapping[str, Any]) -> Callable[[], Payloads]:
    """Return orders of which each `every`-th has one of the changes, in turn."""

    def make() -> Payloads:
        payloads = orders()
        for number, i in enumerate(range(0, len(payloads), every)):
            fields = {**orjson.loads(payloads[i]), **changes[number % len(changes)]}
            payloads[i] = orjson.dumps(fields)
        return payloads

    return make


def partitioned_orders() -> Payloads:
    """Return orders of fifty days."""
    payloads = []
    for i, payload in enumerate(orders()):
        fields = orjson.loads(payload)
        fields["placed_at"] = f"2026-0{1 + i % 5}-{1 + i % 10:02}T10:00:00Z"
        payloads.append(orjson.dumps(fields))
    return payloads


WRONG = (
    {"quantity": "x"},
    {"amount": "1.234"},
    {"placed_at": "2026-02-30T00:00:00Z"},
    {"status": "z"},
    {"order_id": ""},
)
"""One change for each of five kinds of rejects."""
BREAKER = "circuit_breaker: {ratio: 1.0}\n"
"""Rejects become dead letters: nothing is spared by stopping early."""
BY_DAY = f"{ORDERS}  day: {{type: date, from: placed_at}}\npartition_by: [day]\n"

WORKS = (
    Work("nested, 10,000 of 327 B", ORDERS, orders, "orders", obvious=True),
    Work("nested, a full event of 911 B each", ORDERS, large_orders, "orders"),
    Work("clicks, 10,000 of 88 B", CLICKS, clicks, "clicks"),
    Work("payments, 10,000 of decimals", PAYMENTS, payments),
    Work("nested, 5 % rejects of five kinds", ORDERS + BREAKER, with_rejects(20, *WRONG)),
    Work("nested, 50 partitions", BY_DAY, partitioned_orders),
    Work("nested, 1,000", ORDERS, lambda: orders(1_000), "orders"),
    Work("nested, 100", ORDERS, lambda: orders(100), "orders"),
    Work("nested, one event of 1 KB", ORDERS, lambda: orders(3), "orders"),
)
