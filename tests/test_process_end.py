"""A program that ends right after it read Parquet from memory must not abort.

Arrow's own threads abort it when they let go of a Python object at its end (as in
apache/arrow#45017): about one process in four, with `pq.read_table(io.BytesIO(data))` as its last
step. What ships reads without Arrow's threads.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROCESSES = 40

ENDS = """
import io, os, sys
import pyarrow as pa, pyarrow.parquet as pq
from tests.reader import read_parquet

sink = io.BytesIO()
pq.write_table(pa.table({"a": list(range(10)), "b": ["x"] * 10}), sink)
data = sink.getvalue()
aborted = 0
for _ in range(int(sys.argv[1])):
    process = os.fork()
    if process == 0:
        read_parquet(data)
        break  # the child ends as a program does
    aborted += os.waitpid(process, 0)[1] != 0
else:
    print(aborted, "aborted")
"""


def test_process_ends_well_after_it_read_parquet_from_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS, str(PROCESSES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("0 aborted\n", "")
