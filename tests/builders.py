"""Records, events, contracts and functions for tests."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from handler.app import Function
from handler.contract.contract import Contract
from handler.contract.load import parse_contract
from handler.delta.store import open_store
from handler.settings import Settings
from tests.reader import read_parquet

ROOT = Path(__file__).parent.parent
NOW_MS = 1_795_000_000_000
"""The time of tests: in November 2026."""
SOURCE = "demo-uuid-1"
ARN = f"arn:aws:kafka:eu-west-1:123456789012:cluster/demo/{SOURCE}"

SMALL = """
topic: orders
table: sales/orders
columns:
  id: {type: long, required: true}
  name: {type: string}
"""

EVERY_STEP = """
topic: orders
table: sales/orders
unknown_fields: rescue
columns:
  id: {type: long, required: true, minimum: 0}
  name: {type: string, max_length: 20, pattern: "^[a-z0-9]*$", default: "x"}
  kind: {type: string, enum: [a, b]}
  price: {type: "decimal(9,2)", accept: [string]}
  ratio: {type: double}
  at: {type: timestamp}
  there: {type: timestamp, zone: Europe/Berlin}
  seen: {type: timestamp, unit: ns}
  day: {type: date}
  since: {type: date, accept: [timestamp]}
  hour: {type: integer, from: hour(at)}
  any: {type: json}
  data: {type: binary, max_length: 10}
  tags: {type: map, values: {type: long}}
  items: {type: array, items: {type: struct, fields: {sku: {type: string}}}}
partition_by: [kind]
"""
"""Its columns need every kind of conversion and rule."""


def record(
    offset: int,
    value: Any = None,
    *,
    partition: int = 0,
    topic: str = "orders",
    timestamp: int | None = None,
    key: bytes | None = None,
    headers: Sequence[Mapping[str, Any]] = (),
    timestamp_type: str = "CREATE_TIME",
) -> dict[str, Any]:
    """Return a record as AWS sends it.

    `value` is JSON, bytes as they are, or None for a tombstone.
    """
    payload = value if isinstance(value, bytes) or value is None else orjson.dumps(value)
    return {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "timestamp": NOW_MS - 100_000 + offset if timestamp is None else timestamp,
        "timestampType": timestamp_type,
        "key": encode(key),
        "value": encode(payload),
        "headers": list(headers),
    }


def encode(data: bytes | None) -> str | None:
    """Return base64 text, None for None."""
    return None if data is None else base64.b64encode(data).decode()


def event(records: Iterable[Mapping[str, Any]], *, arn: str = ARN) -> dict[str, Any]:
    """Return an event of these records, grouped as AWS groups them."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in records:
        groups.setdefault(f"{item['topic']}-{item['partition']}", []).append(item)
    return {
        "eventSource": "aws:kafka",
        "eventSourceArn": arn,
        "bootstrapServers": "b-1.demo:9098,b-2.demo:9098",
        "records": groups,
    }


def rows(start: int, stop: int, **fields: Any) -> list[dict[str, Any]]:
    """Return good records of the small contract, by offset."""
    partition = fields.pop("partition", 0)
    return [
        record(i, {"id": i, "name": f"n{i}", **fields}, partition=partition)
        for i in range(start, stop)
    ]


def contract_of(text: str) -> Contract:
    """Return the contract of a text that must be right."""
    problems: list[str] = []
    contract, _ = parse_contract(text, "test.yaml", problems)
    assert contract is not None, problems
    return contract


def problems_of(text: str) -> list[str]:
    """Return the problems of a contract's text."""
    problems: list[str] = []
    parse_contract(text, "test.yaml", problems)
    return problems


def columns_contract(columns: str, **keys: str) -> Contract:
    """Return a contract with these columns (YAML, one a line) and other keys."""
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    indented = "\n".join(f"  {line}" for line in columns.strip().splitlines())
    return contract_of(f"topic: t\ntable: t\n{more}columns:\n{indented}\n")


