"""Names that contracts share with tables and with messages: Kafka's columns, kinds of types."""

from collections.abc import Mapping

from handler.delta.types import (
    Array,
    DataType,
    Field,
    Primitive,
    Struct,
)

KAFKA_COLUMNS: Mapping[str, DataType] = {
    "_kafka_partition": Primitive("integer"),
    "_kafka_offset": Primitive("long"),
    "_kafka_timestamp": Primitive("timestamp"),
    "_kafka_topic": Primitive("string"),
    "_kafka_timestamp_type": Primitive("string"),
    "_kafka_key": Primitive("binary"),
    "_kafka_headers": Array(
        Struct((Field("name", Primitive("string")), Field("value", Primitive("binary"))))
    ),
}
RESCUED = "_rescued"
HEADERS, KEY = "_kafka_headers", "_kafka_key"
PARTS = ("date", "year", "month", "day", "hour")
NESTED = ("struct", "array", "map")
