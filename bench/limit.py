"""The limit that Silt is compared with: the event in one typed pass, Arrow's own reader, Parquet.

It checks nothing, loses numbers and takes what is not JSON: no function may do less work than this.
"""

import io
import os
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from handler.delta.encoding import compression_of

FOLDER = Path(os.environ["BENCH_FOLDER"])
TEXT, ITEM = pa.string(), pa.struct([("sku", pa.string()), ("price", pa.float64())])
SCHEMAS = {
    "orders": pa.schema(
        [
            ("order_id", TEXT),
            ("amount", TEXT),
            ("quantity", pa.int32()),
            ("status", TEXT),
            ("placed_at", TEXT),
            ("customer", pa.struct([("id", pa.int64()), ("e_mail", TEXT)])),
            ("items", pa.list_(ITEM)),
            ("tags", pa.struct([("channel", TEXT), ("country", TEXT)])),
        ]
    ),
    "clicks": pa.schema(
        [
            ("user_id", pa.int64()),
            ("page", TEXT),
            ("at", pa.int64()),
            ("seconds", pa.float64()),
            ("mobile", pa.bool_()),
        ]
    ),
}
OPTIONS = pa.json.ParseOptions(
    explicit_schema=SCHEMAS[os.environ["BENCH_SCHEMA"]], unexpected_field_behavior="ignore"
)


class Record(msgspec.Struct, gc=False):
    """A record of the event; the rest of it is skipped."""

    offset: int
    timestamp: int
    value: bytes


class Event(msgspec.Struct, gc=False):
    """The event."""

    records: dict[str, list[Record]]


class Marshaller(LambdaMarshaller):
    """Hands the event over as its bytes."""

    def unmarshal_request(self, request: bytes, content_type: str = "application/json") -> Any:
        return request


BaseLambdaRuntimeClient.marshaller = Marshaller()
_decoder = msgspec.json.Decoder(Event)


def lambda_handler(event: bytes, _context: Any) -> dict[str, Any]:
    """Write the records of an event into a Parquet file beside a small one."""
    (records,) = _decoder.decode(event).records.values()
    lines = io.BytesIO(b"\n".join([record.value for record in records]))
    read = pa.json.ReadOptions(block_size=1 << 24, use_threads=False)
    table = pa.json.read_json(lines, read, OPTIONS)
    kafka = [pa.array([r.offset for r in records]), pa.array([r.timestamp for r in records])]
    for name, column in zip(("_kafka_offset", "_kafka_timestamp"), kafka, strict=True):
        table = table.append_column(name, column)
    codec, level = compression_of(table)
    pq.write_table(
        table,
        FOLDER / "limit.parquet",
        compression=codec,
        compression_level=level,
        use_dictionary=False,
    )
    (FOLDER / "limit.json").write_bytes(b"x" * 2000)
    return {"batchItemFailures": []}
