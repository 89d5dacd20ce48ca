"""A rewrite: a commit that replaces data files by others, or describes again what is in them.

It is committed by the same compare-and-swap as an append. Its condition is that every file that it
touches is still active, and that the table has the schema and protocol that it was planned for; a
column that was added since does not matter. So an append and a rewrite never conflict. Of two
rewrites of one file the second finds that it is gone, and is planned again. That needs no lock and
no clock (decision 0015).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from handler.delta.active import ActiveFile, ActiveFiles
from handler.delta.change import DataFile, Why, encode_commit
from handler.delta.commit import Transaction
from handler.delta.features import check_rewritable
from handler.delta.log import (
    ENGINE,
    Actions,
    Metadata,
    Snapshot,
    file_id,
    parse_metadata,
    parse_protocol,
)
from handler.delta.retry import Deadline
from handler.delta.tables import Table
from handler.delta.types import Array, DataType, Field, Struct


class Rewrite(msgspec.Struct, frozen=True):
    """What a rewrite does: `removed` files are replaced by `added` ones, which are stored already.

    `updated` files stay, with other statistics or tags. `planned_for` is the snapshot by which it
    was planned. `data_change`: rows come or go, or change their values.
    """

    operation: str
    planned_for: Snapshot
    removed: Sequence[ActiveFile] = ()
    added: Sequence[DataFile] = ()
    updated: Sequence[ActiveFile] = ()
    data_change: bool = False
    parameters: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def files(self) -> Sequence[DataFile]:
        """Return the data files that have to be put before the commit: they are there already."""
        return ()

    @property
    def touched(self) -> Sequence[ActiveFile]:
        """Return the files that have to be active."""
        return (*self.removed, *self.updated)

    def conflict(self, actions: Actions, _snapshot: Snapshot) -> Why | None:
        """Return what a foreign commit changes: a file of ours, or what was planned for."""
        ids = {file.id for file in self.touched}
        for action in actions:
            for kind in ("add", "remove"):
                if (file := action.get(kind)) is not None and file_id(file) in ids:
                    return Why.FILES
            if (value := action.get("metaData")) is not None and self._differs(
                parse_metadata(value)
            ):
                return Why.METADATA
            if (value := action.get("protocol")) is not None and (
                parse_protocol(value) != self.planned_for.protocol
            ):
                return Why.PROTOCOL
        return None

    def fits(self, snapshot: Snapshot, files: ActiveFiles) -> bool:
        """Return whether it may follow a snapshot with these files."""
        return (
            snapshot.metadata is not None
            and snapshot.protocol == self.planned_for.protocol
            and not self._differs(snapshot.metadata)
            and all(file in files for file in self.touched)
        )

    def _differs(self, metadata: Metadata) -> bool:
        planned = self.planned_for.metadata
        assert planned is not None
        return (
            metadata.partition_columns != planned.partition_columns
            or _feature_properties(metadata) != _feature_properties(planned)
            or not _extends(planned.fields, metadata.fields)
        )

    @property
    def needs_files(self) -> bool:
        """Return whether the files of foreign commits can make it void."""
        return True

    def body(self, commit_id: str, now_ms: int, note: Mapping[str, Any] | None = None) -> bytes:
        """Return it as a commit of the log. `note` goes into its `commitInfo`."""
        metrics = {
            "numRemovedFiles": len(self.removed),
            "numRemovedBytes": sum(file.size for file in self.removed),
            "numAddedFiles": len(self.added),
            "numAddedBytes": sum(file.size for file in self.added),
            "numUpdatedFiles": len(self.updated),
        }
        info = {
            "timestamp": now_ms,
            "operation": self.operation,
            "operationParameters": dict(self.parameters),
            "engineInfo": ENGINE,
            "isBlindAppend": False,
            "operationMetrics": {name: str(value) for name, value in metrics.items()},
            "txnId": commit_id,
            **(note or {}),
        }
        actions = [self._remove(file, now_ms) for file in self.removed]
        actions += [file.action(data_change=self.data_change) for file in self.added]
        actions += [_readd(file) for file in self.updated]
        return encode_commit(info, actions)

    def _remove(self, file: ActiveFile, now_ms: int) -> dict[str, Any]:
        vector = file.deletion_vector
        return {
            "remove": {
                "path": file.path,
                "deletionTimestamp": now_ms,
                "dataChange": self.data_change,
                "extendedFileMetadata": True,
                "partitionValues": dict(file.partition_values),
                "size": file.size,
                **({"deletionVector": dict(vector)} if vector is not None else {}),
            }
        }


def _readd(file: ActiveFile) -> dict[str, Any]:
    """Return the `add` of a file that stays; it replaces the one that the log has."""
    vector = file.deletion_vector
    return {
        "add": {
            "path": file.path,
            "partitionValues": dict(file.partition_values),
            "size": file.size,
            "modificationTime": file.modified_ms,
            "dataChange": False,
            "stats": file.stats,
            "tags": dict(file.tags or {}),
            **({"deletionVector": dict(vector)} if vector is not None else {}),
        }
    }


def active_files(table: Table) -> ActiveFiles:
    """Return the active files of a table that keeps them, as they were last read."""
    assert isinstance(table.files, ActiveFiles)
    return table.files


def rewrite(table: Table, change: Rewrite, deadline: Deadline) -> int | None:
    """Commit a rewrite. Returns its version, None where it has to be planned again.

    The table has to keep its files (`new_files`). Raises StoreError, TableError or OutOfTime.
    """

    def propose(snapshot: Snapshot) -> Rewrite | None:
        check_rewritable(snapshot, table.name, data_change=change.data_change)
        return change if change.fits(snapshot, active_files(table)) else None

    # Minutes may have passed since the snapshot was read: the table may have been recreated.
    committed = Transaction([table], deadline).commit_change(table, propose)
    return committed.version if committed is not None else None


def _feature_properties(metadata: Metadata) -> dict[str, str]:
    """Return the properties that switch a feature on, which a rewrite has to know."""
    return {
        name: value
        for name, value in metadata.configuration.items()
        if name.startswith(("delta.enable", "delta.columnMapping", "delta.constraints."))
        or name == "delta.appendOnly"
    }


def _extends(before: Sequence[Field], after: Sequence[Field]) -> bool:
    """Return whether a schema has all of another, and otherwise only columns that may be null."""
    by_name = {f.name: f for f in after}
    for f in before:
        now = by_name.pop(f.name, None)
        if now is None or now.nullable != f.nullable or not _extends_type(f.type, now.type):
            return False
    return all(f.nullable for f in by_name.values())


def _extends_type(before: DataType, after: DataType) -> bool:
    match before, after:
        case Struct(), Struct():
            return _extends(before.fields, after.fields)
        case Array(), Array():
            same = before.contains_null == after.contains_null
            return same and _extends_type(before.element, after.element)
    return before == after
