"""What the streams of a table are called: records from the topic itself must be of the same."""

from dataclasses import dataclass

from handler.contract.contract import DEAD_LETTERS_SUFFIX
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.kafka.offsets import streams_of

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class StreamNames:
    """What the newest streams of a table name; `source` is None where that is none or several."""

    source: str | None
    generation: int


def read_stream_names(uri: str, topic: str) -> StreamNames:
    """Return what the streams of a topic are called in a table and its dead letters.

    Raises StoreError or OutOfTime.
    """
    clock, pool = SystemClock(), Pool()
    deadline = Deadline(clock, clock.monotonic() + LIMIT_S)
    streams = [
        stream
        for place in (uri, uri + DEAD_LETTERS_SUFFIX)
        for stream in streams_of(Table(place, open_store(place), pool).read(deadline).txns)
    ]
    newest = max((stream.generation for stream in streams), default=0)
    sources = {s.source for s in streams if (s.generation, s.topic) == (newest, topic)}
    return StreamNames(sources.pop() if len(sources) == 1 else None, newest)
