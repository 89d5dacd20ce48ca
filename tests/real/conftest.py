"""One fixture picks the broker: an address in the environment, else Docker, else Apache Kafka from
its jars, else the embedded one.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from silt.broker import EmbeddedBroker
from tests.real import jars
from tests.real.apache_kafka import ApacheKafka

TOPIC, PARTITIONS = "orders", 4


@dataclass(frozen=True)
class Broker:
    """A broker that is up. `whole`: it is Apache Kafka, which can do all that Kafka can."""

    kind: str
    servers: str
    whole: bool


def _docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Yield a broker for all tests of this process; TEST_BROKER=embedded asks for the least."""
    address = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    wants_embedded = os.environ.get("TEST_BROKER") == "embedded"
    if address:
        yield Broker("from the environment", address, True)
    elif wants_embedded:
        yield from _embedded()
    elif _docker_answers():
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer() as container:
            yield Broker("Apache Kafka in a container", container.get_bootstrap_server(), True)
    elif jars.available():
        with ApacheKafka(tmp_path_factory.mktemp("kafka")) as kafka:
            yield Broker("Apache Kafka from its jars", kafka.servers, True)
    else:
        yield from _embedded()


def _embedded() -> Iterator[Broker]:
    embedded = EmbeddedBroker()
    yield Broker("embedded", embedded.servers, False)


@pytest.fixture
def servers(broker: Broker) -> Iterator[str]:
    """Yield the address of a broker with a fresh topic `orders` of four partitions."""
    print(f"broker: {broker.kind}, {broker.servers}")
    if broker.whole:
        fresh_topic(broker.servers)
        yield broker.servers
    else:
        # It cannot delete a topic, so each test has a cluster of its own; topics have 4 partitions.
        own = EmbeddedBroker()
        yield own.servers


@pytest.fixture
def whole_kafka(broker: Broker) -> str:
    """Return the address of Apache Kafka, where there is one."""
    print(f"broker: {broker.kind}, {broker.servers}")
    if not broker.whole:
        pytest.skip("the embedded broker knows no transactions, compaction or deletion")
    return broker.servers


def fresh_topic(
    servers: str, name: str = TOPIC, partitions: int = PARTITIONS, **config: str
) -> None:
    """Make a topic, after deleting one of its name."""
    admin = AdminClient({"bootstrap.servers": servers})
    if name in admin.list_topics(timeout=15).topics:
        for done in admin.delete_topics([name], operation_timeout=15).values():
            done.result(30)
    for done in admin.create_topics([NewTopic(name, partitions, config=config)]).values():
        done.result(30)
