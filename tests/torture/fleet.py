"""Sandboxes that are killed and frozen: the real runtime client in processes that one loses."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from silt.local.runtime import Sandbox
from tests.builders import ROOT
from tests.torture.steps import VARIABLE, Moment

HANDLER = "tests.torture.killable.lambda_handler"


class FrailSandbox(Sandbox):
    """A sandbox whose process may die or freeze at a moment; the process after it is sound again.

    A process that is frozen when its time is over is not killed: it is left behind, as Lambda may
    thaw a sandbox of which nobody expects anything any more. `zombies` are these.
    """

    def __init__(
        self, environment: Mapping[str, str], *, timeout_s: float = 30.0, log: Path | None = None
    ) -> None:
        whole = {**environment, "PYTHONPATH": str(ROOT)}
        super().__init__(whole, handler=HANDLER, timeout_s=timeout_s, log=log)
        self.zombies: list[subprocess.Popen[bytes]] = []
        self.deaths: list[int] = []
        """How the zombies ended that were thawed: return codes as `subprocess` gives them."""

    def doom(self, *moments: Moment) -> None:
        """Make the next process that is started die or freeze at these moments."""
        self._environment[VARIABLE] = " ".join(map(str, moments))

    def freeze(self) -> None:
        """Freeze the process, whatever it is doing (SIGSTOP)."""
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGSTOP)

    def end_late(self) -> None:
        """Leave a frozen process behind; kill any other."""
        if self.process is not None and is_frozen(self.process):
            self.zombies.append(self.process)
            self.process = None
            self.doom()
        else:
            self.kill()

    def thaw(self, limit_s: float) -> int:
        """Let every zombie go on for a while, then end it. Returns how many there were."""
        zombies, self.zombies = self.zombies, []
        for zombie in zombies:
            zombie.send_signal(signal.SIGCONT)
        ends_at = time.monotonic() + limit_s
        for zombie in zombies:
            try:
                zombie.wait(max(0.0, ends_at - time.monotonic()))
            except subprocess.TimeoutExpired:
                zombie.kill()
            self.deaths.append(zombie.wait())
        return len(zombies)

    def close(self) -> None:
        """End all processes and the API."""
        for zombie in self.zombies:
            zombie.kill()
            zombie.wait()
        super().close()


def is_frozen(process: "subprocess.Popen[bytes]") -> bool:
    """Return whether a process is stopped by a signal."""
    try:
        state = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def wait_until(holds: Callable[[], Any], what: str, limit_s: float = 60.0) -> None:
    """Wait for something that is about to happen."""
    ends_at = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > ends_at:
            raise TimeoutError(f"after {limit_s:g} s still not: {what}")
        time.sleep(0.01)
