"""Dead letters as batches: what Kafka delivered is given to the contract as it came. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from handler.kafka.event import Batch, EventRecord, StreamRecords
from handler.kafka.offsets import Stream
from silt.local.events import event_headers

COLUMNS = ("topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers")


@dataclass(frozen=True, slots=True)
class Letter:
    """One chosen dead letter. `position` is its row in its file, `record` what Kafka delivered.

    `record` is without a timestamp where no table could store that.
    """

    position: int
    code: str
    record: EventRecord

    @property
    def place(self) -> tuple[str, int, int]:
        """Return topic, partition and offset."""
        return self.record.topic, self.record.partition, self.record.offset


@dataclass(frozen=True, slots=True)
class LetterBatch:
    """Dead letters of one topic in one generation. `letters` are in the order of the batch."""

    batch: Batch
    generation: int
    letters: Sequence[Letter]


def read_letters(rows: pa.Table, positions: Sequence[int]) -> Iterator[Letter]:
    """Yield dead letters from the rows of a table, each with its position in the file."""
    columns = [rows[name].to_pylist() for name in COLUMNS if name != "timestamp"]
    times = rows["timestamp"].cast(pa.timestamp("ms", "UTC"), safe=False)
    times_ms = times.cast(pa.int64()).to_pylist()
    codes = rows["error_code"].to_pylist()
    for position, code, time_ms, values in zip(
        positions, codes, times_ms, zip(*columns, strict=True), strict=True
    ):
        topic, partition, offset, kind, key, value, headers = values
        pairs = [(each["name"], each["value"]) for each in headers or ()]
        record = EventRecord(
            topic, partition, offset, time_ms, kind, key, value, event_headers(pairs)
        )
        yield Letter(position, code or "", record)


def batches_of(
    letters: Sequence[Letter], stream_of: Callable[[Letter], Stream]
) -> Iterator[LetterBatch]:
    """Yield batches of dead letters, each of one topic of one source in one generation.

    In a batch each offset is there once: one that comes with several timestamps makes several.
    """
    rest = list(letters)
    while rest:
        chosen: dict[tuple[str, str, int], dict[int, dict[int, Letter]]] = {}
        later = []
        for letter in rest:
            stream = stream_of(letter)
            group = chosen.setdefault((stream.source, stream.topic, stream.generation), {})
            of_partition = group.setdefault(stream.partition, {})
            if of_partition.setdefault(letter.record.offset, letter) is not letter:
                later.append(letter)
        for (source, topic, generation), partitions in chosen.items():
            streams, ordered = list[StreamRecords](), list[Letter]()
            for partition, by_offset in sorted(partitions.items()):
                in_order = [by_offset[offset] for offset in sorted(by_offset)]
                ordered += in_order
                records = [letter.record for letter in in_order]
                streams.append(StreamRecords.of(partition, records))
            yield LetterBatch(Batch(source, topic, tuple(streams)), generation, ordered)
        rest = later
