"""The Delta protocol as an appender needs it: what a commit says, and what a snapshot becomes by
it.

Pure: bytes and values in, values out. The source is the Delta transaction log protocol; a name in
capitals or camel case is the protocol's own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
import orjson
from msgspec.structs import replace

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


_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")


class Protocol(msgspec.Struct, frozen=True):
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


class Metadata(msgspec.Struct, frozen=True):
    """A table's schema and properties. `raw` is the action as it is in the log."""

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


class Txn(msgspec.Struct, frozen=True):
    """How far an application has come: here a stream, and the highest offset the table has seen."""

    version: int
    last_updated_ms: int | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """What is known of a table at one version. A table that does not exist has version -1.

    `e_tag` is that of the commit of `version`, if known: it distinguishes this log from a
    recreated one.
    """

    version: int = -1
    e_tag: str | None = None
    protocol: Protocol | None = None
    metadata: Metadata | None = None
    txns: Mapping[str, Txn] = msgspec.field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Return whether there is a table."""
        return self.version >= 0

    @property
    def forgets_txns(self) -> bool:
        """Return whether a checkpoint by an engine may have left out watermarks, or may do so."""
        properties = self.metadata.configuration if self.metadata is not None else {}
        return TXN_RETENTION in properties or TXNS_FORGOTTEN in properties


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
            raise BrokenLog(f"{key}, line {number}, is not JSON: {error}") from error
        if not isinstance(action, dict):
            raise BrokenLog(f"{key}, line {number}, is not a Delta action.")
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
        raise UnsupportedTable("The table's schema is not a struct.")
    return Metadata(
        schema.fields,
        tuple(value.get("partitionColumns") or ()),
        dict(value.get("configuration") or {}),
        dict(value),
    )
