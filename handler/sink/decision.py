"""The decision about one batch: pure rules brought together with what the tables hold.

It is made from the tables' snapshots, and made again whenever one of them moves in a way that
matters.
"""

import binascii
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from handler.contract.contract import Contract
from handler.delta.files import data_files
from handler.delta.log import Change, DataFile, Snapshot, Txn
from handler.delta.look_up import Matches, Query
from handler.delta.patience import Patience
from handler.delta.tables import Table
from handler.delta.types import Field
from handler.errors import Problem, RejectCode
from handler.kafka.event import Batch, decode_base64
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
from handler.sink.arrow_tables import Flat, build_dead_letters, build_rows, placed
from handler.sink.outcomes import Outcome, Plan, count, drops_tombstones, plan, replan
from handler.sink.table_schema import TableSchema
from handler.sink.terms import Terms
from handler.validate.batch import Checked, Checker

DEAD_LETTERS, ROWS = 0, 1
"""The order of the two tables: dead letters are committed first (decision 0002)."""
SKIPPED_RANGES_MAX = 200
"""A commit lists so many ranges of dropped offsets of a stream; its count is of all."""


@dataclass(frozen=True, slots=True)
class Work:
    """A contract at work: its checker, its two tables and their schemas, dead letters first."""

    contract: Contract
    checker: Checker
    tables: tuple[Table, Table]
    schemas: tuple[TableSchema, TableSchema]
    terms: Terms
    generation: int

    def begins_generation(self, snapshots: Sequence[Snapshot]) -> bool:
        """Return whether only earlier generations have fed the tables of these snapshots."""
        app_ids = chain.from_iterable(snapshot.txns for snapshot in snapshots)
        return begins_generation(app_ids, self.generation)


