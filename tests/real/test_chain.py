"""Real parts: a Kafka client and broker, the Lambda runtime client, an S3 server, another engine
that reads.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from handler.errors import AccessDenied, NotFound
from silt.cli import main
from silt.local.demo import ingest
from silt.local.destinations import Destination
from silt.local.mapping import MappingConfig
from silt.local.orders import produce
from silt.local.pollers import LocalMapping, LocalSettings
from silt.local.runtime import Sandbox
from silt.local.s3 import LocalS3
from silt.local.verdict import judge, read_table
from tests.builders import ROOT, SMALL, event, function_for, rows
from tests.moto_account import moto_account
from tests.reader import rows_of_folder
from tests.torture.fleet import wait_until

pytestmark = pytest.mark.timeout(180)


def test_topic_becomes_a_table_exactly_once_through_a_kill(
    s3: LocalS3, servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo in small, judged by DuckDB from the producer's own list."""
    monkeypatch.chdir(ROOT)
    count = 3000
    produced = produce(servers, count)
    mapping = ingest(servers, s3, tmp_path, count)
    assert sum(p.outcomes.get("crash", 0) for p in mapping.progress) == 1
    rows_read = read_table(s3, "sales/orders")
    dead_letters = read_table(s3, "sales/orders__dead_letters")
    fates = [made.fate for _, _, made in produced.records]
    expected = [fates.count("row"), fates.count("dead_letter")]
    verdict = judge(produced, rows_read, dead_letters)
    assert [line[:2] for line in verdict] == [(n, n) for n in expected]
    assert [line[2:] for line in verdict] == [(0, 0, 0, 0)] * 2


def test_the_judge_sees_what_is_wrong() -> None:
    """Lose, double, move and alter a row: the verdict must count each."""
    import pyarrow as pa

    from silt.local.orders import Made, Produced

    produced = Produced()
    listed = []
    for i in range(4):
        row = {
            "order_id": f"o{i}",
            "amount": "1.50",
            "quantity": 1,
            "status": "new",
            "placed_at": "2026-05-01T10:00:00Z",
            "customer_id": i,
            "skus": ["a"],
        }
        produced.records.append((0, i, Made(b"", "row", row=row)))
        listed.append(row)
    table = pa.Table.from_pylist(
        [
            {
                "_kafka_partition": 0,
                "_kafka_offset": offset,
                **{k: v for k, v in listed[i].items() if k != "customer_id"},
                "order_id": "changed" if i == 1 else f"o{i}",
                "customer": {"id": i},
                "items": [{"sku": "a", "price": 1.0}],
            }
            for i, offset in ((0, 0), (0, 0), (1, 1), (2, 99))
        ]
    )
    schema = {
        "partition": pa.int32(),
        "offset": pa.int64(),
        "error_code": pa.string(),
        "value": pa.binary(),
    }
    dead = pa.table({name: pa.array([], kind) for name, kind in schema.items()})
    (expected, found, lost, doubled, invented, altered), _ = judge(produced, table, dead)
    assert (expected, found, lost, doubled, invented, altered) == (4, 4, 2, 1, 1, 1)


def sandbox_for(folder: Path, **extra: str) -> Sandbox:
    (folder / "contracts").mkdir(exist_ok=True)
    (folder / "contracts" / "c.yaml").write_text(SMALL)
    environment = {
        "SILT_TABLE_ROOT": str(folder / "tables"),
        "SILT_CONTRACTS": str(folder / "contracts"),
        **extra,
    }
    return Sandbox(environment, log=folder / "function.log", timeout_s=30)


def test_runtime_client_answers_and_reports_errors(tmp_path: Path) -> None:
    sandbox = sandbox_for(tmp_path)
    try:
        outcome = sandbox.invoke(event(rows(0, 3)))
        assert (outcome.kind, outcome.payload) == ("response", {"batchItemFailures": []})
        broken = sandbox.invoke({"eventSource": "aws:sqs"})
        assert broken.kind == "error"
        assert broken.reason.startswith("EventError: eventSource is aws:sqs")
        assert sandbox.invoke(event(rows(3, 4))).kind == "response"
        assert sandbox.starts == 1
    finally:
        sandbox.close()
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders")) == 4


def test_bad_setting_stops_the_init_phase_with_its_name(tmp_path: Path) -> None:
    sandbox = sandbox_for(tmp_path, SILT_TABEL_ROOT="x")
    try:
        outcome = sandbox.invoke(event(rows(0, 1)))
        assert outcome.kind in ("error", "crash")
    finally:
        sandbox.close()
    log = (tmp_path / "function.log").read_text()
    assert "SILT_TABEL_ROOT. Did you mean SILT_TABLE_ROOT?" in outcome.reason + log


