"""Which version of the contract governs a table and its dead letters: a term.

Two versions at work at once may disagree on a record: the one would make a row of it, the other a
dead letter, and no commit spans both tables. So a version takes both over before it writes: a term
with a name of its own is put into the metadata of the dead letters, then into the table's. From
then on an older version's commits to either table are refused by the compare-and-swap, and what it
committed before is in the snapshots that the newer one decides from (decision 0008).
"""

from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

import msgspec

from handler import __version__
from handler.contract.contract import Contract
from handler.delta.change import Change
from handler.delta.commit import Transaction
from handler.delta.log import Snapshot
from handler.delta.retry import Deadline
from handler.delta.tables import Table, read_all
from handler.errors import Superseded, TableMismatch
from handler.sink.evolution import is_own
from handler.sink.table_schema import TableSchema
from handler.sink.view import Admission, View

TERM, GOVERNOR = "silt.term", "silt.contract"
"""The properties of a table that name its term, and whose it is."""
_ROUNDS_MAX = 5


class Term(msgspec.Struct, frozen=True):
    """A time in which one version of a contract governs."""

    name: str
    governor: str


class TermMoved(msgspec.Struct, frozen=True):
    """A table is under no term, or a newer one of the same contract: to be agreed on again."""

    table: str
    message: str

    @property
    def reason(self) -> str:
        """Return it as a reason for which a batch is decided again."""
        return f"term of {self.table}"


def term_of(snapshot: Snapshot) -> Term | None:
    """Return the term that a snapshot is of."""
    if snapshot.metadata is None:
        return None
    properties = snapshot.metadata.configuration
    name, governor = properties.get(TERM), properties.get(GOVERNOR)
    return Term(name, governor) if name is not None and governor is not None else None


def governor_of(contract: Contract) -> str:
    """Return the name of what governs: a version of a contract, by a release of Silt.

    A release may judge a record otherwise than the one before.
    """
    return f"{contract.version} silt {__version__}"


class Fitting(NamedTuple):
    """A snapshot that the contract fits; `replaced` are the differences of one that has no rows and
    takes the contract's schema, none if nothing is replaced.
    """

    snapshot: Snapshot
    replaced: tuple[str, ...] = ()


class Governed(NamedTuple):
    """A table that a term governs."""

    table: Table
    schema: TableSchema

    def fit(self, deadline: Deadline) -> Fitting:
        """Return the kept snapshot; of a table that does not fit and has no rows, the newest one,
        with the contract's schema. So a first contract that was wrong is replaced by the next one;
        a table that somebody else made is not.

        Raises TableError or StoreError.
        """
        snapshot = self.table.known(deadline)
        try:
            self.schema.check(snapshot)
        except TableMismatch as error:
            if not is_own(snapshot) or not self.table.is_empty(deadline):
                raise
            newest, now_ms = self.table.known(deadline), deadline.clock.epoch_ms()
            return Fitting(self.schema.renew(newest, now_ms), error.differences)
        return Fitting(snapshot)


