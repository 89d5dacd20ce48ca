"""Which stream a dead letter came from: what the commit that wrote it says.

Nearly always a partition has one stream, and nothing is read. Where a topic was recreated or moved,
the log is followed from file to file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from handler.delta.log import Snapshot
from handler.delta.store import Store
from handler.errors import SiltError
from handler.kafka.offsets import Stream, streams_of
from silt.log_commits import read_commits


class UnknownStream(SiltError):
    """Nobody knows from which stream some dead letters came."""


@dataclass(slots=True)
class Origins:
    """The streams of a table's dead letters.

    `source` and `generation` are what a person said, None where nothing was said. The source of
    the deployment counts where the tables name none.
    """

    table: str
    store: Store
    snapshots: Sequence[Snapshot]
    source: str | None = None
    deployed_source: str | None = None
    generation: int | None = None
    _by_file: dict[str, set[Stream]] = field(default_factory=dict, init=False)

    def stream_of(self, topic: str, partition: int, file: str) -> Stream:
        """Return the stream of the letters of a partition in a file, given by its key.

        Raises UnknownStream where it cannot be known.
        """
        named = self._named()
        of_partition = {s for s in named if (s.topic, s.partition) == (topic, partition)}
        candidates = {
            stream
            for stream in of_partition
            if (self.source is None or stream.source == self.source)
            and (self.generation is None or stream.generation == self.generation)
        }
        if len(candidates) > 1:
            candidates = (self._written_by(file) & candidates) or candidates
        if len(candidates) == 1:
            return candidates.pop()
        source = self.source or self.deployed_source
        if not of_partition and source is not None:
            return self._unnamed(Stream(source, topic, partition, self.generation or 0), named)
        if not of_partition:
            raise UnknownStream(
                f"{self.table} names no stream of {topic}-{partition} any more. Use --source and "
                "--generation with the names that the function has (SILT_SOURCE, SILT_GENERATION)."
            )
        listed = ", ".join(sorted(stream.app_id for stream in of_partition))
        if not candidates:
            raise UnknownStream(
                f"The dead letters of {topic}-{partition} in {self.table} are of {listed}, and not "
                "of what --source and --generation name."
            )
        raise UnknownStream(
            f"The dead letters of {topic}-{partition} in {self.table} may be of {listed}, and the "
            "commits that wrote them are no longer in the log. Use --generation, or --source if "
            "only that differs."
        )

    def _named(self) -> set[Stream]:
        """Return the streams that the tables name."""
        return set(streams_of(app_id for snapshot in self.snapshots for app_id in snapshot.txns))

    def _unnamed(self, stream: Stream, named: set[Stream]) -> Stream:
        """Return a stream that a person named, if the live function may write beside it.

        A stream of another source, or of a generation to come, would make the table refuse it.
        """
        newest = max((other.generation for other in named), default=stream.generation)
        others = {
            other.app_id
            for other in named
            if other.generation == stream.generation
            and (other.source, other.topic) != (stream.source, stream.topic)
        }
        if others or stream.generation > newest:
            fed_by = ", ".join(sorted(other.app_id for other in named))
            raise UnknownStream(
                f"{self.table} is fed by {fed_by}, and --source and --generation name "
                f"{stream.app_id}. Nothing of it was redriven."
            )
        return stream

    def _written_by(self, file: str) -> set[Stream]:
        """Return the streams that a file can hold letters of, none where the log does not say."""
        if file not in self._by_file:  # it may be newer than what was read
            self._by_file = _follow(self.store)
        return self._by_file.setdefault(file, set())


def _follow(store: Store) -> dict[str, set[Stream]]:
    """Return the streams of each active file whose whole history the log has, by its key."""
    streams: dict[str, set[Stream]] = {}
    for _version, actions in read_commits(store):
        removed = [unquote(a["remove"]["path"]) for a in actions if "remove" in a]
        before = [streams.pop(path, None) for path in removed]
        named = set(streams_of(a["txn"]["appId"] for a in actions if "txn" in a))
        is_known = all(each is not None for each in before)
        whole = named.union(*(each for each in before if each is not None))
        for action in actions:
            if "add" in action:
                path = unquote(action["add"]["path"])
                if is_known and whole:
                    streams[path] = whole | streams.get(path, set())
    return streams
