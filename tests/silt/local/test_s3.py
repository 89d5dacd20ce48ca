"""The local S3 server starts also where a port is taken between its choice and its use."""

import socket
from pathlib import Path

import pytest

from silt.local import s3
from silt.local.s3 import START_TRIES, LocalS3, free_ports


@pytest.mark.parametrize(
    "place", [0, *(pytest.param(place, marks=pytest.mark.nightly) for place in range(1, 8))]
)
def test_a_port_that_another_process_took_is_chosen_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        choices = [free_ports(8), free_ports(8)]
        choices[0][place] = other.getsockname()[1]
        monkeypatch.setattr(s3, "free_ports", lambda _count: choices.pop(0))
        with LocalS3(tmp_path, "lake") as server:
            assert [b["Name"] for b in server.client().list_buckets()["Buckets"]] == ["lake"]
    assert not choices


@pytest.mark.nightly
def test_a_server_that_never_starts_is_an_error_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        tries: list[int] = []

        def choose(count: int) -> list[int]:
            tries.append(count)
            return [taken] * count

        monkeypatch.setattr(s3, "free_ports", choose)
        with (
            pytest.raises(RuntimeError, match=r"did not start\. Its log: .*s3\.log"),
            LocalS3(tmp_path, "lake"),
        ):
            pass
    assert len(tries) == START_TRIES
    assert "address already in use" in (tmp_path / "s3.log").read_text()
