"""What becomes of each record of a batch: the policy of a contract. Pure.

A `Plan` gives every record one outcome. `plan` decides all of them; `replan` only takes rows out
that turned out to be in the table, once the dead letters of the batch are committed.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from handler.contract import Contract
from handler.errors import Problem, RejectCode


class Outcome(IntEnum):
    """What becomes of one record."""

    APPEND = 0
    DEAD_LETTER = 1
    SKIP = 2
    DUPLICATE = 3
    UNSETTLED = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of each record by its index in the batch, and why a stream or the batch was
    stopped.
    """

    outcomes: tuple[Outcome, ...]
    problems: Mapping[int, Sequence[Problem]]
    stopped: str | None = None

    def indices(self, outcome: Outcome) -> list[int]:
        """Return the indices of the records with this outcome, rising."""
        return [i for i, o in enumerate(self.outcomes) if o is outcome]

    def counts(self) -> Counter[Outcome]:
        """Return how many records have each outcome."""
        return Counter(self.outcomes)


_TOMBSTONE = Problem(
    RejectCode.TOMBSTONE, "", "the record has no value, and on_tombstone is dead_letter"
)


def plan(
    contract: Contract,
    streams: Sequence[range],
    rejects: Mapping[int, Sequence[Problem]],
    tombstones: Collection[int],
    duplicates: Collection[int],
) -> Plan:
    """Decide about a batch.

    `streams` are the ranges of indices of its streams; the rest are indices too.
    """
    count = streams[-1].stop if streams else 0
    outcomes = [Outcome.APPEND] * count
    problems = dict(rejects)
    for i in rejects:
        outcomes[i] = Outcome.DEAD_LETTER
    for i in tombstones:
        if contract.on_tombstone == "skip":
            outcomes[i] = Outcome.SKIP
        elif contract.on_tombstone == "dead_letter":
            outcomes[i] = Outcome.DEAD_LETTER
            problems[i] = (_TOMBSTONE,)
    for i in duplicates:
        if outcomes[i] is not Outcome.SKIP:
            outcomes[i] = Outcome.DUPLICATE
    if _breaks(contract, outcomes, rejects, tombstones):
        stopped = _unsettle(outcomes, range(count))
        return Plan(tuple(stopped), problems, "circuit_breaker")
    reason = None
    if contract.on_invalid == "fail":
        for stream in streams:
            first = next(
                (i for i in stream if i in rejects and outcomes[i] is Outcome.DEAD_LETTER), None
            )
            if first is not None:
                outcomes = _unsettle(outcomes, range(first, stream.stop))
                reason = "on_invalid"
    return Plan(tuple(outcomes), problems, reason)


def _breaks(
    contract: Contract,
    outcomes: Sequence[Outcome],
    rejects: Mapping[int, Sequence[Problem]],
    tombstones: Collection[int],
) -> bool:
    """Return whether the rejects among the new records are more than the circuit breaker allows."""
    breaker = contract.circuit_breaker
    rejected = sum(1 for i in rejects if outcomes[i] is Outcome.DEAD_LETTER)
    if not rejected:
        return False
    new = sum(1 for o in outcomes if o in (Outcome.APPEND, Outcome.DEAD_LETTER))
    new -= sum(1 for i in tombstones if outcomes[i] in (Outcome.APPEND, Outcome.DEAD_LETTER))
    return new >= breaker.min_records and rejected > breaker.ratio * new


def _unsettle(outcomes: Sequence[Outcome], indices: range) -> list[Outcome]:
    """Return outcomes in which the new records among these are unsettled."""
    changed = list(outcomes)
    for i in indices:
        if changed[i] in (Outcome.APPEND, Outcome.DEAD_LETTER):
            changed[i] = Outcome.UNSETTLED
    return changed


def replan(before: Plan, duplicates: Collection[int]) -> Plan:
    """Return the plan without the rows that are in the table already; its dead letters stand."""
    outcomes = list(before.outcomes)
    for i in duplicates:
        if outcomes[i] is Outcome.APPEND:
            outcomes[i] = Outcome.DUPLICATE
    return Plan(tuple(outcomes), before.problems, before.stopped)
