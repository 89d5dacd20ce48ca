"""What all tests share: the real parts, and that an unexpected error in the log fails its test."""

import json
import os
import sys
import zlib
from collections.abc import Iterator

import pytest
from aws_lambda_powertools import Logger
from hypothesis import HealthCheck, settings

from silt.local.broker import EmbeddedBroker
from silt.local.s3 import LocalS3
from tests.real.brokers import Broker, best_broker, fresh_topic

settings.register_profile("silt", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("silt")

for name in list(os.environ):
    if name.startswith(("SILT_", "AWS_")):
        del os.environ[name]


class _Stdout:
    """Whatever is standard output when something is written: each test captures its own."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


@pytest.fixture(autouse=True, scope="session")
def captured_log() -> None:
    """Make the function's logger, which lives as long as the process, write to the current test."""
    for handler in Logger(service="silt", stream=_Stdout()).handlers:
        handler.stream = _Stdout()


@pytest.fixture(autouse=True)
def no_unexpected_errors(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Fail a test whose function logged an error, unless it is marked `logs_errors`."""
    yield
    if request.node.get_closest_marker("logs_errors"):
        return
    for line in capsys.readouterr().out.splitlines():
        if line.startswith('{"level":"ERROR"'):
            pytest.fail(f"an unexpected error was logged: {json.loads(line)}")


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalS3]:
    """Yield a real S3 server with the bucket `lake`, for all tests of this process."""
    with LocalS3(tmp_path_factory.mktemp("s3"), "lake") as server:
        yield server


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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs_errors: the test makes the function log an error")
    config.addinivalue_line(
        "markers", "nightly: takes long; `make nightly` runs it, and CI a third of them each day"
    )
    config.addinivalue_line("markers", "hours: takes very long; `make nightly` runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a part of the long tests where NIGHTLY_PART asks for it: `0/3` is the first third."""
    part, _, parts = os.environ.get("NIGHTLY_PART", "").partition("/")
    if not parts:
        return
    others = [
        item
        for item in items
        if item.get_closest_marker("nightly") is not None
        and zlib.crc32(item.nodeid.encode()) % int(parts) != int(part)
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]
