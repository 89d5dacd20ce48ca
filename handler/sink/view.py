"""What is known of the two tables of a contract at one moment, and what follows for a batch. Pure.

A decision is made from a `View` alone. What a view does not answer yet is named here, and looked up
by the writer.
"""

from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec

from handler.delta.log import Snapshot
from handler.delta.look_up import Matches, Query
from handler.kafka.offsets import (
    FORGOTTEN,
    Evidence,
    Mark,
    Marks,
    Stream,
    begins_generation,
    check_source,
    classify,
    earlier_app_ids,
    storable_us,
    to_look_up,
)
from handler.sink.checked_batch import CheckedBatch
from handler.sink.table_schema import Schemas


class View(msgspec.Struct, frozen=True):
    """The snapshots of both tables, and what was looked up in them.

    `queries` are the look-ups by partition, and `found` is what they brought from both tables.
    """

    dead_letters: Snapshot
    rows: Snapshot
    queries: Mapping[int, Query] = msgspec.field(default_factory=dict)
    found: tuple[Matches, ...] = ()

    @property
    def snapshots(self) -> tuple[Snapshot, Snapshot]:
        """Return both snapshots, dead letters first."""
        return self.dead_letters, self.rows

    def begins_generation(self, generation: int) -> bool:
        """Return whether only earlier generations have fed the tables."""
        app_ids = chain.from_iterable(snapshot.txns for snapshot in self.snapshots)
        return begins_generation(app_ids, generation)


class Admission(msgspec.Struct, frozen=True):
    """What must hold before a batch may go into the two tables."""

    schemas: Schemas
    source: str
    topic: str
    generation: int

    def check(self, view: View) -> None:
        """Refuse tables that do not fit the contract, or that another source or topic feeds.

        Raises TableError or SourceMismatch.
        """
        for schema, snapshot in zip(self.schemas, view.snapshots, strict=True):
            schema.check(snapshot)
            check_source(
                list(snapshot.txns), self.source, self.topic, self.generation, schema.table
            )


def missing_queries(batch: CheckedBatch, view: View) -> dict[int, Query]:
    """Return what has to be looked up before a decision, by partition: nothing, nearly always.

    All offsets of a stream: its watermark may rise until the answer is there.
    """
    return {
        stream.partition: _query(stream, records)
        for stream, (records, _), marks in zip(
            batch.streams, batch.evidence, _marks_of(batch, view), strict=True
        )
        if stream.partition not in view.queries
        and to_look_up(records, marks, trust_watermark=_trusts(batch))
    }


def relies_on_watermark(batch: CheckedBatch, view: View) -> bool:
    """Return whether a watermark alone settles records: it must be of the log that is there."""
    return _trusts(batch) and any(
        records.offsets and records.offsets[0] <= marks.table.offset
        for (records, _), marks in zip(batch.evidence, _marks_of(batch, view), strict=True)
    )


def duplicates_in(batch: CheckedBatch, view: View) -> set[int]:
    """Return the indices of records that are in one of the tables. Raises TopicRecreated.

    The view must answer every one of `missing_queries`.
    """
    duplicates = set[int]()
    for stream, (records, indices), marks in zip(
        batch.streams, batch.evidence, _marks_of(batch, view), strict=True
    ):
        known = _known(view.found, stream.partition)
        of_stream = classify(stream, records, marks, known, trust_watermark=_trusts(batch))
        duplicates.update(indices[i] for i in of_stream)
    return duplicates


def _trusts(batch: CheckedBatch) -> bool:
    return batch.contract.redelivered == "skip"


def _query(stream: Stream, records: Evidence) -> Query:
    """Return what is looked up of a stream.

    In generation 0 a row of another time is evidence that the topic was recreated. Later, rows of
    earlier generations have the same offsets: only those of the same time matter.
    """
    times = [storable_us(time) for time in (min(records.timestamps), max(records.timestamps))]
    if stream.generation == 0 or times[0] is None or times[1] is None:
        return Query(records.offsets)
    return Query(records.offsets, (times[0], times[1]))


def _marks_of(batch: CheckedBatch, view: View) -> list[Marks]:
    """Return the watermarks of each stream of a batch."""
    return [
        Marks(
            _mark(view.rows, stream),
            _mark(view.dead_letters, stream),
            max(_earlier(snapshot, stream) for snapshot in view.snapshots),
        )
        for stream in batch.streams
    ]


def _mark(snapshot: Snapshot, stream: Stream) -> Mark:
    if snapshot.forgets_txns:  # a watermark that is there may be of a hole that was filled since
        return FORGOTTEN
    txn = snapshot.txns.get(stream.app_id)
    return Mark(txn.version, txn.last_updated_ms) if txn is not None else Mark()


def _earlier(snapshot: Snapshot, stream: Stream) -> int:
    """Return the highest watermark of the partition in earlier generations, -1 if there is none."""
    marks = (snapshot.txns[app_id].version for app_id in earlier_app_ids(snapshot.txns, stream))
    return max(marks, default=-1)


def _known(tables: Sequence[Matches], partition: int) -> dict[int, frozenset[int | None]]:
    """Return what both tables hold of one stream."""
    rows: dict[int, frozenset[int | None]] = {}
    for table in tables:
        for offset, times in table.of_partition(partition).items():
            rows[offset] = rows.get(offset, frozenset()) | times
    return rows
