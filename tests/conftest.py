"""What all tests share: an unexpected error in the log fails the test that caused it."""

import json
import os
import sys
from collections.abc import Iterator

import pytest
from aws_lambda_powertools import Logger
from hypothesis import HealthCheck, settings

from silt.local_s3 import LocalS3

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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs_errors: the test makes the function log an error")
    config.addinivalue_line("markers", "torture: takes minutes; `make torture` runs it")
