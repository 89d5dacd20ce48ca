"""What becomes of each record of a batch: the policy of a contract. Pure.

A `Plan` gives every record one outcome. `plan` decides all of them; `replan` only takes rows out
that turned out to be in the table, once the dead letters of the batch are committed.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum
from itertools import compress

import msgspec

from handler.contract.contract import Contract
from handler.errors import Problem, RejectCode


class Outcome(IntEnum):
    """What becomes of one record."""

    APPEND = 0
    DEAD_LETTER = 1
    SKIP = 2
    DUPLICATE = 3
    UNSETTLED = 4


_ONLY = {outcome: bytes(byte == outcome for byte in range(256)) for outcome in Outcome}
"""For each outcome a table that translates it to 1, and the others to 0."""


class Plan(msgspec.Struct, frozen=True):
    """What becomes of a batch, and why a stream or all of it was stopped.

    `outcomes` has a byte a record, an `Outcome`, by its index in the batch: counting is then cheap.
    """

    outcomes: bytes
    problems: Mapping[int, Sequence[Problem]]
    stopped: str | None = None

    def indices(self, outcome: Outcome) -> Sequence[int]:
        """Return the indices of the records with this outcome, rising."""
        count = self.outcomes.count(outcome)
        if count in (0, len(self.outcomes)):
            return range(count)
        return list(compress(range(len(self.outcomes)), self.outcomes.translate(_ONLY[outcome])))


NAMES = {
    Outcome.APPEND: "appended",
    Outcome.DEAD_LETTER: "dead_lettered",
    Outcome.SKIP: "skipped_by_rule",
    Outcome.DUPLICATE: "duplicates",
    Outcome.UNSETTLED: "unsettled",
}
"""The outcomes by the names that the accounting gives them."""


def count(outcomes: bytes) -> dict[str, int]:
    """Return how many records have each outcome, by name."""
    return {name: outcomes.count(outcome) for outcome, name in NAMES.items()}


def unsettled_but(dropped: Collection[int], records: int) -> bytes:
    """Return outcomes where nothing is known to be settled but what a rule drops."""
    return bytes(Outcome.SKIP if i in dropped else Outcome.UNSETTLED for i in range(records))


TOMBSTONE_RULE = "on_tombstone"
"""The name of the rule that drops a record without a value."""
_TOMBSTONE = Problem(
    RejectCode.TOMBSTONE, "", "the record has no value, and on_tombstone is dead_letter"
)


def drops_tombstones(contract: Contract) -> bool:
    """Return whether a record without a value is dropped, so that no table ever contains it."""
    return contract.on_tombstone == "skip"


def plan(
    contract: Contract,
    streams: Sequence[range],
    rejects: Mapping[int, Sequence[Problem]],
    tombstones: Collection[int],
    duplicates: Collection[int],
    *,
    dropped: Collection[int] = (),
    untested: Collection[int] = (),
) -> Plan:
    """Decide about a batch.

    `streams` are the ranges of indices of its streams; the rest are indices too. The contract's
    `where` drops the `dropped`, and could not be tried on the `untested`.
    """
    total = streams[-1].stop if streams else 0
    outcomes = bytearray([Outcome.APPEND]) * total
    problems = dict(rejects)
    for i in rejects:
        outcomes[i] = Outcome.DEAD_LETTER
    for i in tombstones:
        if drops_tombstones(contract):
            outcomes[i] = Outcome.SKIP
        elif contract.on_tombstone == "dead_letter":
            outcomes[i] = Outcome.DEAD_LETTER
            problems[i] = (_TOMBSTONE,)
    for i in dropped:
        outcomes[i] = Outcome.SKIP
    for i in duplicates:
        if outcomes[i] != Outcome.SKIP:
            outcomes[i] = Outcome.DUPLICATE
    if _breaks(contract, outcomes, rejects, {*tombstones, *untested}):
        _unsettle(outcomes, range(total))
        return Plan(bytes(outcomes), problems, "circuit_breaker")
    reason = None
    if contract.on_invalid == "fail":
        for stream in streams:
            first = next(
                (i for i in stream if i in rejects and outcomes[i] == Outcome.DEAD_LETTER), None
            )
            if first is not None:
                _unsettle(outcomes, range(first, stream.stop))
                reason = "on_invalid"
    return Plan(bytes(outcomes), problems, reason)


def _breaks(
    contract: Contract,
    outcomes: bytearray,
    rejects: Mapping[int, Sequence[Problem]],
    uncounted: Collection[int],
) -> bool:
    """Return whether the rejects among the new records are more than the circuit breaker allows.

    Records without a value do not count, nor those that may be another table's.
    """
    breaker = contract.circuit_breaker
    rejected = sum(1 for i in rejects if outcomes[i] == Outcome.DEAD_LETTER and i not in uncounted)
    if not rejected:
        return False
    new = outcomes.count(Outcome.APPEND) + outcomes.count(Outcome.DEAD_LETTER)
    new -= sum(1 for i in uncounted if outcomes[i] in (Outcome.APPEND, Outcome.DEAD_LETTER))
    return new >= breaker.min_records and rejected > breaker.ratio * new


def _unsettle(outcomes: bytearray, indices: range) -> None:
    """Make the new records among these unsettled."""
    for i in indices:
        if outcomes[i] in (Outcome.APPEND, Outcome.DEAD_LETTER):
            outcomes[i] = Outcome.UNSETTLED


def replan(before: Plan, duplicates: Collection[int]) -> Plan:
    """Return the plan without the rows that are in the table already; its dead letters stay."""
    outcomes = bytearray(before.outcomes)
    for i in duplicates:
        if outcomes[i] == Outcome.APPEND:
            outcomes[i] = Outcome.DUPLICATE
    return Plan(bytes(outcomes), before.problems, before.stopped)
