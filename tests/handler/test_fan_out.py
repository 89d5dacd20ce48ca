"""Partitions that a run of maintenance hands out to invocations of its own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from handler import maintenance as module
from handler.maintenance import lambda_handler
from handler.upkeep.lease import LEASE
from tests.builders import FakeClock
from tests.maintained import (
    PARTED,
    OwnContext,
    aged,
    by_table,
    check,
    maintenance_of,
    table,
)
from tests.reader import read_folder


@pytest.fixture
def small_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let very little be too much for one invocation."""
    monkeypatch.setattr(module, "DELEGATE_FROM_BYTES", 1)


@pytest.mark.usefixtures("small_share")
def test_partitions_are_handed_out_and_done_under_one_lease(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)
    sent: list[bytes] = []
    work = maintenance_of(tmp_path, invoke=sent.append)
    report = by_table(work.handle({"tables": ["sales/orders"]}, None))["sales/orders"]
    assert (report["partitions_delegated"], report["partitions_compacted"]) == (2, 0)
    assert len(sent) == 2
    # Another run finds that the table is being worked at.
    report = by_table(maintenance_of(tmp_path).handle({"tables": ["sales/orders"]}, None))
    assert "holds the lease" in report["sales/orders"]["stopped"]
    for text in sent:
        answer = by_table(maintenance_of(tmp_path).handle(json.loads(text), None))
        assert answer["sales/orders"]["partitions_compacted"] == 1
    assert len(read_folder(table(tmp_path)).adds) == 2
    check(tmp_path, 5)


@pytest.mark.usefixtures("small_share")
def test_partition_that_was_handed_out_too_long_ago_is_left_alone(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)
    sent: list[bytes] = []
    clock = FakeClock()
    maintenance_of(tmp_path, clock=clock, invoke=sent.append).handle(
        {"tables": ["sales/orders"]}, None
    )
    clock.now_s += 3600
    # The lease ran out, another run took it and did the work.
    maintenance_of(tmp_path, clock=clock).handle({"tables": ["sales/orders"]}, None)
    version = read_folder(table(tmp_path)).version
    answer = by_table(maintenance_of(tmp_path, clock=clock).handle(json.loads(sent[0]), None))
    assert "is over" in answer["sales/orders"]["stopped"]
    assert read_folder(table(tmp_path)).version == version
    check(tmp_path, 5)


@pytest.fixture
def lambda_api() -> Iterator[tuple[str, list[tuple[str, str | None, Any]]]]:
    """Yield the address of what takes invocations as AWS does, and those that came."""
    came: list[tuple[str, str | None, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            came.append((unquote(self.path), self.headers["X-Amz-Invocation-Type"], body))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", came
        server.shutdown()


@pytest.mark.usefixtures("small_share")
def test_function_invokes_its_own_version_asynchronously(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lambda_api: Any
) -> None:
    endpoint, came = lambda_api
    aged(tmp_path, 5, PARTED)
    for name, value in (
        ("SILT_TABLE_ROOT", str(tmp_path / "tables")),
        ("SILT_CONTRACTS", str(tmp_path / "contracts")),
        ("SILT_FAN_OUT", "true"),
        ("AWS_ENDPOINT_URL_LAMBDA", endpoint),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ):
        monkeypatch.setenv(name, value)
    lambda_handler({"tables": ["sales/orders"]}, OwnContext())
    paths, kinds, events = zip(*came, strict=True)
    path = f"/2015-03-31/functions/{OwnContext.invoked_function_arn}/invocations"
    assert set(paths) == {path}
    assert kinds == ("Event", "Event")
    for sent in events:
        lambda_handler(sent, OwnContext())
    assert len(read_folder(table(tmp_path)).adds) == 2
    check(tmp_path, 5)


@pytest.mark.logs_errors
@pytest.mark.usefixtures("small_share")
def test_what_cannot_be_handed_out_is_done_by_the_run_itself(tmp_path: Path) -> None:
    aged(tmp_path, 5, PARTED)

    def denied(_event: bytes) -> None:
        raise RuntimeError("AccessDeniedException: not allowed to invoke")

    work = maintenance_of(tmp_path, invoke=denied)
    report = by_table(work.handle({"tables": ["sales/orders"]}, None))["sales/orders"]
    assert (report["partitions_delegated"], report["partitions_compacted"]) == (0, 2)
    assert read_folder(table(tmp_path)).txns[LEASE] == 2
    check(tmp_path, 5)
