"""The schema that a table needs for its contract: made, found fitting, or evolved."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from handler.contract.contract import DEAD_LETTER_FIELDS, REDRIVE_FIELDS, REDRIVEN_AS, ROW, Contract
from handler.contract.readers import unreadable_partitions
from handler.delta.active import TYPES_TAG
from handler.delta.features import check_appendable, protocol_for
from handler.delta.files import widenings
from handler.delta.log import (
    TXNS_FORGOTTEN,
    Metadata,
    Protocol,
    Snapshot,
    new_metadata,
)
from handler.delta.look_up import Keys
from handler.delta.statistics import keep_indexed
from handler.delta.types import Field
from handler.errors import TableMismatch
from handler.sink.evolution import compare, compare_partitions, is_widened, mark_origin

ROW_KEYS = Keys("_kafka_partition", "_kafka_offset", "_kafka_timestamp")
DEAD_LETTER_KEYS = Keys("partition", "offset", "timestamp", moved=(REDRIVEN_AS, ROW))
"""A dead letter that was closed as a row proves nothing: the row is looked up, and may be gone."""


class Needed(msgspec.Struct, frozen=True):
    """The metadata to write with, whether the table has to take it on, and a protocol if that has
    to change.
    """

    metadata: Metadata
    changed: bool
    protocol: Protocol | None


class TableSchema:
    """The schema of one table, rows or dead letters; what was found fitting is kept while nothing
    moves.
    """

    def __init__(self, contract: Contract, table: str, *, dead_letters: bool) -> None:
        self.table = table
        self._retired = contract.retired
        if dead_letters:
            self._wanted = (*mark_origin(DEAD_LETTER_FIELDS, "contract"), *REDRIVE_FIELDS)
            self._partition_by: tuple[str, ...] = ()
            self._description: str | None = f"Dead letters of {contract.table}"
            self._evolution = "add_columns"
            self._unreadable: list[str] = []
        else:
            self._wanted = mark_origin(contract.fields, "contract")
            self._partition_by = contract.partition_by
            self._description = contract.description
            self._evolution = contract.evolution
            self._unreadable = list(unreadable_partitions(contract))
        self._kept: tuple[Metadata | None, Protocol | None, Metadata] | None = None

    def needed(self, snapshot: Snapshot, new: Sequence[Field], now_ms: int) -> Needed:
        """Return what a commit after `snapshot` needs, with columns that the data brings in `new`.

        Raises UnsupportedTable or TableMismatch, also for a table that a reader could not read.
        """
        added = mark_origin(new, "data")
        if not snapshot.exists:
            metadata = self._new_metadata(added, now_ms)
            return Needed(metadata, True, protocol_for(metadata, None))
        metadata = self.evolve_metadata(snapshot)
        if added:
            metadata = metadata.with_fields((*metadata.fields, *added))
        if snapshot.forgets_txns and TXNS_FORGOTTEN not in metadata.configuration:
            metadata = metadata.with_configuration({TXNS_FORGOTTEN: "true"})
        changed = metadata is not snapshot.metadata
        protocol = protocol_for(metadata, snapshot.protocol) if changed else None
        return Needed(metadata, changed, protocol)

    def _new_metadata(self, added: Sequence[Field], now_ms: int) -> Metadata:
        if self._unreadable:
            raise TableMismatch(self.table, self._unreadable)
        return new_metadata(
            str(uuid4()), (*self._wanted, *added), self._partition_by, self._description, now_ms
        )

    def renew(self, snapshot: Snapshot, now_ms: int) -> Snapshot:
        """Return a table without files as it is with the contract's schema: what it had is gone,
        but for its id and its properties. Raises UnsupportedTable, or TableMismatch for a table
        that a reader could not read.
        """
        check_appendable(snapshot, self.table)
        before, made = snapshot.metadata, self._new_metadata((), now_ms)
        assert before is not None
        raw = {**made.raw, "id": before.raw["id"]}
        metadata = replace(made, raw=raw).with_configuration(before.configuration)
        protocol = protocol_for(metadata, snapshot.protocol) or snapshot.protocol
        return replace(snapshot, metadata=metadata, protocol=protocol)

    def check(self, snapshot: Snapshot) -> None:
        """Check that the contract fits the table, if it exists. Raises TableError."""
        if snapshot.exists:
            self.evolve_metadata(snapshot)

    def evolve_metadata(self, snapshot: Snapshot) -> Metadata:
        """Return the table's metadata with what the contract adds.

        Raises UnsupportedTable or TableMismatch.
        """
        kept = self._kept
        if kept is not None and kept[0] is snapshot.metadata and kept[1] == snapshot.protocol:
            return kept[2]
        check_appendable(snapshot, self.table)
        metadata = snapshot.metadata
        assert metadata is not None
        differences = compare_partitions(metadata.partition_columns, self._partition_by)
        fields, more = compare(
            metadata.fields, self._wanted, evolution=self._evolution, retired=self._retired
        )
        if differences or more:
            raise TableMismatch(self.table, [*differences, *more])
        evolved = metadata
        if fields != metadata.fields:
            evolved = keep_indexed(metadata, metadata.with_fields(fields))
        if is_widened(metadata.fields, fields):
            # Files of before have the narrow type: compaction finds them by this number.
            evolved = evolved.with_configuration({TYPES_TAG: str(widenings(metadata) + 1)})
        self._kept = (metadata, snapshot.protocol, evolved)
        return evolved


class Schemas(NamedTuple):
    """The schemas of the two tables of a contract."""

    dead_letters: TableSchema
    rows: TableSchema

    @classmethod
    def of(cls, contract: Contract) -> "Schemas":
        """Return the schemas of a contract's tables."""
        return cls(
            TableSchema(contract, contract.dead_letters, dead_letters=True),
            TableSchema(contract, contract.table, dead_letters=False),
        )
