"""The local twin of AWS's event source mapping for Kafka: batches, windows, retries, partial
failures, giving up.

Pure but for its partners: `Records` brings records and keeps offsets, `invoke` runs the function,
a destination keeps what is given up. What AWS documents is followed; where AWS is silent the choice
is written in docs/local-mapping.md.
"""

import datetime as dt
import random
import re
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from handler.errors import SiltError, counted
from silt.local.destinations import Condition, Destination
from silt.local.events import (
    PAYLOAD_LIMIT_BYTES,
    EventSize,
    KafkaRecord,
    encode,
    event_of,
    failed_identifiers,
)
from silt.local.runtime_api import InvocationOutcome

RETRIES_WITH_DESTINATION = 10
"""What endless retries become beside an on-failure destination."""
_BACKOFF_MAX_S = 5.0
_DIGITS = re.compile(r"[0-9]+")
IDENTICAL_MAX = 3
"""A batch that failed so often, each time for the same reason, will not get better by itself."""
_FIRST_POLL_S = 0.1
"""A poll waits so long at least for a first record: without a window nothing else would wait."""


@dataclass(frozen=True, slots=True)
class MappingConfig:
    """The settings of a mapping, by AWS's names and bounds."""

    batch_size: int = 100
    maximum_batching_window_s: float = 0.5
    maximum_retry_attempts: int = -1
    maximum_record_age_s: int = -1
    bisect_batch_on_function_error: bool = False
    report_batch_item_failures: bool = True
    on_failure: Destination | None = None
    stops_when_stuck: bool = False
    """Whether to end when a batch that is retried without end fails again and again alike."""
    dry_run: bool = False
    """Whether the function commits nothing and leaves all unsettled: no offset is kept then."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= 10_000:
            raise ValueError("BatchSize is from 1 to 10,000")
        if not 0 <= self.maximum_batching_window_s <= 300:
            raise ValueError("MaximumBatchingWindowInSeconds is from 0 to 300")
        if not -1 <= self.maximum_retry_attempts <= 10_000:
            raise ValueError("MaximumRetryAttempts is from -1 (endless) to 10,000")
        age_s = self.maximum_record_age_s
        if age_s != -1 and not 60 <= age_s <= 604_800:
            raise ValueError("MaximumRecordAgeInSeconds is from 60 to 604,800, or -1 (endless)")

    @property
    def retries_max(self) -> int | None:
        """Return after how many retries a batch is given up, None for never."""
        if self.maximum_retry_attempts >= 0:
            return self.maximum_retry_attempts
        return RETRIES_WITH_DESTINATION if self.on_failure is not None else None


class Records(Protocol):
    """Where a mapping's records come from, and where its progress is kept."""

    def poll(self, timeout_s: float) -> KafkaRecord | None:
        """Return the next record of any partition, or None when none comes in time."""
        ...

    def commit(self, partition: int, offset: int) -> None:
        """Keep that everything below this offset is done."""
        ...


class StuckBatch(SiltError):
    """A batch fails again and again for the same reason, and nothing would ever give it up."""


@dataclass(slots=True)
class Progress:
    """What a mapping has done so far. `records` are settled; those given up are counted apart."""

    invocations: int = 0
    records: int = 0
    retries: int = 0
    given_up: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)


