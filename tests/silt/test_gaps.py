"""silt gaps and silt replay from a topic: what a table lacks, why, and how it comes back."""

import json
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from silt.cli import main
from silt.local.broker import EmbeddedBroker
from tests.builders import SMALL
from tests.silt.topics import Topic


@pytest.fixture(scope="module")
def cluster() -> EmbeddedBroker:
    return EmbeddedBroker()


@pytest.fixture
def topic(cluster: EmbeddedBroker, tmp_path: Path) -> Topic:
    """Twenty records: a tombstone at 4, a record that the contract rejects at 7."""
    made = Topic(cluster, tmp_path)
    values: list[Any] = [{"id": i} for i in range(20)]
    values[4], values[7] = None, {"id": "x"}
    made.send(*values)
    return made


def gaps_of(topic: Topic, capsys: Any, *more: str, code: int, broker: bool = True) -> Any:
    capsys.readouterr()
    assert topic.run("gaps", "sales/orders", "--json", *more, broker=broker) == code
    return json.loads(capsys.readouterr().out)


def test_table_without_gaps_says_so(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 19)
    assert topic.run("gaps", "sales/orders") == 0
    assert "sales/orders has no gaps" in capsys.readouterr().out


def test_batches_that_were_given_up_are_missing_and_come_back(topic: Topic, capsys: Any) -> None:
    """A batch of a tombstone alone makes no commit: the broker and the contract explain it."""
    topic.ingest(0, 3)
    topic.ingest(10, 12)
    topic.ingest(15, 19)
    (first, *_) = gaps_of(topic, capsys, code=1)
    assert first["counts"] == {"missing": 7, "dropped by on_tombstone: skip": 1}
    assert [(r["first"], r["last"], r["cause"][:7]) for r in first["ranges"]] == [
        (4, 4, "dropped"),
        (5, 9, "missing"),
        (13, 14, "missing"),
    ]
    assert topic.run("replay", "--gaps", "sales/orders", "--dry-run") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "7 records: dry run" in text
    assert "6 would be appended, 1 would be rejected" in text
    assert len(topic.ids()) == 12
    assert topic.run("replay", "--gaps", "sales/orders") == 0
    assert topic.ids() == [i for i in range(20) if i not in (4, 7)]
    (first, *_) = gaps_of(topic, capsys, code=0)
    assert first["counts"] == {"dropped by on_tombstone: skip": 1}
    # Again there is nothing to bring back.
    assert topic.run("replay", "--gaps", "sales/orders") == 0
    assert len(topic.ids()) == 18


def test_without_a_broker_nothing_is_proven(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 3)
    topic.ingest(10, 19)
    (first,) = gaps_of(topic, capsys, code=1, broker=False)
    assert first["counts"] == {"unproven": 6}
    assert topic.run("audit", "sales/orders", broker=False) == 1
    assert topic.run("audit", "sales/orders", "--allow-gaps", broker=False) == 0
    assert topic.run("audit", "sales/orders") == 1


def test_audit_judges_what_no_commit_covers_by_the_contract(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 3)
    topic.ingest(5, 19)
    assert topic.run("audit", "sales/orders") == 0
    capsys.readouterr()
    topic.write_contract(SMALL + "on_tombstone: dead_letter\n")
    assert topic.run("audit", "sales/orders") == 1
    assert "lost: partition 0: 1 record is on the broker" in capsys.readouterr().err


def test_what_the_broker_never_had_is_no_longer_there(topic: Topic, capsys: Any) -> None:
    """The topic was made anew with fewer records."""
    topic.ingest(0, 3)
    from tests.builders import event, record

    far = [record(offset, {"id": offset}, topic=topic.name) for offset in (30, 31)]
    saved = topic.folder / "far.json"
    saved.write_text(json.dumps(event(far)))
    assert topic.run("replay", str(saved), "--source", "mine", broker=False) == 0
    (first, *_) = gaps_of(topic, capsys, code=1)
    assert first["counts"]["no longer on the broker"] == 10
    assert topic.run("replay", "--gaps", "sales/orders") == 0
    assert "10 offsets that the table lacks are no longer" in " ".join(
        capsys.readouterr().err.split()
    )
    assert topic.ids() == [*(i for i in range(20) if i not in (4, 7)), 30, 31]


