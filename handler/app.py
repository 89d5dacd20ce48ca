"""The Lambda entry point: settings, the order of the steps, one log line, the answer."""

import gc
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aws_lambda_powertools import Logger

from handler import __build__, health
from handler.contract.contract import Contract
from handler.contract.load import choose_contracts, load_contracts
from handler.delta.retry import Clock, Deadline, SystemClock
from handler.delta.store import Pool, Store, open_store
from handler.errors import EventError, SiltError, Superseded, TableError, UnknownTopic
from handler.health import Finding
from handler.kafka.event import Batch, parse_event
from handler.metrics import emit, peak_memory_mb
from handler.settings import Settings, limit_s, read_settings
from handler.sink.outcomes import Outcome
from handler.sink.reject_summary import summarize_rejects
from handler.sink.response import PARTS, account, failures, freshness_ms, offsets_of, raise_for
from handler.sink.writer import Result, Writer

HEALTH_CHECK_LIMIT_S = 4.0
"""The init phase of Lambda lasts 10 s, imports included; a health check takes less."""


@dataclass(frozen=True, slots=True)
class InvocationReport:
    """What became of one event: counts, measures and failures, why some are unsettled, the log
    line.
    """

    topic: str
    counts: Mapping[str, int]
    measures: Mapping[str, float]
    failures: list[dict[str, Any]]
    why: str | None
    result: Result
    line: Mapping[str, Any]


