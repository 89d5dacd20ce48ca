"""The Lambda entry point of maintenance, on a schedule: every table of the contracts, in shape.

An event with `{"silt": "maintain", "tables": ["sales/orders"]}` is of these tables alone; any other
event, as a schedule sends it, is of all. `{"silt": "health"}` looks at each table and does nothing.
`{"silt": "compact", ...}` is what this function sends to itself for one partition, where a table
has more to compact than one invocation can.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import orjson
from aws_lambda_powertools import Logger

from handler import __build__, health
from handler.contract import Contract, chosen, load_contracts
from handler.contract_upkeep import Upkeep
from handler.deadline import limit_s
from handler.delta.patience import NEXT_RUN, Clock, Patience, SystemClock
from handler.delta.store import Pool, Store, open_store
from handler.delta.tables import Table
from handler.errors import EventError, MaintenanceFailed, OutOfTime, SiltError
from handler.metrics import emit
from handler.settings import Settings, read_settings
from handler.upkeep.engine import Engine
from handler.upkeep.keeper import Keeper
from handler.upkeep.plan import Task
from handler.upkeep.report import Report

DELEGATE_FROM_BYTES = 16 << 30
"""What one invocation compacts in its time, with a margin; of more, partitions are handed out."""
DELEGATED_MAX = 50
"""At most so many partitions of a table at once: they compact at the same time."""

SHARE_MIN_S = 60.0
"""With less time than this a table makes no progress: the engine commits every 20 seconds."""
METRICS = (
    *("files", "small_files", "data_bytes", "commits_since_checkpoint", "partitions_due"),
    *("partitions_failed", "conflicts", "oldest_unreferenced_hours"),
)

Invoke = Callable[[bytes], None]
"""Invokes this function again, asynchronously, with an event."""
Work = Callable[[Keeper, Patience], None]
"""A piece of work on one table."""


@dataclass(frozen=True, slots=True)
class Place:
    """One table of a contract: its name, where it is, how it is to be kept."""

    name: str
    uri: str
    upkeep: Upkeep


def places(contracts: Iterable[Contract], root: str) -> dict[str, Place]:
    """Return the tables of contracts and their dead letters, by name."""
    found = {}
    for contract in contracts:
        upkeeps = (contract.upkeep, contract.dead_letter_upkeep)
        for (name, uri), upkeep in zip(contract.places(root), upkeeps, strict=True):
            found[name] = Place(name, uri, upkeep)
    return found


class Maintenance:
    """What a sandbox keeps: settings and contracts. What it knows of tables it reads each time."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        open_store: Callable[[str], Store] = open_store,
        invoke: Invoke | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._open_store = open_store
        self._invoke = invoke
        self._pool = Pool()
        contracts = chosen(load_contracts(settings.contracts), settings.topics)
        self._places = places(contracts.values(), settings.table_root)
        self.names = [name for name, place in self._places.items() if place.upkeep.enabled]
        self._logger = Logger(service=settings.name, level=settings.log_level, build=__build__)

    def handle(self, event: Any, context: Any) -> dict[str, Any]:
        """Maintain what the event names, tell the operator, and return a report of each table.

        Raises MaintenanceFailed after the last table, with each that failed.
        """
        ends_at = self._clock.monotonic() + limit_s(self._settings, context)
        if isinstance(event, Mapping) and event.get("silt") == "health":
            return self._health(ends_at)
        asked = event.get("silt", "maintain") if isinstance(event, Mapping) else "maintain"
        if asked == "compact":
            name, number, task = _task_of(event)
            work: list[Work] = [lambda keeper, time: keeper.compact_under(number, task, time)]
            if self._settings.dry_run:
                work = []
            names = [name]
        elif asked == "maintain":
            # Checkpoints first, of all tables: they cost little, and appends depend on them.
            work = [self._begin, self._keep]
            names = _names_of(event, self.names)
        else:
            raise EventError(f"{asked!r} is nothing to maintain. Expected 'maintain' or 'compact'.")
        reports, failed = self._run(names, work, ends_at)
        for report in reports:
            self._logger.info("maintenance", extra=report.as_json())
            if report.figures.exists:
                emit(self._settings.name, "table", report.table, _measures(report))
            if report.partitions_failed:
                notes = "; ".join(report.notes)
                failed[report.table] = MaintenanceFailed(
                    f"{report.partitions_failed} partitions could not be compacted: {notes}"
                )
        for name, error in failed.items():
            extra = {"table": name, "error": type(error).__name__, "reason": str(error)}
            self._logger.error("maintenance failed", extra=extra)
        if failed:
            listed = " ".join(f"{name}: {error}" for name, error in failed.items())
            raise MaintenanceFailed(f"{len(failed)} tables could not be maintained. {listed}")
        return {"tables": [report.as_json() for report in reports]}

    def _run(
        self, names: Sequence[str], work: Sequence[Work], ends_at: float
    ) -> tuple[list[Report], dict[str, SiltError]]:
        """Do each piece of work on each table; one that fails or runs out of time stops no other.

        A table gets an equal share of the time that is left, and leaves what it does not need.
        """
        # By chance another table is first each time (a schedule is never punctual to the
        # millisecond): one that takes all of the time does not starve the others.
        turn = self._clock.epoch_ms() % max(1, len(names))
        keepers = {name: self.keeper(name) for name in [*names[turn:], *names[:turn]]}
        failed: dict[str, SiltError] = {}
        for piece in work:
            for i, (name, keeper) in enumerate(keepers.items()):
                if name in failed or keeper.report.stopped is not None:
                    continue
                now = self._clock.monotonic()
                share_s = max((ends_at - now) / (len(keepers) - i), SHARE_MIN_S)
                share_s = min(share_s, ends_at - now)
                try:
                    piece(keeper, _patience(self._clock, now + share_s))
                except OutOfTime as error:
                    keeper.report.stopped = str(error)
                except SiltError as error:
                    failed[name] = error
                except Exception as error:  # a log may hold anything; the other tables go on
                    failed[name] = MaintenanceFailed(f"{type(error).__name__}: {error}")
        return [keepers[name].report for name in names if name not in failed], failed

    def _health(self, ends_at: float) -> dict[str, Any]:
        """Look at each table, by the engine too where it is there, and try its store."""
        patience = _patience(self._clock, ends_at)
        findings = []
        for name in self.names:
            keeper = self.keeper(name)
            findings.append(health.of_table(name, partial(self._described, keeper, patience)))
            findings += health.of_log(name, keeper.table)
            if not self._settings.dry_run:  # to try the store leaves an object there
                store = self._open_store(self.uri(name))
                findings += health.of_store(name, store, self._pool, patience)
        health.tell(self._logger, findings)
        return health.answer(__build__, findings)

    @staticmethod
    def _described(keeper: Keeper, patience: Patience) -> str:
        if not keeper.look(patience):
            return "not there yet; the first record makes it"
        keeper.survey(patience)
        return f"version {keeper.figures.version}, read by the engine"

    def uri(self, name: str) -> str:
        """Return where a table of the contracts is. Raises EventError if there is none."""
        return self._place(name).uri

    def keeper(self, name: str, tell: Callable[[str], None] = lambda _line: None) -> Keeper:
        """Return what keeps a table of the contracts. Raises EventError if there is none."""
        place = self._place(name)
        table = Table(name, self._open_store(place.uri), self._pool)
        delegate = partial(self._hand_out, name) if self._invoke is not None else None
        return Keeper(table, Engine(place.uri), place.upkeep, delegate=delegate, tell=tell)

    def _place(self, name: str) -> Place:
        if name not in self.names:
            raise EventError(
                f"No contract of {self._settings.contracts} has the table {name!r}, or it says "
                f"maintenance: enabled: false. Expected one of {', '.join(self.names)}."
            )
        return self._places[name]

    def _begin(self, keeper: Keeper, patience: Patience) -> None:
        if keeper.look(patience) and not self._settings.dry_run:
            keeper.repair(patience)
            keeper.checkpoint(patience)

    def _keep(self, keeper: Keeper, patience: Patience) -> None:
        if not keeper.figures.exists:
            return
        if self._settings.dry_run:
            keeper.survey(patience)
        else:
            keeper.keep(patience)

    def _hand_out(self, name: str, tasks: Sequence[Task], number: int) -> int:
        """Invoke this function for the coldest partitions, if they are more than one can do."""
        assert self._invoke is not None
        if sum(task.work_bytes for task in tasks) < DELEGATE_FROM_BYTES or len(tasks) < 2:
            return 0
        handed = tasks[:DELEGATED_MAX]
        for count, task in enumerate(handed):
            event = {"silt": "compact", "table": name, "lease": number, "task": asdict(task)}
            try:
                self._invoke(orjson.dumps(event))
            except Exception as error:  # of whatever kind the client has: this run does the rest
                extra = {"table": name, "handed_out": count, "reason": str(error)}
                self._logger.error("fan-out failed", extra=extra)
                return count
        return len(handed)


