"""A whole mapping on this machine: pollers in threads, each with a sandbox of its own."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from silt.local.broker import StartingPosition, TopicRecords, partitions_of
from silt.local.invocation_log import InvocationLog, explain
from silt.local.mapping import MappingConfig, Poller, Progress
from silt.local.runtime import Sandbox
from silt.local.runtime_api import InvocationOutcome


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Where a local mapping reads, and how its sandboxes are started."""

    servers: str
    topic: str
    group_id: str
    environment: Mapping[str, str]
    pollers: int = 1
    reserved_concurrency: int | None = None
    """At most so many invocations at once; one more is throttled."""
    timeout_s: float = 60.0
    starting_position: StartingPosition = "TRIM_HORIZON"
    starting_timestamp_ms: int = 0
    log: Path | None = None
    client: Mapping[str, Any] | None = None


class Stopped(Exception):
    """The mapping ends: what is in progress is delivered again next time, and counts as nothing."""


class LocalMapping:
    """Pollers over the partitions of a topic. Each partition belongs to one poller."""

    def __init__(
        self,
        settings: LocalSettings,
        config: MappingConfig,
        *,
        tell: Callable[[str], None] = lambda _line: None,
        on_invoke: Callable[[Sandbox, int], None] = lambda _sandbox, _number: None,
    ) -> None:
        partitions = partitions_of(settings.servers, settings.topic, settings.client)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._on_invoke = on_invoke
        self._lock = threading.Lock()
        self._count = 0
        limit = settings.reserved_concurrency
        self._free = threading.Semaphore(limit) if limit is not None else None
        self.parts: list[tuple[Poller, TopicRecords, Sandbox]] = []
        self.logs: list[InvocationLog] = []
        source = {"eventSource": "SelfManagedKafka", "bootstrapServers": settings.servers}
        pollers = min(settings.pollers, len(partitions))
        for i in range(pollers):
            records = TopicRecords(
                settings.servers,
                settings.topic,
                partitions[i::pollers],
                settings.group_id,
                starting_position=settings.starting_position,
                starting_timestamp_ms=settings.starting_timestamp_ms,
                client=settings.client,
            )
            log = InvocationLog(on_warning=tell)
            sandbox = Sandbox(
                settings.environment,
                timeout_s=settings.timeout_s,
                log=settings.log,
                on_line=log.read,
            )
            invoke = self._invoker(sandbox, log)
            poller = Poller(config, records, invoke, source, tell=tell, sleep=self._sleep)
            self.parts.append((poller, records, sandbox))
            self.logs.append(log)
        self._threads: list[threading.Thread] = []

    def _sleep(self, seconds: float) -> None:
        self._stop.wait(seconds)

    def _invoker(
        self, sandbox: Sandbox, log: InvocationLog
    ) -> Callable[[Mapping[str, Any]], InvocationOutcome]:
        def invoke(event: Mapping[str, Any]) -> InvocationOutcome:
            with self._lock:
                self._count += 1
                number = self._count
            if self._free is not None and not self._free.acquire(blocking=False):
                return InvocationOutcome("throttle", "the reserved concurrency is used up")
            try:
                if self._stop.is_set():
                    raise Stopped
                self._on_invoke(sandbox, number)
                log.forget()
                outcome = sandbox.invoke(event)
                # Ended by us, not by a fault of its own: it must use up no attempt.
                if self._stop.is_set() and outcome.kind != "response":
                    raise Stopped
                return _explained(outcome, log)
            finally:
                if self._free is not None:
                    self._free.release()

        return invoke

    @property
    def progress(self) -> list[Progress]:
        """Return what each poller has done."""
        return [poller.progress for poller, _, _ in self.parts]

    @property
    def starts(self) -> int:
        """Return how many processes were started."""
        return sum(sandbox.starts for _, _, sandbox in self.parts)

    @property
    def busy(self) -> bool:
        """Return whether a poller has records in hand."""
        return any(poller.busy for poller, _, _ in self.parts)

    @property
    def records(self) -> int:
        """Return how many records are settled."""
        return sum(progress.records for progress in self.progress)

    @property
    def counts(self) -> Counter[str]:
        """Return what became of the records, by the names of the accounting."""
        return sum((log.counts for log in self.logs), Counter[str]())

    @property
    def behind(self) -> int | None:
        """Return how many offsets of the topic are not settled yet, None where nobody knows."""
        lags = [records.behind() for _, records, _ in self.parts]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if known else None

    def start(self) -> None:
        """Start the pollers."""
        for poller, _, _ in self.parts:
            thread = threading.Thread(target=self._run, args=(poller,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, poller: Poller) -> None:
        try:
            while not self._stop.is_set():
                poller.run_once()
        except Stopped:
            return
        except BaseException as error:
            self._failure = error

    def renew(self) -> None:
        """Have the next batches read by new processes, as after a deployment."""
        for _, _, sandbox in self.parts:
            sandbox.is_stale = True

    def check(self) -> None:
        """Raise what ended a poller, if anything did."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Stop the pollers and end their processes; what was in progress is delivered again next
        time."""
        self._stop.set()
        for _, _, sandbox in self.parts:
            sandbox.kill()
        for thread in self._threads:
            thread.join(timeout=10)
        for _, records, sandbox in self.parts:
            records.close()
            sandbox.close()


def _explained(outcome: InvocationOutcome, log: InvocationLog) -> InvocationOutcome:
    """Return an outcome with what the function's log says of records that it left unsettled."""
    answer = outcome.payload
    if outcome.kind != "response" or not isinstance(answer, dict):
        return outcome
    if not answer.get("batchItemFailures"):
        return outcome
    line = log.wait()
    return replace(outcome, explanation=explain(line)) if line is not None else outcome
