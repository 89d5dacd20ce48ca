"""The writer of one contract: a batch in, one commit for each table out, and what is settled."""

from collections import Counter
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from handler.contract.contract import DEAD_LETTERS_SUFFIX, Contract
from handler.delta.commit import Committed, Conflict, Transaction
from handler.delta.log import Snapshot
from handler.delta.look_up import Query
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.store import Store
from handler.delta.tables import Table, read_all
from handler.errors import OutOfTime, Superseded
from handler.sink.checked_batch import CheckedBatch
from handler.sink.commit_info import merge_info
from handler.sink.decision import Decision, Files, Target, decide
from handler.sink.outcomes import Outcome, Plan, unsettled_but
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS, Schemas
from handler.sink.terms import Governed, Term, TermMoved, Terms
from handler.sink.view import Admission, View, missing_queries, relies_on_watermark

TERMS_MAX = 5
"""So often a batch agrees on a term; after that, somebody else takes the tables again and again."""


class Result(msgspec.Struct):
    """What became of a batch: what was decided last, and what of it is committed.

    `conflicts` counts the reasons for which it was decided again; a term that had to be taken over,
    or a watermark that had to be confirmed, before the first decision are not in it.
    """

    batch: CheckedBatch
    decision: Decision | None = None
    committed: dict[Target, Committed] = msgspec.field(default_factory=dict)
    conflicts: Counter[str] = msgspec.field(default_factory=Counter)
    begins_generation: bool = False
    out_of_time: OutOfTime | None = None
    milliseconds: dict[str, float] = msgspec.field(default_factory=dict)

    @property
    def contract(self) -> Contract:
        """Return the contract of the table."""
        return self.batch.contract

    @property
    def dropped(self) -> frozenset[int]:
        """Return the records that the contract's `where` drops."""
        return self.batch.dropped

    @property
    def plan(self) -> Plan | None:
        """Return what was planned last."""
        return self.decision.plan if self.decision is not None else None

    @property
    def beyond_max_columns(self) -> int:
        """Return how many unknown fields would have become columns if the table had room."""
        return self.decision.beyond_max_columns if self.decision is not None else 0

    @property
    def outcomes(self) -> bytes:
        """Return what is known to be true: what was planned and is not committed is unsettled."""
        unsettled = bytes([Outcome.UNSETTLED])
        if self.plan is None:
            return unsettled_but(self.dropped, len(self.batch.flat.offsets))
        outcomes = self.plan.outcomes
        if Target.ROWS not in self.committed:
            outcomes = outcomes.replace(bytes([Outcome.APPEND]), unsettled)
        if Target.DEAD_LETTERS not in self.committed:
            outcomes = outcomes.replace(bytes([Outcome.DEAD_LETTER]), unsettled)
        return outcomes