def checkpoint_bytes(log: bytes) -> bytes:
    """Return a checkpoint of a whole log, as Parquet; files that were removed are left out."""
    rest: dict[str, Any] = {}
    txns: dict[str, Any] = {}
    adds: dict[str, Any] = {}
    for action in map(json.loads, log.splitlines()):
        if "txn" in action:
            txns[action["txn"]["appId"]] = action
        elif "remove" in action:
            adds.pop(action["remove"]["path"], None)
        elif "add" in action:
            adds[action["add"]["path"]] = {"add": {**action["add"], "partitionValues": []}}
        elif "metaData" in action:
            configuration = list(action["metaData"]["configuration"].items())
            form = {"provider": "parquet", "options": []}
            metadata = {**action["metaData"], "configuration": configuration, "format": form}
            rest["metaData"] = {"metaData": metadata}
        elif "protocol" in action:
            rest["protocol"] = action
    options = pa.map_(pa.string(), pa.string())
    schema = pa.schema(
        {
            "txn": pa.struct(
                {"appId": pa.string(), "version": pa.int64(), "lastUpdated": pa.int64()}
            ),
            "add": pa.struct(
                {
                    "path": pa.string(),
                    "partitionValues": options,
                    "size": pa.int64(),
                    "stats": pa.string(),
                }
            ),
            "metaData": pa.struct(
                {
                    "id": pa.string(),
                    "format": pa.struct({"provider": pa.string(), "options": options}),
                    "schemaString": pa.string(),
                    "partitionColumns": pa.list_(pa.string()),
                    "configuration": options,
                }
            ),
            "protocol": pa.struct({"minReaderVersion": pa.int32(), "minWriterVersion": pa.int32()}),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_pylist([*rest.values(), *txns.values(), *adds.values()], schema), sink
    )
    return bytes(sink.getvalue())


class FakeClock:
    """A clock that only `sleep` moves."""

    def __init__(self, epoch_ms: int = NOW_MS) -> None:
        self.now_s = 1000.0
        self._offset_ms = epoch_ms - 1_000_000
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def epoch_ms(self) -> int:
        return self._offset_ms + round(self.now_s * 1000)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Context:
    """Lambda's context, as far as it is read."""

    def __init__(self, remaining_ms: int) -> None:
        self._remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self._remaining_ms


def function_for(
    folder: Path,
    contract: str = SMALL,
    *,
    open_store: Callable[[str], Any] = open_store,
    clock: Any = None,
    **settings: Any,
) -> Function:
    """Return a function with one contract and its tables under `folder`/tables, as a new sandbox
    has it.
    """
    contracts = folder / "contracts"
    contracts.mkdir(parents=True, exist_ok=True)
    (contracts / "contract.yaml").write_text(contract)
    values = {"table_root": str(folder / "tables"), "contracts": str(contracts), **settings}
    return Function(
        Settings(**values), clock=clock or FakeClock(), open_store=open_store, random=lambda: 0.5
    )


def files_of_a_large_table(folder: Path, count: int) -> None:
    """Put a checkpoint of so many simulated files before a table's last commit."""
    log = folder / "_delta_log"
    commits = sorted(log.glob("*.json"))
    written = b"".join(commit.read_bytes() for commit in commits)
    whole = read_parquet(checkpoint_bytes(written))
    bounds = [
        f'{{"numRecords":1000,"minValues":{{"_kafka_partition":{i % 8},"_kafka_offset":{i}000,'
        f'"_kafka_timestamp":"2026-05-01T10:00:00.000Z","id":{i}000,"name":"n{i}000"}},"maxValues":'
        f'{{"_kafka_partition":{i % 8},"_kafka_offset":{i}999,"_kafka_timestamp":'
        f'"2026-05-01T10:00:10.000Z","id":{i}999,"name":"n{i}999"}},"nullCount":{{"id":0}}}}'
        for i in range(1, count)
    ]
    adds = pa.StructArray.from_arrays(
        [
            pa.array([f"part-{i:08}-0000-4000-8000-{i:012}.zstd.parquet" for i in range(1, count)]),
            pa.nulls(count - 1, pa.map_(pa.string(), pa.string())),
            pa.array([50_000] * (count - 1), pa.int64()),
            pa.array(bounds),
            pa.array(
                [[("silt.offsets", f"{i % 8}:{i}000-{i}999")] for i in range(1, count)],
                pa.map_(pa.string(), pa.string()),
            ),
        ],
        ["path", "partitionValues", "size", "stats", "tags"],
    )
    tables = [whole, pa.table({"add": adds})]
    last = int(commits[-1].stem)
    pq.write_table(
        pa.concat_tables(tables, promote_options="permissive"),
        log / f"{last:020}.checkpoint.parquet",
    )
    (log / "_last_checkpoint").write_text(json.dumps({"version": last, "size": count}))
    for commit in commits[:-1]:
        commit.unlink()
