"""What all tests share: an unexpected error in the log fails the test that caused it."""

import json
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("silt", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("silt")

for name in list(os.environ):
    if name.startswith(("SILT_", "AWS_")):
        del os.environ[name]


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


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "logs_errors: the test makes the function log an error")
