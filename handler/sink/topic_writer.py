"""All tables of one topic: an event in, one append for each of its contracts out."""

from collections.abc import Sequence
from dataclasses import dataclass

from handler.contract.contract import Contract
from handler.delta.retry import Deadline
from handler.kafka.event import Batch
from handler.sink.checked_batch import CheckedBatch, TopicChecker
from handler.sink.outcomes import Outcome
from handler.sink.writer import Result, Writer


@dataclass(frozen=True, slots=True)
class TableFailure:
    """Why nothing is known to be settled in a table: but for what its contract drops."""

    batch: CheckedBatch
    error: Exception

    @property
    def outcomes(self) -> bytes:
        """Return what became of each record, as far as it is known."""
        return Result(self.batch).outcomes


class TopicWriter:
    """The writers of a topic's tables. Kept by a warm sandbox."""

    def __init__(self, writers: Sequence[Writer], generation: int) -> None:
        self.writers = tuple(writers)
        self._generation = generation
        self._checker = TopicChecker(self.contracts)

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """Return the contracts of the topic."""
        return tuple(writer.contract for writer in self.writers)

    def write(
        self, batch: Batch, source: str, deadline: Deadline, *, dry_run: bool
    ) -> list[Result | TableFailure]:
        """Settle a batch in each table as far as it can be, also where another table fails.

        Raises EventError, and the first error where every table failed.
        """
        clock = deadline.clock
        results: list[Result | TableFailure] = []
        started_at = clock.monotonic()
        checked_batches = self._checker.check(batch, source, self._generation)
        for writer, checked in zip(self.writers, checked_batches, strict=True):
            check_ms = (clock.monotonic() - started_at) * 1000
            try:
                result = writer.write(checked, source, deadline, dry_run=dry_run)
            except Exception as error:  # the other tables go on
                results.append(TableFailure(checked, error))
            else:
                result.milliseconds["check"] = check_ms
                results.append(result)
            started_at = clock.monotonic()
        failures = [each.error for each in results if isinstance(each, TableFailure)]
        if len(failures) == len(results):
            raise failures[0]
        return results


def unsettled_in_any(results: Sequence[Result | TableFailure]) -> bytes:
    """Return an outcome a record: UNSETTLED where a table has not settled it, else that of the
    first table.
    """
    merged = bytearray(results[0].outcomes)
    for each in results[1:]:
        outcomes = each.outcomes
        if outcomes.count(Outcome.UNSETTLED):
            for i, outcome in enumerate(outcomes):
                if outcome == Outcome.UNSETTLED:
                    merged[i] = Outcome.UNSETTLED
    return bytes(merged)


def count_matched_none(results: Sequence[Result | TableFailure]) -> int | None:
    """Return how many records no contract is for; None where some contract takes them all."""
    if any(each.batch.contract.where is None for each in results):
        return None
    return len(frozenset.intersection(*(each.batch.dropped for each in results)))