class Decision:
    """The decision about one batch, made again whenever a table moves in a way that matters."""

    def __init__(
        self, work: Work, batch: Batch, flat: Flat, source: str, patience: Patience
    ) -> None:
        self._work = work
        self._contract = work.contract
        self._batch = batch
        self._flat = flat
        self._source = source
        self._patience = patience
        self._streams = [
            Stream(source, batch.topic, s.partition, work.generation) for s in batch.streams
        ]
        self._files: dict[int, tuple[object, tuple[DataFile, ...]]] = {}
        self._looked_up = False
        self.value_bytes = 0
        self.beyond_max_columns = 0
        self.plan: Plan | None = None
        self.begins_generation = False
        self._tombstones, self._checked = self._check()
        self._evidence = self._evidence_of_streams()

    def _check(self) -> tuple[list[int], Checked]:
        """Decode and check every value of the batch; in the common case none is settled."""
        values = self._flat.values
        tombstones = (
            [i for i, value in enumerate(values) if value is None] if None in values else []
        )
        try:
            payloads = [
                binascii.a2b_base64(value, strict_mode=True)
                for value in values
                if value is not None
            ]
        except ValueError:
            for record in self._flat.records:
                decode_base64(record, "value")  # raises with the record's place
            raise
        self.value_bytes = sum(map(len, payloads))
        checked = self._work.checker.check(payloads)
        if tombstones:
            present = [i for i, value in enumerate(values) if value is not None]
            checked = Checked(
                checked.columns,
                [present[i] for i in checked.positions],
                {present[i]: problems for i, problems in checked.rejects.items()},
                {present[i]: fields for i, fields in checked.unknown.items()},
            )
        return tombstones, self._without_bad_timestamps(checked)

    def _without_bad_timestamps(self, checked: Checked) -> Checked:
        """Reject records whose Kafka timestamp no table can hold: producers may set any 64 bits."""
        timestamps = self._flat.timestamps
        if storable_us(min(timestamps)) is not None and storable_us(max(timestamps)) is not None:
            return checked
        problems = dict(checked.rejects)
        for i, timestamp in enumerate(timestamps):
            if storable_us(timestamp) is None:
                message = f"the record's timestamp, {timestamp} ms, is not in the years 1 to 9999"
                problem = Problem(RejectCode.OUT_OF_RANGE, "_kafka_timestamp", message)
                problems[i] = [problem, *problems.get(i, [])]
        return replace(checked, rejects=problems)

    def decide(self, done: frozenset[int]) -> list[Change | None]:
        """Decide from the tables' snapshots.

        After the dead letters are committed only rows are decided.
        """
        duplicates = self._duplicates()
        if DEAD_LETTERS in done:
            assert self.plan is not None
            self.plan = replan(self.plan, duplicates)
        else:
            self.plan = plan(
                self._contract,
                self._flat.streams,
                self._checked.rejects,
                self._tombstones,
                duplicates,
            )
        info = self._info()
        return [
            None if DEAD_LETTERS in done else self._dead_letters_change(info),
            self._rows_change(info),
        ]

    def _evidence_of_streams(self) -> list[tuple[Evidence, Sequence[int]]]:
        """Return the records of each stream that can be in a table, with their indices."""
        dropped = frozenset(self._tombstones) if drops_tombstones(self._contract) else frozenset()
        evidence: list[tuple[Evidence, Sequence[int]]] = []
        for stream, indices in zip(self._batch.streams, self._flat.streams, strict=True):
            if dropped.isdisjoint(indices):
                evidence.append((Evidence(stream.offsets, stream.timestamps), indices))
                continue
            kept = [i for i in indices if i not in dropped]
            offsets = [self._flat.offsets[i] for i in kept]
            times = [self._flat.timestamps[i] for i in kept]
            evidence.append((Evidence(offsets, times), kept))
        return evidence

    def _duplicates(self) -> set[int]:
        """Return the indices of records that are in one of the tables; looks up what may be."""
        tables = self._work.tables
        trust = self._contract.redelivered == "skip"
        looked_up: dict[int, Query] = {}
        found = [Matches(), Matches()]
        while True:
            marks = self._marks()
            missing = {
                stream.partition: self._query(stream, records)
                for stream, (records, _), mark in zip(
                    self._streams, self._evidence, marks, strict=True
                )
                if stream.partition not in looked_up
                and to_look_up(records, mark, trust_watermark=trust)
            }
            if not missing:
                # A watermark that alone settles records must be that of the log that is there.
                settles = trust and any(
                    records.offsets and records.offsets[0] <= mark.table.offset
                    for (records, _), mark in zip(self._evidence, marks, strict=True)
                )
                if settles and not self._all_confirmed():
                    continue
                break
            # All offsets of the stream: the watermark may rise until the answer is there.
            looked_up |= missing
            self._looked_up = True
            found = [table.look_up(looked_up, self._patience) for table in tables]
        duplicates = set[int]()
        for stream, (records, indices), mark in zip(
            self._streams, self._evidence, marks, strict=True
        ):
            known = _known(found, stream.partition)
            of_stream = classify(stream, records, mark, known, trust_watermark=trust)
            duplicates.update(indices[i] for i in of_stream)
        return duplicates

    @staticmethod
    def _query(stream: Stream, records: Evidence) -> Query:
        """Return what is looked up of a stream.

        In generation 0 a row of another time is evidence that the topic was recreated. Later, rows
        of earlier generations have the same offsets: only those of the same time matter.
        """
        times = [storable_us(time) for time in (min(records.timestamps), max(records.timestamps))]
        if stream.generation == 0 or times[0] is None or times[1] is None:
            return Query(records.offsets)
        return Query(records.offsets, (times[0], times[1]))

    def _all_confirmed(self) -> bool:
        """Confirm both snapshots; False if one had to be read anew."""
        stayed = [table.confirm(self._patience) for table in self._work.tables]
        return all(stayed)

    def admit(self) -> None:
        """Make sure that this batch may go into both tables as they are kept.

        Raises SourceMismatch or TableError.
        """
        work = self._work
        for table, schema in zip(work.tables, work.schemas, strict=True):
            snapshot = table.known(self._patience)
            if snapshot.exists:
                schema.fitted(snapshot)
            check_source(
                list(snapshot.txns), self._source, self._batch.topic, work.generation, table.name
            )

    def _marks(self) -> list[Marks]:
        """Return the watermarks of each stream, where the tables are still ours to write."""
        snapshots = [table.known(self._patience) for table in self._work.tables]
        self._work.terms.check(self._work.tables)
        self.admit()
        self.begins_generation = self._work.begins_generation(snapshots)
        return [
            Marks(
                _mark(snapshots[ROWS], stream),
                _mark(snapshots[DEAD_LETTERS], stream),
                max(_earlier(snapshot, stream) for snapshot in snapshots),
            )
            for stream in self._streams
        ]

    def _dead_letters_change(self, info: dict[str, Any]) -> Change | None:
        assert self.plan is not None
        indices = self.plan.indices(Outcome.DEAD_LETTER)
        if not indices:
            return None
        problems = self.plan.problems

        def build(now_ms: int) -> pa.Table:
            return build_dead_letters(self._contract, self._flat, problems, indices, now_ms)

        return self._change(DEAD_LETTERS, indices, (), info, build)

    def _rows_change(self, info: dict[str, Any]) -> Change | None:
        assert self.plan is not None
        indices = self.plan.indices(Outcome.APPEND)
        if not indices:
            return None
        snapshot = self._work.tables[ROWS].known(self._patience)
        table_fields = snapshot.metadata.fields if snapshot.metadata is not None else ()
        added = placed(self._contract, self._checked, table_fields, indices)
        new = added.new if added is not None else ()
        self.beyond_max_columns = len(added.beyond) if added is not None else 0

        def build(_now_ms: int) -> pa.Table:
            return build_rows(self._contract, self._flat, self._checked, indices, added)

        return self._change(ROWS, indices, new, info, build)

    def _change(
        self,
        which: int,
        indices: Sequence[int],
        new: tuple[Field, ...],
        info: dict[str, Any],
        build: Callable[[int], pa.Table],
    ) -> Change:
        """Return the change of one table; its files are made again only if they would be others."""
        now_ms = self._patience.clock.epoch_ms()
        table = self._work.tables[which]
        snapshot = table.known(self._patience)
        needed = self._work.schemas[which].needed(snapshot, new, now_ms)
        key = (tuple(indices), needed.metadata.fields)
        kept = self._files.get(which)
        if kept is None or kept[0] != key:
            kept = (key, data_files(build(now_ms), needed.metadata, now_ms, table.keys))
            self._files[which] = kept
        txns = self._txns(snapshot, indices if isinstance(indices, range) else set(indices))
        touched = [stream for stream in self._streams if stream.app_id in txns]
        return Change(
            files=kept[1],
            txns=txns,
            info=info,
            metadata=needed.metadata if needed.changed else None,
            protocol=needed.protocol,
            depends_on=frozenset(
                app_id for s in touched for app_id in earlier_app_ids(snapshot.txns, s)
            ),
        )

    def _txns(self, snapshot: Snapshot, indices: Collection[int]) -> dict[str, Txn]:
        """Return the watermark of each stream that a commit touches, also where it only fills
        holes.
        """
        txns = {}
        for stream, positions in zip(self._streams, self._flat.streams, strict=True):
            # Offsets rise within a stream, so its last record of the commit has the highest.
            last = next((i for i in reversed(positions) if i in indices), None)
            if last is not None:
                before = snapshot.txns.get(stream.app_id, Txn(-1))
                raised = self._flat.offsets[last] > before.version
                txns[stream.app_id] = Txn(self._flat.offsets[last]) if raised else before
        return txns

    def _skipped(self, indices: range) -> dict[str, Any]:
        """Return which offsets of a stream a rule dropped, so that nobody takes them for lost."""
        assert self.plan is not None
        outcomes = self.plan.outcomes
        if not outcomes.count(Outcome.SKIP, indices.start, indices.stop):
            return {}  # nearly always, and known without a look at each record
        skipped = [self._flat.offsets[i] for i in indices if outcomes[i] == Outcome.SKIP]
        return {"skipped": ranges_of(skipped)}

    def _info(self) -> dict[str, Any]:
        """Return what `commitInfo` says of the batch: the accounting, and each stream's offsets."""
        assert self.plan is not None
        counts = count(self.plan.outcomes)
        repeats = sum(stream.repeats for stream in self._batch.streams)
        streams = [
            {
                "stream": stream.app_id,
                "first_offset": self._flat.offsets[indices[0]],
                "last_offset": self._flat.offsets[indices[-1]],
                **count(self.plan.outcomes[indices.start : indices.stop]),
                **self._skipped(indices),
            }
            for stream, indices in zip(self._streams, self._flat.streams, strict=True)
        ]
        return {
            # An append that was decided by a look-up read the table.
            "isBlindAppend": not self._looked_up,
            "silt": {
                "contract_version": self._contract.version,
                "delivered": len(self._flat.offsets) + repeats,
                **counts,
                "duplicates": counts["duplicates"] + repeats,
                "streams": streams,
            },
        }


