"""Ranges of a topic, read by their offsets: no consumer group's offset is asked for or moved."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from handler.errors import SiltError
from silt.command_errors import UsageError
from silt.kafka_options import explain_failure
from silt.local.broker import (
    METADATA_LIMIT_S,
    QUIET,
    committed_offsets,
    partitions_of,
    record_of,
)
from silt.local.events import KafkaRecord

POLL_LIMIT_S = 15.0
FETCH_WAIT_MS = 20


@dataclass(frozen=True, slots=True)
class RecordRange:
    """Offsets of a partition, the first and the last included."""

    topic: str
    partition: int
    first: int
    last: int

    def __str__(self) -> str:
        offsets = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        return f"{self.topic}-{self.partition} offsets {offsets}"


class TopicReader:
    """Reads records of one topic, of committed transactions only. Use it as a context manager.

    Raises SiltError where the broker does not answer, or does not know the topic.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        client: Mapping[str, Any] | None = None,
        *,
        group: str | None = None,
    ) -> None:
        self.servers, self.topic = servers, topic
        # What is wanted is there: a broker that waits for more holds up the next range.
        settings = {"fetch.wait.max.ms": FETCH_WAIT_MS, **QUIET, **(client or {})}
        settings |= {"bootstrap.servers": servers}
        settings |= {"group.id": group or "silt-reader", "enable.auto.commit": False}
        settings |= {"isolation.level": "read_committed", "enable.partition.eof": True}
        settings["auto.offset.reset"] = "error"  # what expires while it is read is not explained
        try:
            self.partitions = partitions_of(servers, topic, client)
            self._consumer = Consumer(settings)
        except KafkaException as error:
            raise explain_failure(servers, topic, error) from error

    def __enter__(self) -> "TopicReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def check_partition(self, partition: int) -> None:
        """Raise UsageError for a partition that the topic does not have."""
        if partition not in self.partitions:
            raise UsageError(
                f"The topic {self.topic} has no partition {partition}, only "
                f"{_listed(self.partitions)}."
            )

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that the broker has, and the one after the last."""
        place = TopicPartition(self.topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(place, METADATA_LIMIT_S)
        except KafkaException as error:
            raise explain_failure(self.servers, self.topic, error) from error
        return int(low), int(high)

    def offset_at(self, partition: int, timestamp_ms: int) -> int:
        """Return the first offset whose record has this timestamp or a later one; the one after the
        last where there is none.

        A broker that does not find offsets by time is read until there is one.
        """
        place = TopicPartition(self.topic, partition, timestamp_ms)
        try:
            (answer,) = self._consumer.offsets_for_times([place], timeout=METADATA_LIMIT_S)
            if answer.error is not None:
                raise KafkaException(answer.error)
        except KafkaException as error:
            raise explain_failure(self.servers, self.topic, error) from error
        low, high = self.bounds(partition)
        if answer.offset >= 0 or low == high:
            return int(answer.offset) if answer.offset >= 0 else high
        last = next(self.read(partition, high - 1, high - 1), None)
        if last is None or last.timestamp_ms < timestamp_ms:
            return high
        records = self.read(partition, low, high - 1)
        return next((r.offset for r in records if r.timestamp_ms >= timestamp_ms), high)

    def committed(self) -> dict[int, int]:
        """Return the committed offsets of the group by partition, of those that have one."""
        places = [TopicPartition(self.topic, partition) for partition in self.partitions]
        try:
            committed = committed_offsets(self._consumer, places)
        except KafkaException as error:
            raise explain_failure(self.servers, self.topic, error) from error
        return {place.partition: place.offset for place in committed if place.offset >= 0}

    def read(self, partition: int, first: int, last: int) -> Iterator[KafkaRecord]:
        """Yield the records of a partition that the broker has from one offset to another, both
        included.
        """
        try:
            self._consumer.assign([TopicPartition(self.topic, partition, first)])
            while True:
                message = self._consumer.poll(POLL_LIMIT_S)
                if message is None:
                    raise SiltError(
                        f"Kafka sent nothing of {self.topic}-{partition} from offset {first} "
                        f"within {POLL_LIMIT_S:g} s. Nothing is known of what comes after it."
                    )
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return
                if error is not None:
                    raise KafkaException(error)
                record = record_of(message)
                if record.offset <= last:
                    yield record
                if record.offset >= last:
                    return
        except KafkaException as error:
            raise explain_failure(self.servers, self.topic, error) from error


def _listed(partitions: Sequence[int]) -> str:
    if len(partitions) > 10:
        return f"{partitions[0]} to {partitions[-1]}"
    return ", ".join(map(str, partitions))
