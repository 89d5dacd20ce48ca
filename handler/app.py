"""The Lambda entry point: settings, the order of the steps, one log line, the answer."""

import gc
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any

from aws_lambda_powertools import Logger

from handler import __build__, health
from handler.contract.contract import Contract, by_topic, choose_contracts
from handler.contract.packaged import open_contracts
from handler.delta.pool import Pool
from handler.delta.retry import Clock, Deadline, SystemClock
from handler.delta.store import Store, open_store
from handler.errors import EventError, SiltError, Superseded, TableError, UnknownTopic
from handler.health import Finding
from handler.kafka.event import parse_event
from handler.kafka.marshaller import install_marshaller
from handler.metrics import emit, peak_memory_mb
from handler.settings import Settings, limit_s, read_settings
from handler.sink.invocation_report import InvocationReport, TableOutcome, report_invocation
from handler.sink.response import raise_for
from handler.sink.topic_writer import TableFailure, TopicWriter
from handler.sink.writer import Writer

HEALTH_CHECK_LIMIT_S = 4.0
"""The init phase of Lambda lasts 10 s, imports included; a health check takes less."""


class Function:
    """What a sandbox keeps: settings, contracts, and what it knows of the tables.

    `contracts` take the place of those in the folder of the settings.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        contracts: Sequence[Contract] | None = None,
        clock: Clock | None = None,
        open_store: Callable[[str], Store] = open_store,
        random: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._open_store = open_store
        self._random = random
        known = open_contracts(settings.contracts) if contracts is None else contracts
        self._contracts = by_topic(choose_contracts(known, settings.topics))
        self._pool = Pool()
        self._writers: dict[str, TopicWriter] = {}
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
        # What leaves records unsettled comes first: `silt dev` shows the first line.
        for failed in report.failed:
            self._log_failure(report.topic, failed)
        for table in sorted(report.tables, key=lambda table: not table.counts["unsettled"]):
            self._log(report, table)
        if report.matched_none is not None:
            counts = {"matched_none": report.matched_none}
            emit(self._settings.name, {"topic": report.topic}, counts)
        if not self._settings.partial_batch_response:
            raise_for(report.failures, report.why or "")
        return {"batchItemFailures": report.failures}

    def _log(self, report: InvocationReport, table: TableOutcome) -> None:
        """Tell the operator what became of an event in one table."""
        unsettled = table.counts["unsettled"] > 0
        log = self._logger.warning if unsettled else self._logger.info
        log("invocation", extra=table.line)
        if table.result.begins_generation:
            self._logger.warning(
                f"generation {self._settings.generation} begins: functions of an earlier "
                "generation are refused by this table from now on",
                extra={"topic": report.topic},
            )
        if beyond := table.result.beyond_max_columns:
            self._logger.warning(
                "the table has max_columns columns: fields that unknown_fields: add would have "
                "made columns of are kept in _rescued",
                extra={"topic": report.topic, "fields": beyond},
            )
        self._emit(report.topic, table.table, table.metrics)

    def _log_failure(self, topic: str, failed: TableFailure) -> None:
        """Tell the operator that one table of several could not be written."""
        table, error = failed.contract.table, failed.error
        extra = {
            "topic": topic,
            "table": table,
            "error": type(error).__name__,
            "reason": str(error),
        }
        known = isinstance(error, SiltError)
        self._logger.error("table failed", extra=extra, exc_info=None if known else error)
        metrics = {"table_failed": 1}
        if isinstance(error, TableError | Superseded):
            metrics["contract_drift"] = 1
        self._emit(topic, table, metrics)

    def _emit(self, topic: str, table: str, metrics: Mapping[str, float]) -> None:
        """Emit metrics of a table by its topic, and by its name where the topic has several."""
        emit(self._settings.name, {"topic": topic}, metrics)
        if len(self._contracts[topic]) > 1:
            emit(self._settings.name, {"topic": topic, "table": table}, metrics)

    def _emit_drift(self, event: Any) -> None:
        """Count that contract and table do not fit each other: an alarm watches it."""
        topic = parse_event(event, self._settings.source).topic
        emit(self._settings.name, {"topic": topic}, {"contract_drift": 1})

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
            dry_run = self._settings.dry_run
            results = writer.write(batch, source, deadline, dry_run=dry_run)
            return report_invocation(
                batch,
                results,
                now_ms=self._clock.epoch_ms(),
                measures=_measures(deadline, parse_ms=(parsed_at - started_at) * 1000),
                cold=cold,
                dry_run=dry_run,
            )
        finally:
            if collecting:
                gc.enable()

    def begins_generation(self, topic: str) -> list[str]:
        """Return the names of a topic's tables that only earlier generations have fed.

        The first commit of this function then makes such a table refuse them.
        """
        deadline = self._deadline(self._clock.monotonic(), None)
        writers = self._writer(topic).writers
        return [w.contract.table for w in writers if w.begins_generation(deadline)]

    def _deadline(self, started_at: float, context: Any) -> Deadline:
        ends_at = started_at + limit_s(self._settings, context)
        if self._random is not None:
            return Deadline(self._clock, ends_at, self._random)
        return Deadline(self._clock, ends_at)

    def _writer(self, topic: str) -> TopicWriter:
        if topic not in self._contracts:
            raise UnknownTopic(
                f"There is no contract for the topic {topic!r} in {self._settings.contracts}. "
                f"There are contracts for {', '.join(sorted(self._contracts))}. Nothing was "
                "written. Add a contract, or point the mapping elsewhere: "
                "troubleshooting.md#unknown-topic"
            )
        if topic not in self._writers:
            generation = self._settings.generation
            writers = [
                Writer(
                    contract,
                    contract.uri(self._settings.table_root),
                    self._open_store,
                    self._pool,
                    generation=generation,
                    warn=self._logger.warning,
                )
                for contract in self._contracts[topic]
            ]
            self._writers[topic] = TopicWriter(writers, generation)
        return self._writers[topic]

    def _check_health(self) -> None:
        """Read each topic's tables at cold start and log what is found; a finding stops nothing."""
        ends_at = self._clock.monotonic() + HEALTH_CHECK_LIMIT_S
        health.log_findings(self._logger, self._look(Deadline(self._clock, ends_at)))

    def _look(self, deadline: Deadline) -> Iterator[Finding]:
        """Read the tables of each topic."""
        for topic, contracts in sorted(self._contracts.items()):
            for i, contract in enumerate(contracts):
                yield health.of_table(contract.table, partial(self._describe, topic, i, deadline))
                if topic in self._writers:
                    for table in self._writers[topic].writers[i].tables:
                        yield from health.of_log(table.name, table)

    def _describe(self, topic: str, index: int, deadline: Deadline) -> str:
        return health.describe(self._writer(topic).writers[index].check_table(deadline))

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
        tried = () if self._settings.dry_run else chain.from_iterable(self._contracts.values())
        for contract in tried:
            for name, place in contract.places(self._settings.table_root):
                store = self._open_store(place)
                findings += health.of_store(name, store, self._pool, deadline)
        health.log_findings(self._logger, findings)
        return health.answer(__build__, findings)


def _measures(deadline: Deadline, *, parse_ms: float) -> dict[str, float]:
    """Return what an invocation took, whatever its tables are."""
    return {
        "parse_ms": round(parse_ms, 1),
        "commit_attempts": deadline.attempts,
        "commit_conflicts": deadline.conflicts,
        "request_retries": deadline.retries,
        "deadline_left_ms": round(deadline.left_s * 1000),
        "peak_memory_mb": peak_memory_mb(),
    }


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
    extra = {"typed_events": install_marshaller()}
    Logger(service="silt", build=__build__).info("start", extra=extra)
    _function = Function(read_settings(os.environ))
