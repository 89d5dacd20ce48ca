"""The local event source mapping: batches, limits, retries, partial failures as AWS does them."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from handler.errors import SiltError
from handler.kafka.event import EventRecord, decode_headers, parse_event
from silt.local.destinations import Destination
from silt.local.events import (
    PAYLOAD_LIMIT_BYTES,
    EventSize,
    KafkaRecord,
    encode,
    event_of,
    failed_identifiers,
)
from silt.local.mapping import MappingConfig, Poller
from silt.local.runtime_api import InvocationOutcome
from silt.replay.saved import read_events, saved_file
from tests.builders import ROOT

SOURCE = {"eventSource": "SelfManagedKafka", "bootstrapServers": "b:1"}
GOOD = InvocationOutcome("response", {"batchItemFailures": []})


NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
NOW_MS = round(NOW.timestamp() * 1000)


def kafka(
    offset: int, partition: int = 0, value: bytes | None = b"v", age_s: int = 0
) -> KafkaRecord:
    made_ms = NOW_MS - 1000 * age_s
    return KafkaRecord("t", partition, offset, made_ms, "CREATE_TIME", None, value)


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
    records: list[KafkaRecord], answers: list[InvocationOutcome], **settings: Any
) -> tuple[Poller, Feed, list[list[int]]]:
    feed, seen = Feed(records), list[list[int]]()

    def invoke(event: Any) -> InvocationOutcome:
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
        epoch=lambda: NOW + dt.timedelta(seconds=feed.now),
    )
    return made, feed, seen


def partial(*offsets: int) -> InvocationOutcome:
    items = [{"itemIdentifier": {"partition": "t-0", "offset": o}} for o in offsets]
    return InvocationOutcome("response", {"batchItemFailures": items})


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
    assert len(encode(event_of(records[:2], SOURCE))) < PAYLOAD_LIMIT_BYTES
    assert len(encode(event_of(records[:3], SOURCE))) > PAYLOAD_LIMIT_BYTES


def test_size_of_an_event_is_that_of_its_bytes() -> None:
    records = [kafka(0), kafka(1), kafka(7, 12), kafka(2, value=None), kafka(8, 12, b"x" * 99)]
    size = EventSize(SOURCE)
    for i, record in enumerate(records, 1):
        size.add(record, len(encode(record.to_event())))
        assert size.bytes == len(encode(event_of(records[:i], SOURCE)))


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_event_may_fill_six_megabytes_to_the_byte(more: int) -> None:
    """The second record is made so long that both have the limit's bytes, one less or one more."""
    first, empty = kafka(0, value=b"x" * 3_000_000), kafka(1, value=b"")
    room = PAYLOAD_LIMIT_BYTES - len(encode(event_of([first, empty], SOURCE))) + more
    # Base64 grows by four bytes at a time: a header makes up the rest, by the length of its name.
    value, rest = b"x" * (3 * ((room - 20) // 4)), (room - 20) % 4 + 20
    name = "h" * (rest - len('{"":null}'))
    second = KafkaRecord("t", 0, 1, NOW_MS, "CREATE_TIME", None, value, [(name, None)])
    assert len(encode(event_of([first, second], SOURCE))) == PAYLOAD_LIMIT_BYTES + more
    made, _, seen = poller([first, second], [])
    made.run_once()
    assert seen == ([[0, 1]] if more <= 0 else [[0]])


def test_record_beyond_six_megabytes_is_given_up_and_never_sent(tmp_path: Path) -> None:
    huge = kafka(1, value=b"x" * 5_000_000)
    made, feed, seen = poller(
        [kafka(0), huge, kafka(2)], [], batch_size=1, on_failure=Destination(str(tmp_path))
    )
    while made.run_once():
        pass
    assert (seen, feed.committed, made.progress.given_up) == ([[0], [2]], {0: 3}, 1)
    (saved,) = tmp_path.iterdir()
    document = json.loads(saved.read_text())
    assert document["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"
    assert document["responseContext"] is None


def test_bisecting_uses_up_no_retry() -> None:
    error = InvocationOutcome("error", "no")
    made, _, seen = poller(
        [kafka(i) for i in range(2)],
        [error, GOOD, error],
        bisect_batch_on_function_error=True,
        maximum_retry_attempts=0,
    )
    made.run_once()
    assert (seen, made.progress.given_up, made.progress.records) == ([[0, 1], [0], [1]], 1, 1)


@pytest.mark.parametrize("items", ["", {}, False, "x", {"a": 1}])
def test_invalid_list_of_failures_fails_the_batch(items: Any) -> None:
    assert failed_identifiers({"batchItemFailures": items}) is None


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
    made, _, seen = poller([kafka(0), kafka(1)], [InvocationOutcome(kind, "no")])
    made.run_once()
    assert seen == [[0, 1], [0, 1]]
    assert made.progress.retries == 1


def test_unknown_or_malformed_identifier_fails_the_whole_batch() -> None:
    malformed = InvocationOutcome("response", {"batchItemFailures": [{"itemIdentifier": "x"}]})
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
    made, feed, seen = poller(
        [kafka(0), kafka(1)],
        [partial(1)] * 3,
        maximum_retry_attempts=2,
        on_failure=Destination(str(tmp_path)),
    )
    made.run_once()
    assert seen == [[0, 1], [1], [1]]
    assert feed.committed == {0: 2}
    assert made.progress.given_up == 1
    (saved,) = tmp_path.iterdir()
    ((_, event),) = read_events(saved_file(saved))
    assert parse_event(event).streams[0].offsets == [1]


def test_document_of_a_given_up_batch_has_the_shape_of_aws(tmp_path: Path) -> None:
    """The same names, at every level, as in the golden document."""
    golden = json.loads((ROOT / "events/golden/on-failure-s3.json").read_text())
    del golden["KafkaBatchInfo"]["eventSourceArn"]  # a self-managed cluster has none
    golden["KafkaBatchInfo"]["recordInfo"]["t-0"] = golden["KafkaBatchInfo"]["recordInfo"].pop(
        "orders-0"
    )
    error = InvocationOutcome("error", "no")
    for shape in ("s3", "sqs"):
        folder = tmp_path / shape
        made, _, _ = poller(
            [kafka(3), kafka(4)],
            [error] * 2,
            maximum_retry_attempts=1,
            on_failure=Destination(str(folder), shape),
        )
        made.run_once()
        (saved,) = folder.iterdir()
        document = json.loads(saved.read_text())
        assert names_of(document) == names_of(golden) - ({"payload"} if shape == "sqs" else set())
        info = document["KafkaBatchInfo"]["recordInfo"]["t-0"]
        assert (info["firstRecordOffset"], info["lastRecordOffset"]) == (3, 4)
        assert info["lastRecordTimestamp"] == "2026-05-01T00:00:00.000Z"
        assert document["requestContext"]["approximateInvokeCount"] == 2


def names_of(document: dict[str, Any], before: str = "") -> set[str]:
    names = {before + name for name in document}
    for name, value in document.items():
        names |= names_of(value, f"{before}{name}.") if isinstance(value, dict) else set()
    return names


def test_endless_retries_are_ten_beside_a_destination(tmp_path: Path) -> None:
    error = InvocationOutcome("error", "no")
    made, _, seen = poller([kafka(0)], [error] * 50, on_failure=Destination(str(tmp_path)))
    made.run_once()
    assert len(seen) == 11
    made, _, seen = poller([kafka(0)], [error] * 50)
    made.run_once()
    assert len(seen) == 51


def test_records_that_grew_too_old_are_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    records = [kafka(0, age_s=90), kafka(1, age_s=61), kafka(2, age_s=59), kafka(3)]
    made, feed, seen = poller(
        records, [], maximum_record_age_s=60, on_failure=Destination(str(tmp_path))
    )
    feed.now = 0.0
    made._now = lambda: 0.0  # the window costs no time here
    made.run_once()
    assert (seen, feed.committed, made.progress.given_up) == ([[2, 3]], {0: 4}, 2)
    (saved,) = tmp_path.iterdir()
    assert json.loads(saved.read_text())["requestContext"] | {"requestId": ""} == {
        "requestId": "",
        "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:silt-local",
        "condition": "RecordAgeExceeded",
        "approximateInvokeCount": 0,
    }


def test_throttled_invocation_is_tried_again_and_uses_up_no_retry() -> None:
    throttle, error = InvocationOutcome("throttle", "no"), InvocationOutcome("error", "no")
    made, _, seen = poller(
        [kafka(0)], [throttle, throttle, error, throttle, GOOD], maximum_retry_attempts=1
    )
    made.run_once()
    assert (len(seen), made.progress.given_up) == (5, 0)
    assert made.progress.outcomes == {"throttle": 3, "error": 1, "response": 1}


@pytest.mark.parametrize("scheme", ["folder", "bucket"])
def test_destination_that_cannot_be_written_ends_the_mapping_before_the_offset_moves(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "x") if scheme == "folder" else "s3://bucket/x"
    made, feed, _ = poller(
        [kafka(0)], [partial(0)], maximum_retry_attempts=0, on_failure=Destination(place)
    )
    with pytest.raises(SiltError, match="cannot be written"):
        made.run_once()
    assert feed.committed == {}


def test_bisect_halves_a_batch_on_an_error() -> None:
    error = InvocationOutcome("error", "no")
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
        {"maximum_record_age_s": 59},
        {"maximum_record_age_s": 604_801},
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
    assert decode_headers(msgspec.convert(shaped, EventRecord)) == [("h", b"\x00\xff"), ("h", None)]
