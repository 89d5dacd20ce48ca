"""What one commit does to a table: data files, watermarks, metadata; and what makes it void."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from handler.delta.log import (
    ENGINE,
    Actions,
    Metadata,
    Protocol,
    Snapshot,
    Txn,
)

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Why(StrEnum):
    """Why a decision about a table has to be made again. A stream is what a `txn` counts."""

    METADATA = "metadata"
    PROTOCOL = "protocol"
    STREAM = "stream"
    NEW_STREAM = "new_stream"
    LOG = "log"
    """The log was cleaned behind the snapshot, or the table was recreated."""
    FILES = "files"
    """A file that was to be replaced is not active any more, or one is there where none was."""


class DataFile(msgspec.Struct, frozen=True):
    """One Parquet file to be added: its key below the table, its bytes, and what its `add` says."""

    key: str
    payload: Any
    size: int
    rows: int
    partition_values: Mapping[str, str | None]
    stats: str
    modified_ms: int
    tags: Mapping[str, str] = msgspec.field(default_factory=lambda: _NO_TAGS)

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


class Change(msgspec.Struct, frozen=True):
    """What one commit does to one table. `txns` names every stream that it touches, with its
    watermark.

    A txn without `last_updated_ms` takes the time of the commit. `depends_on` are the other appIds
    that it was decided by: a foreign commit that names one makes the decision void.
    """

    files: tuple[DataFile, ...]
    txns: Mapping[str, Txn]
    info: Mapping[str, Any] = msgspec.field(default_factory=lambda: _NOTHING)
    metadata: Metadata | None = None
    protocol: Protocol | None = None
    depends_on: frozenset[str] = frozenset()
    replaces_schema: bool = False
    """Whether `metadata` replaces the schema of a table that has no files. A file that was added in
    the meantime makes the change void."""

    @property
    def concerned(self) -> frozenset[str]:
        """Return the appIds that no foreign commit may name."""
        return self.depends_on | self.txns.keys()

    def conflict(self, actions: Actions, snapshot: Snapshot) -> Why | None:
        """Return why a foreign commit, which follows `snapshot`, makes it void, if it does."""
        if self.replaces_schema and any("add" in action for action in actions):
            return Why.FILES
        return conflict_with(actions, snapshot, self.concerned)

    @property
    def needs_files(self) -> bool:
        """Return whether the files of foreign commits can make it void."""
        return self.replaces_schema

    def body(self, commit_id: str, now_ms: int, note: Mapping[str, Any] | None = None) -> bytes:
        """Return the change as a commit of the log. `note` goes into its `commitInfo`."""
        facts = {"txnId": commit_id, **(note or {}), **self.info}
        return encode_append(self.actions(now_ms), self.rows, facts, now_ms)

    @property
    def rows(self) -> int:
        """Return how many rows the data files have."""
        return sum(f.rows for f in self.files)

    def actions(self, now_ms: int) -> list[dict[str, Any]]:
        """Return the change as actions of the log: protocol, metadata, `txn`s and files."""
        actions = list[dict[str, Any]]()
        if self.protocol is not None:
            actions.append(self.protocol.action())
        if self.metadata is not None:
            actions.append(self.metadata.action())
        for app_id, txn in sorted(self.txns.items()):
            updated = txn.last_updated_ms if txn.last_updated_ms is not None else now_ms
            actions.append(
                {"txn": {"appId": app_id, "version": txn.version, "lastUpdated": updated}}
            )
        actions.extend(file.action() for file in self.files)
        return actions


def encode_append(
    actions: Sequence[Mapping[str, Any]], rows: int, facts: Mapping[str, Any], now_ms: int
) -> bytes:
    """Return an append of so many rows as a commit of the log. `facts` go into its `commitInfo`."""
    sizes = [action["add"]["size"] for action in actions if "add" in action]
    info = {
        "timestamp": now_ms,
        "operation": "WRITE",
        "operationParameters": {"mode": "Append"},
        "engineInfo": ENGINE,
        "isBlindAppend": True,
        "operationMetrics": {
            "numFiles": str(len(sizes)),
            "numOutputRows": str(rows),
            "numOutputBytes": str(sum(sizes)),
        },
        **facts,
    }
    return encode_commit(info, actions)


def encode_commit(info: Mapping[str, Any], actions: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a commit as the newline-delimited JSON of the log."""
    return b"\n".join(map(orjson.dumps, ({"commitInfo": info}, *actions))) + b"\n"


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