class Poller:
    """One poller of a mapping: reads its partitions and invokes with one batch at a time.

    So a partition has at most one invocation in progress, and its records stay in order: the
    next batch begins when every record of this one is settled or given up.
    """

    def __init__(
        self,
        config: MappingConfig,
        records: Records,
        invoke: Callable[[Mapping[str, Any]], InvocationOutcome],
        source: Mapping[str, str],
        *,
        tell: Callable[[str], None] = lambda _line: None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
        epoch: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._config = config
        self._records = records
        self._invoke = invoke
        self._source = source
        self._tell = tell
        self._sleep = sleep
        self._now = now
        self._epoch = epoch
        self._waiting: deque[tuple[KafkaRecord, int]] = deque()
        self.busy = False
        """Whether it has records in hand."""
        self.progress = Progress()

    def run_once(self) -> bool:
        """Gather one batch, settle it, and commit. Returns False when there was nothing to read."""
        batch, passed = self._gather()
        if not batch and not passed:
            return False
        given_up = self.progress.given_up
        if batch:
            self.settle(batch)
        for partition, offset in () if self._config.dry_run else passed.items():
            self._records.commit(partition, offset + 1)
        self.progress.records += len(batch) - (self.progress.given_up - given_up)
        self.busy = bool(self._waiting)
        return True

    def _gather(self) -> tuple[list[KafkaRecord], dict[int, int]]:
        """Return records until the batch is full, the window is over, or the event would be too
        large; and the last offset of each partition that was read.
        """
        batch: list[KafkaRecord] = []
        passed: dict[int, int] = {}
        size = EventSize(self._source)
        ends_at = self._now() + self._config.maximum_batching_window_s
        while len(batch) < self._config.batch_size:
            if not self._waiting:
                left_s = ends_at - self._now()
                # What the client has read already is taken after the window, too.
                record = self._records.poll(max(left_s, 0.0 if batch else _FIRST_POLL_S))
                if record is None:
                    break
                self.busy = True
                self._waiting.append((record, len(encode(record.to_event()))))
            record, record_bytes = self._waiting[0]
            if batch and size.with_record(record, record_bytes) > PAYLOAD_LIMIT_BYTES:
                break
            self._waiting.popleft()
            batch.append(record)
            passed[record.partition] = record.offset
            size.add(record, record_bytes)
        return batch, passed

    def settle(self, batch: Sequence[KafkaRecord]) -> None:
        """Invoke until every record of the batch is settled, or AWS would give up."""
        attempts = throttled = 0
        pending = list(batch)
        retries_max = self._config.retries_max
        alike = Counter[str]()
        while pending := self._still_sent(pending, attempts):
            outcome = self._attempt(pending)
            if outcome.kind == "throttle":  # the function never ran: this uses up no retry
                throttled += 1
                self._back_off(throttled)
                continue
            attempts += 1
            failed = self._failed(pending, outcome)
            if not failed or (self._config.dry_run and outcome.kind == "response"):
                return
            whole = outcome.kind != "response"
            splits = whole and self._config.bisect_batch_on_function_error and len(failed) > 1
            if retries_max is not None and attempts > retries_max and not splits:
                self._give_up(failed, "RetryAttemptsExhausted", attempts)
                return
            self.progress.retries += 1
            what = outcome.reason if whole else outcome.explanation or "a partial failure"
            text = f"{len(failed)} of {counted(len(pending), 'record')}"
            self._tell(f"{text} will be retried: {what}")
            alike[f"{text} {_DIGITS.sub('', what)}"] += 1
            if max(alike.values()) >= IDENTICAL_MAX and self._config.stops_when_stuck:
                self._refuse_to_go_on(failed)
            self._back_off(attempts)
            if splits:
                middle = len(failed) // 2
                self.settle(failed[:middle])
                self.settle(failed[middle:])
                return
            pending = failed

    def _refuse_to_go_on(self, records: Sequence[KafkaRecord]) -> None:
        """Raise StuckBatch where a batch would be retried without end."""
        if self._config.retries_max is None and self._config.maximum_record_age_s == -1:
            first = records[0]
            raise StuckBatch(
                f"The same records failed {IDENTICAL_MAX} times for the reason above, the first at "
                f"{first.group} offset {first.offset}."
            )

    def _back_off(self, attempt: int) -> None:
        self._sleep(min(_BACKOFF_MAX_S, 0.1 * 2 ** min(attempt, 6)) * random.random())

    def _still_sent(self, records: Sequence[KafkaRecord], attempts: int) -> list[KafkaRecord]:
        """Return the records that are sent; gives up those that are too old or too large."""
        sent = list(records)
        if (age_s := self._config.maximum_record_age_s) != -1:
            oldest_ms = (self._epoch().timestamp() - age_s) * 1000
            sent = [record for record in records if record.timestamp_ms >= oldest_ms]
            if old := [record for record in records if record.timestamp_ms < oldest_ms]:
                self._give_up(old, "RecordAgeExceeded", attempts)
        if len(sent) == 1 and len(encode(event_of(sent, self._source))) > PAYLOAD_LIMIT_BYTES:
            self._give_up(sent, "MaximumPayloadSizeExceeded", attempts)
            return []
        return sent

    def _attempt(self, records: Sequence[KafkaRecord]) -> InvocationOutcome:
        outcome = self._invoke(event_of(records, self._source))
        self.progress.invocations += 1
        counts = self.progress.outcomes
        counts[outcome.kind] = counts.get(outcome.kind, 0) + 1
        return outcome

    def _failed(
        self, records: Sequence[KafkaRecord], outcome: InvocationOutcome
    ) -> list[KafkaRecord]:
        """Return the records that AWS would deliver again after this outcome."""
        if outcome.kind != "response":
            return list(records)
        if not self._config.report_batch_item_failures:
            return []  # whatever returns is a success
        listed = failed_identifiers(outcome.payload)
        if listed is None:
            return list(records)
        by_place = {(record.group, record.offset): record for record in records}
        if not listed <= by_place.keys():
            return list(records)  # an unknown identifier fails the whole batch
        return [record for place, record in by_place.items() if place in listed]

    def _give_up(self, records: Sequence[KafkaRecord], condition: Condition, attempts: int) -> None:
        """Drop records, and keep them where they can be replayed from."""
        kept = "nowhere: there is no on-failure destination"
        if self._config.on_failure is not None:
            kept = self._config.on_failure.keep(
                records, self._source, condition, attempts, self._epoch()
            )
        self.progress.given_up += len(records)
        self._tell(f"{counted(len(records), 'record')} given up ({condition}) and kept {kept}")
