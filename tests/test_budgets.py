"""What can be counted has a limit here: requests, modules, memory."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from handler.contract.packaged import COMPILED, compile_contracts
from handler.delta.retry import Deadline, SystemClock
from tests.builders import (
    EVERY_STEP,
    NOW_MS,
    ROOT,
    SMALL,
    FakeClock,
    checkpoint_bytes,
    event,
    files_of_a_large_table,
    function_for,
    record,
    rows,
)
from tests.fakes import CountingPool, Memory

MEMORY_LIMIT_MB = 180
WIDE_MEMORY_LIMIT_MB = 260
MAINTENANCE_MEMORY_LIMIT_MB = 512
COLD_SEQUENCE_MAX = 4
"""A cold open: the hint, a listing, the checkpoint's footer and commits, its columns."""
FORBIDDEN_MODULES = (
    *("deltalake", "boto3", "botocore.session", "numpy", "pandas", "silt"),
    *("pydantic", "yaml", "pyarrow.compute", "difflib"),
)


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
def test_cold_open_is_at_most_four_requests_in_sequence(tmp_path: Path, commits: int) -> None:
    function, memory, pool = counting(tmp_path)
    for i in range(commits):
        run(function, memory, pool, rows(i, i + 1))
    cold, _, pool = counting(tmp_path)
    cold._open_store = memory.open
    # Both tables are opened at once, the dead letters are looked at again, two requests append.
    sequence, _ = run(cold, memory, pool, rows(commits, commits + 1))
    reads = [r for r in memory.requests if r[0] in ("get", "list", "get_ranges")]
    assert sequence - 3 <= COLD_SEQUENCE_MAX, pool.rounds
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
    # Both tables at once, the dead letters again, and the append.
    assert sequences[0][0] <= COLD_SEQUENCE_MAX + 1 + 2, sequences


def test_cold_append_with_rejects_is_eight_requests_in_sequence(tmp_path: Path) -> None:
    """Both tables have a checkpoint and commits behind it."""
    from deltalake import DeltaTable

    function = function_for(tmp_path)
    for i in range(20):
        function.handle(event([*rows(i, i + 1), record(i, b"x", partition=1)]), None)
        if i == 15:
            for name in ("orders", "orders__dead_letters"):
                DeltaTable(str(tmp_path / "tables" / "sales" / name)).create_checkpoint()
    cold = function_for(tmp_path)
    pool = cold._pool = CountingPool()
    batch = [*rows(20, 21), record(20, b"x", partition=1)]
    assert cold.handle(event(batch), None) == {"batchItemFailures": []}
    # The open, is the newest dead letter still the newest, files, and two commits.
    assert len(pool.rounds) == COLD_SEQUENCE_MAX + 1 + 3 == 8, pool.rounds


@pytest.mark.parametrize("cleaned", [False, True])
def test_cold_open_and_append_are_flat_from_1_000_to_100_000_commits(
    tmp_path: Path, cleaned: bool
) -> None:
    """The log of a maintained table: a checkpoint, and up to twenty commits behind it."""
    opened, appended = [], []
    for age in (1_000, 100_000):
        memory = aged_memory(tmp_path / str(age), age, cleaned=cleaned)
        pool = CountingPool()
        function = function_for(tmp_path / str(age), open_store=memory.open)
        function._pool = pool
        memory.requests.clear()
        (table,) = [t for t in function._writer("orders").writers[0].tables if "dead" not in t.name]
        table.read(Deadline(SystemClock(), time.monotonic() + 60))
        opened.append((len(pool.rounds), len(memory.requests)))
        run(function, memory, pool, rows(500_000, 500_003))
        appended.append(run(function, memory, pool, rows(500_003, 500_006)))
    assert opened[0] == opened[1]
    assert opened[0][0] <= COLD_SEQUENCE_MAX
    assert appended == [(2, 3), (2, 3)]


def aged_memory(folder: Path, age: int, *, cleaned: bool) -> Memory:
    """Return a table of so many commits in memory, whose log ends 15 commits behind a
    checkpoint."""
    memory = Memory()
    function = function_for(folder, open_store=memory.open)
    assert function.handle(event(rows(0, 3)), None) == {"batchItemFailures": []}
    store = memory.stores[str(folder / "tables" / "sales" / "orders")]
    first = [store.get(f"_delta_log/{version:020}.json").data for version in (0, 1)]
    txn = orjson.loads(next(line for line in first[1].splitlines() if b'"txn"' in line))
    last = age - 15

    def commit(version: int) -> bytes:
        txn["txn"]["version"] = version
        return orjson.dumps({"commitInfo": {"timestamp": NOW_MS}}) + b"\n" + orjson.dumps(txn)

    for version in range(last if cleaned else 2, age):
        store.put(f"_delta_log/{version:020}.json", commit(version))
    log = b"".join(first) + commit(last)
    store.put(f"_delta_log/{last:020}.checkpoint.parquet", checkpoint_bytes(log))
    store.put("_delta_log/_last_checkpoint", orjson.dumps({"version": last}))
    return memory


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


