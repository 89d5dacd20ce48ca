"""AWS's shape of an event: what is read, and what is wrong with anything else.

An event comes as a dict of the runtime client, or as bytes that are decoded by type: both ways say
the same.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.errors import EventError
from handler.kafka.event import Batch, decode_event, decode_headers, parse_event
from handler.kafka.marshaller import Marshaller
from tests.builders import ARN, ROOT, SOURCE, event, record


class Client:
    """The runtime client's own marshaller, as far as an event goes."""

    marshal_response = None

    def unmarshal_request(self, request: bytes, _content_type: str) -> Any:
        return json.loads(request)


def both_ways(value: Any) -> Batch:
    """Parse an event as a dict and as bytes; both have the same result, or the same error."""
    results: list[Batch | str] = []
    typed = Marshaller(Client()).unmarshal_request(json.dumps(value).encode())
    for each in (value, typed):
        try:
            results.append(parse_event(each))
        except EventError as error:
            results.append(str(error))
    assert results[0] == results[1]
    if isinstance(results[0], str):
        raise EventError(results[0])
    return results[0]


def error_of(value: Any) -> str:
    """Return what is wrong with an event, both ways; nothing where nothing is."""
    try:
        both_ways(value)
    except EventError as error:
        return str(error)
    return ""


def test_streams_come_in_offset_order() -> None:
    batch = both_ways(event([record(2), record(0), record(1), record(5, partition=1)]))
    assert [(s.partition, s.offsets) for s in batch.streams] == [(0, [0, 1, 2]), (1, [5])]
    assert (batch.topic, batch.source, batch.delivered) == ("orders", SOURCE, 4)


def test_same_record_twice_counts_once() -> None:
    batch = both_ways(event([record(0, {"a": 1}), record(1), record(0, {"a": 1})]))
    assert batch.streams[0].offsets == [0, 1]
    assert batch.streams[0].repeats == 1
    assert batch.delivered == 3


def test_one_offset_with_two_contents_is_a_broken_event() -> None:
    with pytest.raises(EventError, match="offset 0 twice with different contents"):
        both_ways(event([record(0, {"a": 1}), record(0, {"a": 2})]))


def test_topic_with_dashes_and_digits_is_read_from_the_records() -> None:
    batch = both_ways(event([record(0, topic="a-1-2", partition=3)]))
    assert (batch.topic, batch.streams[0].partition) == ("a-1-2", 3)


def test_self_managed_source_is_a_digest_of_the_sorted_servers() -> None:
    def source(servers: str) -> str:
        value = event([record(0)]) | {
            "eventSource": "SelfManagedKafka",
            "bootstrapServers": servers,
        }
        del value["eventSourceArn"]
        return both_ways(value).source

    assert source("b:1,a:1") == source("a:1, b:1") != source("a:1")
    assert source("a:1").startswith("kafka-")


def test_schema_registry_metadata_is_let_through() -> None:
    item = record(0, {"a": 1}) | {"valueSchemaMetadata": {"dataFormat": "JSON", "schemaId": "1"}}
    assert both_ways(event([item])).delivered == 1


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
        (
            event([]) | {"records": {"orders-0": [record(0), record(1, topic="other")]}},
            r"records\[orders-0\]\[1\] is of other, partition 0, which does not match",
        ),
        (broken(timestampType=5), "timestampType is not text"),
        (broken(headers=[{"\ud800": None}]), "surrogates not allowed"),
        (event([record(0, partition=-1)]), "not a 32-bit number"),
        (
            {"eventSource": "aws:kafka", "records": event([record(0)])["records"]},
            "does not name a cluster",
        ),
    ],
)
def test_anything_else_is_an_error_that_says_where(value: Any, message: str) -> None:
    with pytest.raises(EventError, match=message):
        both_ways(value)


