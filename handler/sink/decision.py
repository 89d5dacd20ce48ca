"""The decision about one batch: what becomes of each record, and the change of each table. Pure."""

from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from handler.delta.change import Change, DataFile
from handler.delta.files import data_files
from handler.delta.log import Metadata, Snapshot, Txn
from handler.kafka.offsets import earlier_app_ids
from handler.sink.arrow_tables import build_dead_letters, build_rows, find_added_columns
from handler.sink.checked_batch import CheckedBatch
from handler.sink.commit_info import commit_info
from handler.sink.outcomes import Outcome, Plan, replan
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS, Needed, Schemas, TableSchema
from handler.sink.unknown_columns import Added
from handler.sink.view import View, duplicates_in


class Target(StrEnum):
    """The two tables of a contract, in the order of their commits (decision 0002)."""

    DEAD_LETTERS = "dead_letters"
    ROWS = "rows"


Files = dict[Target, tuple[object, tuple[DataFile, ...]]]
"""The data files of a batch, with what they were built from: built again only if that changes."""


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a batch. `changes` has those tables that get a commit, in order.

    `beyond_max_columns` is how many unknown fields would have become columns if the table had room.
    """

    plan: Plan
    changes: Mapping[Target, Change]
    beyond_max_columns: int


def decide(
    batch: CheckedBatch,
    view: View,
    schemas: Schemas,
    files: Files,
    now_ms: int,
    settled: Plan | None = None,
) -> Decision:
    """Decide from a view that answers every look-up.

    `settled` is the plan whose dead letters are committed already: then only rows are decided.
    Raises TopicRecreated or TableError.
    """
    duplicates = duplicates_in(batch, view)
    decided = batch.plan(duplicates) if settled is None else replan(settled, duplicates)
    info = commit_info(batch, decided, looked_up=bool(view.queries))
    changes = dict[Target, Change]()
    if settled is None and (indices := decided.indices(Outcome.DEAD_LETTER)):
        needed = schemas.dead_letters.needed(view.dead_letters, (), now_ms)
        built = _files(Target.DEAD_LETTERS, batch, decided, None, needed.metadata, files, now_ms)
        changes[Target.DEAD_LETTERS] = _change(
            batch, view.dead_letters, needed, indices, built, info
        )
    beyond = 0
    if decided.indices(Outcome.APPEND):
        changes[Target.ROWS], beyond = append_rows(
            batch, decided, view.rows, schemas.rows, files, info, now_ms
        )
    return Decision(decided, changes, beyond)


def append_rows(
    batch: CheckedBatch,
    decided: Plan,
    snapshot: Snapshot,
    schema: TableSchema,
    files: Files,
    info: Mapping[str, Any],
    now_ms: int,
) -> tuple[Change, int]:
    """Return the change that appends the rows of a plan, and how many unknown fields would have
    become columns if the table had room. Raises TableError.
    """
    indices = decided.indices(Outcome.APPEND)
    fields = snapshot.metadata.fields if snapshot.metadata is not None else ()
    added = find_added_columns(batch.contract, batch.checked, fields, indices)
    needed = schema.needed(snapshot, added.new if added is not None else (), now_ms)
    built = _files(Target.ROWS, batch, decided, added, needed.metadata, files, now_ms)
    change = _change(batch, snapshot, needed, indices, built, info)
    return change, len(added.beyond) if added is not None else 0


def _files(
    target: Target,
    batch: CheckedBatch,
    decided: Plan,
    added: Added | None,
    metadata: Metadata,
    files: Files,
    now_ms: int,
) -> tuple[DataFile, ...]:
    """Return the data files of one table, those of the decision before if they are the same."""
    is_rows = target is Target.ROWS
    indices = decided.indices(Outcome.APPEND if is_rows else Outcome.DEAD_LETTER)
    key = (indices, metadata.fields)
    kept = files.get(target)
    if kept is not None and kept[0] == key:
        return kept[1]
    if is_rows:
        table = build_rows(batch.contract, batch.flat, batch.checked, indices, added)
    else:
        table = build_dead_letters(batch.contract, batch.flat, decided.problems, indices, now_ms)
    built = data_files(table, metadata, now_ms, ROW_KEYS if is_rows else DEAD_LETTER_KEYS)
    files[target] = (key, built)
    return built


def _change(
    batch: CheckedBatch,
    snapshot: Snapshot,
    needed: Needed,
    indices: Sequence[int],
    files: tuple[DataFile, ...],
    info: Mapping[str, Any],
) -> Change:
    txns = _txns(batch, snapshot, indices if isinstance(indices, range) else set(indices))
    touched = [stream for stream in batch.streams if stream.app_id in txns]
    return Change(
        files=files,
        txns=txns,
        info=info,
        metadata=needed.metadata if needed.changed else None,
        protocol=needed.protocol,
        depends_on=frozenset(
            app_id for s in touched for app_id in earlier_app_ids(snapshot.txns, s)
        ),
    )


def _txns(batch: CheckedBatch, snapshot: Snapshot, indices: Collection[int]) -> dict[str, Txn]:
    """Return the watermark of each stream that a commit touches, also where it only fills holes."""
    txns = {}
    for stream, positions in zip(batch.streams, batch.flat.streams, strict=True):
        # Offsets rise within a stream, so its last record of the commit has the highest.
        last = next((i for i in reversed(positions) if i in indices), None)
        if last is not None:
            before = snapshot.txns.get(stream.app_id, Txn(-1))
            raised = batch.flat.offsets[last] > before.version
            txns[stream.app_id] = Txn(batch.flat.offsets[last]) if raised else before
    return txns
