"""A function in the real Lambda runtime client, with the CPU and the memory that it takes.

CPU is that of the whole process, threads included, from the event's bytes to the answer's, and what
it frees after that.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.checkout import HERE
from silt.local.runtime import CLIENT, Sandbox
from tests.isolated import peak_memory_mb

SETTLE_S = 0.03
"""So long after an answer the process waits for the next event: it has freed what it had."""


def start_function(contract: str, folder: Path, tree: Path = HERE) -> "MeasuredFunction":
    """Return the function of a checkout with one contract, and its tables below a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "contracts").mkdir(parents=True)
    (folder / "contracts" / "contract.yaml").write_text(contract)
    environment = {
        "SILT_TABLE_ROOT": str(folder / "tables"),
        "SILT_CONTRACTS": str(folder / "contracts"),
    }
    return MeasuredFunction(tree, "handler.app.lambda_handler", environment, folder / "log")


class MeasuredFunction:
    """A function of a checkout, warm after its first event."""

    def __init__(self, tree: Path, handler: str, environment: Mapping[str, str], log: Path) -> None:
        self._sandbox = Sandbox(
            {"PATH": "/usr/bin:/bin", **environment},
            handler=handler,
            client=CLIENT,
            task_root=tree,
            log=log,
            timeout_s=300,
        )
        self._log = log

    def invoke(self, event: Mapping[str, Any]) -> float:
        """Give an event to the function and return the CPU seconds that it took."""
        begun = self._cpu_s()
        outcome = self._sandbox.invoke(event)
        if outcome.payload != {"batchItemFailures": []}:
            raise RuntimeError(f"{outcome}; {self._log} says why")
        time.sleep(SETTLE_S)
        return self._cpu_s() - begun

    def open_tables(self) -> None:
        """Start the function and let it look at its tables."""
        self._sandbox.invoke({"silt": "health"})

    @property
    def answer_s(self) -> float:
        """Return how long the last answer took, in seconds of the wall clock."""
        return self._sandbox.answer_s

    @property
    def pid(self) -> int:
        """Return the process; there is one after the first event."""
        assert self._sandbox.process is not None
        return self._sandbox.process.pid

    @property
    def peak_mb(self) -> float:
        """Return the most memory that the process has had."""
        return peak_memory_mb(self._sandbox)

    def close(self) -> None:
        """End the process."""
        self._sandbox.close()

    def _cpu_s(self) -> float:
        process = self._sandbox.process
        # Linux's number of the CPU clock of another process: clock_getcpuclockid(3).
        return time.clock_gettime((~process.pid << 3) | 2) if process is not None else 0.0
