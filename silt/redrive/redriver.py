"""Redriving the dead letters of one table: file by file, first the rows, then the letters.

The letters of a file go through the contract as a batch does, and are looked up among the rows
alone. What passes is appended, each once, on the condition that no other commit has touched the
stream. Then the file is rewritten with `redriven_at` and `redriven_as`. A run that is killed in
between leaves rows beside open letters: the next one finds them among the rows, and closes them.
"""

import contextlib
import random
from collections.abc import Callable

import pyarrow as pa

from handler.contract.contract import DEAD_LETTERS_SUFFIX, REDRIVE_FIELDS, REDRIVEN_AT, Contract
from handler.delta.active import ActiveFiles
from handler.delta.features import check_rewritable
from handler.delta.pool import Pool
from handler.delta.retry import Clock, Deadline, SystemClock
from handler.delta.rewrite import active_files
from handler.delta.rows import read_rows
from handler.delta.store import Store, open_store
from handler.delta.tables import Table
from handler.delta.types import to_arrow
from handler.errors import NotFound, OutOfTime, SiltError
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS
from handler.sink.terms import governor_of, term_of
from handler.upkeep.compaction import Compaction, Purpose
from handler.upkeep.due import Bin
from handler.upkeep.report import Figures, RunReport
from silt.redrive.letter_file import LetterFile
from silt.redrive.letter_writer import LetterWriter
from silt.redrive.origins import Origins
from silt.redrive.redrive_report import RedriveReport
from silt.redrive.selection import Selection

LETTERS_AT_ONCE = 10_000
BYTES_AT_ONCE = 8 << 20
"""So much is checked, looked up and appended at once: it bounds the memory."""
LIMIT_S = 900.0
"""For one step: a batch, or the rewrite of a file."""
CLOSING_LIMIT_S = 60.0
"""For closing what is settled of a file whose time is up."""
PASSES_MAX = 20
AGAIN = "What was redriven stays so. Run the command again: it goes on where this one ended."


