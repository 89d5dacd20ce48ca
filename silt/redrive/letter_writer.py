"""Dead letters become rows: a batch of them in, one append to the table out.

It is the loop of the function's writer, with three differences. The letters are looked up among the
rows alone, all of them, because a watermark says nothing of them. The append names the streams and
does not raise their watermarks. And the policies for new records (`on_invalid: fail`, the circuit
breaker) do not apply: what fails stays the dead letter that it is.
"""

from collections.abc import Mapping
from itertools import chain

from msgspec.structs import replace

from handler.contract.contract import Contract
from handler.delta.change import Change
from handler.delta.commit import Committed, Transaction
from handler.delta.log import Snapshot, Txn
from handler.delta.look_up import Matches, Query
from handler.delta.retry import Deadline
from handler.delta.tables import Table
from handler.errors import Superseded
from handler.kafka.offsets import Stream, streams_of
from handler.sink.checked_batch import CheckedBatch, TopicChecker
from handler.sink.commit_info import commit_info
from handler.sink.decision import Files, append_rows
from handler.sink.outcomes import Outcome, Plan
from handler.sink.table_schema import Schemas, TableSchema
from handler.sink.terms import Governed, Term, Terms
from handler.sink.view import Admission, View
from silt.lone_records import without_stops
from silt.redrive.letters import LetterBatch


class LetterWriter:
    """One contract at work on the dead letters of its table."""

    def __init__(self, contract: Contract, letters: Table, rows: Table) -> None:
        self._contract = without_stops(contract)
        self._checker = TopicChecker([self._contract])
        self._letters = letters
        self._rows = rows
        self._schemas = Schemas.of(contract)
        self._terms = Terms(
            contract,
            Governed(letters, self._schemas.dead_letters),
            Governed(rows, self._schemas.rows),
        )
        self._term: Term | None = None

    def check_tables(self, deadline: Deadline) -> None:
        """Read both tables and check that the contract fits them, and that they are of its topic.

        Raises TableError, SourceMismatch or StoreError.
        """
        self._letters.read(deadline)
        self._rows.read(deadline)
        self._admission(deadline).check(self._terms.fit(deadline))

    def take_term(self, deadline: Deadline) -> None:
        """Make this contract the one that governs both tables, and add the columns that it needs.

        Raises Superseded, TableError or StoreError.
        """
        transaction = Transaction((self._letters, self._rows), deadline)
        self._term = self._terms.agree(self._admission(deadline), transaction, deadline)

        def propose(snapshot: Snapshot) -> Change | None:
            needed = self._schemas.dead_letters.needed(snapshot, (), deadline.clock.epoch_ms())
            if not needed.changed:
                return None
            info = {"operation": "ADD COLUMNS", "operationParameters": {}}
            return Change((), {}, info, needed.metadata, needed.protocol)

        transaction.commit_change(self._letters, propose)

    def write(self, letters: LetterBatch, deadline: Deadline, *, dry_run: bool) -> Plan:
        """Append what passes, and return what became of each letter. A dry run appends nothing.

        Raises Superseded, TableError, StoreError or OutOfTime.
        """
        decoded = self._checker.decode(letters.batch)
        batch = self._checker.check(decoded, 0, letters.batch.source, letters.generation)
        queries = _queries(batch)
        transaction = Transaction((self._letters, self._rows), deadline)
        files = Files()
        while True:
            known = self._rows.look_up(queries, deadline)
            view = self._view(deadline)
            self._check_term(view)
            decided = plan_letters(batch, known)
            if dry_run or not decided.indices(Outcome.APPEND):
                return decided
            change = _change(batch, decided, view.rows, self._schemas.rows, files, deadline)
            if transaction.stage([(self._rows, change)]) is None and isinstance(
                transaction.commit(self._rows, change), Committed
            ):
                return decided

    def _check_term(self, view: View) -> None:
        """Raise Superseded where a table has left the term that this redrive took."""
        if (left := self._terms.left(view, self._term)) is None:
            return
        assert self._term is not None
        table, term = left
        governor = term.governor if term is not None else "no contract"
        raise Superseded(
            f"Table {table} is governed by {governor!r} now: it was taken over while this redrive, "
            f"by {self._term.governor!r}, was in progress. What was redriven stays so. Run the "
            "command again with the contract that is deployed."
        )

    def _view(self, deadline: Deadline) -> View:
        return View(self._letters.known(deadline), self._rows.known(deadline))

    def _admission(self, deadline: Deadline) -> Admission:
        """Return what must hold: as for a batch of the newest generation that feeds the tables."""
        app_ids = chain.from_iterable(snapshot.txns for snapshot in self._view(deadline).snapshots)
        streams = streams_of(app_ids)
        newest = max(streams, key=lambda stream: stream.generation, default=Stream("", "", 0))
        return Admission(self._schemas, newest.source, self._contract.topic, newest.generation)


def plan_letters(batch: CheckedBatch, known: Matches) -> Plan:
    """Decide what becomes of each letter: a row, a row that is there already, dropped by a rule, or
    what it is. Pure.

    A letter is in the table if a row has its partition, offset and timestamp, whatever the
    contract says of it today.
    """
    decided = batch.plan()
    outcomes = bytearray(decided.outcomes)
    of_partition: dict[int, Mapping[int, frozenset[int | None]]] = {}
    for i, (partition, offset, timestamp) in enumerate(
        zip(batch.flat.partitions, batch.flat.offsets, batch.flat.timestamps, strict=True)
    ):
        if partition not in of_partition:
            of_partition[partition] = known.of_partition(partition)
        if timestamp * 1000 in of_partition[partition].get(offset, ()):
            outcomes[i] = Outcome.DUPLICATE
    return Plan(bytes(outcomes), decided.problems)


def _queries(batch: CheckedBatch) -> dict[int, Query]:
    """Return the look-up of every letter, by partition."""
    result = {}
    for stream, indices in zip(batch.streams, batch.flat.streams, strict=True):
        its = slice(indices.start, indices.stop)
        times_us = [time_ms * 1000 for time_ms in batch.flat.timestamps[its]]
        result[stream.partition] = Query(batch.flat.offsets[its], (min(times_us), max(times_us)))
    return result


def _change(
    batch: CheckedBatch,
    decided: Plan,
    snapshot: Snapshot,
    schema: TableSchema,
    files: Files,
    deadline: Deadline,
) -> Change:
    info = commit_info(batch, decided, looked_up=True)
    info["silt"]["redrive"] = True
    change, _beyond = append_rows(
        batch,
        decided,
        snapshot,
        schema,
        files,
        info,
        deadline.clock.epoch_ms(),
    )
    # A writer of these partitions, in any generation, may have appended one of these records.
    partitions = {stream.partition for stream in batch.streams}
    beside = {
        app_id
        for app_id in snapshot.txns
        if (stream := Stream.of(app_id)) is not None and stream.partition in partitions
    }
    # Named, and not raised: `redelivered: skip` would take the rest of the batch for settled.
    marks = {app_id: snapshot.txns.get(app_id, Txn(-1)) for app_id in change.txns}
    return replace(change, txns=marks, depends_on=frozenset(beside))
