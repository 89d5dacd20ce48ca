"""The local event source mapping: batches, limits, retries, partial failures as AWS does them."""

import json
from pathlib import Path
from typing import Any

import pytest

from handler.event import decode_headers, parse_event
from silt.mapping import (
    PAYLOAD_LIMIT_BYTES,
    KafkaRecord,
    MappingConfig,
    Poller,
    event_of,
    failed_identifiers,
)
from silt.runtime import Outcome

SOURCE = {"eventSource": "SelfManagedKafka", "bootstrapServers": "b:1"}
GOOD = Outcome("response", {"batchItemFailures": []})


def kafka(offset: int, partition: int = 0, value: bytes | None = b"v") -> KafkaRecord:
    return KafkaRecord("t", partition, offset, 1000 + offset, "CREATE_TIME", None, value)


class Feed:
    """Records in memory; time passes only while nothing comes."""

    def __init__(self, records: list[KafkaRecord]) -> None:
        self.records = list(records)
        self.committed: dict[int, int] = {}
        self.now = 0.0

    def poll(self, timeout_s: float) -> KafkaRecord | None:
        if self.records:
            return self.records.pop(0)
        self.now += timeout_s
        return None

    def commit(self, partition: int, offset: int) -> None:
        self.committed[partition] = offset


def poller(
    records: list[KafkaRecord], answers: list[Outcome], **settings: Any
) -> tuple[Poller, Feed, list[list[int]]]:
    feed, seen = Feed(records), list[list[int]]()

    def invoke(event: Any) -> Outcome:
        batch = parse_event(json.loads(json.dumps(event)))
        seen.append([offset for stream in batch.streams for offset in stream.offsets])
        return answers.pop(0) if answers else GOOD

    made = Poller(
        MappingConfig(**settings),
        feed,
        invoke,
        SOURCE,
        sleep=lambda _s: None,
        now=lambda: feed.now,
    )
    return made, feed, seen


def partial(*offsets: int) -> Outcome:
    items = [{"itemIdentifier": {"partition": "t-0", "offset": o}} for o in offsets]
    return Outcome("response", {"batchItemFailures": items})


def test_batches_end_at_their_size_and_offsets_are_committed_after_success() -> None:
    made, feed, seen = poller([kafka(i) for i in range(5)], [], batch_size=2)
    assert made.run_once()
    assert (seen, feed.committed) == ([[0, 1]], {0: 2})
    while made.run_once():
        pass
    assert (seen, feed.committed) == ([[0, 1], [2, 3], [4]], {0: 5})


def test_window_ends_a_batch_that_is_not_full() -> None:
    made, feed, seen = poller([kafka(0)], [], batch_size=10, maximum_batching_window_s=3)
    made.run_once()
    assert (seen, feed.now) == ([[0]], 3)
    assert not made.run_once()


def test_event_never_exceeds_six_megabytes_and_a_large_record_goes_alone() -> None:
    big = b"x" * 2_000_000
    records = [kafka(0, value=big), kafka(1, value=big), kafka(2, value=big), kafka(3)]
    made, _, seen = poller(records, [], batch_size=100)
    while made.run_once():
        pass
    assert seen == [[0, 1], [2, 3]]
    event = event_of(records[:2], SOURCE)
    assert (
        len(json.dumps(event))
        < PAYLOAD_LIMIT_BYTES
        < len(json.dumps(event_of(records[:3], SOURCE)))
    )


def test_partitions_come_together_each_in_order() -> None:
    made, feed, seen = poller([kafka(0), kafka(7, 1), kafka(1)], [])
    made.run_once()
    assert seen == [[0, 1, 7]]
    assert feed.committed == {0: 2, 1: 8}


def test_partial_failure_brings_back_the_listed_records_only() -> None:
    made, feed, seen = poller([kafka(i) for i in range(4)], [partial(1, 3), partial(3)])
    made.run_once()
    assert seen == [[0, 1, 2, 3], [1, 3], [3]]
    assert feed.committed == {0: 4}


@pytest.mark.parametrize("kind", ["error", "timeout", "crash"])
def test_failed_invocation_brings_the_whole_batch_back(kind: Any) -> None:
    made, _, seen = poller([kafka(0), kafka(1)], [Outcome(kind, "no")])
    made.run_once()
    assert seen == [[0, 1], [0, 1]]
    assert made.progress.retries == 1


def test_unknown_or_malformed_identifier_fails_the_whole_batch() -> None:
    malformed = Outcome("response", {"batchItemFailures": [{"itemIdentifier": "x"}]})
    made, _, seen = poller([kafka(0), kafka(1)], [partial(9), malformed])
    made.run_once()
    assert seen == [[0, 1]] * 3


@pytest.mark.parametrize(
    "payload", [None, {}, {"batchItemFailures": []}, {"batchItemFailures": None}]
)
def test_empty_answers_are_a_success(payload: Any) -> None:
    assert failed_identifiers(payload) == set()


def test_without_reporting_whatever_returns_is_a_success() -> None:
    made, feed, seen = poller([kafka(0)], [partial(0)], report_batch_item_failures=False)
    made.run_once()
    assert (seen, feed.committed) == ([[0]], {0: 1})


def test_batch_is_given_up_after_its_last_attempt_and_kept_for_replay(tmp_path: Path) -> None:
    from silt.saved import read_events

    made, feed, seen = poller(
        [kafka(0), kafka(1)], [partial(1)] * 3, maximum_retry_attempts=2, on_failure=tmp_path
    )
    made.run_once()
    assert seen == [[0, 1], [1], [1]]
    assert feed.committed == {0: 2}
    assert made.progress.given_up == 1
    (saved,) = tmp_path.iterdir()
    ((_, event),) = read_events(saved)
    assert parse_event(event).streams[0].offsets == [1]


def test_bisect_halves_a_batch_on_an_error() -> None:
    error = Outcome("error", "no")
    settings = {"bisect_batch_on_function_error": True}
    made, _, seen = poller([kafka(i) for i in range(4)], [error, error], **settings)
    made.run_once()
    assert seen == [[0, 1, 2, 3], [0, 1], [0], [1], [2, 3]]


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 0},
        {"batch_size": 10_001},
        {"maximum_batching_window_s": 301},
        {"maximum_retry_attempts": -2},
    ],
)
def test_settings_beyond_the_bounds_of_aws_are_refused(settings: Any) -> None:
    with pytest.raises(ValueError, match="is from"):
        MappingConfig(**settings)


def test_record_has_the_shape_of_aws() -> None:
    record = KafkaRecord("t", 0, 1, 2, "CREATE_TIME", b"k", None, [("h", b"\x00\xff"), ("h", None)])
    shaped = record.to_event()
    assert shaped["headers"] == [{"h": [0, -1]}, {"h": None}]
    assert (shaped["key"], shaped["value"]) == ("aw==", None)
    assert decode_headers(shaped) == [("h", b"\x00\xff"), ("h", None)]