@pytest.mark.parametrize("redelivered", ["look_up", "skip"])
def test_range_of_a_topic_is_replayed_whatever_the_watermark_says(
    topic: Topic, redelivered: str, capsys: Any
) -> None:
    """`redelivered: skip` trusts the watermark for what AWS sends; a person knows better."""
    topic.write_contract(SMALL + f"redelivered: {redelivered}\n")
    topic.ingest(0, 3)
    topic.ingest(15, 19)
    of = ["--topic", topic.name, "--partition", "0"]
    assert topic.run("replay", *of, "--from", "8", "--to", "10") == 0
    assert topic.ids() == [0, 1, 2, 3, 8, 9, 10, 15, 16, 17, 18, 19]
    assert topic.run("replay", *of) == 0
    assert topic.ids() == [i for i in range(20) if i not in (4, 7)]
    table = DeltaTable(topic.uri)
    assert table.transaction_version(f"mine/{topic.name}/0") == 19


def test_range_by_time(cluster: EmbeddedBroker, tmp_path: Path) -> None:
    topic = Topic(cluster, tmp_path)
    for minute in range(10):
        at = 1_795_000_000_000 + minute * 60_000  # 2026-11-18T11:06:40Z
        topic.send({"id": minute}, partition=minute % 2, timestamp=at)
    begin, end = "2026-11-18T11:08:40Z", "2026-11-18T11:11:40Z"
    of = ["--topic", topic.name, "--source", "mine"]
    assert topic.run("replay", *of, "--from", begin, "--to", end) == 0
    assert topic.ids() == [2, 3, 4, 5]


def test_metadata_of_queues_is_fetched_from_the_broker(topic: Topic, capsys: Any) -> None:
    """As SQS keeps it, as `aws sqs receive-message` prints it, and as SNS wraps it."""
    topic.ingest(0, 2)

    def metadata(first: int, last: int) -> str:
        records = {"firstRecordOffset": first, "lastRecordOffset": last}
        info = {
            "bootstrapServers": topic.servers,
            "recordInfo": {f"{topic.name}-0": records},
        }
        return json.dumps({"version": "1.0", "KafkaBatchInfo": info})

    message = {"MessageId": "1", "Body": metadata(6, 8)}
    notice = {"Type": "Notification", "Message": metadata(9, 10)}
    folder = topic.folder / "given-up"
    folder.mkdir()
    (folder / "a").write_text(metadata(3, 5))
    (folder / "b").write_text(json.dumps({"Messages": [message, {"Body": json.dumps(notice)}]}))
    given = [str(folder), "--source", "mine"]
    assert topic.run("replay", *given, broker=False) == 2
    assert "Use --bootstrap-servers" in capsys.readouterr().err
    assert topic.ids() == [0, 1, 2]
    assert topic.run("replay", *given) == 0
    assert topic.ids() == [0, 1, 2, 3, 5, 6, 8, 9, 10]
    saved = topic.folder / "saved.json"
    assert (
        main(["capture", str(folder), "--bootstrap-servers", topic.servers, "-o", str(saved)]) == 0
    )
    lines = saved.read_text().splitlines()
    assert [len(json.loads(line)["records"][f"{topic.name}-0"]) for line in lines] == [3, 3, 2]
    (folder / "c").write_text(metadata(18, 25))
    assert topic.run("replay", *given) == 1
    assert f"{topic.name}-0 offsets 20-25: not on the broker" in capsys.readouterr().err
    assert topic.ids()[-2:] == [18, 19]


