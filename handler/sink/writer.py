"""One batch of one topic: from the event to what is known to be settled.

Decode, check and decide are in `decision`; here they are carried out, and what came of it is told.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from handler.contract.contract import DEAD_LETTERS_SUFFIX, Contract
from handler.delta import swap
from handler.delta.log import Snapshot
from handler.delta.patience import Patience
from handler.delta.store import Pool, Store
from handler.delta.tables import Table
from handler.errors import OutOfTime
from handler.kafka.event import Batch
from handler.sink.arrow_tables import Flat, flatten
from handler.sink.decision import DEAD_LETTERS, ROWS, Decision, Work
from handler.sink.outcomes import Outcome, Plan
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS, TableSchema
from handler.sink.terms import TermMoved, Terms
from handler.validate.batch import Checker

_TERMS_MAX = 5


@dataclass(slots=True)
class Result:
    """What became of a batch. `outcomes` are what is known to be true, not what was planned."""

    flat: Flat
    repeats: int
    outcomes: bytes = b""
    plan: Plan | None = None
    committed: dict[int, swap.Committed] = field(default_factory=dict)
    out_of_time: OutOfTime | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    value_bytes: int = 0
    beyond_max_columns: int = 0
    begins_generation: bool = False


class Ingest:
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
        dead = contract.dead_letters
        tables = (
            Table(dead, open_store(uri + DEAD_LETTERS_SUFFIX), pool, DEAD_LETTER_KEYS, warn=warn),
            Table(contract.table, open_store(uri), pool, ROW_KEYS, warn=warn),
        )
        schemas = (
            TableSchema(contract, dead, dead_letters=True),
            TableSchema(contract, contract.table, dead_letters=False),
        )
        terms = Terms(contract, (tables[0], schemas[0]), (tables[1], schemas[1]))
        self._work = Work(contract, Checker(contract), tables, schemas, terms, generation)

    @property
    def tables(self) -> tuple[Table, Table]:
        """Return both tables, dead letters first, as they were last read."""
        return self._work.tables

    def check_table(self, patience: Patience) -> Snapshot:
        """Read the table, and its dead letters, and check that the contract fits both.

        Returns the table's snapshot. Raises TableError or StoreError.
        """
        for table, schema in zip(self._work.tables, self._work.schemas, strict=True):
            snapshot = table.read(patience)
            if snapshot.exists:
                schema.fitted(snapshot)
        return snapshot

    def begins_generation(self, patience: Patience) -> bool:
        """Return whether only earlier generations have fed the tables. Raises StoreError."""
        snapshots = [table.read(patience) for table in self._work.tables]
        return self._work.begins_generation(snapshots)

    def run(self, batch: Batch, source: str, patience: Patience, *, dry_run: bool) -> Result:
        """Settle a batch as far as it can be.

        Raises SiltError for what cannot be tied to a record.
        """
        for table in self._work.tables:
            table.confirmed = False
        flat = flatten(batch)
        result = Result(flat, sum(stream.repeats for stream in batch.streams))
        clock = patience.clock
        start = clock.monotonic()
        decision = Decision(self._work, batch, flat, source, patience)
        result.value_bytes = decision.value_bytes
        checked_at = clock.monotonic()
        try:
            if dry_run:
                for table in self._work.tables:
                    table.read(patience)  # no commit of its own would notice a stale snapshot
                decision.decide(frozenset())
            else:
                self._append(decision, patience, result)
        except OutOfTime as error:
            result.out_of_time = error
        except BaseException:
            # The sandbox lives on: what it knows of the tables may be what was wrong.
            for table in self._work.tables:
                table.snapshot = None
            raise
        result.plan = decision.plan
        result.beyond_max_columns = decision.beyond_max_columns
        result.begins_generation = decision.begins_generation
        result.outcomes = _settled(decision.plan, len(flat.offsets), result.committed)
        result.milliseconds = {
            "check": (checked_at - start) * 1000,
            "write": (clock.monotonic() - checked_at) * 1000,
        }
        return result

    def _append(self, decision: Decision, patience: Patience, result: Result) -> None:
        """Append under a term of this contract; agree on one anew where none is left."""
        for attempt in range(1, _TERMS_MAX + 1):
            self._work.terms.agree(decision.admit, patience)
            try:
                swap.append(
                    self._work.tables, decision.decide, patience, result.committed.__setitem__
                )
                return
            except TermMoved:
                # What is committed already was decided in the term that is over.
                if result.committed or attempt == _TERMS_MAX:
                    raise


def _settled(plan: Plan | None, total: int, committed: dict[int, swap.Committed]) -> bytes:
    """Return outcomes as they are: what was to be written and is not committed is unsettled."""
    unsettled = bytes([Outcome.UNSETTLED])
    if plan is None:
        return unsettled * total
    outcomes = plan.outcomes
    if ROWS not in committed:
        outcomes = outcomes.replace(bytes([Outcome.APPEND]), unsettled)
    if DEAD_LETTERS not in committed:
        outcomes = outcomes.replace(bytes([Outcome.DEAD_LETTER]), unsettled)
    return outcomes
