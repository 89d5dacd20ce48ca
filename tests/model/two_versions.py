"""Two versions of a contract and one record, as a model: the one makes a row of it, the other a
dead letter.

Two tables, each with a term and a version number that every commit raises. A sandbox first sees to
it that both tables are under one term of its own version (decision 0008), then decides from what
it has read, then puts. `rule` can be broken to see that the model notices.
"""

from collections.abc import Iterator
from typing import NamedTuple

from tests.model.enumerate import states

DEAD, ROWS = 0, 1


class Table(NamedTuple):
    version: int = 0
    term: tuple[int, int] = (-1, 0)  # (which version of the contract, a number never used again)
    holds: bool = False  # the record


class Sandbox(NamedTuple):
    contract: int  # also the table that its version puts the record in
    at: str = "rows"  # rows -> dead -> take dead -> take rows -> dead -> put -> settled | failed
    seen: tuple[Table, Table] = (Table(), Table())


class State(NamedTuple):
    tables: tuple[Table, Table]
    sandboxes: tuple[Sandbox, ...]
    terms: int = 0


RULES = ("as it is", "no term", "dead letters not read again", "names used again")
TERMS_MAX = 4
Step = tuple[Sandbox, tuple[Table, Table], int]


def steps(state: State, rule: str = RULES[0]) -> Iterator[State]:
    for i, sandbox in enumerate(state.sandboxes):
        for after, tables, terms in _Moves(state, sandbox, rule).of_sandbox():
            sandboxes = (*state.sandboxes[:i], after, *state.sandboxes[i + 1 :])
            yield State(tables, sandboxes, terms)


class _Moves:
    """What one sandbox may do next."""

    def __init__(self, state: State, sandbox: Sandbox, rule: str) -> None:
        self.state, self.sandbox, self.rule = state, sandbox, rule

    def of_sandbox(self) -> Iterator[Step]:
        seen = self.sandbox.seen
        match self.sandbox.at:
            case "rows":
                yield self.go("dead", self.see(ROWS))
            case "dead":
                yield from self.agree(self.see(DEAD))
            case "take dead":
                name = 0 if self.rule == "names used again" else self.state.terms + 1
                taken = seen[DEAD]._replace(term=(self.sandbox.contract, name))
                yield self.put(DEAD, taken, "take rows", "rows", self.state.terms + 1)
            case "take rows":
                then = "put" if self.rule == "dead letters not read again" else "dead"
                taken = seen[ROWS]._replace(term=seen[DEAD].term)
                # A conflict is no reason to stop here: the term is put after what came.
                yield self.put(ROWS, taken, then, "take rows")
            case "put" if seen[DEAD].holds or seen[ROWS].holds:
                yield self.go("settled", seen)
            case "put":
                target = self.sandbox.contract
                yield self.put(target, seen[target]._replace(holds=True), "settled", "failed")

    def agree(self, seen: tuple[Table, Table]) -> Iterator[Step]:
        """The table was seen, then the dead letters: is it one term, and ours?"""
        ours = seen[DEAD].term[0] == self.sandbox.contract
        if self.rule == "no term" or (ours and seen[DEAD].term == seen[ROWS].term):
            yield self.go("put", seen)
        elif ours:
            yield self.go("take rows", seen)
        elif self.state.terms < TERMS_MAX:
            yield self.go("take dead", seen)

    def see(self, table: int) -> tuple[Table, Table]:
        seen, now = self.sandbox.seen, self.state.tables
        return (now[DEAD], seen[ROWS]) if table == DEAD else (seen[DEAD], now[ROWS])

    def go(self, at: str, seen: tuple[Table, Table]) -> Step:
        return self.sandbox._replace(at=at, seen=seen), self.state.tables, self.state.terms

    def put(self, table: int, new: Table, then: str, otherwise: str, terms: int = 0) -> Step:
        """The compare-and-swap: only on the table as it was seen."""
        tables, seen = self.state.tables, self.sandbox.seen
        if tables[table] != seen[table]:
            return self.go(otherwise, self.see(table))
        new = new._replace(version=new.version + 1)
        swapped = (new, tables[ROWS]) if table == DEAD else (tables[DEAD], new)
        known = (new, seen[ROWS]) if table == DEAD else (seen[DEAD], new)
        after = self.sandbox._replace(at=then, seen=known)
        return after, swapped, max(terms, self.state.terms)


def holds(state: State) -> bool:
    """The record does not stand in both tables, and whoever says that it is settled is right."""
    dead, rows = state.tables
    settled = any(sandbox.at == "settled" for sandbox in state.sandboxes)
    return not (dead.holds and rows.holds) and (not settled or dead.holds or rows.holds)


def check(contracts: list[int], rule: str = RULES[0]) -> tuple[int, list[State]]:
    """Enumerate sandboxes that work by these versions (0 or 1) of one contract."""
    sandboxes = tuple(Sandbox(contract) for contract in contracts)
    return states(State((Table(), Table()), sandboxes), lambda s: steps(s, rule), holds)
