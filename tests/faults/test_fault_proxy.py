"""Faults 3 and 9 on a real S3 server: each fault of the network at each kind of request.

The function runs with its real object store against SeaweedFS behind a proxy. A fault hits every
second request of one kind while a batch is settled; what fails is delivered again, as AWS sends
it; the engine then reads the tables from the server itself.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.delta import store
from handler.delta.retry import SystemClock
from handler.errors import SiltError
from silt.local.s3 import LocalS3
from tests.builders import Context, event, function_for, record, rows
from tests.torture.judge import Tables
from tests.torture.proxy import FAULTS, Fault, FaultProxy, Kind, Request, kind_of
from tests.verifier import verify

pytestmark = [pytest.mark.timeout(180), pytest.mark.logs_errors]

KINDS: tuple[Kind, ...] = ("data put", "commit put", "log get", "data get", "list", "head")
OF_PUTS = ("cut during", "409", "412", "429")
CASES = [
    (fault, kind)
    for fault in FAULTS
    for kind in KINDS
    if (kind == "list" or fault != "stale") and ("put" in kind or fault not in OF_PUTS)
]


@pytest.fixture(scope="module")
def proxy(s3: LocalS3) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint, slow_s=0.6) as made:
        yield made


def place(offset: int) -> tuple[int, int]:
    return 0, offset


def batches() -> list[list[dict[str, Any]]]:
    """Two batches, the first once more with other boundaries, and a hole: all kinds of requests."""
    first = [*rows(0, 4), record(4, b"bad"), *rows(5, 8)]
    return [first, [*rows(12, 14)], [*first[3:], *rows(8, 10)], [record(10, b"x"), *rows(11, 13)]]


DELIVERED = {place(o): o for o in range(14) if o not in (4, 10)} | {
    place(4): b"bad",
    place(10): b"x",
}


def every_second(kind: Kind, fault: Fault) -> Any:
    seen = [0]

    def plan(request: Request) -> Fault | None:
        if request.kind != kind:
            return None
        seen[0] += 1
        return fault if seen[0] % 2 else None

    return plan


def settle(function: Any, batch: list[dict[str, Any]]) -> bool:
    try:
        answer = function.handle(event(batch), Context(60_000))
    except SiltError:
        return False
    return answer == {"batchItemFailures": []}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        # A request that is slow takes its time.
        pytest.param(*case, marks=pytest.mark.nightly) if case[0] == "slow" else case
        for case in CASES
    ],
)
def test_fault_at_every_second_request_leaves_each_record_once(
    fault: Fault,
    kind: Kind,
    s3: LocalS3,
    proxy: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**s3.environment, "AWS_ENDPOINT_URL": proxy.endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(store, "REQUEST_TIMEOUT_S", 0.3 if fault == "slow" else 5.0)
    root = f"s3://lake/{fault.replace(' ', '-')}-{kind.replace(' ', '-')}"
    proxy.plan = every_second(kind, fault)
    before = proxy.counts[kind, fault]
    warm = function_for(tmp_path, table_root=root, clock=SystemClock())
    for batch in batches():
        cold = function_for(tmp_path, table_root=root, clock=SystemClock())
        attempts = 1
        while not settle(warm if attempts == 1 else cold, batch):
            attempts += 1
            assert attempts < 8, f"{batch} is not settled"
    assert proxy.counts[kind, fault] > before, "the fault never happened"
    proxy.plan = lambda _request: None
    tables = Tables(s3, root)
    assert not verify(DELIVERED, tables.rows(), tables.dead_letters())


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("PUT", "/lake/t/_delta_log/00000000000000000001.json", "commit put"),
        ("PUT", "/lake/t/_delta_log/00000000000000000001.checkpoint.parquet", "checkpoint put"),
        ("PUT", "/lake/t/_delta_log/_last_checkpoint", "checkpoint put"),
        ("PUT", "/lake/t/d%3D1/part-1.parquet", "data put"),
        ("GET", "/lake/t/_delta_log/_last_checkpoint", "log get"),
        ("GET", "/lake/t/part-1.parquet", "data get"),
        ("GET", "/lake?list-type=2&prefix=t%2F_delta_log%2F", "list"),
        ("HEAD", "/lake/t/_delta_log/00000000000000000001.json", "head"),
        ("DELETE", "/lake/t/part-1.parquet", "other"),
    ],
)
def test_proxy_knows_what_a_request_is_for(method: str, path: str, kind: Kind) -> None:
    assert kind_of(method, path) == kind


@pytest.mark.parametrize("fault", ["cut after", "500 after", "cut before", "cut during", "500"])
def test_proxy_does_what_it_says(fault: Fault, s3: LocalS3, proxy: FaultProxy) -> None:
    """After the request took effect, or never."""
    import boto3
    from botocore.config import Config

    config = Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=5)
    keys = {
        "aws_access_key_id": s3.environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": s3.environment["AWS_SECRET_ACCESS_KEY"],
        "region_name": s3.environment["AWS_REGION"],
    }
    client = boto3.client("s3", endpoint_url=proxy.endpoint, config=config, **keys)
    proxy.plan = lambda request: fault if request.kind == "data put" else None
    key = f"probe/{fault}/"
    with pytest.raises(Exception, match=r"onnection|reached max retries|500|closed"):
        client.put_object(Bucket="lake", Key=key, Body=json.dumps("x" * 100).encode())
    proxy.plan = lambda _request: None
    listed = client.list_objects_v2(Bucket="lake", Prefix=key).get("KeyCount")
    assert listed == (1 if fault.endswith("after") else 0)
