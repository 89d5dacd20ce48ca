"""silt doctor on a broker, its topic and its group."""

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from handler.health import Finding
from silt.doctor import broker_check as kafka_module
from silt.doctor.broker_check import of_topic
from silt.local import broker as broker_module


def test_broker_topic_group_and_lag_are_reported(servers: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for number in range(10):
        producer.produce("orders", b"x", partition=number % 2)
    producer.flush(10)

    def look(limit: int = 5) -> dict[str, Finding]:
        return {f.check: f for f in of_topic(servers, "orders", "silt-orders", limit, {})}

    found = look()
    assert found["kafka"].state == found["topic"].state == "ok", found
    assert found["topic"].reason == "4 partitions"
    assert found["group"].state == "warning"
    assert found["group"].reason == "silt-orders has committed nothing yet; 10 records waiting"
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "silt-orders"})
    places = [TopicPartition("orders", 0, 2), TopicPartition("orders", 1, 5)]
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    assert look()["group"].reason == "silt-orders is 3 records behind, in 2 of 4 partitions"
    assert look(limit=2)["group"].state == "warning"


def test_missing_topic_is_reported(whole_kafka: str) -> None:
    found = {f.check: f for f in of_topic(whole_kafka, "no-such-topic", "g", 5, {})}
    assert found["topic"].state == "wrong"
    assert "Create the topic" in found["topic"].fix


def test_invalid_setting_of_the_client_is_reported() -> None:
    (finding,) = of_topic("127.0.0.1:9", "orders", "g", 5, {"foo": "bar"})
    assert (finding.check, finding.state) == ("kafka", "wrong")
    assert "foo" in finding.reason


def test_unreachable_broker_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_module, "METADATA_LIMIT_S", 1.0)
    assert broker_module.METADATA_LIMIT_S > 1.0
    (finding,) = of_topic("127.0.0.1:9", "orders", "g", 5, {})
    assert (finding.check, finding.state) == ("kafka", "wrong")
    assert "--kafka" in finding.fix