class Function:
    """What a sandbox keeps: settings, contracts, and what it knows of the tables.

    `contracts`, by topic, take the place of those in the folder of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        contracts: Mapping[str, Contract] | None = None,
        clock: Clock | None = None,
        open_store: Callable[[str], Store] = open_store,
        random: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._open_store = open_store
        self._random = random
        known = load_contracts(settings.contracts) if contracts is None else contracts
        self._contracts = choose_contracts(known, settings.topics)
        self._pool = Pool()
        self._writers: dict[str, Writer] = {}
        self._cold = True
        self._logger = Logger(service=settings.name, level=settings.log_level, build=__build__)
        if settings.health_check:
            self._check_health()

    def handle(self, event: Any, context: Any) -> dict[str, Any]:
        """Settle one event, tell the operator, and return the partial batch response.

        `{"silt": "health"}` is answered by what a look at the tables found.

        Raises SiltError for what cannot be tied to a record, and Unsettled where the mapping does
        not honor partial responses.
        """
        if isinstance(event, Mapping) and "silt" in event:
            return self._answer(event, context)
        try:
            report = self.run(event, context)
        except SiltError as error:
            extra = {"error": type(error).__name__, "reason": str(error)}
            self._logger.error("invocation failed", extra=extra)
            if isinstance(error, TableError | Superseded):
                self._emit_drift(event)
            raise
        log = self._logger.warning if report.failures else self._logger.info
        log("invocation", extra=report.line)
        if report.result.begins_generation:
            self._logger.warning(
                f"generation {self._settings.generation} begins: functions of an earlier "
                "generation are refused by this table from now on",
                extra={"topic": report.topic},
            )
        if beyond := report.result.beyond_max_columns:
            self._logger.warning(
                "the table has max_columns columns: fields that unknown_fields: add would have "
                "made columns of are kept in _rescued",
                extra={"topic": report.topic, "fields": beyond},
            )
        _emit(self._settings.name, report)
        if not self._settings.partial_batch_response:
            raise_for(report.failures, report.why or "")
        return {"batchItemFailures": report.failures}

    def _emit_drift(self, event: Any) -> None:
        """Count that contract and table do not fit each other: an alarm watches it."""
        topic = parse_event(event, self._settings.source).topic
        emit(self._settings.name, "topic", topic, {"contract_drift": 1})

    def run(self, event: Any, context: Any) -> InvocationReport:
        """Settle one event and return what became of it. Raises SiltError; logs nothing."""
        started_at = self._clock.monotonic()
        deadline = self._deadline(started_at, context)
        cold, self._cold = self._cold, False
        # The collector costs half of the decode time and finds nothing: a batch makes no cycles.
        collecting = gc.isenabled()
        gc.disable()
        try:
            batch = parse_event(event, self._settings.source)
            parsed_at = self._clock.monotonic()
            writer = self._writer(batch.topic)
            source = re.sub(r"[^A-Za-z0-9._-]", "_", batch.source)
            result = writer.write(batch, source, deadline, dry_run=self._settings.dry_run)
            result.milliseconds["parse"] = (parsed_at - started_at) * 1000
            return self._report(batch, result, deadline, cold)
        finally:
            if collecting:
                gc.enable()

    def begins_generation(self, topic: str) -> str | None:
        """Return the name of a topic's table if only earlier generations have fed it.

        The first commit of this function then makes the table refuse them.
        """
        deadline = self._deadline(self._clock.monotonic(), None)
        writer = self._writer(topic)
        return writer.contract.table if writer.begins_generation(deadline) else None

    def _deadline(self, started_at: float, context: Any) -> Deadline:
        ends_at = started_at + limit_s(self._settings, context)
        if self._random is not None:
            return Deadline(self._clock, ends_at, self._random)
        return Deadline(self._clock, ends_at)

    def _writer(self, topic: str) -> Writer:
        contract = self._contracts.get(topic)
        if contract is None:
            raise UnknownTopic(
                f"There is no contract for the topic {topic!r} in {self._settings.contracts}. "
                f"There are contracts for {', '.join(sorted(self._contracts))}. Nothing was "
                "written. Add a contract, or point the mapping elsewhere: "
                "troubleshooting.md#unknown-topic"
            )
        if topic not in self._writers:
            self._writers[topic] = Writer(
                contract,
                contract.uri(self._settings.table_root),
                self._open_store,
                self._pool,
                generation=self._settings.generation,
                warn=self._logger.warning,
            )
        return self._writers[topic]

    def _report(
        self, batch: Batch, result: Result, deadline: Deadline, cold: bool
    ) -> InvocationReport:
        checked, outcomes = result.batch, result.outcomes
        counts = account(outcomes, checked.repeats, batch.delivered)
        measures: dict[str, float | None] = {
            "freshness_ms": freshness_ms(checked.flat, outcomes, self._clock.epoch_ms()),
            "commit_attempts": deadline.attempts,
            "commit_conflicts": deadline.conflicts,
            "decided_again": result.conflicts.total(),
            "request_retries": deadline.retries,
            "parse_ms": round(result.milliseconds["parse"], 1),
            "check_ms": round(result.milliseconds["check"], 1),
            "write_ms": round(result.milliseconds["write"], 1),
            "value_bytes": checked.value_bytes,
            "file_bytes": sum(
                file.size for c in result.committed.values() for file in c.change.files
            ),
            "fields_beyond_max_columns": result.beyond_max_columns or None,
            "deadline_left_ms": round(deadline.left_s * 1000),
            "peak_memory_mb": peak_memory_mb(),
        }
        why = self._why(result)
        plan = result.plan
        rejects = summarize_rejects(checked.contract, checked.flat, plan) if plan else []
        return InvocationReport(
            topic=batch.topic,
            counts=counts,
            measures={name: value for name, value in measures.items() if value is not None},
            failures=failures(checked.flat, outcomes),
            why=why,
            result=result,
            line={
                "topic": batch.topic,
                **counts,
                **{name: value for name, value in measures.items() if value is not None},
                "streams": offsets_of(checked.flat),
                "versions": {target: c.version for target, c in result.committed.items()},
                "cold_start": cold,
                **({"decided_again_because": dict(result.conflicts)} if result.conflicts else {}),
                **({"unsettled_because": why} if why else {}),
                **({"rejects": rejects} if rejects else {}),
                **({"would": would(result)} if self._settings.dry_run and result.plan else {}),
            },
        )

    def _why(self, result: Result) -> str | None:
        """Return why records are unsettled, None if none is."""
        if self._settings.dry_run:
            return "dry run"
        if result.out_of_time is not None:
            return str(result.out_of_time)
        return result.plan.stopped if result.plan is not None else None

    def _check_health(self) -> None:
        """Read each topic's tables at cold start and log what is found; a finding stops nothing."""
        ends_at = self._clock.monotonic() + HEALTH_CHECK_LIMIT_S
        health.log_findings(self._logger, self._look(Deadline(self._clock, ends_at)))

    def _look(self, deadline: Deadline) -> Iterator[Finding]:
        """Read the tables of each topic."""
        for topic, contract in sorted(self._contracts.items()):
            look = partial(self._describe, topic, deadline)
            yield health.of_table(contract.table, look)
            if topic in self._writers:
                for table in self._writers[topic].tables:
                    yield from health.of_log(table.name, table)

    def _describe(self, topic: str, deadline: Deadline) -> str:
        return health.describe(self._writer(topic).check_table(deadline))

    def _answer(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Look at the tables, try what an append needs of the store, and say what was found.

        A dry run only looks: to try the store leaves an object there.
        """
        if event["silt"] != "health":
            raise EventError(
                f"{event['silt']!r} is not a command of this function. Expected 'health', or an "
                "event of a Kafka event source mapping. Nothing was written."
            )
        deadline = self._deadline(self._clock.monotonic(), context)
        findings = list(self._look(deadline))
        tried = () if self._settings.dry_run else self._contracts.values()
        for contract in tried:
            for name, place in contract.places(self._settings.table_root):
                store = self._open_store(place)
                findings += health.of_store(name, store, self._pool, deadline)
        health.log_findings(self._logger, findings)
        return health.answer(__build__, findings)


def would(result: Result) -> dict[str, int]:
    """Return what a dry run would have done, by what becomes of a record."""
    assert result.plan is not None
    outcomes = result.plan.outcomes
    return {
        "append": outcomes.count(Outcome.APPEND),
        "dead_letter": outcomes.count(Outcome.DEAD_LETTER),
        "leave_unsettled": outcomes.count(Outcome.UNSETTLED),
    }


def _emit(service: str, report: InvocationReport) -> None:
    """Print one EMF record: the accounting and the measures, by topic."""
    plan = report.result.plan
    tripped = plan is not None and plan.stopped == "circuit_breaker"
    counts = {name: report.counts[name] for name in ("delivered", *PARTS)}
    flags = {"circuit_breaker": int(tripped), "cold_start": int(report.line["cold_start"])}
    emit(service, "topic", report.topic, {**counts, **report.measures, **flags})


_function: Function | None = None


def lambda_handler(event: Any, context: Any) -> dict[str, Any]:
    """Handle one event of an event source mapping for Kafka."""
    global _function
    if _function is None:
        _function = Function(read_settings(os.environ))
    return _function.handle(event, context)


# In Lambda a bad setting or contract stops the init phase, before any event: which build it was
# is in the log all the same. The runtime sets this name.
if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    Logger(service="silt", build=__build__).info("start")
    _function = Function(read_settings(os.environ))
