"""A range of a topic as options name it: by offsets, or by time."""

from dataclasses import dataclass

from handler.kafka.event import OFFSET_MAX
from silt.command_errors import UsageError
from silt.local.topic_reader import RecordRange, TopicReader
from silt.times import parse_time


@dataclass(frozen=True, slots=True)
class AskedRange:
    """From where to where, both included; None: from the first record, to the last of now.

    An end is an offset, or a time. A time is that of records: from the first record with this
    timestamp or a later one, to before the first with a later one.
    """

    topic: str
    partition: int | None
    begin: str | None
    end: str | None

    def resolve(self, reader: TopicReader) -> list[RecordRange]:
        """Return the ranges of offsets; partitions without a record between are left out.

        Raises UsageError.
        """
        partitions = reader.partitions
        if self.partition is not None:
            reader.check_partition(self.partition)
            partitions = [self.partition]
        for text, option in ((self.begin, "--from"), (self.end, "--to")):
            if text is not None and text.isdecimal() and len(partitions) > 1:
                raise UsageError(
                    f"{option} {text} is an offset, and {self.topic} has {len(partitions)} "
                    "partitions: name one with --partition, or use times."
                )
        ranges = [self._of(reader, partition) for partition in partitions]
        return [each for each in ranges if each.first <= each.last]

    def _of(self, reader: TopicReader, partition: int) -> RecordRange:
        low, high = reader.bounds(partition)
        first = low if self.begin is None else _offset(self.begin, "--from", reader, partition, 0)
        last = high - 1
        if self.end is not None:
            # A time is included, so what is looked for is the first record after it.
            after = 0 if self.end.isdecimal() else 1
            last = _offset(self.end, "--to", reader, partition, after) - after
        if self.begin is not None and self.end is not None and last < first:
            both_are_offsets = self.begin.isdecimal() and self.end.isdecimal()
            if both_are_offsets:
                raise UsageError(f"--to {self.end} is before --from {self.begin}.")
        return RecordRange(self.topic, partition, first, last)


def _offset(text: str, option: str, reader: TopicReader, partition: int, after_ms: int) -> int:
    if text.isdecimal():
        if len(text) > 19 or int(text) > OFFSET_MAX:
            raise UsageError(f"{option} {text}: Kafka has no such offset.")
        return int(text)
    return reader.offset_at(partition, parse_time(text, option) // 1000 + after_ms)
