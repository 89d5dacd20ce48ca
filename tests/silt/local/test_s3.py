"""The local S3 server also starts where a port is taken between being chosen and being used."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from silt.local import s3
from silt.local.s3 import START_TRIES, LocalS3, free_ports

S3_PORT = 3
"""The place of the port that clients use among those that are chosen."""


def check_start(folder: Path, monkeypatch: pytest.MonkeyPatch, place: int, port: int) -> None:
    """Start a server whose first choice of ports has a taken one."""
    choices: list[list[int]] = []

    def choose(count: int) -> list[int]:
        ports = free_ports(count)
        if not choices:
            ports[place] = port
        choices.append(ports)
        return ports

    monkeypatch.setattr(s3, "free_ports", choose)
    with LocalS3(folder, "ours") as server:
        assert buckets(server) == ["ours"]
    assert len(choices) > 1


def buckets(server: LocalS3) -> list[str]:
    return [bucket["Name"] for bucket in server.client().list_buckets()["Buckets"]]


@pytest.mark.parametrize(
    "place", [0, *(pytest.param(place, marks=pytest.mark.nightly) for place in range(1, 8))]
)
def test_a_port_that_another_process_took_is_chosen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        check_start(tmp_path, monkeypatch, place, other.getsockname()[1])


class Page(BaseHTTPRequestHandler):
    """A web server that answers everything with a page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html><body>Hello</body></html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.nightly
def test_a_web_server_on_its_port_is_not_taken_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web_server: int
) -> None:
    check_start(tmp_path, monkeypatch, S3_PORT, web_server)


@pytest.mark.nightly
def test_another_local_server_on_its_port_is_not_taken_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalS3(tmp_path / "other", "theirs") as other:
        port = int(other.endpoint.rpartition(":")[2])
        check_start(tmp_path / "own", monkeypatch, S3_PORT, port)
        assert buckets(other) == ["theirs"]


@pytest.mark.nightly
def test_a_server_that_never_starts_is_an_error_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr(s3, "free_ports", lambda count: [taken] * count)
        with (
            pytest.raises(RuntimeError, match=r"did not start\. Its log: .*s3\.log"),
            LocalS3(tmp_path, "lake"),
        ):
            pass
    assert (tmp_path / "s3.log").read_text().count("address already in use") >= START_TRIES