class Terms:
    """The term that one sandbox writes in."""

    def __init__(
        self,
        contract: Contract,
        dead_letters: Governed,
        rows: Governed,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._warn = warn
        self._governor = governor_of(contract)
        self._dead_letters = dead_letters
        self._rows = rows
        self._agreed: Term | None = None

    def agree(self, admission: Admission, transaction: Transaction, deadline: Deadline) -> Term:
        """Make sure that both tables are under one term of this contract; take them over if not.

        The term is agreed on only when the table was seen under it and the dead letters after that:
        so there was a moment at which both were. Costs nothing while the kept snapshots are of it.
        Raises Superseded when other versions take the tables again and again, and what `admission`
        raises where this function may not write to the tables.
        """
        dead_letters, rows = self._dead_letters.table, self._rows.table
        if self._agreed and _kept_term(dead_letters) == _kept_term(rows) == self._agreed:
            return self._agreed
        read_all([table for table in (rows, dead_letters) if table.snapshot is None], deadline)
        for _ in range(_ROUNDS_MAX):
            of_rows = term_of(rows.known(deadline))
            of_dead_letters = term_of(dead_letters.refresh(deadline))
            if of_dead_letters is not None and self._holds(of_rows, of_dead_letters):
                self._agreed = of_dead_letters
                return of_dead_letters
            admission.check(self.fit(deadline))
            if not self._governs(of_dead_letters):
                self._take(
                    self._dead_letters, Term(str(uuid4()), self._governor), transaction, deadline
                )
            taken = term_of(dead_letters.known(deadline))
            if taken is not None and self._governs(taken):
                self._take(self._rows, taken, transaction, deadline)
        raise Superseded(self._message(dead_letters.name, _kept_term(dead_letters)))

    def fit(self, deadline: Deadline) -> View:
        """Return the tables as they are when this contract has taken them over. Raises TableError,
        StoreError.
        """
        of_dead_letters = self._dead_letters.fit(deadline).snapshot
        return View(of_dead_letters, self._rows.fit(deadline).snapshot)

    def moved(self, view: View, agreed: Term | None) -> TermMoved | None:
        """Return whether a table has left the term that was agreed on, None in a dry run.

        Raises Superseded where another version governs it.
        """
        if (left := self.left(view, agreed)) is None:
            return None
        table, term = left
        message = self._message(table, term)
        if term is not None and not self._governs(term):
            raise Superseded(message)
        return TermMoved(table, message)

    def left(self, view: View, agreed: Term | None) -> tuple[str, Term | None] | None:
        """Return a table that is not under the term that was agreed on, and which it is under."""
        if agreed is None:
            return None
        tables = (self._dead_letters.table, self._rows.table)
        for table, snapshot in zip(tables, view.snapshots, strict=True):
            if (term := term_of(snapshot)) != agreed:
                return table.name, term
        return None

    def _holds(self, of_rows: Term | None, of_dead_letters: Term) -> bool:
        return of_rows == of_dead_letters and self._governs(of_dead_letters)

    def _governs(self, term: Term | None) -> bool:
        return term is not None and term.governor == self._governor

    def _take(
        self,
        taken: Governed,
        term: Term,
        transaction: Transaction,
        deadline: Deadline,
    ) -> None:
        """Commit the term to a table, unless another sandbox of this version was first."""
        table, schema = taken

        replaced: tuple[str, ...] = ()

        def propose(snapshot: Snapshot) -> Change | None:
            nonlocal replaced
            if self._is_taken(taken, term, snapshot):
                return None
            fitting, replaced = taken.fit(deadline)
            if self._is_taken(taken, term, fitting):
                return None
            needed = schema.needed(fitting, (), deadline.clock.epoch_ms())
            properties = {TERM: term.name, GOVERNOR: term.governor}
            operation = "SET TBLPROPERTIES" if snapshot.exists else "CREATE TABLE"
            return Change(
                files=(),
                txns={},
                info={"operation": operation, "operationParameters": properties},
                metadata=needed.metadata.with_configuration(properties),
                protocol=fitting.protocol if replaced else needed.protocol,
                replaces_schema=bool(replaced),
            )

        if transaction.commit_change(table, propose) is not None and replaced:
            listed = "".join(f"\n  - {difference}" for difference in replaced)
            self._warn(
                f"Table {table.name} has no rows, so it takes the schema of the contract, which it "
                f"did not fit:{listed}"
            )

    def _is_taken(self, taken: Governed, term: Term, snapshot: Snapshot) -> bool:
        current = term_of(snapshot)
        return current == term or (taken is self._dead_letters and self._governs(current))

    def _message(self, table: str, term: Term | None) -> str:
        return (
            f"Table {table} is governed by {term.governor if term else 'no contract'!r}, and "
            f"this function works by {self._governor!r}: the table was taken over while this "
            "invocation was in progress. What it had not committed will be retried. If this goes "
            "on, two versions of a contract are deployed at once: troubleshooting.md#superseded"
        )


def _kept_term(table: Table) -> Term | None:
    return term_of(table.snapshot) if table.snapshot is not None else None
