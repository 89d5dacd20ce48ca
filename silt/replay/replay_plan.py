"""What a replay gives to the function: all of it is looked at before anything is written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.errors import EventError
from handler.kafka.event import parse_event
from silt.local.topic_reader import RecordRange
from silt.replay.saved import GivenUpBatch, SavedEventError, SavedFile, read_events
from silt.replay.topic_events import TopicEvents

NamedEvent = tuple[str, Any]
"""An event, or what went wrong instead, with a name for messages."""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The events of a replay, read as they are asked for, and the topics they are of.

    `count` is how many there are, None for nobody knows. `absent` are records that were asked for
    and that the broker does not have.
    """

    topics: tuple[str, ...]
    events: Callable[[], Iterator[NamedEvent]]
    count: int | None
    absent: tuple[RecordRange, ...] = ()


def plan_files(
    files: Sequence[SavedFile],
    broker: TopicEvents | None,
    source: str | None,
    progress: Callable[[int], None],
) -> ReplayPlan:
    """Return the events of files, all of which can be read.

    `source` names the cluster where that is set. Raises SavedEventError, also for a batch of which
    only the offsets were saved where there is no broker; and SiltError for a broker that does not
    answer.
    """
    topics = list[str]()
    absent = list[RecordRange]()
    count: int | None = 0
    for file in files:
        for name, event in read_events(file):
            if not isinstance(event, GivenUpBatch):
                topics.append(_topic_of(name, event, source))
                count = None if count is None else count + 1
                continue
            if broker is None:
                raise SavedEventError(
                    f"{name}: this says which records were given up (as SQS and SNS keep it) and "
                    "does not contain them. Use --bootstrap-servers, and they are read from the "
                    "topic."
                )
            topics += [each.topic for each in event.ranges]
            absent += broker.absent(event.ranges)
            count = None
        progress(1)

    def events() -> Iterator[NamedEvent]:
        for file in files:
            try:
                for name, event in read_events(file):
                    if not isinstance(event, GivenUpBatch):
                        yield name, event
                    elif broker is not None:
                        for records, fetched in broker.read(event.ranges, event.source):
                            yield f"{name}: {records}", fetched
            except SavedEventError as error:
                yield file.name, error

    return ReplayPlan(tuple(sorted(set(topics))), events, count, tuple(absent))


def plan_ranges(
    ranges: Sequence[RecordRange], broker: TopicEvents, source: Mapping[str, str]
) -> ReplayPlan:
    """Return events of ranges of a topic. Raises UsageError for an unknown partition."""
    topics = tuple(sorted({each.topic for each in ranges}))
    absent = tuple(broker.absent(ranges))
    return ReplayPlan(topics, lambda: broker.read(ranges, source), None, absent)


def _topic_of(name: str, event: Any, source: str | None) -> str:
    try:
        return parse_event(event, source).topic
    except EventError as error:
        raise SavedEventError(f"{name}: {error}") from error
