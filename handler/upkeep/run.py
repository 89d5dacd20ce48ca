"""One run of maintenance on one table: each step on its own, in order, until the time is up."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec.structs import replace

from handler.contract.contract import REDRIVEN_AT
from handler.contract.upkeep import Upkeep
from handler.delta.active import ActiveFile, ActiveFiles
from handler.delta.features import check_rewritable
from handler.delta.files import folders, in_order, widenings
from handler.delta.log import Metadata
from handler.delta.look_up import Keys
from handler.delta.pool import Pool
from handler.delta.retry import Deadline
from handler.delta.rewrite import active_files
from handler.delta.store import Store
from handler.delta.tables import Table
from handler.errors import EngineFailed, EventError, OutOfTime, SiltError, StoreError
from handler.upkeep.checking import Checking
from handler.upkeep.cleaning import Cleaning
from handler.upkeep.compaction import Compaction
from handler.upkeep.due import Bin, due, partitions_of
from handler.upkeep.engine import Engine
from handler.upkeep.expiry import expire
from handler.upkeep.repair import repair_log
from handler.upkeep.report import Figures, RunReport, is_narrow

CLEANING_SHARE = 0.5
"""A vacuum takes at most so much of a run: what it has deleted then stays deleted, and the next run
goes on with it. So neither keeps the other from being done."""
CHECKING_SHARE = 0.25
CHECKPOINT_COMMITS_MAX = 20_000
"""So many commits the engine reads for one checkpoint: it reads 20,000 from a disk in 5 s, and
300,000 not in 17 minutes. A log that went without for long gets one after the other."""

Vacuum = Literal["daily", "now", "never"]
"""When a table is vacuumed and its log cleaned."""


class MaintenanceRun:
    """One run on one table. `say` is given a line for each step that was done.

    `newest` names a column of timestamps whose latest value is read too. `partitions` are the
    values of the only partitions to compact, none for all. `rename`: files are moved to the folders
    that are written today.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        pool: Pool,
        engine: Engine,
        upkeep: Upkeep,
        keys: Keys | None = None,
        *,
        newest: str | None = None,
        partitions: Sequence[Mapping[str, str | None]] = (),
        rename: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        watched = REDRIVEN_AT if upkeep.expire_ms is not None else None
        self.table = Table(
            name, store, pool, new_files=lambda: ActiveFiles(newest=newest, oldest=watched)
        )
        self.report = RunReport(Figures(name), say)
        self._engine = engine
        self._upkeep = upkeep
        self._keys = keys
        self._partitions = partitions
        self._rename = rename

    @property
    def figures(self) -> Figures:
        """Return the figures of the table."""
        return self.report.figures

    @property
    def files(self) -> ActiveFiles:
        """Return the active files, as they were last read."""
        return active_files(self.table)

    def look(self, deadline: Deadline) -> bool:
        """Read the table's log. Returns whether there is a table."""
        snapshot = self.table.read(deadline)
        self.figures.version = snapshot.version
        if snapshot.exists:
            # A log that begins at 0 has version + 1 commits and no checkpoint, which is -1.
            self.figures.commits_since_checkpoint = snapshot.version - self.table.log.checkpoint
        return snapshot.exists

    def repair(self, deadline: Deadline) -> None:
        """Set aside what of the log is broken, if anything is. Raises StoreError."""
        if repair_log(self.table, deadline, self.report.note):
            self.report.repaired = True
            self.look(deadline)

    @property
    def checkpoint_is_due(self) -> bool:
        """Return whether too many commits follow the last checkpoint, or it was broken."""
        commits = self.figures.commits_since_checkpoint or 0
        was_broken = self.report.repaired and not self.report.checkpoint_written
        return was_broken or commits > self._upkeep.checkpoint_commits

    def checkpoint(self, deadline: Deadline) -> None:
        """Write a checkpoint if one is due. Two runs at once write the same one.

        What was written before the time is up stays, and the next run goes on from there.

        Raises OutOfTime, EngineFailed, StoreError or TableError.
        """
        version, newest = self.table.log.checkpoint, self.figures.version
        while self.checkpoint_is_due:
            version = min(version + CHECKPOINT_COMMITS_MAX, newest)
            self._engine.do("checkpoint", deadline.left_s, version=version)
            self.report.checkpoint_written = True
            self.figures.commits_since_checkpoint = newest - version
            self.report.say(f"checkpoint of version {version}")

    def plan(self, deadline: Deadline) -> list[Bin]:
        """Return what is to be rewritten, and sum the table up."""
        metadata = self._metadata(deadline)
        types = widenings(metadata)
        self._check_partitions(metadata.partition_columns)
        partitions = [part for part in partitions_of(self.files) if self._is_asked_for(part.values)]
        self.figures.count(partitions, self._upkeep, types)
        columns = metadata.partition_columns

        def is_forced(file: ActiveFile) -> bool:
            return is_narrow(file, types) or (self._rename and is_misplaced(file, columns))

        upkeep = self._fitting_upkeep(metadata)
        bins = due(partitions, upkeep, deadline.clock.epoch_ms(), is_forced)
        self.figures.count_due(bins)
        return bins

    def survey(self, deadline: Deadline) -> list[Bin]:
        """Return what is to be rewritten, and count what a vacuum would delete; do nothing."""
        bins = self.plan(deadline)
        self.count_vacuum(deadline)
        return bins

    def count_vacuum(self, deadline: Deadline) -> None:
        """Count what a vacuum would delete."""
        self._cleaning().vacuum(deadline, dry_run=True)

    def keep(self, deadline: Deadline, vacuum: Vacuum = "daily") -> None:
        """Rewrite what is due; once a day vacuum and clean the log, in half of the time.

        Safe beside any other run: whatever is committed is on the condition that its files are
        still there. Raises OutOfTime, EngineFailed, StoreError or TableError; what was done stays
        done, and a vacuum that fails or takes too long holds up nothing.
        """
        check_rewritable(self.table.known(deadline), self.table.name, data_change=False)
        cleaning = self._cleaning()
        late: SiltError | None = None
        if not self._partitions and (
            vacuum == "now" or (vacuum == "daily" and cleaning.is_due(deadline))
        ):
            try:
                cleaning.run(_share(deadline, CLEANING_SHARE))
            except (OutOfTime, EngineFailed, StoreError) as error:  # no reason not to compact
                late = error
            if not self.table.known(deadline).exists:
                self.report.note("the table was deleted while it was maintained")
                return
        bins = self.plan(deadline)
        if unchecked := self._unchecked(bins):
            checking = Checking(self.table, self.report)
            try:
                checking.run(unchecked, _share(deadline, CHECKING_SHARE))
            except OutOfTime as error:
                late = late or error
            bins = self.plan(deadline)
        # Two runs at once begin at different places, so that they seldom do the same.
        first = [each for each in bins if each.forced]
        rest = [each for each in bins if not each.forced]
        turn = int(deadline.random() * len(rest))
        compaction = self._compaction()
        compaction.run([*first, *rest[turn:], *rest[:turn]], deadline)
        if not self._partitions:
            expire(compaction, deadline)
        if late is not None:
            raise late

    def _unchecked(self, bins: Sequence[Bin]) -> list[ActiveFile]:
        """Return the files whose statistics are to be checked, but for those to be rewritten."""
        rewritten = {id(file) for each in bins for file in each.files}
        return [
            file
            for file in self.files
            if file.stats is not None
            and file.is_rewritable
            and id(file) not in rewritten
            and self._is_asked_for(file.partition_values)
        ]

    def _compaction(self) -> Compaction:
        return Compaction(self.table, self._keys, self._upkeep, self.report)

    def _cleaning(self) -> Cleaning:
        return Cleaning(self.table, self._engine, self._upkeep, self.report)

    def _metadata(self, deadline: Deadline) -> Metadata:
        metadata = self.table.known(deadline).metadata
        assert metadata is not None
        return metadata

    def _fitting_upkeep(self, metadata: Metadata) -> Upkeep:
        """Return the upkeep without columns to sort by that files of the table do not have."""
        names = {f.name for f in metadata.fields} - set(metadata.partition_columns)
        return replace(
            self._upkeep, sort_by=tuple(name for name in self._upkeep.sort_by if name in names)
        )

    def _check_partitions(self, columns: Sequence[str]) -> None:
        """Refuse partitions of columns by which the table is not partitioned. Raises EventError."""
        for name in sorted({name for partition in self._partitions for name in partition}):
            if name not in columns:
                listed = ", ".join(columns) or "no column"
                raise EventError(
                    f"{self.table.name} is not partitioned by {name!r}, but by {listed}. Nothing "
                    "was compacted."
                )

    def _is_asked_for(self, partition: Mapping[str, str | None]) -> bool:
        return not self._partitions or any(
            all(partition.get(name) == value for name, value in values.items())
            for values in self._partitions
        )


def is_misplaced(file: ActiveFile, partition_columns: Sequence[str]) -> bool:
    """Return whether a file is in another folder than one that is written today would be."""
    folder, slash, _ = file.key.rpartition("/")
    return f"{folder}{slash}" != folders(in_order(file.partition_values, partition_columns))


def _share(deadline: Deadline, share: float) -> Deadline:
    return deadline.until(deadline.clock.monotonic() + deadline.left_s * share)
