"""The Delta protocol as an appender needs it: what a commit says, and what a snapshot becomes by
it.

Pure: bytes and values in, values out. The source is the Delta transaction log protocol; a name in
capitals or camel case is the protocol's own.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

import orjson

from handler import __build__
from handler.delta.types import Field, Struct, from_json, to_json
from handler.errors import BrokenLog, UnsupportedTable

LOG = "_delta_log"
ENGINE = f"silt/{__build__}"
"""Which build made a commit: the artifact can be found again by it."""
TXN_RETENTION = "delta.setTransactionRetentionDuration"
"""The property by which engines leave `txn` actions out of checkpoints when they are old."""
TXNS_FORGOTTEN = "silt.txns_forgotten"
"""Set beside it by the next append: what was forgotten stays so when the property is unset."""

Actions = Sequence[Mapping[str, Any]]
"""The actions of one commit, as the log has them."""


class Why(StrEnum):
    """Why a decision about a table has to be made again. A stream is what a `txn` counts."""

    METADATA = "metadata"
    PROTOCOL = "protocol"
    STREAM = "stream"
    NEW_STREAM = "new_stream"
    LOG = "log"
    """The log was cleaned behind the snapshot, or the table was made anew."""
    FILES = "files"
    """A file that was to be replaced is not active any more."""


_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a reader and a writer of the table must know."""

    min_reader: int = 1
    min_writer: int = 2
    reader_features: tuple[str, ...] = ()
    writer_features: tuple[str, ...] = ()

    def action(self) -> dict[str, Any]:
        """Return the protocol as an action of a commit."""
        action: dict[str, Any] = {
            "minReaderVersion": self.min_reader,
            "minWriterVersion": self.min_writer,
        }
        if self.min_reader >= 3:
            action["readerFeatures"] = list(self.reader_features)
        if self.min_writer >= 7:
            action["writerFeatures"] = list(self.writer_features)
        return {"protocol": action}


@dataclass(frozen=True, slots=True)
class Metadata:
    """A table's schema and properties. `raw` is the action as it stands in the log."""

    fields: tuple[Field, ...]
    partition_columns: tuple[str, ...]
    configuration: Mapping[str, str]
    raw: Mapping[str, Any]

    @property
    def data_fields(self) -> tuple[Field, ...]:
        """Return the fields that data files have: all but the partition columns."""
        return tuple(f for f in self.fields if f.name not in self.partition_columns)

    def with_fields(self, fields: Sequence[Field]) -> "Metadata":
        """Return the same table with another schema."""
        schema = orjson.dumps(to_json(Struct(tuple(fields)))).decode()
        return replace(self, fields=tuple(fields), raw={**self.raw, "schemaString": schema})

    def with_configuration(self, properties: Mapping[str, str]) -> "Metadata":
        """Return the same table with these properties besides its own."""
        configuration = {**self.configuration, **properties}
        raw = {**self.raw, "configuration": configuration}
        return replace(self, configuration=configuration, raw=raw)

    def action(self) -> dict[str, Any]:
        """Return the metadata as an action of a commit."""
        return {"metaData": dict(self.raw)}


@dataclass(frozen=True, slots=True)
class Txn:
    """How far an application has come: here a stream, and the highest offset the table has seen."""

    version: int
    last_updated_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a table at one version. A table that does not exist has version -1.

    `e_tag` is that of the commit of `version`, if known: it tells this log from one made anew.
    """

    version: int = -1
    e_tag: str | None = None
    protocol: Protocol | None = None
    metadata: Metadata | None = None
    txns: Mapping[str, Txn] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Return whether there is a table."""
        return self.version >= 0

    @property
    def forgets_txns(self) -> bool:
        """Return whether a checkpoint by an engine may have left out watermarks, or may do so."""
        properties = self.metadata.configuration if self.metadata is not None else {}
        return TXN_RETENTION in properties or TXNS_FORGOTTEN in properties


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file to be added: its key below the table, its bytes, and what its `add` says."""

    key: str
    payload: Any
    size: int
    rows: int
    partition_values: Mapping[str, str | None]
    stats: str
    modified_ms: int
    tags: Mapping[str, str] = field(default_factory=lambda: _NO_TAGS)

    def action(self, *, data_change: bool = True) -> dict[str, Any]:
        """Return the file as an action of a commit. `data_change`: it brings new rows."""
        return {
            "add": {
                "path": quote(self.key, safe="/=.-_~"),
                "partitionValues": dict(self.partition_values),
                "size": self.size,
                "modificationTime": self.modified_ms,
                "dataChange": data_change,
                "stats": self.stats,
                **({"tags": dict(self.tags)} if self.tags else {}),
            }
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to one table. `txns` names every stream that it touches, with its
    watermark.

    A txn without `last_updated_ms` takes the time of the commit. `depends_on` are the other appIds
    that it was decided by: a foreign commit that names one makes the decision void.
    """

    files: tuple[DataFile, ...]
    txns: Mapping[str, Txn]
    info: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    metadata: Metadata | None = None
    protocol: Protocol | None = None
    depends_on: frozenset[str] = frozenset()

    @property
    def concerned(self) -> frozenset[str]:
        """Return the appIds that no foreign commit may name."""
        return self.depends_on | self.txns.keys()

    def conflict(self, actions: Actions, snapshot: Snapshot) -> Why | None:
        """Return why a foreign commit, which follows `snapshot`, makes it void, if it does."""
        return conflict_with(actions, snapshot, self.concerned)

    def body(self, commit_id: str, now_ms: int) -> bytes:
        """Return the change as a commit of the log."""
        return commit_bytes(self, commit_id, now_ms)


