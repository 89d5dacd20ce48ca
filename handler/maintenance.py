"""The Lambda entry point of maintenance, on a schedule: every table of the contracts, in shape.

An event with `{"silt": "maintain", "tables": ["sales/orders"]}` is of these tables alone, one with
`"partitions": [{"day": "2026-11-25"}]` besides compacts only these partitions of them; any other
event, as a schedule sends it, is of all. `{"silt": "due"}` returns what is to be compacted, for
the caller that spreads the work, and `{"silt": "health"}` looks at each table; both change nothing.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from handler import __build__, health
from handler.contract.contract import Contract, choose_contracts
from handler.contract.packaged import open_contracts
from handler.contract.upkeep import Upkeep
from handler.delta.look_up import Keys
from handler.delta.pool import Pool
from handler.delta.retry import NEXT_RUN, Clock, Deadline, SystemClock
from handler.delta.store import Store, open_store
from handler.errors import EventError, MaintenanceFailed, OutOfTime, SiltError, counted
from handler.metrics import emit
from handler.settings import Settings, limit_s, read_settings
from handler.sink.table_schema import DEAD_LETTER_KEYS, ROW_KEYS
from handler.upkeep.engine import Engine
from handler.upkeep.memory import return_memory
from handler.upkeep.report import RunReport
from handler.upkeep.run import MaintenanceRun

DUE_MAX = 1_000
"""So many partitions are named in an answer: a state machine takes 256 KiB."""

SHARE_MIN_S = 60.0
"""With less time than this a table makes little progress."""
METRICS = (
    *("files", "small_files", "data_bytes", "commits_since_checkpoint"),
    *("partitions_due", "partitions_failed", "conflicts", "oldest_unreferenced_hours"),
)

Step = Callable[[MaintenanceRun, Deadline], None]
"""A piece of work on one table."""
PartitionFilter = Sequence[Mapping[str, str | None]]


class MaintainedTable(msgspec.Struct, frozen=True):
    """One table of a contract: its name, where it is, how it is to be kept."""

    name: str
    uri: str
    upkeep: Upkeep
    keys: Keys


def places(contracts: Iterable[Contract], root: str) -> dict[str, MaintainedTable]:
    """Return the tables of contracts and their dead letters, by name."""
    result = {}
    for contract in contracts:
        kinds = ((contract.upkeep, ROW_KEYS), (contract.dead_letter_upkeep, DEAD_LETTER_KEYS))
        for (name, uri), (upkeep, keys) in zip(contract.places(root), kinds, strict=True):
            result[name] = MaintainedTable(name, uri, upkeep, keys)
    return result


class Maintenance:
    """What a sandbox keeps: settings and contracts. What it knows of tables it reads each time."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        open_store: Callable[[str], Store] = open_store,
    ) -> None:
        return_memory()
        self._settings = settings
        self._clock = clock or SystemClock()
        self._open_store = open_store
        self._pool = Pool()
        contracts = choose_contracts(open_contracts(settings.contracts), settings.topics)
        self._places = places(contracts, settings.table_root)
        self.names = [name for name, place in self._places.items() if place.upkeep.enabled]
        self._logger = Logger(service=settings.name, level=settings.log_level, build=__build__)

    def handle(self, event: Any, context: Any) -> dict[str, Any]:
        """Maintain what the event names, log it, and return a report of each table.

        Raises MaintenanceFailed after the last table, with each that failed.
        """
        ends_at = self._clock.monotonic() + limit_s(self._settings, context)
        if isinstance(event, Mapping) and event.get("silt") == "health":
            return self._health(ends_at)
        asked = event.get("silt", "maintain") if isinstance(event, Mapping) else "maintain"
        if asked not in ("maintain", "due"):
            raise EventError(
                f"{asked!r} is not a command of this function. Expected 'maintain', 'due' or "
                "'health'. Nothing was done."
            )
        names = _names_of(event, self.names)
        partitions = _partitions_of(event)
        if asked == "due":
            return {"due": self._due(names, ends_at)}
        # Checkpoints first, of all tables: they cost little, and appends depend on them.
        steps = [self._keep] if partitions else [self._begin, self._keep]
        runs = {name: self.new_run(name, partitions=partitions) for name in names}
        reports, failed = self._run_all(runs, steps, ends_at)
        for report in reports:
            self._logger.info("maintenance", extra=report.as_json())
            if report.figures.exists:
                emit(self._settings.name, {"table": report.table}, _measures(report))
            if report.partitions_failed:
                notes = "; ".join(report.notes)
                failed[report.table] = MaintenanceFailed(
                    f"{counted(report.partitions_failed, 'partition')} could not be compacted: "
                    f"{notes} See troubleshooting.md#partition-not-compacted"
                )
        for name, error in failed.items():
            extra = {"table": name, "error": type(error).__name__, "reason": str(error)}
            self._logger.error("maintenance failed", extra=extra)
        if failed:
            listed = " ".join(f"{name}: {error}" for name, error in failed.items())
            raise MaintenanceFailed(
                f"{counted(len(failed), 'table')} could not be maintained. {listed}"
            )
        return {"tables": [report.as_json() for report in reports]}

    def _run_all(
        self, runs: Mapping[str, MaintenanceRun], steps: Sequence[Step], ends_at: float
    ) -> tuple[list[RunReport], dict[str, SiltError]]:
        """Do each step on each table; one that fails or runs out of time stops no other.

        A table gets an equal share of the time that is left, and leaves what it does not need.
        """
        # By chance another table is first each time (a schedule is never punctual to the
        # millisecond): one that takes all of the time does not starve the others.
        names = list(runs)
        turn = self._clock.epoch_ms() % max(1, len(names))
        failed: dict[str, SiltError] = {}
        for step in steps:
            for i, name in enumerate([*names[turn:], *names[:turn]]):
                run = runs[name]
                if name in failed or run.report.stopped is not None:
                    continue
                now = self._clock.monotonic()
                share_s = max((ends_at - now) / (len(names) - i), SHARE_MIN_S)
                share_s = min(share_s, ends_at - now)
                try:
                    step(run, _deadline(self._clock, now + share_s))
                except OutOfTime as error:
                    run.report.stopped = str(error)
                except SiltError as error:
                    failed[name] = error
                except Exception as error:  # a log may hold anything; the other tables go on
                    failed[name] = MaintenanceFailed(f"{type(error).__name__}: {error}")
        return [runs[name].report for name in names if name not in failed], failed

    def _due(self, names: Sequence[str], ends_at: float) -> list[dict[str, Any]]:
        """Return the partitions that need compaction, each with its table."""
        result = list[dict[str, Any]]()
        deadline = _deadline(self._clock, ends_at)
        for name in names:
            run = self.new_run(name)
            if run.look(deadline):
                values = {each.where: each.values for each in run.plan(deadline)}
                result += [{"table": name, "partition": dict(v)} for v in values.values()]
        return result[:DUE_MAX]

    def _health(self, ends_at: float) -> dict[str, Any]:
        """Look at each table, by the engine too where it is there, and try its store."""
        deadline = _deadline(self._clock, ends_at)
        findings = []
        for name in self.names:
            run = self.new_run(name)
            findings.append(health.of_table(name, partial(self._describe, run, deadline)))
            findings += health.of_log(name, run.table)
            if not self._settings.dry_run:  # to try the store leaves an object there
                store = self._open_store(self.uri(name))
                findings += health.of_store(name, store, self._pool, deadline)
        health.log_findings(self._logger, findings)
        return health.answer(__build__, findings)

    @staticmethod
    def _describe(run: MaintenanceRun, deadline: Deadline) -> str:
        if not run.look(deadline):
            return "does not exist yet; the first record creates it"
        run.survey(deadline)
        return f"version {run.figures.version}, read by the engine"

    def uri(self, name: str) -> str:
        """Return where a table of the contracts is. Raises EventError if there is none."""
        return self._place(name).uri

    def new_run(
        self,
        name: str,
        *,
        partitions: PartitionFilter = (),
        rename: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> MaintenanceRun:
        """Return a run on a table of the contracts. Raises EventError if there is none."""
        place = self._place(name)
        return MaintenanceRun(
            name,
            self._open_store(place.uri),
            self._pool,
            Engine(place.uri),
            place.upkeep,
            place.keys,
            partitions=partitions,
            rename=rename,
            say=say,
        )

    def _place(self, name: str) -> MaintainedTable:
        if name not in self.names:
            raise EventError(
                f"No contract of {self._settings.contracts} has the table {name!r}, or it says "
                f"maintenance: enabled: false. Expected one of {', '.join(self.names)}."
            )
        return self._places[name]

    def _begin(self, run: MaintenanceRun, deadline: Deadline) -> None:
        if run.look(deadline) and not self._settings.dry_run:
            run.repair(deadline)
            run.checkpoint(deadline)

    def _keep(self, run: MaintenanceRun, deadline: Deadline) -> None:
        if run.table.snapshot is None:
            run.look(deadline)
        if not run.figures.exists:
            return
        if self._settings.dry_run:
            run.survey(deadline)
        else:
            run.keep(deadline)


def _deadline(clock: Clock, ends_at: float) -> Deadline:
    return Deadline(clock, ends_at, consequence=NEXT_RUN)


def _names_of(event: Any, every: list[str]) -> list[str]:
    """Return which tables an event asks for, all of them if it names none. Raises EventError."""
    named = event.get("tables") if isinstance(event, Mapping) else None
    if named is None:
        return every
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise EventError(
            f'tables is {named!r}. Expected a list of names such as ["sales/orders"]. Nothing was '
            "done."
        )
    return named


def _partitions_of(event: Any) -> PartitionFilter:
    """Return which partitions an event asks for, none if it is of all. Raises EventError."""
    named = event.get("partitions") if isinstance(event, Mapping) else None
    if named is None:
        return ()
    if not isinstance(named, list) or not all(map(is_partition, named)) or not named:
        raise EventError(
            f"partitions is {named!r}. Expected a list of objects, each from column to text or "
            'null, such as [{"day": "2026-11-25"}]. Nothing was done.'
        )
    return named


def is_partition(value: Any) -> bool:
    """Return whether a value names a partition: an object from column to text or null."""
    return isinstance(value, dict) and all(
        text is None or isinstance(text, str) for text in value.values()
    )


def _measures(report: RunReport) -> dict[str, float]:
    """Return what becomes a metric: each costs money, so only what an alarm may watch."""
    figures = report.as_json()
    stopped = int(report.stopped is not None)
    return {**{name: figures[name] for name in METRICS if name in figures}, "stopped": stopped}


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Maintain the tables of the contracts."""
    return Maintenance(read_settings(os.environ)).handle(event, context)
