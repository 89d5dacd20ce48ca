"""Events of what a topic still has: of ranges of offsets, in batches as large as AWS sends them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Any

from pyroaring import BitMap64

from silt.audit.offset_sets import between, joined, ranges_of
from silt.local.events import KafkaRecord, batches_of, event_of
from silt.local.topic_reader import RecordRange, TopicReader

BATCH_SIZE = 10_000
"""Records of an event at most: what a mapping allows."""


class TopicEvents:
    """Makes events of ranges of the topics of one broker. Use it as a context manager.

    Each topic is connected to once. Raises SiltError where the broker does not answer, or does not
    know a topic.
    """

    def __init__(self, servers: str, client: Mapping[str, Any]) -> None:
        self._servers, self._client = servers, client
        self._readers: dict[str, TopicReader] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> "TopicEvents":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def source(self) -> dict[str, str]:
        """Return how an event of these records names its cluster."""
        return {"eventSource": "SelfManagedKafka", "bootstrapServers": self._servers}

    def reader(self, topic: str, group: str | None = None) -> TopicReader:
        """Return the reader of a topic; `group` is a consumer group whose offsets it can tell."""
        if topic not in self._readers:
            reader = TopicReader(self._servers, topic, self._client, group=group)
            self._readers[topic] = self._open.enter_context(reader)
        return self._readers[topic]

    def absent(self, ranges: Sequence[RecordRange]) -> list[RecordRange]:
        """Return the parts of ranges that the broker no longer has, or does not have yet.

        Raises UsageError for a partition that the topic does not have.
        """
        absent = list[RecordRange]()
        for each in ranges:
            reader = self.reader(each.topic)
            reader.check_partition(each.partition)
            low, high = reader.bounds(each.partition)
            if each.first < low:
                last = min(each.last, low - 1)
                absent.append(RecordRange(each.topic, each.partition, each.first, last))
            if each.last >= high:
                first = max(each.first, high)
                absent.append(RecordRange(each.topic, each.partition, first, each.last))
        return absent

    def read(
        self, ranges: Sequence[RecordRange], source: Mapping[str, str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield events of ranges, each with a name for messages; `source` names the cluster.

        Ranges of a partition that follow each other share events: a thousand holes are no thousand
        commits.
        """
        for (topic, partition), group in groupby(ranges, lambda each: (each.topic, each.partition)):
            records = self.records(list(group))
            for batch in batches_of(records, source, BATCH_SIZE):
                name = RecordRange(topic, partition, batch[0].offset, batch[-1].offset)
                yield str(name), event_of(batch, source)

    def records(self, ranges: Sequence[RecordRange]) -> Iterator[KafkaRecord]:
        """Yield the records of ranges of one partition that the broker has."""
        topic, partition = ranges[0].topic, ranges[0].partition
        reader = self.reader(topic)
        low, high = reader.bounds(partition)
        wanted = BitMap64()
        for each in ranges:
            first, last = max(each.first, low), min(each.last, high - 1)
            if first <= last:
                wanted |= between(first, last)
        for first, last in joined(ranges_of(wanted)):
            for record in reader.read(partition, first, last):
                if record.offset in wanted:
                    yield record