def commit_key(version: int) -> str:
    """Return the key of a commit below the table's folder."""
    return f"{LOG}/{version:020}.json"


def version_of(key: str) -> int | None:
    """Return the version of the commit at a key, None for the key of anything else."""
    match = _COMMIT.fullmatch(key)
    return int(match[1]) if match is not None else None


def new_metadata(
    table_id: str,
    fields: Sequence[Field],
    partition_columns: Sequence[str],
    description: str | None,
    created_ms: int,
) -> Metadata:
    """Return the metadata of a table that is to be created."""
    raw: dict[str, Any] = {
        "id": table_id,
        "name": None,
        "description": description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": "",
        "partitionColumns": list(partition_columns),
        "configuration": {},
        "createdTime": created_ms,
    }
    bare = Metadata((), tuple(partition_columns), {}, raw)
    return bare.with_fields(fields)


def commit_bytes(change: Change, commit_id: str, now_ms: int) -> bytes:
    """Return a commit as the newline-delimited JSON of the log."""
    info = {
        "timestamp": now_ms,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append"},
        "engineInfo": ENGINE,
        "isBlindAppend": True,
        "operationMetrics": {
            "numFiles": str(len(change.files)),
            "numOutputRows": str(sum(f.rows for f in change.files)),
            "numOutputBytes": str(sum(f.size for f in change.files)),
        },
        "txnId": commit_id,
        **change.info,
    }
    actions = list[dict[str, Any]]()
    if change.protocol is not None:
        actions.append(change.protocol.action())
    if change.metadata is not None:
        actions.append(change.metadata.action())
    for app_id, txn in sorted(change.txns.items()):
        updated = txn.last_updated_ms if txn.last_updated_ms is not None else now_ms
        actions.append({"txn": {"appId": app_id, "version": txn.version, "lastUpdated": updated}})
    actions.extend(file.action() for file in change.files)
    return encode_commit(info, actions)


def encode_commit(info: Mapping[str, Any], actions: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a commit as the newline-delimited JSON of the log."""
    return b"\n".join(map(orjson.dumps, ({"commitInfo": info}, *actions))) + b"\n"


def file_id(action: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return what tells a file of an `add` or `remove` from others: its key and deletion vector."""
    vector = action.get("deletionVector")
    if not vector:
        return unquote(action["path"]), None
    identity = f"{vector.get('storageType')}{vector.get('pathOrInlineDv')}@{vector.get('offset')}"
    return unquote(action["path"]), identity


def parse_commit(data: bytes, key: str) -> list[dict[str, Any]]:
    """Return the actions of a commit. Raises BrokenLog with the line that is none."""
    actions = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            action = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BrokenLog(f"{key}, line {number}, is no JSON: {error}") from error
        if not isinstance(action, dict):
            raise BrokenLog(f"{key}, line {number}, is no action of a Delta commit.")
        actions.append(action)
    return actions


def commit_id_of(actions: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the id that the writer gave its commit, if it gave one."""
    for action in actions:
        if "commitInfo" in action:
            commit_id = (action["commitInfo"] or {}).get("txnId")
            return str(commit_id) if commit_id is not None else None
    return None


def apply(
    snapshot: Snapshot, version: int, actions: Sequence[Mapping[str, Any]], e_tag: str | None
) -> Snapshot:
    """Return the snapshot after a commit. Raises BrokenLog or UnsupportedTable."""
    protocol, metadata = snapshot.protocol, snapshot.metadata
    txns = dict(snapshot.txns)
    try:
        for action in actions:
            if (value := action.get("txn")) is not None:
                txns[value["appId"]] = Txn(int(value["version"]), value.get("lastUpdated"))
            elif (value := action.get("metaData")) is not None:
                metadata = parse_metadata(value)
            elif (value := action.get("protocol")) is not None:
                protocol = parse_protocol(value)
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenLog(
            f"{commit_key(version)} has an action that is not Delta: {error!r}"
        ) from error
    return Snapshot(version, e_tag, protocol, metadata, txns)


def parse_protocol(value: Mapping[str, Any]) -> Protocol:
    """Read a protocol action."""
    return Protocol(
        int(value["minReaderVersion"]),
        int(value["minWriterVersion"]),
        tuple(value.get("readerFeatures") or ()),
        tuple(value.get("writerFeatures") or ()),
    )


def parse_metadata(value: Mapping[str, Any]) -> Metadata:
    """Read a metaData action. Raises UnsupportedTable for a type that is not known."""
    schema = from_json(orjson.loads(value["schemaString"]))
    if not isinstance(schema, Struct):
        raise UnsupportedTable("The table's schema is no struct.")
    return Metadata(
        schema.fields,
        tuple(value.get("partitionColumns") or ()),
        dict(value.get("configuration") or {}),
        dict(value),
    )


def conflict_with(actions: Actions, snapshot: Snapshot, app_ids: Collection[str]) -> Why | None:
    """Return why a foreign commit makes a decision from `snapshot` void, if it does.

    It does when it touches the schema, the protocol or one of our streams, or brings a stream that
    the snapshot has not seen: that may be a second source.
    """
    for action in actions:
        if action.get("metaData") is not None:
            return Why.METADATA
        if action.get("protocol") is not None:
            return Why.PROTOCOL
        txn = action.get("txn")
        if txn is not None and txn["appId"] in app_ids:
            return Why.STREAM
        if txn is not None and txn["appId"] not in snapshot.txns:
            return Why.NEW_STREAM
    return None
