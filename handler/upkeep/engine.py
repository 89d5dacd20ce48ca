"""Starts the Delta engine's work in a process of its own, reads what it says, ends it in time."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import orjson

from handler.errors import EngineFailed, OutOfTime

COMMAND = (sys.executable, "-P", "-m", "handler.upkeep.worker")
"""-P: a folder named handler, where a person happens to stand, is not ours."""
SECONDS_MIN = 1.0
"""With less time than this the engine could not even be started."""


class Engine:
    """The engine for one table."""

    def __init__(self, uri: str, command: Sequence[str] = COMMAND) -> None:
        self._uri = uri
        self._command = command

    def ask(self, do: str, left_s: float, **job: Any) -> Generator[Mapping[str, Any], None, None]:
        """Do a job, and give what the engine says of it as it says it.

        Raises OutOfTime when it is not done within `left_s` seconds: its process is killed then,
        which is safe at any moment. Raises EngineFailed for what the engine could not do.
        """
        if left_s < SECONDS_MIN:
            raise OutOfTime(f"There is no time left to {do} {self._uri}; the next run goes on.")
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(left_s, end)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):  # it has ended already: see below
                process.stdin.write(orjson.dumps({"table": self._uri, "do": do, **job}))
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            for text in process.stdout:
                if not text.endswith(b"\n"):
                    break  # it ended in the middle of a line
                line = orjson.loads(text)
                if line.get("failed"):
                    raise EngineFailed(do, self._uri, line["error"], line["message"])
                yield line
            code = process.wait()
            if late.is_set():
                raise OutOfTime(
                    f"The time was up before the engine had finished to {do} {self._uri}. What it "
                    "had committed stands; the next run goes on."
                )
            if code != 0:
                raise EngineFailed(do, self._uri, "ended", f"its process ended with {code}")
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
