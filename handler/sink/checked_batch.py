"""One batch, decoded and checked: all that a decision needs besides the tables. Pure."""

import binascii
from collections.abc import Sequence
from dataclasses import dataclass, replace

from handler.contract.contract import Contract
from handler.errors import Problem, RejectCode
from handler.kafka.event import Batch, decode_base64
from handler.kafka.offsets import Evidence, Stream, storable_us
from handler.sink.arrow_tables import Flat, flatten
from handler.sink.outcomes import drops_tombstones
from handler.validate.batch import Checker
from handler.validate.checked import Checked


@dataclass(frozen=True, slots=True)
class CheckedBatch:
    """A batch with its columns and rejects.

    `evidence` holds, for each stream, the records that can be in a table, with their indices in the
    batch. `repeats` are second copies of a record in the event. `value_bytes` is the size of all
    payloads.
    """

    contract: Contract
    flat: Flat
    streams: tuple[Stream, ...]
    evidence: tuple[tuple[Evidence, Sequence[int]], ...]
    checked: Checked
    tombstones: Sequence[int]
    repeats: int
    value_bytes: int


def check_batch(
    contract: Contract, checker: Checker, batch: Batch, source: str, generation: int
) -> CheckedBatch:
    """Decode and check every value of a batch. Raises EventError for base64 that is broken."""
    flat = flatten(batch)
    values = flat.values
    tombstones = [i for i, value in enumerate(values) if value is None] if None in values else []
    payloads = _decode(flat)
    checked = checker.check(payloads)
    if tombstones:
        present = [i for i, value in enumerate(values) if value is not None]
        checked = Checked(
            checked.columns,
            [present[i] for i in checked.positions],
            {present[i]: problems for i, problems in checked.rejects.items()},
            {present[i]: fields for i, fields in checked.unknown.items()},
        )
    return CheckedBatch(
        contract=contract,
        flat=flat,
        streams=tuple(
            Stream(source, batch.topic, stream.partition, generation) for stream in batch.streams
        ),
        evidence=_evidence(contract, batch, flat, tombstones),
        checked=_without_bad_timestamps(checked, flat.timestamps),
        tombstones=tombstones,
        repeats=sum(stream.repeats for stream in batch.streams),
        value_bytes=sum(map(len, payloads)),
    )


def _decode(flat: Flat) -> list[bytes]:
    """Return the payloads of all records that have one."""
    try:
        return [
            binascii.a2b_base64(value, strict_mode=True)
            for value in flat.values
            if value is not None
        ]
    except ValueError:
        for record in flat.records:
            decode_base64(record, "value")  # raises with the record's place
        raise


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
    contract: Contract, batch: Batch, flat: Flat, tombstones: Sequence[int]
) -> tuple[tuple[Evidence, Sequence[int]], ...]:
    """Return the records of each stream that can be in a table, with their indices."""
    dropped = frozenset(tombstones) if drops_tombstones(contract) else frozenset[int]()
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
