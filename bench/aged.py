"""make aged: a table of thousands of small commits, before maintenance and after.

The function appends one small batch a commit, to a table of four partitions on a real S3 server,
without any maintenance. Then the maintenance function runs once. Before and after, programs of
their own open the table, append and query; a proxy between them and the server counts their
requests, and lets each take 20 ms where time is measured of what waits for requests.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs
from deltalake import DeltaTable, QueryBuilder

from handler.app import Function
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.settings import read_settings
from silt import output
from silt.local.s3 import LocalS3
from tests.builders import event, record
from tests.fakes import CountingPool
from tests.torture.judge import Tables
from tests.torture.proxy import FaultProxy

FOLDER = Path(".silt/aged").absolute()
LATENCY_S = 0.02
DAYS = 4
ROWS = 20
CONTRACT = """
topic: orders
table: sales/orders
columns:
  id: {type: long, required: true}
  day: {type: date, required: true}
  status: {type: string}
  amount: {type: double}
partition_by: [day]
maintenance: {quiet_for: 0m}
"""
QUERIES = {
    "rows of one day": "select count(*) from t where day = date '2026-11-02'",
    "sum by status": "select status, sum(amount) from t group by status order by status",
    "one record by its id": "select id, day, status, amount from t where id = 321",
}
GET_USD, PUT_USD = 0.4e-6, 5e-6
"""What a GET or HEAD costs on S3 Standard in us-east-1, and a PUT or LIST (2026)."""
HOURS_A_MONTH, RUNS_A_MONTH = 720, 8_640
"""A query and a cold sandbox an hour; a run of maintenance every five minutes."""


def batch(number: int) -> dict[str, Any]:
    """Return the event of one commit: a few rows of one day."""
    now = time.time_ns() // 1_000_000
    first = number * ROWS
    return event(
        record(
            offset,
            {
                "id": offset,
                "day": f"2026-11-0{1 + number % DAYS}",
                "status": ("new", "paid", "shipped")[offset % 3],
                "amount": offset / 100,
            },
            timestamp=now,
        )
        for offset in range(first, first + ROWS)
    )


# What is measured, each in a process of its own: `python -m bench.aged NAME`.


def cold_open() -> dict[str, Any]:
    """Open the table as a cold sandbox does."""
    pool = CountingPool()
    table = Table("orders", open_store(os.environ["TABLE"]), pool)
    began = time.perf_counter()
    table.read(Deadline(SystemClock(), time.monotonic() + 600))
    return {"seconds": time.perf_counter() - began, "in_sequence": len(pool.rounds)}


def append() -> dict[str, Any]:
    """Append twice in one sandbox: all requests are counted, the second append is timed."""
    function = Function(read_settings(os.environ))
    pool = function._pool = CountingPool()
    number = int(os.environ["NEXT"])
    seconds = 0.0
    for i in range(2):
        pool.rounds.clear()
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            answer = function.handle(batch(number + i), None)
        seconds = time.perf_counter() - began
        assert answer == {"batchItemFailures": []}, answer
    return {"seconds": seconds, "in_sequence": len(pool.rounds)}


def engine_query() -> dict[str, Any]:
    """Open the table and ask one question, by the Delta engine."""
    began = time.perf_counter()
    query = QueryBuilder().register("t", DeltaTable(os.environ["TABLE"]))
    rows = pa.table(query.execute(os.environ["QUERY"]).read_all()).num_rows
    return {"seconds": time.perf_counter() - began, "rows": rows}


def own_query() -> dict[str, Any]:
    """Read the log by the tests' own reader and ask one question by DuckDB."""
    began = time.perf_counter()
    place = os.environ["TABLE"]
    root, folder, name = place.rsplit("/", 2)
    tables = Tables(_Server(), root, f"{folder}/{name}")  # type: ignore[arg-type]
    files = [f"{place.removeprefix('s3://')}/{path}" for path in tables.state().adds]
    system = pyarrow.fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"])
    days = ds.partitioning(pa.schema([("day", pa.date32())]), flavor="hive")
    dataset = ds.dataset(files, filesystem=system, format="parquet", partitioning=days)
    database = duckdb.connect()
    database.register("t", dataset)
    rows = len(database.execute(os.environ["QUERY"]).fetchall())
    return {"seconds": time.perf_counter() - began, "rows": rows}


class _Server:
    """The server that the environment names, as far as the tests' reader asks for it."""

    @staticmethod
    def client() -> Any:
        """Return a client."""
        return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])


PROBES: dict[str, Callable[[], dict[str, Any]]] = {
    "cold_open": cold_open,
    "append": append,
    "engine_query": engine_query,
    "own_query": own_query,
}


