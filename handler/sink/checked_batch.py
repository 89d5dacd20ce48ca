"""One batch, decoded and checked for each contract of its topic: all that a decision needs besides
the tables. Pure.
"""

from collections.abc import Collection, Sequence
from typing import cast

import msgspec
from msgspec.structs import replace

from handler.contract.contract import Contract
from handler.errors import Problem, RejectCode
from handler.kafka.event import Batch
from handler.kafka.offsets import Evidence, Stream, storable_us
from handler.sink.arrow_tables import Flat, flatten
from handler.sink.message_columns import MessageColumns, MessageFields
from handler.sink.outcomes import Plan, drops_tombstones, plan
from handler.validate.batch import Checker
from handler.validate.checked import Checked
from handler.validate.decode import parse_payloads
from handler.validate.slices import ranges_of


class CheckedBatch(msgspec.Struct, frozen=True):
    """A batch with its columns and rejects, by one contract.

    `evidence` holds, for each stream, the records that can be in a table, with their indices in the
    batch. The contract's `where` drops the `dropped`, and could not be tried on the `untested`.
    `repeats` are second copies of a record in the event. `value_bytes` is the size of all payloads.
    """

    contract: Contract
    flat: Flat
    streams: tuple[Stream, ...]
    evidence: tuple[tuple[Evidence, Sequence[int]], ...]
    checked: Checked
    tombstones: Sequence[int]
    dropped: frozenset[int]
    untested: frozenset[int]
    repeats: int
    value_bytes: int

    def plan(self, duplicates: Collection[int] = ()) -> Plan:
        """Decide about the batch, if these records are in the table."""
        return plan(
            self.contract,
            self.flat.streams,
            self.checked.rejects,
            self.tombstones,
            duplicates,
            dropped=self.dropped,
            untested=self.untested,
        )

    def without_columns(self) -> "CheckedBatch":
        """Return the batch without what only its commit needs, to spare the memory."""
        bare = replace(self.checked, columns={}, unknown={}, of_messages={})
        return replace(self, checked=bare)


class DecodedBatch(msgspec.Struct, frozen=True):
    """A batch for all contracts of its topic.

    `present` are the indices of the records with a value. `dropped` has, for each contract, the
    indices of those that its `where` drops. `untested` are those that no `where` could be tried on.
    """

    batch: Batch
    flat: Flat
    present: Sequence[int]
    dropped: Sequence[frozenset[int]]
    untested: frozenset[int]


class TopicChecker:
    """The contracts of one topic at work."""

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self._parts = [(c, Checker(c), MessageColumns(c)) for c in contracts]
        self._wheres = [
            (number, contract.where, MessageFields(contract.where))
            for number, contract in enumerate(contracts)
            if contract.where is not None
        ]

    def decode(self, batch: Batch) -> DecodedBatch:
        """Try each `where` on a batch.

        Its records are parsed for that, and again by the contracts that keep them: no objects of
        one table are there while another is written.
        """
        flat = flatten(batch)
        present: Sequence[int] = range(len(flat.values))
        if None in flat.values:
            present = [i for i, value in enumerate(flat.values) if value is not None]
        dropped: list[set[int]] = [set() for _ in self._parts]
        untested: set[int] = set()
        payloads = _payloads(flat, present) if self._wheres else []
        for some in ranges_of(payloads, len(payloads)):
            parsed = parse_payloads(payloads[some.start : some.stop], named_keys_max=0)
            indices = [present[some.start + i] for i in parsed.positions]
            untested.update(present[some.start + i] for i in parsed.problems)
            for i, value in zip(indices, parsed.objects, strict=True):
                if not isinstance(value, dict):
                    untested.add(i)
                    continue
                for number, where, fields in self._wheres:
                    if not where.keeps(fields.document(value, flat.records[i])):
                        dropped[number].add(i)
        each = tuple(map(frozenset, dropped))
        return DecodedBatch(batch, flat, present, each, frozenset(untested))

    def check(
        self, decoded: DecodedBatch, number: int, source: str, generation: int
    ) -> CheckedBatch:
        """Return what the contract with this number makes of a batch."""
        contract, checker, messages = self._parts[number]
        flat, dropped = decoded.flat, decoded.dropped[number]
        kept = [i for i in decoded.present if i not in dropped] if dropped else decoded.present
        checked = checker.check(_payloads(flat, kept))
        if len(kept) < len(flat.values):
            checked = _at(checked, kept)
        has_where = contract.where is not None
        return _batch(
            contract,
            decoded,
            _with_messages(checked, messages, flat),
            source,
            generation,
            dropped=dropped,
            untested=decoded.untested if has_where else frozenset(),
        )


