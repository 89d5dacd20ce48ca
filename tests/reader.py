"""A reader of Delta tables that shares no code with the writer: JSON log, newest checkpoint, DuckDB
for Parquet.

It follows the protocol's reconciliation by itself, so that it can disagree with the writer.
"""

import json
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

Fetch = Callable[[str], bytes]


@dataclass
class State:
    """What a log says: live files with their adds, watermarks, schema, and the commits that were
    read.
    """

    version: int = -1
    adds: dict[str, dict[str, Any]] = field(default_factory=dict)
    txns: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    infos: list[dict[str, Any]] = field(default_factory=list)

    @property
    def fields(self) -> list[dict[str, Any]]:
        return json.loads(self.metadata["schemaString"])["fields"]


def read_log(keys: list[str], fetch: Fetch) -> State:
    """Replay a log from its keys below the table."""
    state = State()
    checkpoints = [k for k in keys if re.match(r"_delta_log/\d{20}\.checkpoint\.", k)]
    newest_version = max((k.split("/")[1][:20] for k in checkpoints), default=None)
    for newest in sorted(k for k in checkpoints if newest_version == k.split("/")[1][:20]):
        state.version = int(newest_version or 0)
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            file.write(fetch(newest))
            file.flush()
            with duckdb.connect() as database:
                rows = database.sql(f"select * from read_parquet('{file.name}')")
                for row in rows.fetchall():
                    named = zip(rows.columns, row, strict=True)
                    _apply(state, {name: value for name, value in named if value is not None})
    commits = sorted(k for k in keys if re.fullmatch(r"_delta_log/\d{20}\.json", k))
    for key in commits:
        version = int(key.split("/")[1][:20])
        if version <= state.version:
            continue
        assert version == state.version + 1, f"a gap before {key}"
        for line in fetch(key).splitlines():
            _apply(state, json.loads(line))
        state.version = version
    return state


def _apply(state: State, action: dict[str, Any]) -> None:
    if "commitInfo" in action:
        state.infos.append(action["commitInfo"])
    if "add" in action:
        path = unquote(action["add"]["path"])
        is_new = path not in state.adds or not action["add"]["dataChange"]  # else: statistics
        assert is_new, f"{path} was added twice"
        state.adds[path] = action["add"]
    if "remove" in action:
        state.adds.pop(unquote(action["remove"]["path"]), None)
    if "txn" in action:
        state.txns[action["txn"]["appId"]] = action["txn"]["version"]
    if "metaData" in action:
        state.metadata = action["metaData"]
    if "protocol" in action:
        state.protocol = action["protocol"]


def read_folder(folder: Path) -> State:
    """Replay the log of a table on local disk."""
    keys = [str(p.relative_to(folder)) for p in (folder / "_delta_log").glob("*")]
    return read_log(keys, lambda key: (folder / key).read_bytes())


def rows_of_folder(
    folder: Path, columns: str = "_kafka_offset", order: str = "all"
) -> list[tuple[Any, ...]]:
    """Return the rows of a table on local disk, by DuckDB from its live files."""
    state = read_folder(folder)
    if not state.adds:
        return []
    files = [str(folder / path) for path in sorted(state.adds)]
    with duckdb.connect() as database:
        return database.sql(
            f"select {columns} from read_parquet({files!r}, union_by_name=true, "
            f"hive_partitioning=false) order by {order}"
        ).fetchall()


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a Parquet file in memory, read by this thread alone.

    Arrow's own threads may hold the bytes a little longer. If the process ends meanwhile, they wait
    for an interpreter that is gone, and the process aborts.
    """
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    return file.read(columns=columns, use_threads=False)


def rows_of_memory(memory: Any, uri: str, columns: list[str]) -> list[tuple[Any, ...]]:
    """Return the rows of a table in memory, from its live files."""
    if uri not in memory.stores:
        return []
    store = memory.stores[uri]
    entries = [entry.key for entry in store.list("_delta_log", "_delta_log/")]
    state = read_log(entries, lambda key: store.get(key).data)
    result: list[tuple[Any, ...]] = []
    for path in state.adds:
        table = read_parquet(store.get(path).data, columns)
        result += zip(*(table[c].to_pylist() for c in columns), strict=True)
    return sorted(result)


def state_of_memory(memory: Any, uri: str) -> State:
    """Replay the log of a table in memory."""
    store = memory.stores[uri]
    entries = [entry.key for entry in store.list("_delta_log", "_delta_log/")]
    return read_log(entries, lambda key: store.get(key).data)
