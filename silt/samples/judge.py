"""What a contract makes of samples: the function's own code, without a table."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from handler.contract.compiled import Column
from handler.contract.contract import Contract
from handler.errors import Problem
from handler.kafka.event import Batch, StreamRecords
from handler.sink.arrow_tables import build_rows, find_added_columns
from handler.sink.checked_batch import TopicChecker
from handler.sink.outcomes import Outcome
from handler.validate.wire import wire_columns
from silt.lone_records import without_stops
from silt.samples.read_samples import Sample

AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a sample: `row`, `rejected` with its problems, or `dropped` by a rule.

    `values` are those of the row, by column.
    """

    name: str
    outcome: str
    problems: tuple[Problem, ...] = ()
    values: dict[str, Any] | None = None


def judge(contract: Contract, samples: Sequence[Sample]) -> Iterator[Judgement]:
    """Yield what becomes of each sample, in order."""
    contract = without_stops(contract)
    checker = TopicChecker([contract])
    for start in range(0, len(samples), AT_ONCE):
        yield from _judge_batch(contract, checker, samples[start : start + AT_ONCE])


def _judge_batch(
    contract: Contract, checker: TopicChecker, samples: Sequence[Sample]
) -> Iterator[Judgement]:
    # Places of their own: samples of several files may have the same.
    records = [
        msgspec.structs.replace(s.record, topic=contract.topic, partition=0, offset=i)
        for i, s in enumerate(samples)
    ]
    stream = StreamRecords.of(0, records)
    decoded = checker.decode(Batch("samples", contract.topic, (stream,)))
    batch = checker.check(decoded, 0, "samples", 0)
    decided = batch.plan()
    rows = decided.indices(Outcome.APPEND)
    added = find_added_columns(contract, batch.checked, (), rows)
    table = build_rows(contract, batch.flat, batch.checked, rows, added) if rows else None
    values = iter(table.to_pylist(maps_as_pydicts="strict") if table is not None else ())
    for i, sample in enumerate(samples):
        if decided.outcomes[i] == Outcome.APPEND:
            row = next(values)
            own = {name: value for name, value in row.items() if not name.startswith("_kafka_")}
            yield Judgement(sample.name, "row", values=own)
        elif decided.outcomes[i] == Outcome.SKIP:
            yield Judgement(sample.name, "dropped")
        else:
            yield Judgement(sample.name, "rejected", tuple(decided.problems[i]))


def count_partitions(contract: Contract, judged: Sequence[Judgement]) -> int:
    """Return of how many partitions the rows of a batch are, at most, as the samples follow each
    other.
    """
    if not contract.partition_by:
        return 0
    counts = [0]
    for start in range(0, len(judged), AT_ONCE):
        rows = [each.values for each in judged[start : start + AT_ONCE] if each.values is not None]
        counts.append(len({tuple(map(row.get, contract.partition_by)) for row in rows}))
    return max(counts)


def find_unmet_columns(contract: Contract, samples: Sequence[Sample]) -> list[str]:
    """Return the columns whose field no sample has: the contract may misspell it.

    A field of a struct is named only where some sample has the struct.
    """
    columns = wire_columns([c for c in contract.columns if c.derived is None and not c.of_message])
    met = set[str]()
    objects = 0
    for sample in samples:
        value = sample.record.value
        try:
            document = orjson.loads(value) if value is not None else None
        except ValueError:
            continue
        if isinstance(document, dict):
            objects += 1
            _collect_met(document, columns, "", met)
    return list(_unmet(columns, "", met)) if objects else []


def _collect_met(value: Any, columns: Sequence[Column], prefix: str, met: set[str]) -> None:
    """Collect the names of the columns whose field is in a value, with those inside."""
    for column in columns:
        if not isinstance(value, dict) or column.source not in value:
            continue
        inner, name = value[column.source], prefix + column.name
        if not column.hidden:
            met.add(name)
        for item in inner if isinstance(inner, list) else [inner]:
            _collect_met(item, _fields(column), _prefix(column, prefix), met)


def _unmet(columns: Sequence[Column], prefix: str, met: Set[str]) -> Iterator[str]:
    for column in columns:
        if not column.hidden and prefix + column.name not in met:
            yield prefix + column.name
        else:
            yield from _unmet(_fields(column), _prefix(column, prefix), met)


def _fields(column: Column) -> tuple[Column, ...]:
    """Return the fields of a struct, or those of the structs in an array."""
    if column.type == "array":
        return _fields(column.parts[0])
    return column.parts if column.type == "struct" else ()


def _prefix(column: Column, prefix: str) -> str:
    return prefix if column.hidden else f"{prefix}{column.name}."