class Redriver:
    """The dead letters of one table, and the contract that they are given to.

    `source` and `generation` name the letters' stream where the log does not say it any more.
    """

    def __init__(
        self,
        contract: Contract,
        uri: str,
        *,
        source: str | None = None,
        deployed_source: str | None = None,
        generation: int | None = None,
        clock: Clock | None = None,
        random: Callable[[], float] = random.random,
        pool: Pool | None = None,
        open_store: Callable[[str], Store] = open_store,
    ) -> None:
        self._contract = contract
        self._uri = uri
        self._clock = clock or SystemClock()
        self._random = random
        pool = pool or Pool()
        self._letters = Table(
            contract.dead_letters,
            open_store(uri + DEAD_LETTERS_SUFFIX),
            pool,
            DEAD_LETTER_KEYS,
            new_files=lambda: ActiveFiles(oldest=REDRIVEN_AT),
        )
        self._rows = Table(contract.table, open_store(uri), pool, ROW_KEYS)
        self._writer = LetterWriter(contract, self._letters, self._rows)
        self._source = source
        self._deployed_source = deployed_source
        self._generation = generation
        self._origins: Origins | None = None
        self._room: int | None = None

    def foreign_governor(self) -> str | None:
        """Return which other contract governs the table, None if it is this one, or none does.

        Raises StoreError or TableError.
        """
        term = term_of(self._rows.read(self._deadline()))
        is_foreign = term is not None and term.governor != governor_of(self._contract)
        return term.governor if term is not None and is_foreign else None

    def run(
        self,
        selection: Selection,
        *,
        limit: int | None = None,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _letters: None,
    ) -> RedriveReport:
        """Redrive the chosen dead letters, at most `limit` of them; a dry run changes nothing.

        `progress` is given the number of letters that were settled. What is done stays done,
        whatever ends the run. Raises SiltError.
        """
        report = RedriveReport(self._contract.table)
        self._room = limit
        deadline = self._deadline()
        self._writer.check_tables(deadline)
        letters = self._letters.known(deadline)
        if not letters.exists and not self._rows.known(deadline).exists:
            raise NotFound(f"There is no Delta table at {self._uri}. Nothing was redriven.")
        if not letters.exists:
            report.remaining = 0
            return report
        check_rewritable(letters, self._letters.name, data_change=True)
        if not dry_run:
            self._writer.take_term(deadline)
        self._origins = Origins(
            self._letters.name,
            self._letters.store,
            (self._letters.known(deadline), self._rows.known(deadline)),
            source=self._source,
            deployed_source=self._deployed_source,
            generation=self._generation,
        )
        done = set[str]()
        for _ in range(PASSES_MAX):
            if not self._pass(selection, report, done, progress, dry_run=dry_run):
                break
        else:
            report.note(
                "other writers rewrite the dead letters all the time; run the command again"
            )
        self._count_remaining(report, dry_run=dry_run)
        return report

    def _pass(
        self,
        selection: Selection,
        report: RedriveReport,
        done: set[str],
        progress: Callable[[int], None],
        *,
        dry_run: bool,
    ) -> bool:
        """Work through the files that are active now. Returns whether one was replaced meanwhile.

        `done` are the keys of files that need no second look: in the end, of all.
        """
        again = False
        for file in sorted(active_files(self._letters), key=lambda file: file.modified_ms):
            if file.key in done or self._room == 0:
                continue
            done.add(file.key)
            if file.nulls == 0:
                continue
            if not file.is_rewritable:
                report.note(
                    f"{file.key} has a deletion vector or is outside the table: Silt does not "
                    "rewrite it. Rewrite it with the engine that made it (OPTIMIZE, or REORG TABLE "
                    "... APPLY (PURGE)), then run the command again"
                )
                continue
            work = LetterFile(file, RedriveReport(report.table))
            try:
                self._settle_file(work, selection, progress, dry_run=dry_run)
            except OutOfTime:
                if work.closings and not dry_run:
                    with contextlib.suppress(SiltError):
                        self._close(work, done, CLOSING_LIMIT_S)
                raise
            if dry_run or not work.closings or self._close(work, done):
                report.add(work.report)
            else:
                again = True
                if self._room is not None:  # before others take the room of these
                    self._room += work.report.total.selected
                    return True
        return again

    def _settle_file(
        self,
        work: LetterFile,
        selection: Selection,
        progress: Callable[[int], None],
        *,
        dry_run: bool,
    ) -> None:
        """Append what passes of one file, a bounded part after the other."""
        metadata = self._letters.known(self._deadline()).metadata
        assert metadata is not None
        schema = pa.schema([(f.name, to_arrow(f.type)) for f in metadata.data_fields])
        for f in REDRIVE_FIELDS:  # a dry run adds no columns
            if schema.get_field_index(f.name) < 0:
                schema = schema.append(pa.field(f.name, to_arrow(f.type)))
        entries = [work.file.entry]
        store, pool = self._letters.store, self._letters.pool
        reading = self._deadline()
        for rows in read_rows(store, entries, schema, pool, reading):
            taken = work.choose(rows, selection, self._room)
            if self._room is not None:
                self._room -= taken
            if len(work.pending) >= LETTERS_AT_ONCE or work.pending_bytes >= BYTES_AT_ONCE:
                self._settle(work, progress, dry_run=dry_run)
            if self._room == 0:
                break
            reading.ends_at = self._deadline().ends_at  # what was read is settled: a new step
        self._settle(work, progress, dry_run=dry_run)

    def _settle(self, work: LetterFile, progress: Callable[[int], None], *, dry_run: bool) -> None:
        """Append what passes of the pending letters, and note what each becomes."""
        assert self._origins is not None
        count = len(work.pending)
        for batch in work.take_pending(self._origins):
            work.settle(batch, self._writer.write(batch, self._deadline(), dry_run=dry_run))
        progress(count)

    def _close(self, work: LetterFile, done: set[str], limit_s: float = LIMIT_S) -> bool:
        """Rewrite a file with what its letters became. False if another writer replaced it."""
        at_us = self._clock.epoch_ms() * 1000
        total = work.report.total
        parameters = {"redriven": total.redriven, "dropped": total.dropped}
        run = RunReport(Figures(self._letters.name))
        compaction = Compaction(
            self._letters, DEAD_LETTER_KEYS, self._contract.dead_letter_upkeep, run
        )
        purpose = Purpose("REDRIVE", lambda rows: work.closings.edit(rows, at_us), parameters)
        compaction.run([Bin({}, (work.file,))], self._deadline(limit_s), purpose)
        if run.partitions_failed:
            raise SiltError(f"{self._letters.name}: {' '.join(run.notes)} {AGAIN}")
        done.update(compaction.added)
        return not run.conflicts

    def _count_remaining(self, report: RedriveReport, *, dry_run: bool) -> None:
        total = report.total
        open_letters = [
            file.nulls if file.nulls is not None else file.rows
            for file in active_files(self._letters)
        ]
        if None not in open_letters:
            closed = total.redriven + total.dropped if dry_run else 0
            report.remaining = sum(count or 0 for count in open_letters) - closed

    def _deadline(self, limit_s: float = LIMIT_S) -> Deadline:
        ends_at = self._clock.monotonic() + limit_s
        return Deadline(self._clock, ends_at, random=self._random, consequence=AGAIN)
