"""Fault 6 and what Kafka does to offsets: transactions, compaction, recreation, new partitions.

A topic is read by the local mapping's poller and settled by the function; the table is then
compared with what an independent consumer of the broker reads.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import (
    KafkaException,
    Producer,
)
from confluent_kafka.admin import AdminClient, NewPartitions
from deltalake import DeltaTable

from handler.delta.retry import SystemClock
from handler.errors import SiltError, TopicRecreated
from silt.cli import main
from silt.local.broker import TopicRecords, partitions_of
from silt.local.mapping import MappingConfig, Poller
from silt.local.runtime_api import InvocationOutcome
from tests.builders import SMALL, function_for
from tests.reader import rows_of_folder
from tests.real.brokers import fresh_topic
from tests.torture import judge

pytestmark = pytest.mark.timeout(180)

CONTRACT = SMALL + "kafka_columns: [key, headers]\n"
COLUMNS = "_kafka_partition, _kafka_offset, epoch_ms(_kafka_timestamp), id"


def producer(servers: str, **config: Any) -> Producer:
    return Producer({"bootstrap.servers": servers, "log_level": 0, "linger.ms": 0, **config})


def send(to: Producer, ids: Any, partition: int = 0, **more: Any) -> None:
    for i in ids:
        value = json.dumps({"id": i, "name": f"n{i}"})
        to.produce("orders", value=value, partition=partition, **more)


def settle(servers: str, folder: Path, *, group: str = "silt", **settings: Any) -> None:
    """Read the topic to its end, and settle it with a function in this process."""
    function = function_for(folder, CONTRACT, source="kafka", clock=SystemClock(), **settings)

    def invoke(event: Mapping[str, Any]) -> InvocationOutcome:
        return InvocationOutcome("response", function.handle(event, None))

    records = TopicRecords(servers, "orders", partitions_of(servers, "orders"), group)
    source = {"eventSource": "SelfManagedKafka", "bootstrapServers": servers}
    config = MappingConfig(batch_size=7, maximum_batching_window_s=0.5)
    poller = Poller(config, records, invoke, source)
    try:
        # The first batch takes a while: the consumer looks for its broker.
        idle, deadline = 0, 12
        while idle < deadline:
            if poller.run_once():
                idle, deadline = 0, 4
            else:
                idle += 1
    finally:
        records.close()


def on_the_broker(servers: str, partitions: int = 4) -> list[tuple[int, int, int, int]]:
    """Return what a consumer of its own reads: partition, offset, timestamp, id."""
    return sorted(
        (*sent.place, sent.timestamp_ms, json.loads(sent.value or b"{}").get("id"))
        for sent in judge.on_the_broker(servers, "orders", partitions)
    )


def in_the_table(folder: Path) -> list[Any]:
    return rows_of_folder(folder / "tables" / "sales" / "orders", COLUMNS)


def test_idempotent_producer_and_headers(whole_kafka: str, tmp_path: Path) -> None:
    fresh_topic(whole_kafka)
    to = producer(whole_kafka, **{"enable.idempotence": True})
    headers = [("a", b"\xff\x00"), ("a", b"2"), ("none", None), ("é", "ü".encode())]
    for partition in range(4):
        send(to, range(20), partition, key=b"k\xfe", headers=headers)
    to.flush(10)
    settle(whole_kafka, tmp_path)
    assert in_the_table(tmp_path) == on_the_broker(whole_kafka)
    ((key, kept, count),) = rows_of_folder(
        tmp_path / "tables" / "sales" / "orders",
        "distinct _kafka_key, _kafka_headers, count(*) over ()",
    )
    assert (key, count) == (b"k\xfe", 80)
    assert [(h["name"], h["value"]) for h in kept] == headers


@pytest.mark.nightly
def test_aborted_transactions_leave_gaps_and_no_rows(whole_kafka: str, tmp_path: Path) -> None:
    """Each transaction ends with a marker, which takes an offset that no consumer sees."""
    fresh_topic(whole_kafka)
    to = producer(whole_kafka, **{"transactional.id": "t1"})
    to.init_transactions(20)
    for number in range(6):
        to.begin_transaction()
        send(to, range(10 * number, 10 * number + 10), number % 4)
        if number % 2:
            to.flush(10)
            to.abort_transaction(20)
        else:
            to.commit_transaction(20)
    settle(whole_kafka, tmp_path)
    rows = in_the_table(tmp_path)
    assert rows == on_the_broker(whole_kafka)
    assert sorted(i for *_, i in rows) == [*range(10), *range(20, 30), *range(40, 50)]
    # Redelivery of everything, across the gaps, is settled without a row.
    settle(whole_kafka, tmp_path, group="again")
    assert in_the_table(tmp_path) == rows


@pytest.mark.nightly
def test_open_transaction_is_waited_for(whole_kafka: str, tmp_path: Path) -> None:
    """Behind an open transaction nothing is delivered: the last stable offset is stuck."""
    fresh_topic(whole_kafka, partitions=1)
    plain, to = producer(whole_kafka), producer(whole_kafka, **{"transactional.id": "t2"})
    send(plain, [0])
    plain.flush(10)
    to.init_transactions(20)
    to.begin_transaction()
    send(to, [1])
    to.flush(10)
    send(plain, [2])
    plain.flush(10)
    settle(whole_kafka, tmp_path)
    assert [i for *_, i in in_the_table(tmp_path)] == [0]
    to.commit_transaction(20)
    settle(whole_kafka, tmp_path)
    assert [i for *_, i in in_the_table(tmp_path)] == [0, 1, 2]


def until(holds: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends_at, f"still not: {what}"
        time.sleep(0.2)


@pytest.mark.nightly
def test_compacted_topic_keeps_what_was_seen(whole_kafka: str, tmp_path: Path) -> None:
    """Rows of records that compaction removed stay; records after the gaps are appended."""
    fresh_topic(
        whole_kafka,
        partitions=1,
        **{
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "100",
        },
    )
    to = producer(whole_kafka)
    send(to, range(30), key=b"one")
    to.flush(10)
    settle(whole_kafka, tmp_path)
    assert len(in_the_table(tmp_path)) == 30
    time.sleep(0.3)

    def compacted() -> bool:
        # A segment is cleaned only when another has begun.
        send(to, [1000], key=b"other")
        to.flush(10)
        return len(on_the_broker(whole_kafka, 1)) < 30

    until(compacted, "the topic is compacted")
    left = on_the_broker(whole_kafka, 1)
    settle(whole_kafka, tmp_path)
    settle(whole_kafka, tmp_path, group="again")
    rows = in_the_table(tmp_path)
    assert rows[:30] == [(0, i, rows[i][2], i) for i in range(30)]
    assert len({offset for _, offset, _, _ in rows}) == len(rows)
    assert {row[:2] for row in left} <= {row[:2] for row in rows}


@pytest.mark.logs_errors
@pytest.mark.nightly
def test_recreated_topic_is_refused_until_the_generation_is_raised(
    whole_kafka: str, tmp_path: Path
) -> None:
    fresh_topic(whole_kafka)
    to = producer(whole_kafka)
    send(to, range(10))
    to.flush(10)
    settle(whole_kafka, tmp_path)
    before = in_the_table(tmp_path)
    fresh_topic(whole_kafka)
    to = producer(whole_kafka)
    send(to, range(100, 105))
    to.flush(10)
    with pytest.raises(TopicRecreated, match="SILT_GENERATION=1"):
        settle(whole_kafka, tmp_path, group="second")
    assert in_the_table(tmp_path) == before
    for _ in range(2):
        settle(whole_kafka, tmp_path, group="third", generation=1)
        rows = rows_of_folder(tmp_path / "tables" / "sales" / "orders", "id")
        assert [i for (i,) in rows] == [*range(10), *range(100, 105)]
    # The function of before has nothing more to say.
    with pytest.raises(SiltError, match="generation 1"):
        settle(whole_kafka, tmp_path, group="fourth")


@pytest.mark.nightly
def test_partitions_that_are_added_are_read(whole_kafka: str, tmp_path: Path) -> None:
    fresh_topic(whole_kafka, partitions=2)
    to = producer(whole_kafka)
    send(to, range(5), 1)
    to.flush(10)
    settle(whole_kafka, tmp_path)
    admin = AdminClient({"bootstrap.servers": whole_kafka})
    for done in admin.create_partitions([NewPartitions("orders", 5)]).values():
        done.result(30)
    until(lambda: len(partitions_of(whole_kafka, "orders")) == 5, "five partitions")
    to = producer(whole_kafka)
    with contextlib.suppress(KafkaException):
        to.list_topics("orders", timeout=10)
    send(to, range(5), 4)
    to.flush(10)
    settle(whole_kafka, tmp_path)
    assert in_the_table(tmp_path) == on_the_broker(whole_kafka, 5)
    assert {p for p, *_ in in_the_table(tmp_path)} == {1, 4}


@pytest.mark.nightly
def test_audit_distinguishes_gaps_of_kafka_from_losses(
    whole_kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh_topic(whole_kafka)
    to = producer(whole_kafka, **{"transactional.id": "t3"})
    to.init_transactions(20)
    for number in range(4):
        to.begin_transaction()
        send(to, range(10), number % 2)
        to.produce("orders", value=None, key=b"gone", partition=0)
        to.flush(10)
        to.abort_transaction(20) if number == 1 else to.commit_transaction(20)
    settle(whole_kafka, tmp_path)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    command = [
        "audit",
        uri,
        "--bootstrap-servers",
        whole_kafka,
        "--topic",
        "orders",
        "--group",
        "silt",
    ]
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["findings"] == []
    first = answer["partitions"][0]["explained"]
    # A commit lists what it skipped; a batch of nothing but tombstones makes no commit.
    assert first["skipped by rule, as the commits say"] + first.get("tombstone", 0) == 3
    assert first["compacted, or of a transaction"] > 2
    DeltaTable(uri).delete("_kafka_partition = 1 and _kafka_offset in (11, 12, 16)")
    capsys.readouterr()
    assert main(command) == 1
    assert "lost: partition 1: 3 records are on the broker" in capsys.readouterr().err
    # Without the group only what lies between the first and the last offset is asked for.
    assert main([*command[:-2], "--json"]) == 1
    (answer,) = json.loads(capsys.readouterr().out)
    assert [(f["code"], f["ranges"]) for f in answer["findings"]] == [("lost", [[16, 16]])]
    place = ["--table-root", f"{tmp_path}/tables", "--contracts", f"{tmp_path}/contracts"]
    broker = ["--bootstrap-servers", whole_kafka]
    assert main(["gaps", "sales/orders", *place, *broker, "--group", "silt", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer[1]["counts"]["missing"] == 3
    assert main(["replay", "--gaps", "sales/orders", *place, *broker]) == 0
    # Those after the last row that is left are not between its first and its last offset.
    of_one = ["--topic", "orders", "--partition", "1", "--from", "0"]
    assert main(["replay", *of_one, *place, *broker]) == 0
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    # By time: all of it is older than the table.
    assert main(["replay", "--topic", "orders", "--from", "1h", *place, *broker]) == 0
    assert "0 appended" in capsys.readouterr().out
    assert main(["replay", "--topic", "orders", "--to", "1h", *place, *broker]) == 0
    assert "0 events with 0 records" in capsys.readouterr().out