def test_ingest_imports_no_more_than_it_needs(tmp_path: Path) -> None:
    """A batch that takes every step goes all the way, and then the loaded modules are looked at.

    The contracts are compiled, as in an artifact.
    """
    value = {
        "id": 1,
        "name": "a1",
        "kind": "a",
        "price": "1.50",
        "ratio": 1.5,
        "day": "2026-05-01",
        "at": "2026-05-01T10:00:00Z",
        "there": "2026-05-01T10:00:00",
        "seen": 1_777_000_000_000,
        "since": "2026-05-01T10:00:00Z",
        "any": [1],
        "data": "AAA=",
        "tags": {"a": 1},
        "items": [{"sku": "a"}],
        "unknown": 1,
    }
    short = {"id": 2, "kind": "b", "price": 1.5}
    wrong = [{**value, "price": "1.555"}, {**value, "kind": "c"}, {"id": -1}, {**value, "at": "x"}]
    batch = [record(i, each) for i, each in enumerate([value, short, *wrong, b"x", None])]
    (tmp_path / "event.json").write_bytes(orjson.dumps(event(batch)))
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "c.yaml").write_text(EVERY_STEP)
    build = "0.1.0+0123456789ab"
    (contracts / COMPILED).write_bytes(compile_contracts(contracts, build))
    code = f"""
import json, sys
import handler
handler.__build__ = {build!r}
from handler.app import lambda_handler
event = json.load(open({str(tmp_path / "event.json")!r}))
for _ in range(2):
    assert lambda_handler(event, None) == {{"batchItemFailures": []}}
print("MODULES", sorted(m for m in {FORBIDDEN_MODULES!r} if m in sys.modules))
"""
    out = isolated(
        code,
        SILT_TABLE_ROOT=str(tmp_path / "tables"),
        SILT_CONTRACTS=str(contracts),
    )
    assert "MODULES []" in out
    counts = [json.loads(line) for line in out.splitlines() if '"invocation"' in line]
    assert [(c["delivered"], c["appended"], c["dead_lettered"]) for c in counts] == [
        (8, 2, 5),
        (8, 0, 0),
    ], counts


LOOK_UP_MEMORY_LIMIT_MB = 300


def order(i: int) -> bytes:
    """Return an order of some 220 bytes."""
    return orjson.dumps(
        {
            "order_id": f"o{i}",
            "amount": "12.50",
            "tags": {"a": "b"},
            "placed_at": "2026-05-01T10:00:00Z",
            "customer": {"id": i, "e_mail": "a@b.example"},
            "items": [{"sku": "s" * 20, "price": i / 100} for _ in range(3)],
        }
    )


def test_largest_event_stays_below_its_memory_limit(tmp_path: Path) -> None:
    """6 MB of base64 in small records, a few bad ones among them; then one record of 4 MB."""
    (tmp_path / "contracts").mkdir()
    contract = (ROOT / "schemas" / "orders.yaml").read_text()
    (tmp_path / "contracts" / "c.yaml").write_text(contract)
    small = [order(i) if i % 100 else b"{bad" for i in range(15_000)]
    one_field = order(1)[:-1] + b',"x":"' + b"y" * 4_400_000 + b'"}'
    batches = [small, [one_field], [b"x" * 4_400_000], [b"[" * 4_400_000]]
    for number, batch in enumerate(batches):
        records = [record(number * 100_000 + i, value) for i, value in enumerate(batch)]
        body = orjson.dumps(event(records))
        assert 5_800_000 < len(body) < 8_000_000
        (tmp_path / f"{number}.json").write_bytes(body)
    answer, peak_mb = measured(
        f"""
from pathlib import Path
from handler.app import lambda_handler
from handler.kafka.event import decode_event
result = []
for number in range({len(batches)}):
    # As the runtime client does: the bytes of an event are gone when the function has its records.
    decoded = decode_event(Path({str(tmp_path)!r}, f"{{number}}.json").read_bytes())
    result.append(lambda_handler(decoded, None))
""",
        SILT_TABLE_ROOT=str(tmp_path / "tables"),
        SILT_CONTRACTS=str(tmp_path / "contracts"),
    )
    print(f"{peak_mb} MB")
    assert answer == [{"batchItemFailures": []}] * len(batches)
    good = sum(batch != b"{bad" for batch in small) + 1
    tables = [tmp_path / "tables" / "sales" / f"orders{end}" for end in ("", "__dead_letters")]
    counts = [sum(pq.read_metadata(f).num_rows for f in t.rglob("*.parquet")) for t in tables]
    assert counts == [good, len(small) - good + 1 + 2]
    assert 80 < peak_mb < MEMORY_LIMIT_MB


