"""The local twin of AWS's event source mapping for Kafka: batches, windows, retries, partial
failures.

Pure but for its two partners: `Records` brings records and keeps offsets, `invoke` runs the
function. What AWS documents is followed; where AWS is silent the choice is written in docs/local-
mapping.md.
"""

import base64
import json
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from silt.runtime import Outcome

PAYLOAD_LIMIT_BYTES = 6 * 1024 * 1024
"""The largest event of a synchronous invocation."""
_ENVELOPE_BYTES = 1024
_BACKOFF_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class MappingConfig:
    """The settings of a mapping, by AWS's names and bounds."""

    batch_size: int = 100
    maximum_batching_window_s: float = 0.5
    maximum_retry_attempts: int = -1
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = True
    on_failure: Path | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= 10_000:
            raise ValueError("BatchSize is from 1 to 10,000")
        if not 0 <= self.maximum_batching_window_s <= 300:
            raise ValueError("MaximumBatchingWindowInSeconds is from 0 to 300")
        if not -1 <= self.maximum_retry_attempts <= 10_000:
            raise ValueError("MaximumRetryAttempts is from -1 (for ever) to 10,000")


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """A record as the broker has it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    timestamp_type: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()

    def to_event(self) -> dict[str, Any]:
        """Return the record as it stands in an event: base64, header bytes signed as Java's are."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp_ms,
            "timestampType": self.timestamp_type,
            "key": _base64(self.key),
            "value": _base64(self.value),
            "headers": [
                {name: None if value is None else [b - 256 if b > 127 else b for b in value]}
                for name, value in self.headers
            ],
        }


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


class Records(Protocol):
    """Where a mapping's records come from, and where its progress is kept."""

    def poll(self, timeout_s: float) -> KafkaRecord | None:
        """Return the next record of any partition, or None when none comes in time."""
        ...

    def commit(self, partition: int, offset: int) -> None:
        """Keep that everything below this offset is done."""
        ...


@dataclass(slots=True)
class Progress:
    """What a mapping has done so far."""

    invocations: int = 0
    records: int = 0
    retries: int = 0
    given_up: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


