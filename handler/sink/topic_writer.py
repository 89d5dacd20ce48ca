"""All tables of one topic: an event in, one append for each of its contracts out."""

from collections.abc import Sequence

import msgspec

from handler.contract.contract import Contract
from handler.delta.retry import Deadline
from handler.kafka.event import Batch
from handler.sink.arrow_tables import Flat
from handler.sink.checked_batch import DecodedBatch, TopicChecker
from handler.sink.outcomes import Outcome, unsettled_but
from handler.sink.writer import Result, Writer


class TableFailure(msgspec.Struct, frozen=True):
    """Why nothing is known to be settled in a table: but for what its contract drops."""

    contract: Contract
    flat: Flat
    dropped: frozenset[int]
    error: Exception

    @property
    def outcomes(self) -> bytes:
        """Return what became of each record, as far as it is known."""
        return unsettled_but(self.dropped, len(self.flat.offsets))


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
        decoded = self._checker.decode(batch)
        results: list[Result | TableFailure] = []
        for number in range(len(self.writers)):
            # A table that is slow or down leaves their share of the time to those after it.
            own = deadline.until(deadline.ends_at - deadline.left_s * self._share_after(number))
            try:
                results.append(self._write_one(decoded, number, source, own, dry_run=dry_run))
            except Exception as error:  # the other tables go on
                contract = self.contracts[number]
                dropped = decoded.dropped[number]
                results.append(TableFailure(contract, decoded.flat, dropped, error))
            deadline.add(own)
        failures = [each.error for each in results if isinstance(each, TableFailure)]
        if len(failures) == len(results):
            raise failures[0]
        return results

    def _share_after(self, number: int) -> float:
        """Return the part of the time left that belongs to the tables after this one."""
        left = len(self.writers) - number
        return (left - 1) / left

    def _write_one(
        self, decoded: DecodedBatch, number: int, source: str, deadline: Deadline, *, dry_run: bool
    ) -> Result:
        started_at = deadline.clock.monotonic()
        checked = self._checker.check(decoded, number, source, self._generation)
        check_ms = (deadline.clock.monotonic() - started_at) * 1000
        result = self.writers[number].write(checked, source, deadline, dry_run=dry_run)
        result.milliseconds["check"] = check_ms
        if len(self.writers) > 1:  # the memory of one table at a time
            result.batch = result.batch.without_columns()
        return result


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
    if any(each.contract.where is None for each in results):
        return None
    return len(frozenset.intersection(*(each.dropped for each in results)))