def test_arn_without_a_path_is_taken_whole() -> None:
    assert both_ways(event([record(0)], arn="arn:aws:kafka")).source == "arn:aws:kafka"
    assert both_ways(event([record(0)], arn=ARN)).source == SOURCE


def headers_of(item: dict[str, Any]) -> list[tuple[str, bytes | None]]:
    return decode_headers(both_ways(event([item])).streams[0].records[0])


def test_headers_keep_order_repeats_nulls_and_signed_bytes() -> None:
    headers = [{"a": [104, -61, -92]}, {"a": []}, {"b": None}, {"c": [255]}]
    item = record(0, headers=headers)
    assert headers_of(item) == [
        ("a", b"h\xc3\xa4"),
        ("a", b""),
        ("b", None),
        ("c", b"\xff"),
    ]
    assert headers_of(record(0) | {"headers": None}) == []


@pytest.mark.parametrize(
    "headers", [5, [5], [{"a": 5}], [{"a": [256]}], [{"a": [-129]}], [{"a": ["x"]}]]
)
def test_headers_of_another_shape_are_an_error_with_the_place(headers: Any) -> None:
    with pytest.raises(EventError, match="orders-0 offset 7: its headers"):
        both_ways(event([record(0), record(7) | {"headers": headers}]))


@pytest.mark.parametrize("name", ["key", "value"])
def test_bad_base64_is_an_error_with_the_place(name: str) -> None:
    with pytest.raises(EventError, match=f"orders-0 offset 7: its {name} is not valid base64"):
        both_ways(event([record(0), record(7) | {name: "%%"}]))


BASE64 = st.text("AQR/+=-_ \n", max_size=9) | st.binary(max_size=9).map(
    lambda data: base64.b64encode(data).decode()
)


def decode_strictly(text: str) -> bytes:
    """Decode base64. The standard library also takes padding after a complete group of four."""
    decoded = binascii.a2b_base64(text, strict_mode=True)
    if len(base64.b64encode(decoded)) != len(text):
        raise binascii.Error("excess padding")
    return decoded


@given(BASE64)
@example("AAAA=")
@example("AAAA====")
@example("AAA\ud800")
def test_base64_is_what_the_standard_library_decodes_strictly(text: str) -> None:
    item = record(0) | {"value": text}
    try:
        expected = decode_strictly(text)
    except ValueError:
        with pytest.raises(EventError, match="its value is not valid base64"):
            both_ways(event([item]))
    else:
        assert both_ways(event([item])).streams[0].records[0].value == expected


def test_tombstone_and_empty_value_differ() -> None:
    batch = both_ways(event([record(0), record(1, b"")]))
    assert [r.value for r in batch.streams[0].records] == [None, b""]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), 1 << 64)
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
FIELDS = ("topic", "partition", "offset", "timestamp", "timestampType", "key", "value", "headers")


@given(st.sampled_from(FIELDS), JSON)
def test_any_value_of_a_field_is_read_alike_both_ways(name: str, value: Any) -> None:
    whole = event([record(0), record(1)])
    whole["records"]["orders-0"][1][name] = value
    assert not (error := error_of(whole)) or "orders-0" in error


@given(JSON, st.sampled_from(["", "eventSource", "records", "orders-0"]))
def test_any_json_is_an_event_or_an_error_both_ways(value: Any, place: str) -> None:
    whole = event([record(0)])
    if place == "orders-0":
        whole["records"]["orders-0"] = value
    elif place:
        whole[place] = value
    else:
        whole = value
    assert "as AWS sends it:" not in error_of(whole), "what is wrong has a name"


@pytest.mark.parametrize("path", sorted((ROOT / "events").rglob("*.json")), ids=lambda p: p.name)
def test_saved_events_are_read_alike_both_ways(path: Path) -> None:
    value = json.loads(path.read_text())
    error = error_of(value)
    assert not error or "records" not in value


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"]
)
def test_bytes_that_are_no_event_are_not_decoded(body: bytes) -> None:
    assert decode_event(body) is None
