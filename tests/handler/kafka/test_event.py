"""AWS's shape of an event: what is read, and what is wrong with anything else."""

from typing import Any

import pytest

from handler.errors import EventError
from handler.kafka.event import decode_base64, decode_headers, parse_event
from tests.builders import ARN, SOURCE, event, record


def test_streams_come_in_offset_order() -> None:
    batch = parse_event(event([record(2), record(0), record(1), record(5, partition=1)]))
    assert [(s.partition, s.offsets) for s in batch.streams] == [(0, [0, 1, 2]), (1, [5])]
    assert (batch.topic, batch.source, batch.delivered) == ("orders", SOURCE, 4)


def test_same_record_twice_counts_once() -> None:
    batch = parse_event(event([record(0, {"a": 1}), record(1), record(0, {"a": 1})]))
    assert batch.streams[0].offsets == [0, 1]
    assert batch.streams[0].repeats == 1
    assert batch.delivered == 3


def test_one_offset_with_two_contents_is_a_broken_event() -> None:
    with pytest.raises(EventError, match="offset 0 twice with different contents"):
        parse_event(event([record(0, {"a": 1}), record(0, {"a": 2})]))


def test_topic_with_dashes_and_digits_is_read_from_the_records() -> None:
    batch = parse_event(event([record(0, topic="a-1-2", partition=3)]))
    assert (batch.topic, batch.streams[0].partition) == ("a-1-2", 3)


def test_self_managed_source_is_a_digest_of_the_sorted_servers() -> None:
    def source(servers: str) -> str:
        value = event([record(0)]) | {
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": servers,
        }
        del value["eventSourceArn"]
        return parse_event(value).source

    assert source("b:1,a:1") == source("a:1, b:1") != source("a:1")
    assert source("a:1").startswith("kafka-")


def test_schema_registry_metadata_is_let_through() -> None:
    item = record(0, {"a": 1}) | {"valueSchemaMetadata": {"dataFormat": "JSON", "schemaId": "1"}}
    assert parse_event(event([item])).delivered == 1


def broken(**changes: Any) -> dict[str, Any]:
    return event([record(0) | changes])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ({}, "eventSource is None"),
        ({"Records": [{"eventSource": "aws:sqs"}]}, "eventSource is None"),
        ({"eventSource": "aws:kinesis"}, "aws:kinesis"),
        ({"eventSource": "aws:kafka"}, "records must be an object"),
        (event([]), "contains no records"),
        (event([]) | {"records": {"orders-0": []}}, "contains no records"),
        (event([]) | {"records": {"orders-0": None}}, "is not a list"),
        (event([]) | {"records": {"orders-0": [None]}}, r"\[0\] is not an object"),
        (event([]) | {"records": {"orders-0": [{}]}}, "topic is missing"),
        (event([record(0), record(0, topic="other")]), "2 topics"),
        (event([]) | {"records": {"orders-1": [record(0)]}}, "does not match its key"),
        (broken(offset="0"), "offset is missing or not an integer"),
        (broken(offset=True), "offset is missing or not an integer"),
        (broken(offset=-1), "not a 64-bit offset"),
        (broken(offset=2**63), "not a 64-bit offset"),
        (broken(timestamp=None), "timestamp is missing or not an integer"),
        (broken(value=5), "neither base64 text nor null"),
        (broken(key=[]), "neither base64 text nor null"),
        (event([record(0, partition=2**31)]), "not a 32-bit number"),
        (event([record(0, partition=-1)]), "not a 32-bit number"),
        (
            {"eventSource": "aws:kafka", "records": event([record(0)])["records"]},
            "does not name a cluster",
        ),
    ],
)
def test_anything_else_is_an_error_that_says_where(value: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        parse_event(value)


def test_arn_without_a_path_is_taken_whole() -> None:
    assert parse_event(event([record(0)], arn="arn:aws:kafka")).source == "arn:aws:kafka"
    assert parse_event(event([record(0)], arn=ARN)).source == SOURCE


def test_headers_keep_order_repeats_nulls_and_signed_bytes() -> None:
    headers = [{"a": [104, -61, -92]}, {"a": []}, {"b": None}, {"c": [255]}]
    item = record(0, headers=headers)
    assert decode_headers(item) == [
        ("a", b"h\xc3\xa4"),
        ("a", b""),
        ("b", None),
        ("c", b"\xff"),
    ]
    assert decode_headers(record(0) | {"headers": None}) == []


@pytest.mark.parametrize(
    "headers", [5, [5], [{"a": 5}], [{"a": [256]}], [{"a": [-129]}], [{"a": ["x"]}]]
)
def test_headers_of_another_shape_are_an_error_with_the_place(headers: Any) -> None:
    with pytest.raises(EventError, match="orders-0 offset 7: its headers"):
        decode_headers(record(7) | {"headers": headers})


def test_bad_base64_is_an_error_with_the_place() -> None:
    with pytest.raises(EventError, match="orders-0 offset 7: its value is no base64"):
        decode_base64(record(7) | {"value": "%%"}, "value")
    assert decode_base64(record(7), "value") is None
    assert decode_base64(record(7, b""), "value") == b""
