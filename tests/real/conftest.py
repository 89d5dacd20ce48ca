"""The broker of the tests, picked once and named."""

from collections.abc import Iterator

import pytest

from silt.broker import EmbeddedBroker
from tests.real.brokers import Broker, best_broker, fresh_topic


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Yield a broker for all tests of this process."""
    with best_broker(tmp_path_factory.mktemp("kafka")) as found:
        yield found


@pytest.fixture
def servers(broker: Broker) -> Iterator[str]:
    """Yield the address of a broker with a fresh topic `orders` of four partitions."""
    print(f"broker: {broker.kind}, {broker.servers}")
    if broker.whole:
        fresh_topic(broker.servers)
        yield broker.servers
    else:
        # It cannot delete a topic, so each test has a cluster of its own.
        own = EmbeddedBroker()
        yield own.servers


@pytest.fixture
def whole_kafka(broker: Broker) -> str:
    """Return the address of Apache Kafka, where there is one."""
    print(f"broker: {broker.kind}, {broker.servers}")
    if not broker.whole:
        pytest.skip("the embedded broker knows no transactions, compaction or deletion")
    return broker.servers
