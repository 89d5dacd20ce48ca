"""What can be counted has a limit here: requests, modules, memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import NOW_MS, ROOT, SMALL, FakeClock, event, function_for, record, rows
from tests.fakes import CountingPool, Memory

MEMORY_LIMIT_MB = 300
COLD_SEQUENCE_MAX = 6
FORBIDDEN_MODULES = ("deltalake", "boto3", "botocore.session", "numpy", "pandas", "silt")


def counting(tmp_path: Path, contract: str = SMALL) -> tuple[Any, Memory, CountingPool]:
    memory, pool = Memory(), CountingPool()
    function = function_for(tmp_path, contract, open_store=memory.open)
    function._pool = pool
    return function, memory, pool


def run(function: Any, memory: Memory, pool: CountingPool, batch: list[Any]) -> tuple[int, int]:
    """Return requests in sequence, and in all."""
    memory.requests.clear()
    pool.rounds.clear()
    assert function.handle(event(batch), None) == {"batchItemFailures": []}
    return len(pool.rounds), len(memory.requests)


def test_warm_append_is_two_requests_in_sequence_and_three_in_all(tmp_path: Path) -> None:
    function, memory, pool = counting(tmp_path)
    run(function, memory, pool, rows(0, 5))
    assert run(function, memory, pool, rows(5, 10)) == (2, 3)
    assert sorted(verb for verb, _ in memory.requests) == ["head", "put", "put_if_absent"]
    assert run(function, memory, pool, rows(10, 15)) == (2, 3)


def test_warm_append_with_rejects_is_three_requests_in_sequence(tmp_path: Path) -> None:
    function, memory, pool = counting(tmp_path)
    run(function, memory, pool, [*rows(0, 5), record(5, b"x")])
    assert run(function, memory, pool, [*rows(6, 9), record(9, b"x")]) == (3, 6)
    verbs = [verb for verb, _ in memory.requests]
    assert sorted(verbs[:4]) == ["head", "head", "put", "put"]
    assert verbs[4:] == ["put_if_absent", "put_if_absent"]
    assert [key for verb, key in memory.requests if verb == "put_if_absent"] == [
        f"_delta_log/{2:020}.json"
    ] * 2


def test_warm_batch_of_duplicates_writes_nothing(tmp_path: Path) -> None:
    function, memory, pool = counting(tmp_path)
    run(function, memory, pool, rows(0, 5))
    run(function, memory, pool, rows(0, 5))
    assert not {"put", "put_if_absent"} & {verb for verb, _ in memory.requests}


def test_partitioned_batch_puts_its_files_at_once(tmp_path: Path) -> None:
    contract = SMALL + "  site: {type: string}\npartition_by: [site]\n"
    function, memory, pool = counting(tmp_path, contract)
    batch = [record(i, {"id": i, "site": f"s{i % 7}"}) for i in range(20)]
    run(function, memory, pool, batch[:10])
    assert run(function, memory, pool, batch[10:]) == (2, 9)
    assert pool.rounds == [8, 1]


@pytest.mark.parametrize("commits", [1, 25, 120])
def test_cold_open_is_at_most_six_requests_in_sequence(tmp_path: Path, commits: int) -> None:
    function, memory, pool = counting(tmp_path)
    for i in range(commits):
        run(function, memory, pool, rows(i, i + 1))
    cold, _, pool = counting(tmp_path)
    cold._open_store = memory.open
    # Dead letters are looked for too; then two requests append.
    sequence, _ = run(cold, memory, pool, rows(commits, commits + 1))
    reads = [r for r in memory.requests if r[0] in ("get", "list", "get_ranges")]
    assert sequence - 2 <= COLD_SEQUENCE_MAX, pool.rounds
    assert len([r for r in reads if r[0] == "list"]) == 2


def test_cold_open_behind_a_checkpoint_is_flat_in_the_age_of_the_table(tmp_path: Path) -> None:
    from deltalake import DeltaTable

    sequences = []
    for commits in (30, 150):
        folder = tmp_path / str(commits)
        function = function_for(folder)
        for i in range(commits):
            function.handle(event([*rows(i, i + 1), record(i, b"x", partition=1)]), None)
        for name in ("orders", "orders__dead_letters"):
            DeltaTable(str(folder / "tables" / "sales" / name)).create_checkpoint()
        function.handle(event(rows(commits, commits + 1)), None)
        cold = function_for(folder)
        pool = cold._pool = CountingPool()
        cold.handle(event(rows(commits + 1, commits + 2)), None)
        sequences.append((len(pool.rounds), sum(pool.rounds)))
    assert sequences[0] == sequences[1]
    # Two tables of at most five rounds, one after the other, and the append.
    assert sequences[0][0] <= 2 * COLD_SEQUENCE_MAX + 2, sequences


def isolated(code: str, **environment: str) -> str:
    """Run code in a process of its own and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_ingest_imports_neither_engine_nor_boto_nor_numpy(tmp_path: Path) -> None:
    """A batch goes all the way, and then the loaded modules are looked at."""
    (tmp_path / "event.json").write_bytes(orjson.dumps(event([*rows(0, 2), record(2, b"x")])))
    (tmp_path / "contracts").mkdir()
    (tmp_path / "contracts" / "c.yaml").write_text(SMALL)
    code = f"""
import json, sys
from handler.app import lambda_handler
event = json.load(open({str(tmp_path / "event.json")!r}))
for _ in range(2):
    assert lambda_handler(event, None) == {{"batchItemFailures": []}}
print("MODULES", sorted(m for m in {FORBIDDEN_MODULES!r} if m in sys.modules))
"""
    out = isolated(
        code,
        SILT_TABLE_ROOT=str(tmp_path / "tables"),
        SILT_CONTRACTS=str(tmp_path / "contracts"),
    )
    assert "MODULES []" in out


