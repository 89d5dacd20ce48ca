"""What a user writes without Silt: Powertools' batch processor, a pydantic model a record, the
engine's append. It is not exactly once.
"""

import os
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pyarrow as pa
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEventRecord
from deltalake import write_deltalake
from pydantic import BaseModel, Field

TABLE = os.environ["BENCH_FOLDER"] + "/obvious"


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


def lambda_handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Append the records of an event to a table."""
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
    write_deltalake(TABLE, pa.Table.from_pylist(rows), mode="append")
    return {"batchItemFailures": []}
