"""silt capture: records of a topic as an event file, masked on request."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from handler.kafka.event import parse_event
from silt.cli import main
from silt.local.broker import EmbeddedBroker
from silt.mask import mask
from tests.builders import ROOT, SMALL
from tests.silt.topics import Topic


@pytest.fixture(scope="module")
def cluster() -> EmbeddedBroker:
    return EmbeddedBroker()


@pytest.fixture
def topic(cluster: EmbeddedBroker, tmp_path: Path) -> Topic:
    return Topic(cluster, tmp_path)


def capture(topic: Topic, *more: str) -> int:
    return main(["capture", "--topic", topic.name, "--bootstrap-servers", topic.servers, *more])


def places(event: dict[str, Any]) -> list[tuple[int, int]]:
    return [(r["partition"], r["offset"]) for group in event["records"].values() for r in group]


def test_captured_records_are_an_event_that_replays(topic: Topic, tmp_path: Path) -> None:
    values: list[Any] = [{"id": 1, "name": "é"}, None, b"\xff", {"id": 4}]
    topic.send(*values, key=b"\x00k", headers=[("h", b"\xff\x01"), ("h", None)])
    file = tmp_path / "made" / "sample.json"
    assert capture(topic, "-o", str(file)) == 0
    event = json.loads(file.read_text())
    golden = json.loads((ROOT / "events/golden/self-managed.json").read_text())
    assert event.keys() == golden.keys()
    (records,) = event["records"].values()
    assert records[0].keys() == next(iter(golden["records"].values()))[0].keys()
    assert parse_event(event, None).topic == topic.name
    assert records[0]["headers"] == [{"h": [-1, 1]}, {"h": None}]
    assert [r["value"] and base64.b64decode(r["value"]) for r in records[1:3]] == [None, b"\xff"]
    assert topic.run("replay", str(file), broker=False) == 0
    assert topic.ids() == [1, 4]


def test_few_records_are_taken_of_all_partitions_alike(topic: Topic, capsys: Any) -> None:
    for partition in (0, 1, 3):
        topic.send(*({"id": i} for i in range(2 if partition == 0 else 20)), partition=partition)
    assert capture(topic, "--count", "9") == 0
    taken = places(json.loads(capsys.readouterr().out))
    assert taken == [
        *((0, i) for i in range(2)),
        *((1, i) for i in range(4)),
        *((3, i) for i in range(3)),
    ]
    assert capture(topic, "--partition", "1", "--from", "5", "--to", "18") == 0
    assert places(json.loads(capsys.readouterr().out)) == [(1, i) for i in range(5, 19)]
    assert capture(topic) == 0
    assert len(places(json.loads(capsys.readouterr().out))) == 10


def test_event_of_msk_names_its_cluster(topic: Topic, capsys: Any) -> None:
    topic.send({"id": 1})
    arn = "arn:aws:kafka:eu-west-1:123456789012:cluster/demo/1234-5"
    assert capture(topic, "--arn", arn) == 0
    event = json.loads(capsys.readouterr().out)
    golden = json.loads((ROOT / "events/golden/msk.json").read_text())
    assert event.keys() == golden.keys()
    assert (event["eventSource"], event["eventSourceArn"]) == ("aws:kafka", arn)


def test_failed_batch_of_a_destination_is_captured(tmp_path: Path, capsys: Any) -> None:
    assert main(["capture", str(ROOT / "events/golden/on-failure-s3.json")]) == 0
    event = json.loads(capsys.readouterr().out)
    failure = json.loads((ROOT / "events/golden/on-failure-s3.json").read_text())
    assert event == json.loads(failure["payload"])


def test_what_cannot_be_captured_is_refused(topic: Topic, tmp_path: Path, capsys: Any) -> None:
    topic.send({"id": 1})
    file = tmp_path / "there.json"
    file.write_text("mine")
    assert capture(topic, "-o", str(file)) == 2
    assert file.read_text() == "mine"
    assert capture(topic, "--count", "0") == 2
    assert main(["capture"]) == 2
    assert main(["capture", "--topic", topic.name]) == 2
    assert main(["capture", "a.json", "--topic", topic.name]) == 2
    assert main(["capture", "a.json", "--count", "3"]) == 2
    beyond = ["--partition", "0", "--from", "200", "--to", "300"]
    capsys.readouterr()
    assert capture(topic, *beyond) == 1
    assert "no such record" in capsys.readouterr().err
    capsys.readouterr()
    new = tmp_path / "new.json"
    for wrong in (["--partition", "9"], ["--from", "x"], ["--from", "9" * 5000]):
        assert capture(topic, "-o", str(new), *wrong) == 2
    assert main(["capture", str(tmp_path / "missing.json"), "-o", str(new)]) == 2
    assert capture(topic, "-o", str(file / "below" / "a.json")) == 2
    assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []
    capsys.readouterr()
    assert capture(topic, "--from", "2099-01-01", "-o", str(new)) == 1
    assert "no such record" in capsys.readouterr().err
    assert not new.exists()


MASKED = [
    (b'{"id": 12, "name": "Ada L."}', b'{"id": 11, "name": "Aaa A."}'),
    (b'{"at": "2026-05-01T10:00:00.5Z"}', b'{"at": "1111-11-11T11:11:11.1Z"}'),
    (b'{"d":"2026-05-01","n":-0.50,"e":1.5e300}', b'{"d":"1111-11-11","n":-1.11,"e":1.1e300}'),
    (b'{"a": [true, null, "x\\"y\\u00e9\\n"]}', b'{"a": [true, null, "a\\"aa\\n"]}'),
    ('{"k": "né", "k": "東"}'.encode(), b'{"k": "aa", "k": "a"}'),
    (b'{"u": "9F3c-77"}', b'{"u": "1A1a-11"}'),
    (b'{"a": {"b": "c"}, "d" : "e"', b'{"a": {"a": "a"}, "a" : "a"'),
    (b"{'name': 'Alice'}", b"{'aaaa': 'Aaaaa'}"),
    (b'{"name": "Alice Smith', b'{"aaaa": "Aaaaa Aaaaa'),
    (b"[Alice, Bob]", b"[Aaaaa, Aaa]"),
    (rb"login C:\Users\Zoe", rb"aaaaa A:\Aaaaa\Aaa"),
    ("½ \u093e é".encode(), b"a a a"),
    (b'"secret"', b'"aaaaaa"'),
    (b"customer-17", b"aaaaaaaa-11"),
    (b"17", b"11"),
    (b"\xff\x00\x17", b"\x00\x00\x00"),
    (b"", b""),
]


@pytest.mark.parametrize(("data", "masked"), MASKED)
def test_mask_keeps_the_form_and_no_value(data: bytes, masked: bytes) -> None:
    assert mask(data) == masked


def test_masked_records_are_valid_as_before(topic: Topic, tmp_path: Path) -> None:
    topic.write_contract(SMALL + "  at: {type: timestamp}\n  day: {type: date}\n")
    sent = {"id": 17, "name": "Ada", "at": "2026-05-01T10:00:00Z", "day": "2026-05-01"}
    topic.send(sent, key=b"secret-9", headers=[("trace", b"secret-9")])
    file = tmp_path / "masked.json"
    assert capture(topic, "--mask", "-o", str(file)) == 0
    (records,) = json.loads(file.read_text())["records"].values()
    text = base64.b64decode(records[0]["value"]) + base64.b64decode(records[0]["key"])
    text += bytes(records[0]["headers"][0]["trace"])
    for secret in (b"17", b"Ada", b"2026", b"secret"):
        assert secret not in text
    assert topic.run("replay", str(file), broker=False) == 0
    assert topic.ids() == [11]