def _payloads(flat: Flat, indices: Sequence[int]) -> list[bytes]:
    """Return the values of some records, all of which have one."""
    if len(indices) == len(flat.values):
        return cast(list[bytes], flat.values)
    return [value for i in indices if (value := flat.values[i]) is not None]


def _at(checked: Checked, present: Sequence[int]) -> Checked:
    """Return what was checked by the indices of the batch, where some records have no value."""
    return replace(
        checked,
        positions=[present[i] for i in checked.positions],
        rejects={present[i]: problems for i, problems in checked.rejects.items()},
        unknown={present[i]: fields for i, fields in checked.unknown.items()},
        rescued={present[i]: fields for i, fields in checked.rescued.items()},
    )


def _with_messages(checked: Checked, messages: MessageColumns, flat: Flat) -> Checked:
    """Return what was checked with the columns of keys and headers, and their rejects."""
    columns, rejects = messages.read(flat)
    merged = dict(checked.rejects)
    for i, problems in rejects.items():
        merged[i] = [*merged.get(i, ()), *problems]
    return replace(checked, rejects=merged, of_messages=columns)


def _batch(
    contract: Contract,
    decoded: DecodedBatch,
    checked: Checked,
    source: str,
    generation: int,
    *,
    dropped: frozenset[int],
    untested: frozenset[int],
) -> CheckedBatch:
    batch, flat = decoded.batch, decoded.flat
    tombstones = list[int]()
    if len(decoded.present) < len(flat.values):
        tombstones = [i for i, value in enumerate(flat.values) if value is None]
    unseen = dropped.union(tombstones) if drops_tombstones(contract) else dropped
    checked = _without_bad_timestamps(checked, flat)
    return CheckedBatch(
        contract=contract,
        flat=flat,
        streams=tuple(
            Stream(source, batch.topic, stream.partition, generation) for stream in batch.streams
        ),
        evidence=_evidence(batch, flat, unseen),
        checked=checked,
        tombstones=tombstones,
        dropped=dropped,
        untested=untested,
        repeats=sum(stream.repeats for stream in batch.streams),
        value_bytes=sum(map(len, filter(None, flat.values))),
    )


def _without_bad_timestamps(checked: Checked, flat: Flat) -> Checked:
    """Reject records whose Kafka timestamp no table can hold: producers may set any 64 bits."""
    if storable_us(flat.oldest_ms) is not None and storable_us(flat.newest_ms) is not None:
        return checked
    problems = dict(checked.rejects)
    for i, timestamp in enumerate(flat.timestamps):
        if storable_us(timestamp) is None:
            message = f"the record's timestamp, {timestamp} ms, is outside the years 1 to 9999"
            problem = Problem(RejectCode.OUT_OF_RANGE, "_kafka_timestamp", message)
            problems[i] = [problem, *problems.get(i, [])]
    return replace(checked, rejects=problems)


def _evidence(
    batch: Batch, flat: Flat, dropped: frozenset[int]
) -> tuple[tuple[Evidence, Sequence[int]], ...]:
    """Return the records of each stream that can be in a table, with their indices."""
    evidence = list[tuple[Evidence, Sequence[int]]]()
    for stream, indices in zip(batch.streams, flat.streams, strict=True):
        if not dropped or dropped.isdisjoint(indices):
            evidence.append((Evidence(stream.offsets, stream.timestamps), indices))
            continue
        kept = [i for i in indices if i not in dropped]
        offsets = [flat.offsets[i] for i in kept]
        times = [flat.timestamps[i] for i in kept]
        evidence.append((Evidence(offsets, times), kept))
    return tuple(evidence)
