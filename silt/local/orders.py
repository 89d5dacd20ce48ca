"""Orders for the demo: good ones, broken ones, and ones that the contract rejects."""

import datetime as dt
import json
import random
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from handler.errors import SiltError

BUCKET = "lake"
TOPIC = "orders"
PARTITIONS = 4
SEED = 20_260_501


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
                raise SiltError(f"The broker did not accept a record: {error}")
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