class Writer:
    """One contract at work. Kept by a warm sandbox, with what it knows of both tables."""

    def __init__(
        self,
        contract: Contract,
        uri: str,
        open_store: Callable[[str], Store],
        pool: Pool,
        *,
        generation: int,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.contract = contract
        self.dead_letters = Table(
            contract.dead_letters,
            open_store(uri + DEAD_LETTERS_SUFFIX),
            pool,
            DEAD_LETTER_KEYS,
            merge_info=merge_info,
            warn=warn,
        )
        self.rows = Table(
            contract.table, open_store(uri), pool, ROW_KEYS, merge_info=merge_info, warn=warn
        )
        self._schemas = Schemas.of(contract)
        self._terms = Terms(
            contract,
            Governed(self.dead_letters, self._schemas.dead_letters),
            Governed(self.rows, self._schemas.rows),
            warn,
        )
        self._generation = generation

    @property
    def tables(self) -> tuple[Table, Table]:
        """Return both tables, dead letters first, as they were last read."""
        return self.dead_letters, self.rows

    def check_table(self, deadline: Deadline) -> Snapshot:
        """Read the table, and its dead letters, and check that the contract fits both.

        Returns the table's snapshot. Raises TableError or StoreError.
        """
        read_all(self.tables, deadline)
        return self._terms.fit(deadline).rows

    def begins_generation(self, deadline: Deadline) -> bool:
        """Return whether only earlier generations have fed the tables. Raises StoreError."""
        read_all(self.tables, deadline)
        view = View(self.dead_letters.known(deadline), self.rows.known(deadline))
        return view.begins_generation(self._generation)

    def write(
        self, checked: CheckedBatch, source: str, deadline: Deadline, *, dry_run: bool
    ) -> Result:
        """Settle a batch as far as it can be. A dry run decides from the newest tables only.

        Raises SiltError for what cannot be tied to a record.
        """
        clock = deadline.clock
        start = clock.monotonic()
        admission = Admission(self._schemas, source, checked.flat.topic, self._generation)
        result = Result(checked)
        try:
            if dry_run:
                self._decide_only(result, admission, deadline)
            else:
                self._settle(result, admission, deadline)
        except OutOfTime as error:
            result.out_of_time = error
        except BaseException:
            # The sandbox lives on: what it knows of the tables may be what was wrong.
            for table in self.tables:
                table.snapshot = None
            raise
        result.milliseconds["write"] = (clock.monotonic() - start) * 1000
        return result

    def _settle(self, result: Result, admission: Admission, deadline: Deadline) -> None:
        """View, look up, decide, stage, commit; again while a table moves in a way that matters."""
        batch, files = result.batch, Files()
        transaction = Transaction(self.tables, deadline)
        term = self._terms.agree(admission, transaction, deadline)
        terms = 1
        while True:
            view = self._view(batch, admission, term, transaction, deadline)
            if isinstance(view, TermMoved):
                # What is committed already was decided in the term that is over.
                if result.committed or terms == TERMS_MAX:
                    raise Superseded(view.message)
                result.conflicts[view.reason] += 1
                term, terms = self._terms.agree(admission, transaction, deadline), terms + 1
                continue
            settled = result.plan if Target.DEAD_LETTERS in result.committed else None
            result.begins_generation = view.begins_generation(self._generation)
            result.decision = decision = decide(
                batch, view, self._schemas, files, deadline.clock.epoch_ms(), settled
            )
            conflict = self._commit(decision, transaction, result)
            if conflict is None:
                return
            result.conflicts[f"{conflict.why} of {conflict.table}"] += 1

    def _view(
        self,
        batch: CheckedBatch,
        admission: Admission,
        term: Term | None,
        transaction: Transaction,
        deadline: Deadline,
    ) -> View | TermMoved:
        """Return a view of both tables that answers every look-up of the batch.

        Raises Superseded, TableError, SourceMismatch, StoreError or OutOfTime.
        """
        view = self._kept_view(term, deadline)
        while True:
            if (moved := self._terms.moved(view, term)) is not None:
                return moved
            admission.check(view)
            if missing := missing_queries(batch, view):
                view = self._look_up({**view.queries, **missing}, term, deadline)
            elif relies_on_watermark(batch, view) and transaction.confirm(self.tables) is not None:
                view = self._kept_view(term, deadline)
            else:
                return view

    def _look_up(self, queries: dict[int, Query], term: Term | None, deadline: Deadline) -> View:
        """Return a view of the newest tables, in which these records were looked up."""
        results = tuple(table.look_up(queries, deadline) for table in self.tables)
        return replace(self._kept_view(term, deadline), queries=queries, found=results)

    def _kept_view(self, term: Term | None, deadline: Deadline) -> View:
        if term is None:  # a dry run: as the tables would be once they are taken over
            return self._terms.fit(deadline)
        return View(self.dead_letters.known(deadline), self.rows.known(deadline))

    def _commit(
        self, decision: Decision, transaction: Transaction, result: Result
    ) -> Conflict | None:
        """Put the data files of both tables at once, then commit after commit, dead letters first.

        Returns what makes the rest of the decision void.
        """
        tables = {Target.DEAD_LETTERS: self.dead_letters, Target.ROWS: self.rows}
        changes = decision.changes
        staged = [(tables[target], change) for target, change in changes.items()]
        if (conflict := transaction.stage(staged)) is not None:
            return conflict
        for target, change in changes.items():
            outcome = transaction.commit(tables[target], change)
            if isinstance(outcome, Conflict):
                return outcome
            result.committed[target] = outcome
        return None

    def _decide_only(self, result: Result, admission: Admission, deadline: Deadline) -> None:
        transaction = Transaction(self.tables, deadline)
        read_all(self.tables, deadline)  # no commit of its own would notice a stale snapshot
        view = self._view(result.batch, admission, None, transaction, deadline)
        assert isinstance(view, View)
        result.begins_generation = view.begins_generation(self._generation)
        now_ms = deadline.clock.epoch_ms()
        result.decision = decide(result.batch, view, self._schemas, Files(), now_ms)
