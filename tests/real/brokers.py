"""Which broker this machine has: an address in the environment, else Docker, else Apache Kafka from
its jars, else the embedded one.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from silt.local.broker import EmbeddedBroker
from tests.real import jars
from tests.real.apache_kafka import ApacheKafka

PARTITIONS = 4
"""The embedded broker gives every topic so many."""


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


@contextlib.contextmanager
def best_broker(folder: Path) -> Iterator[Broker]:
    """Yield the best broker that can be had; TEST_BROKER=embedded asks for the least."""
    address = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    wants_embedded = os.environ.get("TEST_BROKER") == "embedded"
    if address:
        yield Broker("from the environment", address, True)
    elif not wants_embedded and _docker_answers():
        from testcontainers.kafka import KafkaContainer

        with KafkaContainer() as container:
            yield Broker("Apache Kafka in a container", container.get_bootstrap_server(), True)
    elif not wants_embedded and jars.available():
        with ApacheKafka(folder) as kafka:
            yield Broker("Apache Kafka from its jars", kafka.servers, True)
    else:
        embedded = EmbeddedBroker()
        yield Broker("embedded", embedded.servers, False)


def fresh_topic(
    servers: str, name: str = "orders", partitions: int = PARTITIONS, **config: str
) -> None:
    """Make a topic, after deleting one of its name."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    if name in admin.list_topics(timeout=15).topics:
        for done in admin.delete_topics([name], operation_timeout=15).values():
            done.result(30)
    for done in admin.create_topics([NewTopic(name, partitions, config=config)]).values():
        done.result(30)