WRONG = [
    ([], "Expected one of"),
    (["--topic", "T", "--gaps", "sales/orders"], "Expected one of"),
    (["a.json", "--topic", "T"], "Expected one of"),
    (["a.json", "--from", "3"], "--from chooses records of a topic"),
    (["--topic", "unknown"], "There is no contract for the topic 'unknown'"),
    (["--topic", "T", "--partition", "9"], "has no partition 9"),
    (["--topic", "T", "--from", "3"], "is an offset, and"),
    (["--topic", "T", "--partition", "0", "--from", "9", "--to", "3"], "is before --from 9"),
    (["--topic", "T", "--from", "yesterday"], "--from is 'yesterday'. Expected a time"),
    (["--topic", "T", "--partition", "0", "--from", "9" * 30], "Kafka has no such offset"),
    (["--gaps", "sales/unknown"], "has the table 'sales/unknown'"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_ranges_are_refused(
    topic: Topic, arguments: list[str], message: str, capsys: Any
) -> None:
    assert topic.run("replay", *(topic.name if a == "T" else a for a in arguments)) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert topic.ids() == []


def test_topic_and_gaps_need_a_broker(topic: Topic, capsys: Any) -> None:
    assert topic.run("replay", "--topic", topic.name, broker=False) == 2
    assert topic.run("replay", "--gaps", "sales/orders", broker=False) == 2
    assert capsys.readouterr().err.count("needs a broker: --bootstrap-servers") == 2


def test_offsets_that_the_topic_does_not_have_yet_are_named(topic: Topic, capsys: Any) -> None:
    of = ["--topic", topic.name, "--partition", "0", "--from", "18", "--to", "99"]
    of += ["--source", "mine"]
    assert topic.run("replay", *of) == 1
    assert f"{topic.name}-0 offsets 20-99: not on the broker" in capsys.readouterr().err
    assert topic.ids() == [18, 19]


def test_interrupted_replay_goes_on_where_it_was(
    topic: Topic, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    import silt.replay.topic_events as topic_events
    from handler.app import Function

    monkeypatch.setattr(topic_events, "BATCH_SIZE", 5)
    handle, calls = Function.run, list[int]()

    def interrupt(self: Function, event: Any, context: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return handle(self, event, context)

    monkeypatch.setattr(Function, "run", interrupt)
    of = ["--topic", topic.name, "--source", "mine"]
    assert topic.run("replay", *of) == 130
    assert "Interrupted. 2 events with 10 records" in " ".join(capsys.readouterr().err.split())
    assert len(topic.ids()) == 8
    assert topic.run("replay", *of) == 0
    assert topic.ids() == [i for i in range(20) if i not in (4, 7)]


def test_source_is_never_invented(topic: Topic, capsys: Any) -> None:
    """The first commit names it, and the live function would be refused."""
    assert topic.run("replay", "--topic", topic.name) == 2
    assert "Nothing says what the source of" in capsys.readouterr().err
    assert topic.ids() == []
    assert topic.run("replay", "--topic", topic.name, "--dry-run") == 0
    topic.ingest(0, 3)
    assert topic.run("replay", "--topic", topic.name) == 0
    assert len(topic.ids()) == 18


def test_gaps_of_a_place_are_never_filled_elsewhere(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 3)
    topic.ingest(10, 19)
    other = ["--table-root", str(topic.folder / "other")]
    assert topic.run("replay", "--gaps", topic.uri) == 0
    assert len(topic.ids()) == 18
    DeltaTable(topic.uri).delete("_kafka_offset = 12")
    given = ["--contracts", str(topic.folder / "contracts"), "--bootstrap-servers", topic.servers]
    assert main(["replay", "--gaps", topic.uri, *given, *other]) == 2
    assert "is not the table of" in capsys.readouterr().err
    assert not (topic.folder / "other").exists()


def test_redriven_rows_that_are_lost_come_back(topic: Topic, capsys: Any) -> None:
    """Their dead letters are closed as rows: without the rows, that proves nothing."""
    place = ["--table-root", str(topic.folder / "again")]
    contracts = ["--contracts", str(topic.folder / "contracts")]
    strict = SMALL.replace("name: {type: string}", "name: {type: string, required: true}")
    topic.write_contract(strict)
    root = {"SILT_TABLE_ROOT": str(topic.folder / "again")}
    topic.send({"id": 20}, {"id": 21, "name": "x"})
    topic.ingest(0, 21, **root)
    topic.write_contract(SMALL)
    assert main(["redrive", "sales/orders", *place, *contracts, "--yes"]) == 1
    table = DeltaTable(str(topic.folder / "again/sales/orders"))
    table.delete("_kafka_offset in (3, 19)")
    broker = ["--bootstrap-servers", topic.servers]
    capsys.readouterr()
    assert main(["gaps", "sales/orders", *place, *contracts, *broker, "--json"]) == 1
    (first, *_) = json.loads(capsys.readouterr().out)
    assert first["counts"] == {"missing": 2}
    assert main(["audit", "sales/orders", *place, *contracts, *broker]) == 1
    assert "redriven_row_missing: partition 0: 2 records" in capsys.readouterr().err
    assert main(["replay", "--gaps", "sales/orders", *place, *contracts, *broker]) == 0
    assert main(["audit", "sales/orders", *place, *contracts, *broker]) == 0


def test_many_holes_share_commits(topic: Topic) -> None:
    topic.ingest(0, 19)
    DeltaTable(topic.uri).delete("_kafka_offset % 2 = 1")
    before = DeltaTable(topic.uri).version()
    assert topic.run("replay", "--gaps", "sales/orders") == 0
    # The takeover is not needed, and the ten holes are one event.
    assert DeltaTable(topic.uri).version() == before + 1
    assert len(topic.ids()) == 18


def test_group_says_how_far_gaps_are_looked_for(topic: Topic, capsys: Any) -> None:
    from confluent_kafka import Consumer, TopicPartition

    topic.ingest(0, 12)
    consumer = Consumer({"bootstrap.servers": topic.servers, "group.id": "live"})
    consumer.commit(offsets=[TopicPartition(topic.name, 0, 20)], asynchronous=False)
    consumer.close()
    (first, *_) = gaps_of(topic, capsys, code=0)
    assert first["counts"] == {}
    (first, *_) = gaps_of(topic, capsys, "--group", "live", code=1)
    assert first["counts"] == {"missing": 7}
    assert topic.run("replay", "--gaps", "sales/orders", "--group", "live") == 0
    assert topic.ids()[-1] == 19
    assert topic.run("gaps", "sales/orders", "--group", "live") == 0


def test_several_generations_are_noted(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 9)
    topic.ingest(10, 19, SILT_GENERATION="1")
    capsys.readouterr()
    assert topic.run("gaps", "sales/orders") == 0
    assert "a row of another generation may hide a loss" in " ".join(
        capsys.readouterr().err.split()
    )


def test_partition_whose_rows_were_all_deleted_lacks_them(topic: Topic, capsys: Any) -> None:
    topic.send(*({"id": 100 + i} for i in range(5)), partition=2)
    topic.ingest(0, 19)
    topic.ingest(0, 4, partition=2)
    DeltaTable(topic.uri).delete("_kafka_partition = 2")
    found = gaps_of(topic, capsys, code=1)
    assert found[2]["counts"] == {"missing": 5}
    assert topic.run("replay", "--gaps", "sales/orders") == 0
    assert topic.ids()[-5:] == [100, 101, 102, 103, 104]
    assert topic.run("audit", "sales/orders") == 0


def test_contract_judges_a_table_that_is_named_by_its_place(topic: Topic, capsys: Any) -> None:
    topic.ingest(0, 3)
    topic.ingest(5, 19)
    topic.write_contract(SMALL + "on_tombstone: dead_letter\n")
    for verb in ("gaps", "audit"):
        assert topic.run(verb, topic.uri, "--topic", topic.name) == 1
        assert topic.run(verb, topic.uri, "--topic", "another") == 2
        assert "names orders-" in capsys.readouterr().err