@dataclass
class Bench:
    """The table, the server and the proxy."""

    s3: LocalS3
    proxy: FaultProxy
    commits: int

    @property
    def root(self) -> str:
        """Return the root of the tables."""
        return f"s3://{self.s3.bucket}/aged"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a program that goes through the proxy."""
        return {
            **os.environ,
            **self.s3.environment,
            "AWS_ENDPOINT_URL": self.proxy.endpoint,
            "SILT_TABLE_ROOT": self.root,
            "SILT_CONTRACTS": str(FOLDER / "contracts"),
            "SILT_LOG_LEVEL": "ERROR",
            "TABLE": f"{self.root}/sales/orders",
            **more,
        }

    def age(self) -> None:
        """Append commit after commit, straight to the server."""
        (FOLDER / "contracts").mkdir(parents=True)
        (FOLDER / "contracts" / "orders.yaml").write_text(CONTRACT)
        environment = self.environment(AWS_ENDPOINT_URL=self.s3.endpoint)
        os.environ.update(self.s3.environment)
        function = Function(
            read_settings({k: v for k, v in environment.items() if k.startswith("SILT_")})
        )
        with output.progress("aging the table", "commits") as advance:
            for number in range(self.commits):
                with contextlib.redirect_stdout(io.StringIO()):
                    answer = function.handle(batch(number), None)
                assert answer == {"batchItemFailures": []}, answer
                advance(1)
        self.commits += 1  # the first append made the table

    @contextlib.contextmanager
    def counted(self, figures: dict[str, Any], *, latency: bool) -> Iterator[None]:
        """Count the requests of a block, each of which takes its latency."""
        before = self.proxy.seen.copy()
        self.proxy.plan = lambda _request: "slow" if latency else None
        yield
        seen = self.proxy.seen - before
        figures["requests"] = seen.total()
        writes = {"data put", "commit put", "checkpoint put", "list"}
        figures["usd"] = sum(n * (PUT_USD if k in writes else GET_USD) for k, n in seen.items())

    def probe(self, name: str, *, latency: bool = False, **more: str) -> dict[str, Any]:
        """Run a probe by itself and return what it measured, with what the proxy counted."""
        figures: dict[str, Any] = {}
        with self.counted(figures, latency=latency):
            figures |= _run([sys.executable, "-m", "bench.aged", name], self.environment(**more))
        return figures

    def measure(self) -> dict[str, dict[str, Any]]:
        """Return everything that is compared."""
        found = {"a cold open": self.probe("cold_open", latency=True)}
        appended = self.probe("append", latency=True, NEXT=str(self.commits))
        found["two appends of a cold sandbox, the second"] = appended
        self.commits += 2
        for what, query in QUERIES.items():
            for reader in ("engine", "own"):
                direct = {"AWS_ENDPOINT_URL": self.s3.endpoint, "QUERY": query}
                counted = self.probe(f"{reader}_query", QUERY=query)
                timed = self.probe(f"{reader}_query", **direct)
                by = "deltalake" if reader == "engine" else "DuckDB and the tests' reader"
                found[f"{what}, by {by}"] = {**counted, "seconds": timed["seconds"]}
        adds = Tables(self.s3, self.root).state().adds
        found["files"] = {"count": len(adds)}
        found["bytes"] = {"count": sum(add["size"] for add in adds.values())}
        return found

    def maintain(self) -> dict[str, Any]:
        """Run the maintenance function once."""
        figures: dict[str, Any] = {}
        began = time.perf_counter()
        with self.counted(figures, latency=False):
            code = "import json; from handler.maintenance import lambda_handler\n"
            code += "print(json.dumps(lambda_handler({'tables': ['sales/orders']}, None)))"
            figures |= _run([sys.executable, "-c", code], self.environment())
        figures["seconds"] = time.perf_counter() - began
        return figures


def _run(command: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[-1][:60]} ended with {done.returncode}:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _cell(figures: Mapping[str, Any]) -> str:
    if "count" in figures:
        return f"{figures['count']:,}"
    sequence = f" ({figures['in_sequence']} in sequence)" if "in_sequence" in figures else ""
    return f"{figures['requests']:,} requests{sequence}, {figures['seconds']:.2f} s"


def _month(measured: Mapping[str, Mapping[str, Any]]) -> float:
    query, cold = measured["sum by status, by deltalake"], measured["a cold open"]
    return HOURS_A_MONTH * (query["usd"] + cold["usd"])


def main() -> int:
    """Age a table, maintain it, and compare."""
    parser = argparse.ArgumentParser(prog="make aged", description=__doc__)
    parser.add_argument("probe", nargs="?", choices=PROBES, help="measure one thing (by itself)")
    parser.add_argument("--commits", type=int, default=10_000)
    options = parser.parse_args()
    if options.probe is not None:
        sys.stdout.write(json.dumps(PROBES[options.probe]()) + "\n")
        return 0
    shutil.rmtree(FOLDER, ignore_errors=True)
    with (
        LocalS3(FOLDER / "s3", "lake") as s3,
        FaultProxy(s3.endpoint, slow_s=LATENCY_S) as proxy,
    ):
        bench = Bench(s3, proxy, options.commits)
        bench.age()
        before = bench.measure()
        run = bench.maintain()
        after = bench.measure()
        bench.maintain()  # what the measuring appended
        idle = bench.maintain()
    (report,) = run["tables"]
    rows = [[what, _cell(before[what]), _cell(after[what])] for what in before]
    output.table(f"{options.commits:,} commits", ["what", "before", "after"], rows)
    output.say(
        f"Maintenance: {run['requests']:,} requests, {run['seconds']:.0f} s; "
        f"{report['files_removed']:,} files became {report['files_added']:,}. A run that finds "
        f"nothing to do: {idle['requests']:,} requests, {idle['seconds']:.1f} s."
    )
    runs = RUNS_A_MONTH * idle["usd"]
    output.say(
        "Requests of a month, for one query and one cold sandbox an hour: "
        f"{_month(before):.2f} USD before; {_month(after):.2f} USD after, and {runs:.2f} USD for a "
        "run of maintenance every five minutes."
    )
    figures = {"before": before, "maintenance": run, "after": after, "idle": idle}
    (FOLDER / "report.json").write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