def test_small_records_of_a_wide_contract_stay_below_the_memory_limit(tmp_path: Path) -> None:
    """One record brings all of 2,000 columns, so that they are built for 9,999 others too."""
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    columns = "".join(f"  c{i}: {{type: 'decimal(38,2)'}}\n" for i in range(2_000))
    (contracts / "c.yaml").write_text(f"topic: orders\ntable: t\ncolumns:\n{columns}")
    values = [{f"c{i}": 1.5 for i in range(2_000)}, *({} for _ in range(9_999))]
    body = orjson.dumps(event([record(i, value) for i, value in enumerate(values)]))
    (tmp_path / "event.json").write_bytes(body)
    answer, peak_mb = measured(
        f"""
from pathlib import Path
from handler.app import lambda_handler
from handler.kafka.event import decode_event
result = lambda_handler(decode_event(Path({str(tmp_path)!r}, "event.json").read_bytes()), None)
""",
        SILT_TABLE_ROOT=str(tmp_path / "tables"),
        SILT_CONTRACTS=str(contracts),
    )
    print(f"{peak_mb} MB")
    assert answer == {"batchItemFailures": []}
    assert peak_mb < WIDE_MEMORY_LIMIT_MB


def test_look_up_in_300_000_files_stays_below_its_memory_limit(tmp_path: Path) -> None:
    """Only files whose ranges can hold a record become objects: of 300,000 the one that has it."""
    function_for(tmp_path).handle(event(rows(0, 10)), None)
    files_of_a_large_table(tmp_path / "tables" / "sales" / "orders", 300_000)
    environment = {
        "SILT_TABLE_ROOT": str(tmp_path / "tables"),
        "SILT_CONTRACTS": str(tmp_path / "contracts"),
    }
    answer, peak_mb = measured(
        f"""
from handler import app
from handler.delta import look_up
candidates = []
original = look_up.find_rows
def find_rows(store, found, *rest):
    candidates.append(len(found.active))
    return original(store, found, *rest)
import handler.delta.tables
handler.delta.tables.find_rows = find_rows
answer = app.lambda_handler({event(rows(5, 10))!r}, None)
result = [answer, candidates]
""",
        **environment,
    )
    print(f"{peak_mb} MB")
    assert answer == [{"batchItemFailures": []}, [0, 1]]
    assert peak_mb < LOOK_UP_MEMORY_LIMIT_MB


def test_maintenance_of_a_terabyte_stays_below_its_memory_limit(tmp_path: Path) -> None:
    """10,000 files of 100 MB and 20,000 of a day's small ones, all simulated: looked at,
    checkpointed, vacuumed. The function and the engine's process count together."""
    folder = tmp_path / "tables" / "sales" / "orders"
    function_for(tmp_path, SMALL + "maintenance: {checkpoint_commits: 1}\n").handle(
        event(rows(0, 3)), None
    )
    stats = {"numRecords": 1000, "minValues": {"id": 1, "name": "a" * 32}}
    stats |= {"maxValues": {"id": 10**12, "name": "z" * 32}, "nullCount": {"id": 0, "name": 0}}
    for version in range(2, 8):
        adds = [
            {
                "add": {
                    "path": f"{version}-{i:08}-0000-4000-8000-{i:012}.parquet",
                    "partitionValues": {},
                    "size": 100_000_000 if version < 4 else 100_000,
                    "modificationTime": time.time_ns() // 1_000_000,
                    "dataChange": True,
                    "stats": json.dumps(stats),
                    "tags": {"silt.types": "0", "silt.offsets": "0:1-1000"},
                }
            }
            for i in range(5_000)
        ]
        lines = b"\n".join(map(orjson.dumps, adds))
        (folder / "_delta_log" / f"{version:020}.json").write_bytes(lines)
    environment = {
        "SILT_TABLE_ROOT": str(tmp_path / "tables"),
        "SILT_CONTRACTS": str(tmp_path / "contracts"),
    }
    answer, own_mb = measured(
        """
from handler import maintenance
from handler.upkeep import due
due.BAD_FILES = 10**9  # nothing is compacted: there are no files
result = maintenance.lambda_handler({"tables": ["sales/orders"]}, None)["tables"][0]
""",
        **environment,
    )
    assert answer["files"] == 30_001
    assert answer["data_bytes"] > 10**12
    assert answer["checkpoint_written"]
    jobs: list[dict[str, Any]] = [
        {"do": "checkpoint"},
        {"do": "vacuum", "hours": 168, "dry_run": True},
    ]
    engine_mb = max(
        measured(
            f"""
from deltalake import DeltaTable
from handler.upkeep import worker
job = {job!r}
result = worker.JOBS[job["do"]](DeltaTable({str(folder)!r}), job)
"""
        )[1]
        for job in jobs
    )
    print(f"function {own_mb} MB, engine {engine_mb} MB")
    assert 200 < own_mb + engine_mb < MAINTENANCE_MEMORY_LIMIT_MB


def measured(code: str, **environment: str) -> tuple[Any, int]:
    """Run code in a process of its own; returns its `result` and its peak of memory, in MB.

    Not ru_maxrss: a child begins with the peak of the process that it was forked from.
    """
    peak = 'int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024'
    ending = f'\nimport json, re\nprint("RESULT", json.dumps([result, {peak}]))\n'
    out = isolated(code + ending, **environment)
    answer, peak_mb = json.loads(out.split("RESULT ")[1].splitlines()[0])
    return answer, peak_mb


def test_time_of_the_tests_is_the_clocks() -> None:
    assert FakeClock().epoch_ms() == NOW_MS
