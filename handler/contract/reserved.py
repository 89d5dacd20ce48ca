"""Names that contracts share with tables and with messages: Kafka's columns, kinds of types."""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches

from handler.contract.yaml_file import Path
from handler.delta.types import (
    Array,
    DataType,
    Field,
    Primitive,
    Struct,
)

Report = Callable[[Path, str], None]
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
PARTS = ("date", "year", "month", "day", "hour")
NESTED = ("struct", "array", "map")


def nearest(word: str, words: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` or nothing, for the end of a message."""
    close = get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f". Did you mean {close[0]!r}?" if close else ""