def test_kill_is_a_crash_and_the_next_invocation_goes_on(tmp_path: Path) -> None:
    sandbox = sandbox_for(tmp_path)
    try:
        sandbox.invoke(event(rows(0, 1)))
        sandbox.kill()
        assert sandbox.invoke(event(rows(0, 3))).kind == "response"
        assert sandbox.starts == 2
    finally:
        sandbox.close()
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders")) == 3


def test_killed_process_takes_no_invocation_of_its_successor(tmp_path: Path) -> None:
    """Killed while it waited for its next event: the connection it waited on is not asked again."""
    sandbox = sandbox_for(tmp_path)
    sandbox.timeout_s = 5.0
    try:
        for i in range(4):
            assert sandbox.invoke(event(rows(i, i + 1))).kind == "response"
            time.sleep(0.05)  # by now it waits for the next
            assert not sandbox.busy
            sandbox.kill()
    finally:
        sandbox.close()
    assert sandbox.starts == 4


def test_killed_while_its_answer_is_on_the_way_is_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal takes time, in which the process may answer: that answer is not heard."""
    code = "import time\ndef handle(event, context):\n    time.sleep(0.5)\n"
    (tmp_path / "slow.py").write_text(code)
    sandbox = Sandbox({"PYTHONPATH": str(tmp_path)}, handler="slow.handle")
    kill = subprocess.Popen.kill

    def kill_late(process: subprocess.Popen[bytes]) -> None:
        time.sleep(1.0)
        kill(process)

    try:
        assert sandbox.invoke({}).kind == "response"
        assert not sandbox.kill_busy()
        with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
            patched.setattr(subprocess.Popen, "kill", kill_late)
            answer = pool.submit(sandbox.invoke, {})
            wait_until(sandbox.kill_busy, "killed")
            assert answer.result(30).kind == "crash"
        assert sandbox.invoke({}).kind == "response"
        assert sandbox.starts == 2
    finally:
        sandbox.close()


def test_cold_start_is_not_timed_as_the_function(tmp_path: Path) -> None:
    code = (
        "import time\ntime.sleep(1.2)\n"
        "def handle(event, context):\n    return context.get_remaining_time_in_millis()\n"
    )
    (tmp_path / "slow_to_load.py").write_text(code)
    environment = {"PYTHONPATH": str(tmp_path)}
    sandbox = Sandbox(environment, handler="slow_to_load.handle", timeout_s=1.0)
    try:
        outcome = sandbox.invoke({})
        assert outcome.kind == "response"
        assert 500 < outcome.payload <= 1000
    finally:
        sandbox.close()


def test_time_out_kills_the_process(tmp_path: Path) -> None:
    sandbox = sandbox_for(tmp_path)
    sandbox.invoke(event(rows(0, 1)))
    assert sandbox.process is not None
    os.kill(sandbox.process.pid, signal.SIGSTOP)
    sandbox.timeout_s = 0.3
    try:
        assert sandbox.invoke(event(rows(1, 2))).kind == "timeout"
        sandbox.timeout_s = 30
        assert sandbox.invoke(event(rows(1, 2))).kind == "response"
    finally:
        sandbox.close()


def test_dev_command_reads_a_topic_to_its_end(servers: str, tmp_path: Path) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for i in range(50):
        value = json.dumps({"id": i, "name": "x"}) if i % 10 else "bad"
        producer.produce("orders", value=value, partition=i % 4)
    producer.flush(10)
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "c.yaml").write_text(SMALL)
    command = [
        *[sys.executable, "-m", "silt.cli", "dev", "--bootstrap-servers", servers],
        *["--topic", "orders", "--contracts", str(contracts), "--pollers", "2"],
        *["--table-root", str(tmp_path / "tables"), "--log", str(tmp_path / "log")],
        *["--until-idle", "2", "--window", "0.2"],
    ]
    for _ in range(2):  # the second run finds the offsets of the first
        ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=100)
        assert ended.returncode == 0, ended.stderr
        folder = tmp_path / "tables" / "sales"
        assert len(rows_of_folder(folder / "orders")) == 45
        assert len(rows_of_folder(folder / "orders__dead_letters", '"offset"')) == 5
    assert "0 records settled" in ended.stdout


def mapping_of(servers: str, folder: Path, **settings: Any) -> LocalSettings:
    """Return a mapping of `orders` into tables under a folder, in a consumer group of its own."""
    return LocalSettings(
        servers=servers,
        topic="orders",
        group_id=f"chain-{time.time_ns()}",
        environment={
            "SILT_TABLE_ROOT": str(folder / "tables"),
            "SILT_CONTRACTS": str(folder / "contracts"),
        },
        **settings,
    )


def produce_ids(servers: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    for i in range(count):
        producer.produce("orders", value=json.dumps({"id": i, "name": "x"}), partition=i % 4)
    producer.flush(10)


def test_given_up_batch_is_kept_in_a_bucket_and_replayed(
    s3: LocalS3, servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The function fails, AWS gives up, the document lies in the bucket; replay settles it."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    produce_ids(servers, 3)
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "c.yaml").write_text(SMALL.replace("topic: orders", "topic: another"))
    settings = mapping_of(servers, tmp_path)
    place = "s3://lake/given-up"
    config = MappingConfig(maximum_retry_attempts=1, on_failure=Destination(place))
    mapping = LocalMapping(settings, config)
    mapping.start()

    def all_given_up() -> bool:
        mapping.check()
        return sum(p.given_up for p in mapping.progress) == 3

    wait_until(all_given_up, "given up")
    mapping.close()
    client = s3.client()
    listed = client.list_objects_v2(Bucket="lake", Prefix="given-up/aws/lambda/")["Contents"]
    files = [tmp_path / f"{i}.json" for i in range(len(listed))]
    for entry, file in zip(listed, files, strict=True):
        client.download_file("lake", entry["Key"], str(file))
    (contracts / "c.yaml").write_text(SMALL)
    given = ["--table-root", str(tmp_path / "tables"), "--contracts", str(contracts)]
    assert main(["replay", *map(str, files), *given]) == 0
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders")) == 3


def test_closing_in_the_middle_of_a_batch_gives_up_nothing(servers: str, tmp_path: Path) -> None:
    """The kill of the last attempt that a retry limit allows is ours, and no failure."""
    produce_ids(servers, 10)
    sandbox_for(tmp_path).close()  # it writes the contract
    settings = mapping_of(servers, tmp_path)
    config = MappingConfig(maximum_retry_attempts=0)
    begun = threading.Event()
    mapping = LocalMapping(settings, config, on_invoke=lambda _sandbox, _number: begun.set())
    mapping.start()
    assert begun.wait(30)
    wait_until(lambda: mapping.starts, "started")
    mapping.close()
    mapping.check()
    assert [p.given_up for p in mapping.progress] == [0]
    assert mapping.starts == 1
    again = LocalMapping(settings, config)
    again.start()
    try:
        wait_until(lambda: again.records == 10 or again.check(), "all settled")
    finally:
        again.close()
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders")) == 10


@pytest.mark.nightly
def test_reserved_concurrency_throttles_and_loses_nothing(servers: str, tmp_path: Path) -> None:
    produce_ids(servers, 200)
    sandbox_for(tmp_path).close()  # it writes the contract
    settings = mapping_of(servers, tmp_path, pollers=3, reserved_concurrency=1)
    mapping = LocalMapping(settings, MappingConfig(batch_size=5, maximum_batching_window_s=0.0))
    mapping.start()
    try:
        wait_until(lambda: mapping.records == 200 or mapping.check(), "all settled")
    finally:
        mapping.close()
    assert sum(p.outcomes.get("throttle", 0) for p in mapping.progress) > 0
    assert len(rows_of_folder(tmp_path / "tables" / "sales" / "orders")) == 200


def test_two_processes_on_s3_race_for_each_version(s3: LocalS3, tmp_path: Path) -> None:
    """Two sandboxes take the same stream at once, again and again; the engine counts the rows."""
    from deltalake import DeltaTable, QueryBuilder

    root = "s3://lake/race"
    sandboxes = [sandbox_for(tmp_path, **s3.environment, SILT_TABLE_ROOT=root) for _ in range(2)]
    answers: list[Any] = []

    def work(sandbox: Sandbox, shift: int) -> None:
        for start in range(0, 60, 6):
            first = start + shift
            answers.append(sandbox.invoke(event(rows(first, first + 9))))

    threads = [threading.Thread(target=work, args=(s, i * 3)) for i, s in enumerate(sandboxes)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for sandbox in sandboxes:
            sandbox.close()
    assert all(a.payload == {"batchItemFailures": []} for a in answers), [a.reason for a in answers]
    table = DeltaTable(f"{root}/sales/orders", storage_options=s3.environment)
    query = "select count(*) as n, count(distinct _kafka_offset) as d, max(id) as m from t"
    batch = QueryBuilder().register("t", table).execute(query).read_all()
    import pyarrow as pa

    assert pa.table(batch).to_pylist() == [{"n": 66, "d": 66, "m": 65}]


@pytest.mark.logs_errors
def test_wrong_keys_fail_with_what_to_do(
    s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessDenied, match=r"troubleshooting.md#access-denied"):
        function_for(tmp_path, table_root="s3://lake/x").handle(event(rows(0, 1)), None)


@pytest.mark.logs_errors
def test_bucket_that_is_not_there_fails_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On moto's server, because SeaweedFS makes a bucket when one is written to."""
    with moto_account() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(NotFound, match="NoSuchBucket"):
            function_for(tmp_path, table_root="s3://nowhere/x").handle(event(rows(0, 1)), None)