def test_largest_event_stays_below_its_memory_limit(tmp_path: Path) -> None:
    """6 MB of base64 in small records, and a few bad ones among them; then one record of 4 MB."""
    (tmp_path / "contracts").mkdir()
    contract = (ROOT / "schemas" / "orders.yaml").read_text()
    (tmp_path / "contracts" / "c.yaml").write_text(contract)
    code = """
import base64, json, re
from handler.app import lambda_handler
def order(i):
    return json.dumps({"order_id": f"o{i}", "amount": "12.50", "tags": {"a": "b"},
        "placed_at": "2026-05-01T10:00:00Z", "customer": {"id": i, "e_mail": "a@b.example"},
        "items": [{"sku": "s" * 20, "price": i / 100} for _ in range(3)]}).encode()
def event(start, values):
    records = [{"topic": "orders", "partition": 0, "offset": start + i, "headers": [],
        "timestamp": 1795000000000 + i, "timestampType": "CREATE_TIME", "key": None,
        "value": base64.b64encode(v).decode()} for i, v in enumerate(values)]
    source = {"eventSource": "aws:kafka", "eventSourceArn": "arn:x/u-1"}
    return {**source, "records": {"orders-0": records}}
size, values = 0, []
while size < 6_000_000:
    values.append(order(len(values)) if len(values) % 100 else b"{bad")
    size += len(values[-1]) * 4 // 3
one_field = order(1)[:-1] + b',"x":"' + b"y" * 4_400_000 + b'"}'
batches = [values, [one_field], [b"x" * 4_400_000], [b"[" * 4_400_000]]
for number, batch in enumerate(batches):
    text = json.dumps(event(number * 100_000, batch))
    assert lambda_handler(json.loads(text), None) == {"batchItemFailures": []}
# Not ru_maxrss: a child begins with the peak of the process that it was forked from.
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print("PEAK", peak_kb / 1024)
"""
    out = isolated(
        code,
        SILT_TABLE_ROOT=str(tmp_path / "tables"),
        SILT_CONTRACTS=str(tmp_path / "contracts"),
    )
    peak = float(out.split("PEAK ")[1].split()[0])
    assert 100 < peak < MEMORY_LIMIT_MB, out
    summaries = [json.loads(line) for line in out.splitlines() if '"invocation"' in line]
    assert summaries[0]["delivered"] > 14_000
    assert summaries[0]["dead_lettered"] > 100


def test_time_of_the_tests_is_the_clocks() -> None:
    assert FakeClock().epoch_ms() == NOW_MS