def _patience(clock: Clock, ends_at: float) -> Patience:
    return Patience(clock, ends_at, consequence=NEXT_RUN)


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


def _task_of(event: Mapping[str, Any]) -> tuple[str, int, Task]:
    """Read what this function sent to itself. Raises EventError."""
    try:
        return str(event["table"]), int(event["lease"]), Task(**event["task"])
    except (KeyError, TypeError, ValueError) as error:
        raise EventError(
            f"The event asks for a compaction and does not say which: {error!r}. Only this "
            'function sends such events; to maintain a table, send {"silt": "maintain", '
            '"tables": ["sales/orders"]}.'
        ) from error


def _measures(report: Report) -> dict[str, float]:
    """Return what becomes a metric: each costs money, so only what an alarm may watch."""
    told = report.as_json()
    stopped = int(report.stopped is not None)
    return {**{name: told[name] for name in METRICS if name in told}, "stopped": stopped}


def _invoke_again(context: Any) -> Invoke:
    """Return what invokes this very version of the function, without waiting for its end."""

    def invoke(event: bytes) -> None:
        import boto3  # of the Lambda runtime: nothing of it is shipped, and few runs need it

        # A session of its own: the default one would keep the credentials of its first use.
        boto3.Session().client("lambda").invoke(
            FunctionName=context.invoked_function_arn, InvocationType="Event", Payload=event
        )

    return invoke


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Maintain the tables of the contracts."""
    settings = read_settings(os.environ)
    invoke = _invoke_again(context) if settings.fan_out else None
    return Maintenance(settings, invoke=invoke).handle(event, context)
