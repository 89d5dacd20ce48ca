"""Checkpoints: which are there in full, and what one says."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from typing import Protocol as Interface

import msgspec
import orjson
import pyarrow as pa

from handler.delta import compute
from handler.delta.log import (
    LOG,
    Metadata,
    Protocol,
    Snapshot,
    Txn,
    parse_metadata,
    parse_protocol,
)
from handler.delta.parquet_ranges import read_columns
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.store import Entry, Store
from handler.errors import BrokenLog, NotFound

HINT = f"{LOG}/_last_checkpoint"
_NAME = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint(?:\.(\d{{10}})\.(\d{{10}}))?\.parquet")


BATCH_ROWS = 16_384
"""So many entries of a checkpoint are looked at at once."""


class FileListing(Interface):
    """What gathers the active files of a table while its log is read."""

    @property
    def columns(self) -> Sequence[str]:
        """Return what it needs of the `add`s of a checkpoint, such as `add.path`."""
        ...

    def apply(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Take in a commit."""
        ...

    def add_checkpoint(self, adds: pa.StructArray) -> None:
        """Take in a batch of the `add` column of a checkpoint."""
        ...


class BrokenCheckpoint(Exception):
    """A checkpoint cannot be read as what it should be; an older one may do."""


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint of which every part is listed."""

    version: int
    parts: tuple[Entry, ...]


def is_checkpoint(key: str) -> bool:
    """Return whether a key is that of a checkpoint, or of a part of one."""
    return _NAME.fullmatch(key) is not None


def complete_checkpoints(entries: Iterable[Entry]) -> list[Checkpoint]:
    """Return the checkpoints of a listing of which all parts are there, the newest first.

    One in a single file comes before one in parts of the same version.
    """
    result: dict[tuple[int, int], dict[int, Entry]] = {}
    for entry in entries:
        if match := _NAME.fullmatch(entry.key):
            version, number, total = int(match[1]), int(match[2] or 1), int(match[3] or 1)
            result.setdefault((version, -total), {})[number] = entry
    return [
        Checkpoint(version, tuple(parts[i] for i in sorted(parts)))
        for (version, total), parts in sorted(result.items(), reverse=True)
        if sorted(parts) == list(range(1, 1 - total))
    ]


def parse_hint(data: bytes) -> int | None:
    """Return the version that `_last_checkpoint` names, None where it names none."""
    try:
        version = orjson.loads(data)["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return version if type(version) is int and version >= 0 else None


def read_checkpoint(
    store: Store,
    checkpoint: Checkpoint,
    files: FileListing | None,
    pool: Pool,
    deadline: Deadline,
) -> Snapshot:
    """Read a checkpoint, and filter its files into `files`.

    Raises BrokenCheckpoint for one that is cut, empty, or not a checkpoint.
    """
    try:
        return _read(store, checkpoint, files, pool, deadline)
    except (BrokenLog, NotFound, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise BrokenCheckpoint(f"{checkpoint.parts[0].key}: {error!s:.300}") from error


def _read(
    store: Store,
    checkpoint: Checkpoint,
    files: FileListing | None,
    pool: Pool,
    deadline: Deadline,
) -> Snapshot:
    protocol: Protocol | None = None
    metadata: Metadata | None = None
    txns: dict[str, Txn] = {}
    columns = ["protocol", "metaData", "txn", *(files.columns if files is not None else ())]

    def keep(group: Any) -> bool:
        return _says_something(group, columns)

    for table in read_columns(
        store, checkpoint.parts, columns, keep, pool, deadline, batch_rows=BATCH_ROWS
    ):
        for row in _present(table, "protocol"):
            protocol = parse_protocol(row)
        for row in _present(table, "metaData"):
            metadata = parse_metadata(_plain(row))
        for row in _present(table, "txn"):
            txns[row["appId"]] = Txn(int(row["version"]), row.get("lastUpdated"))
        if files is not None and "add" in table.column_names:
            for chunk in table["add"].chunks:
                files.add_checkpoint(chunk)
    if protocol is None or metadata is None:
        raise ValueError("it has no protocol or no metadata")
    return Snapshot(checkpoint.version, None, protocol, metadata, txns)


def _says_something(group: Any, columns: Sequence[str]) -> bool:
    """Return whether a row group of a checkpoint may hold an action of these kinds."""
    kinds = {column.split(".", 1)[0] for column in columns}
    for i in range(group.num_columns):
        chunk = group.column(i)
        if chunk.path_in_schema.split(".", 1)[0] in kinds:
            stats = chunk.statistics
            if stats is None or not stats.has_null_count or stats.null_count < chunk.num_values:
                return True
    return False


def _present(table: pa.Table, name: str) -> Iterator[dict[str, Any]]:
    if name in table.column_names:
        yield from compute.drop_null(table[name]).to_pylist()


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metaData row of a checkpoint as the JSON action that it was:

    Parquet's maps are pairs.
    """
    form = metadata.get("format") or {}
    return {
        **metadata,
        "configuration": dict(metadata.get("configuration") or []),
        "format": {**form, "options": dict(form.get("options") or [])},
    }