class Poller:
    """One poller of a mapping: reads its partitions and invokes with one batch at a time.

    So there is at most one invocation under way for a partition, and its records stay in order: the
    next batch begins when every record of this one is settled or given up.
    """

    def __init__(
        self,
        config: MappingConfig,
        records: Records,
        invoke: Callable[[Mapping[str, Any]], Outcome],
        source: Mapping[str, str],
        *,
        tell: Callable[[str], None] = lambda _line: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._records = records
        self._invoke = invoke
        self._source = source
        self._tell = tell
        self._sleep = sleep
        self._now = now
        self._waiting: deque[tuple[KafkaRecord, int]] = deque()
        self.progress = Progress()

    def run_once(self) -> bool:
        """Gather one batch, settle it, and commit. Returns False when there was nothing to read."""
        batch = self._gather()
        if not batch:
            return False
        self.settle(batch)
        done: dict[int, int] = {}
        for record in batch:
            done[record.partition] = max(record.offset, done.get(record.partition, -1))
        for partition, offset in done.items():
            self._records.commit(partition, offset + 1)
        self.progress.records += len(batch)
        return True

    def _gather(self) -> list[KafkaRecord]:
        """Return records until the batch is full, the window is over, or the event would be too
        large.
        """
        batch: list[KafkaRecord] = []
        size = _ENVELOPE_BYTES
        ends_at = self._now() + self._config.maximum_batching_window_s
        while len(batch) < self._config.batch_size:
            if not self._waiting:
                record = self._records.poll(max(0.0, ends_at - self._now()))
                if record is None:
                    break
                self._waiting.append((record, len(json.dumps(record.to_event())) + 2))
            record, record_bytes = self._waiting[0]
            if batch and size + record_bytes > PAYLOAD_LIMIT_BYTES:
                break
            self._waiting.popleft()
            batch.append(record)
            size += record_bytes
        return batch

    def settle(self, batch: Sequence[KafkaRecord]) -> None:
        """Invoke until every record of the batch is settled, or AWS would give up."""
        attempt = 0
        pending = list(batch)
        while pending:
            outcome = self._attempt(pending)
            failed = self._failed(pending, outcome)
            if not failed:
                return
            attempt += 1
            limit = self._config.maximum_retry_attempts
            if 0 <= limit < attempt:
                self._give_up(failed, outcome)
                return
            self.progress.retries += 1
            what = outcome.reason if outcome.kind != "response" else "a partial failure"
            self._tell(f"{len(failed)} of {len(pending)} records come again: {what}")
            self._sleep(min(_BACKOFF_MAX_S, 0.1 * 2 ** min(attempt, 6)) * random.random())
            whole = outcome.kind != "response"
            if whole and self._config.bisect_batch_on_function_error and len(failed) > 1:
                middle = len(failed) // 2
                self.settle(failed[:middle])
                self.settle(failed[middle:])
                return
            pending = failed

    def _attempt(self, records: Sequence[KafkaRecord]) -> Outcome:
        outcome = self._invoke(event_of(records, self._source))
        self.progress.invocations += 1
        counts = self.progress.outcomes
        counts[outcome.kind] = counts.get(outcome.kind, 0) + 1
        return outcome

    def _failed(self, records: Sequence[KafkaRecord], outcome: Outcome) -> list[KafkaRecord]:
        """Return the records that AWS would deliver again after this outcome."""
        if outcome.kind != "response":
            return list(records)
        if not self._config.report_batch_item_failures:
            return []  # whatever returns is a success
        listed = failed_identifiers(outcome.payload)
        if listed is None:
            return list(records)
        by_place = {(f"{r.topic}-{r.partition}", r.offset): r for r in records}
        if not listed <= by_place.keys():
            return list(records)  # an unknown identifier fails the whole batch
        return [record for place, record in by_place.items() if place in listed]

    def _give_up(self, records: Sequence[KafkaRecord], outcome: Outcome) -> None:
        """Drop records after the last attempt, and write them where they can be replayed from."""
        self.progress.given_up += len(records)
        self._tell(f"{len(records)} records are given up after the last attempt: {outcome.reason}")
        if self._config.on_failure is None:
            return
        first, last = records[0], records[-1]
        document = {
            "requestContext": {
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": self._config.maximum_retry_attempts + 1,
            },
            "responseContext": {"statusCode": 200, "functionError": outcome.kind},
            "version": "1.0",
            "KafkaBatchInfo": {
                "batchSize": len(records),
                "topic": first.topic,
                "partition": first.partition,
                "firstOffset": first.offset,
                "lastOffset": last.offset,
            },
            "payload": json.dumps(event_of(records, self._source)),
        }
        folder = self._config.on_failure
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{first.topic}-{first.partition}-{first.offset}-{last.offset}.json"
        (folder / name).write_text(json.dumps(document, indent=1))


def event_of(records: Sequence[KafkaRecord], source: Mapping[str, str]) -> dict[str, Any]:
    """Return the event that AWS would send for these records."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        key = f"{record.topic}-{record.partition}"
        groups.setdefault(key, []).append(record.to_event())
    return {**source, "records": groups}


def failed_identifiers(payload: Any) -> set[tuple[str, int]] | None:
    """Return the places that a partial batch response lists; None if it is malformed.

    An empty or missing list is a success, as for every mapping; anything else of another shape
    fails the batch.
    """
    if payload is None:
        return set()
    if not isinstance(payload, dict):
        return None
    items = payload.get("batchItemFailures")
    if not items:
        return set()
    try:
        return {
            (str(i["itemIdentifier"]["partition"]), int(i["itemIdentifier"]["offset"]))
            for i in items
        }
    except (KeyError, TypeError, ValueError):
        return None
