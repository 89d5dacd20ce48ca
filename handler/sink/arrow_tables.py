"""From checked columns to the rows of both tables, as Arrow tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from handler.contract.contract import DEAD_LETTER_FIELDS, REDRIVE_FIELDS, Contract
from handler.contract.reserved import KAFKA_COLUMNS, RESCUED
from handler.delta import compute
from handler.delta.types import Field, to_arrow
from handler.errors import Problem
from handler.kafka.event import Batch, EventRecord, decode_headers
from handler.kafka.offsets import storable_us
from handler.sink.unknown_columns import Added, place_unknown
from handler.validate.checked import Checked
from handler.validate.columns import derive
from handler.validate.unknown import rescued_text

_TIMESTAMP = pa.timestamp("us", "UTC")


class Flat(msgspec.Struct, frozen=True):
    """A batch with its streams one behind the other; all lists are by the index in the batch.

    `oldest_ms` and `newest_ms` are the extremes of the timestamps.
    """

    topic: str
    streams: tuple[range, ...]
    partitions: list[int]
    offsets: list[int]
    timestamps: list[int]
    values: list[bytes | None]
    records: list[EventRecord]
    oldest_ms: int
    newest_ms: int


def flatten(batch: Batch) -> Flat:
    """Return a batch as one list of records, stream by stream."""
    streams, partitions = [], list[int]()
    offsets, timestamps = list[int](), list[int]()
    records = list[EventRecord]()
    for stream in batch.streams:
        streams.append(range(len(offsets), len(offsets) + len(stream.offsets)))
        partitions += [stream.partition] * len(stream.offsets)
        offsets += stream.offsets
        timestamps += stream.timestamps
        records += stream.records
    values = [record.value for record in records]
    return Flat(
        batch.topic,
        tuple(streams),
        partitions,
        offsets,
        timestamps,
        values,
        records,
        oldest_ms=min(timestamps, default=0),
        newest_ms=max(timestamps, default=0),
    )


def kafka_column(name: str, flat: Flat, indices: Sequence[int]) -> pa.Array:
    """Return one of the Kafka columns for some records."""
    values: list[Any]
    match name:
        case "_kafka_partition" if len(flat.streams) == 1:
            return pa.repeat(pa.scalar(flat.partitions[0], pa.int32()), len(indices))
        case "_kafka_partition":
            values = _at(flat.partitions, indices)
        case "_kafka_offset":
            values = _at(flat.offsets, indices)
        case "_kafka_timestamp":
            milliseconds = pa.array(_at(flat.timestamps, indices), pa.timestamp("ms", "UTC"))
            return compute.cast(milliseconds, _TIMESTAMP)
        case "_kafka_topic":
            return pa.repeat(flat.topic, len(indices))
        case "_kafka_timestamp_type":
            values = [flat.records[i].timestampType for i in indices]
        case "_kafka_key":
            values = [flat.records[i].key for i in indices]
        case _:
            return _headers(flat, indices)
    return pa.array(values, to_arrow(KAFKA_COLUMNS[name]))


def _at(values: list[Any], indices: Sequence[int]) -> list[Any]:
    """Return the values of some records; `indices` rise, so as many as there are values are all."""
    return values if len(indices) == len(values) else [values[i] for i in indices]


def _headers(flat: Flat, indices: Sequence[int]) -> pa.Array:
    lists = [
        [{"name": name, "value": value} for name, value in decode_headers(flat.records[i])]
        for i in indices
    ]
    return pa.array(lists, to_arrow(KAFKA_COLUMNS["_kafka_headers"]))


def find_added_columns(
    contract: Contract, checked: Checked, table: Sequence[Field], indices: Sequence[int]
) -> Added | None:
    """Return what the unknown fields of some rows become, where columns are added for them."""
    if contract.unknown_fields != "add" or not checked.unknown:
        return None
    own = [*(f.name for f in contract.fields), *contract.retired]
    unknown = [checked.unknown.get(i) for i in indices]
    return place_unknown(unknown, table or contract.fields, own, contract.max_columns)


def build_rows(
    contract: Contract, flat: Flat, checked: Checked, indices: Sequence[int], added: Added | None
) -> pa.Table:
    """Return the rows of some records: good ones, and tombstones that become rows of nulls."""
    own = contract.kafka_column_names
    sources = {c.derived.path[0] for c in contract.columns if c.derived is not None}
    extra = sorted(sources.intersection(KAFKA_COLUMNS).difference(own))
    columns = {name: kafka_column(name, flat, indices) for name in (*own, *extra)}
    if list(indices) == list(checked.positions):
        columns |= checked.columns
    else:
        row_of = {index: row for row, index in enumerate(checked.positions)}
        rows = pa.array([row_of.get(i) for i in indices], pa.int64())
        columns |= {name: compute.take(array, rows) for name, array in checked.columns.items()}
    for name, array in checked.of_messages.items():
        columns[name] = compute.take(array, pa.array(indices, pa.int64()))
    for column in contract.columns:
        if column.derived is not None:
            columns[column.name] = derive(column, column.derived, columns)
    for name in extra:  # only derived from, and no column of the table
        del columns[name]
    if contract.keeps_unknown:
        left = added.rescued if added is not None else _by_row(checked.unknown, indices)
        if checked.rescued:
            rescued = _by_row(checked.rescued, indices)
            left = {row: {**left.get(row, {}), **rescued.get(row, {})} for row in {*left, *rescued}}
        texts = [rescued_text(left[row]) if row in left else None for row in range(len(indices))]
        columns[RESCUED] = pa.array(texts, pa.string())
    if added is not None:
        columns |= added.columns
    return pa.table(columns)


def _by_row(
    unknown: Mapping[int, Mapping[str, Any]], indices: Sequence[int]
) -> Mapping[int, Mapping[str, Any]]:
    if not unknown:
        return {}
    return {row: unknown[index] for row, index in enumerate(indices) if index in unknown}


def build_dead_letters(
    contract: Contract,
    flat: Flat,
    problems: Mapping[int, Sequence[Problem]],
    indices: Sequence[int],
    failed_at_ms: int,
) -> pa.Table:
    """Return dead letters: the records whole, bytes as they came, and everything that is wrong with
    them.
    """
    columns: dict[str, Any] = {
        "topic": kafka_column("_kafka_topic", flat, indices),
        "partition": kafka_column("_kafka_partition", flat, indices),
        "offset": kafka_column("_kafka_offset", flat, indices),
        "timestamp": pa.array([storable_us(flat.timestamps[i]) for i in indices], _TIMESTAMP),
        "timestamp_type": kafka_column("_kafka_timestamp_type", flat, indices),
        "key": kafka_column("_kafka_key", flat, indices),
        "value": [flat.values[i] for i in indices],
        "headers": kafka_column("_kafka_headers", flat, indices),
        "error_code": [str(problems[i][0].code) for i in indices],
        "error_path": [problems[i][0].path or None for i in indices],
        "error_message": ["\n".join(map(str, problems[i])) for i in indices],
        "contract_version": [contract.version] * len(indices),
        "failed_at": [failed_at_ms * 1000] * len(indices),
        **{field.name: [None] * len(indices) for field in REDRIVE_FIELDS},
    }
    fields = (*DEAD_LETTER_FIELDS, *REDRIVE_FIELDS)
    schema = pa.schema([pa.field(f.name, to_arrow(f.type)) for f in fields])
    return pa.table(columns, schema=schema)
