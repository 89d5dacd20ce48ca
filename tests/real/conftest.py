"""One fixture picks the broker: an address in the environment, else Docker, else embedded."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from silt.broker import EmbeddedBroker

TOPIC, PARTITIONS = "orders", 4


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0


@pytest.fixture
def servers() -> Iterator[str]:
    """Yield the address of a broker with a fresh topic `orders` of four partitions."""
    address = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if address:
        print(f"broker: {address}, from the environment")
        _fresh_topic(address)
        yield address
    elif _docker_answers():
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer() as container:
            address = container.get_bootstrap_server()
            print(f"broker: Apache Kafka in a container, {address}")
            _fresh_topic(address)
            yield address
    else:
        embedded = EmbeddedBroker()
        print(f"broker: embedded, {embedded.servers}")  # makes topics of 4 partitions on first use
        yield embedded.servers


def _fresh_topic(address: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    if TOPIC in admin.list_topics(timeout=15).topics:
        for done in admin.delete_topics([TOPIC], operation_timeout=15).values():
            done.result(30)
    for done in admin.create_topics([NewTopic(TOPIC, PARTITIONS)]).values():
        done.result(30)