def ranges_of(offsets: Sequence[int]) -> list[list[int]]:
    """Return rising offsets as ranges, first and last, at most SKIPPED_RANGES_MAX of them."""
    ranges: list[list[int]] = []
    for offset in offsets:
        if ranges and offset == ranges[-1][1] + 1:
            ranges[-1][1] = offset
        elif len(ranges) == SKIPPED_RANGES_MAX:
            break
        else:
            ranges.append([offset, offset])
    return ranges


def _mark(snapshot: Snapshot, stream: Stream) -> Mark:
    if snapshot.forgets_txns:  # a watermark that is there may be of a hole that was filled since
        return FORGOTTEN
    txn = snapshot.txns.get(stream.app_id)
    return Mark(txn.version, txn.last_updated_ms) if txn is not None else Mark()


def _earlier(snapshot: Snapshot, stream: Stream) -> int:
    """Return the highest watermark of the partition in earlier generations, -1 for none."""
    marks = (snapshot.txns[app_id].version for app_id in earlier_app_ids(snapshot.txns, stream))
    return max(marks, default=-1)


def _known(found: Sequence[Matches], partition: int) -> dict[int, frozenset[int | None]]:
    """Return what both tables hold of one stream."""
    rows: dict[int, frozenset[int | None]] = {}
    for table in found:
        for offset, times in table.of_partition(partition).items():
            rows[offset] = rows.get(offset, frozenset()) | times
    return rows
