"""One batch, decoded and checked for each contract of its topic: all that a decision needs besides
the tables. Pure.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import orjson

from handler.contract.contract import Contract
from handler.errors import Problem, RejectCode
from handler.kafka.event import Batch
from handler.kafka.offsets import Evidence, Stream, storable_us
from handler.sink.arrow_tables import Flat, flatten
from handler.sink.message_columns import MessageColumns, MessageFields
from handler.sink.outcomes import Plan, drops_tombstones, plan
from handler.validate.batch import Checker
from handler.validate.checked import Checked
from handler.validate.decode import Parsed, parse_payloads


@dataclass(frozen=True, slots=True)
class CheckedBatch:
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


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """A batch that is decoded and parsed once for all contracts of its topic.

    `present` are the indices of the records with a value, `keeps` says for each contract which of
    the parsed objects its `where` keeps, None for all. `used` are those whose objects another
    contract has changed.
    """

    batch: Batch
    flat: Flat
    present: Sequence[int]
    payloads: Sequence[bytes]
    parsed: Parsed
    keeps: Sequence[Sequence[bool] | None]
    used: set[int]

    def dropped_by(self, number: int) -> frozenset[int]:
        """Return the indices of the records that a contract's `where` drops."""
        keeps = self.keeps[number]
        if keeps is None:
            return frozenset()
        pairs = zip(self.parsed.positions, keeps, strict=True)
        return frozenset(self.present[i] for i, keep in pairs if not keep)


class TopicChecker:
    """The contracts of one topic at work."""

    def __init__(self, contracts: Sequence[Contract]) -> None:
        self._parts = [
            (c, Checker(c), MessageColumns(c), MessageFields(c.where)) for c in contracts
        ]

    def decode(self, batch: Batch) -> DecodedBatch:
        """Parse a batch, and try each `where` on it: checking changes the objects."""
        flat = flatten(batch)
        present = [i for i, value in enumerate(flat.values) if value is not None]
        payloads = [value for value in flat.values if value is not None]
        parsed = parse_payloads(payloads)
        keeps = [
            None if contract.where is None else fields.keeps(contract.where, parsed, flat, present)
            for contract, _, _, fields in self._parts
        ]
        return DecodedBatch(batch, flat, present, payloads, parsed, keeps, set())

    def check(
        self, decoded: DecodedBatch, number: int, source: str, generation: int
    ) -> CheckedBatch:
        """Return what the contract with this number makes of a batch."""
        contract, checker, messages, _ = self._parts[number]
        mine, present, keeps = decoded.parsed, decoded.present, decoded.keeps[number]
        if keeps is not None:
            mine = _select(mine, keeps)
        if decoded.used:
            mine = _fresh(mine, decoded.payloads, decoded.used)
        if len(self._parts) > 1:
            decoded.used.update(mine.positions)
        untested = frozenset[int]()
        if contract.where is not None:
            objects = zip(mine.positions, mine.objects, strict=True)
            no_objects = [i for i, value in objects if not isinstance(value, dict)]
            untested = frozenset(present[i] for i in (*mine.problems, *no_objects))
        checked = checker.check_parsed(mine, decoded.payloads)
        if len(present) < len(decoded.flat.values):
            checked = _at(checked, present)
        return _batch(
            contract,
            decoded,
            _with_messages(checked, messages, decoded.flat),
            source,
            generation,
            dropped=decoded.dropped_by(number),
            untested=untested,
        )


def _select(parsed: Parsed, keeps: Sequence[bool]) -> Parsed:
    """Return the records that a table is for."""
    pairs = list(zip(parsed.positions, parsed.objects, keeps, strict=True))
    return Parsed(
        [value for _, value, keep in pairs if keep],
        [i for i, _, keep in pairs if keep],
        parsed.problems,
    )


def _fresh(mine: Parsed, payloads: Sequence[bytes], used: Collection[int]) -> Parsed:
    """Return records with new objects where another contract has changed theirs."""
    objects = [
        orjson.loads(payloads[i]) if i in used else value
        for i, value in zip(mine.positions, mine.objects, strict=True)
    ]
    return Parsed(objects, mine.positions, mine.problems)


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
    tombstones = [i for i, value in enumerate(flat.values) if value is None]
    unseen = dropped.union(tombstones) if drops_tombstones(contract) else dropped
    checked = _without_bad_timestamps(checked, flat.timestamps)
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
        value_bytes=sum(map(len, decoded.payloads)),
    )


def _without_bad_timestamps(checked: Checked, timestamps: Sequence[int]) -> Checked:
    """Reject records whose Kafka timestamp no table can hold: producers may set any 64 bits."""
    if storable_us(min(timestamps)) is not None and storable_us(max(timestamps)) is not None:
        return checked
    problems = dict(checked.rejects)
    for i, timestamp in enumerate(timestamps):
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
        if dropped.isdisjoint(indices):
            evidence.append((Evidence(stream.offsets, stream.timestamps), indices))
            continue
        kept = [i for i in indices if i not in dropped]
        offsets = [flat.offsets[i] for i in kept]
        times = [flat.timestamps[i] for i in kept]
        evidence.append((Evidence(offsets, times), kept))
    return tuple(evidence)
