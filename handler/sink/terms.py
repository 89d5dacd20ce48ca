"""Which version of the contract governs a table and its dead letters: a term.

Two versions at work at once may disagree on a record: the one would make a row of it, the other a
dead letter, and no commit spans both tables. So a version takes both over before it writes: a term
with a name of its own is put into the metadata of the dead letters, then into the table's. From
then on an older version's commits to either table are refused by the compare-and-swap, and what it
committed before is in the snapshots that the newer one decides from (decision 0008).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from handler import __version__
from handler.contract.contract import Contract
from handler.delta import swap
from handler.delta.log import Change, Snapshot
from handler.delta.patience import Patience
from handler.delta.tables import Table
from handler.errors import Superseded
from handler.sink.table_schema import TableSchema

TERM, GOVERNOR = "silt.term", "silt.contract"
"""The properties of a table that name its term, and whose it is."""
_ROUNDS_MAX = 5


class TermMoved(Superseded):
    """A table is under no term, or a newer one of the same contract: to be agreed on again."""


@dataclass(frozen=True, slots=True)
class Term:
    """A time in which one version of a contract governs."""

    name: str
    governor: str


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


class Terms:
    """The term that one sandbox writes in."""

    def __init__(
        self,
        contract: Contract,
        dead_letters: tuple[Table, TableSchema],
        rows: tuple[Table, TableSchema],
    ) -> None:
        self._governor = governor_of(contract)
        self._dead_letters = dead_letters
        self._rows = rows
        self._agreed: Term | None = None

    def agree(self, admit: Callable[[], None], patience: Patience) -> None:
        """Make sure that both tables are under one term of this contract; take them over if not.

        `admit` raises where this function has no business with the tables as they are kept.
        It is agreed on only when the table was seen under it and the dead letters after that: so
        there was a moment at which both were. Costs nothing while the kept snapshots are of it.
        Raises Superseded when other versions take the tables again and again.
        """
        dead_letters, rows = self._dead_letters[0], self._rows[0]
        if self._agreed and _kept_term(dead_letters) == _kept_term(rows) == self._agreed:
            return
        for _ in range(_ROUNDS_MAX):
            of_rows = term_of(rows.known(patience))
            of_dead_letters = term_of(dead_letters.read(patience))
            if self._governs(of_dead_letters) and of_rows == of_dead_letters:
                self._agreed = of_dead_letters
                return
            admit()
            if not self._governs(of_dead_letters):
                self._take(self._dead_letters, Term(str(uuid4()), self._governor), patience)
            taken = term_of(dead_letters.known(patience))
            if taken is not None and self._governs(taken):
                self._take(self._rows, taken, patience)
        raise Superseded(self._message(dead_letters))

    def check(self, tables: Sequence[Table]) -> None:
        """Refuse to decide from snapshots of another term than the one that was agreed on.

        Raises Superseded for another version's, TermMoved for none or one of this version.
        """
        if self._agreed is None:
            return  # a dry run, which takes nothing over
        for table in tables:
            term = _kept_term(table)
            if term == self._agreed:
                continue
            may_agree = term is None or self._governs(term)
            raise (TermMoved if may_agree else Superseded)(self._message(table))

    def _governs(self, term: Term | None) -> bool:
        return term is not None and term.governor == self._governor

    def _take(self, taken: tuple[Table, TableSchema], term: Term, patience: Patience) -> None:
        """Commit the term to a table, unless another sandbox of this version was first."""
        table, schema = taken

        def decide(_done: frozenset[int]) -> list[Change | None]:
            snapshot = table.known(patience)
            found = term_of(snapshot)
            if found == term or (taken is self._dead_letters and self._governs(found)):
                return [None]
            needed = schema.needed(snapshot, (), patience.clock.epoch_ms())
            properties = {TERM: term.name, GOVERNOR: term.governor}
            operation = "SET TBLPROPERTIES" if snapshot.exists else "CREATE TABLE"
            return [
                Change(
                    files=(),
                    txns={},
                    info={"operation": operation, "operationParameters": properties},
                    metadata=needed.metadata.with_configuration(properties),
                    protocol=needed.protocol,
                )
            ]

        swap.append([table], decide, patience)

    def _message(self, table: Table) -> str:
        term = _kept_term(table)
        return (
            f"Table {table.name} is governed by {term.governor if term else 'no contract'!r}, and "
            f"this function works by {self._governor!r}: the table was taken over while this "
            "invocation was under way. What it had not committed comes again. If this goes on, "
            "two versions of a contract are deployed at once: troubleshooting.md#superseded"
        )


def _kept_term(table: Table) -> Term | None:
    return term_of(table.snapshot) if table.snapshot is not None else None
