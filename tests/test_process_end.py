"""A process that ends right after it read Parquet from memory must not abort.

Arrow's own threads abort it when they hold a Python object at its end (apache/arrow#39862): about
one process in four, with `pq.read_table(io.BytesIO(data))` as its last step.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROCESSES = 40

ENDS = """
import io, os, sys
import pyarrow as pa, pyarrow.parquet as pq
from handler.delta.parquet_ranges import open_parquet
from tests.reader import read_parquet

sink = io.BytesIO()
pq.write_table(pa.table({"a": list(range(10)), "b": ["x"] * 10}), sink)
data = sink.getvalue()
read = compile(sys.argv[1], "read", "exec")
aborted = 0
for _ in range(int(sys.argv[2])):
    process = os.fork()
    if process == 0:
        source = pa.PythonFile(io.BytesIO(data), "r")
        exec(read)
        break  # the child ends as a program does
    aborted += os.waitpid(process, 0)[1] != 0
else:
    print(aborted, "aborted")
"""


@pytest.mark.parametrize(
    "read",
    [
        "read_parquet(data)",
        "open_parquet(source).read_row_group(0, use_threads=False)",
        "next(open_parquet(source).iter_batches(3, use_threads=False))",
    ],
    ids=["tests' reader", "row group", "batch"],
)
def test_process_ends_well_after_it_read_parquet_from_memory(read: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS, read, str(PROCESSES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("0 aborted\n", "")
