"""Kafka as a person's machine meets it: an embedded broker, and a mapping's records from any
broker.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from silt.local.events import KafkaRecord

StartingPosition = Literal["TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]

QUIET = {"log_level": 0}
METADATA_LIMIT_S = 15.0
_NO_COORDINATOR = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError._WAIT_COORD,
}
"""What a broker answers, or the client, until the coordinator of a group is there."""
_PAUSE_S = 0.2


class EmbeddedBroker:
    """librdkafka's mock cluster: a broker of this process, in memory, that other processes connect
    to.

    Topics are made on first use, with 4 partitions. It holds a few megabytes a partition and knows
    neither transactions nor offsets by time: for trying things, not for load.
    """

    def __init__(self) -> None:
        settings: dict[str, Any] = {"bootstrap.servers": "embedded:1", "test.mock.num.brokers": 1}
        self._cluster = Producer({**settings, **QUIET})
        brokers = self._cluster.list_topics(timeout=METADATA_LIMIT_S).brokers.values()
        self.servers = ",".join(f"{b.host}:{b.port}" for b in brokers)


def partitions_of(servers: str, topic: str, client: Mapping[str, Any] | None = None) -> list[int]:
    """Return a topic's partitions. Raises KafkaException when the broker does not answer."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "silt-metadata", **QUIET, **(client or {})}
    )
    try:
        metadata = consumer.list_topics(topic, timeout=METADATA_LIMIT_S).topics[topic]
        if metadata.error is not None:
            raise KafkaException(metadata.error)
        return sorted(metadata.partitions)
    finally:
        consumer.close()


def committed_offsets(consumer: Any, places: list[TopicPartition]) -> list[TopicPartition]:
    """Return what the consumer's group has committed. Raises KafkaException."""
    return _of_coordinator(lambda: consumer.committed(places, timeout=METADATA_LIMIT_S))


def _of_coordinator(ask: Callable[[], list[TopicPartition]]) -> list[TopicPartition]:
    """Return what a group's coordinator answers; one that is being found, or moves, is waited for.

    The first question about a group makes a broker find, or make, its coordinator.
    """
    ends_at = time.monotonic() + METADATA_LIMIT_S
    while True:
        try:
            result = ask()
            error = next((place.error for place in result if place.error is not None), None)
        except KafkaException as raised:
            error = raised.args[0]
        if error is None:
            return result
        if error.code() not in _NO_COORDINATOR or time.monotonic() > ends_at:
            raise KafkaException(error)
        time.sleep(_PAUSE_S)


class TopicRecords:
    """Some partitions of a topic, read for one poller; offsets are kept in a consumer group.

    A committed offset of the group wins over the starting position, as with AWS. AT_TIMESTAMP reads
    from the beginning and passes over what is older, because not every broker knows offsets by
    time.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        partitions: Sequence[int],
        group_id: str,
        *,
        starting_position: StartingPosition = "TRIM_HORIZON",
        starting_timestamp_ms: int = 0,
        client: Mapping[str, Any] | None = None,
    ) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": group_id,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                **QUIET,
                **(client or {}),
            }
        )
        expected = [TopicPartition(topic, partition) for partition in partitions]
        start = OFFSET_END if starting_position == "LATEST" else OFFSET_BEGINNING
        committed = committed_offsets(self._consumer, expected)
        self._skip_before_ms: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        for place in committed:
            if place.offset < 0:
                place.offset = start
                if starting_position == "AT_TIMESTAMP":
                    self._skip_before_ms[place.partition] = starting_timestamp_ms
        self._consumer.assign(committed)

    def poll(self, timeout_s: float) -> KafkaRecord | None:
        """Return the next record, or None when none comes in time. Raises KafkaException."""
        while True:
            message = self._consumer.poll(timeout_s)
            if message is None:
                return None
            error = message.error()
            if error is not None:
                if error.fatal() or not error.retriable():
                    raise KafkaException(error)
                return None
            record = record_of(message)
            least_ms = self._skip_before_ms.get(record.partition)
            if least_ms is None:
                return record
            if record.timestamp_ms >= least_ms:
                del self._skip_before_ms[record.partition]
                return record

    def commit(self, partition: int, offset: int) -> None:
        """Keep in the consumer group that everything below this offset is done."""
        place = TopicPartition(self._topic, partition, offset)
        _of_coordinator(lambda: self._consumer.commit(offsets=[place], asynchronous=False))
        # In the thread that polls: the client blocks where another one asks.
        _low, high = self._consumer.get_watermark_offsets(place, cached=True)
        self._behind[partition] = max(0, high - offset)

    def behind(self) -> int | None:
        """Return how many offsets of the partitions that were read lie above what is committed, as
        of the last commit; None before the first.
        """
        return sum(self._behind.values()) if self._behind else None

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()


def record_of(message: Any) -> KafkaRecord:
    """Return what a client was sent as the record that the broker has."""
    kind, timestamp_ms = message.timestamp()
    created = kind == TIMESTAMP_CREATE_TIME
    return KafkaRecord(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp_ms=timestamp_ms,
        timestamp_type="CREATE_TIME" if created else "LOG_APPEND_TIME",
        key=message.key(),
        value=message.value(),
        headers=message.headers() or (),
    )
