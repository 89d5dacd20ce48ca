"""Starts the Delta engine's work in a process of its own, reads what it says, ends it in time."""

import os
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import orjson

from handler.errors import EngineFailed, OutOfTime

COMMAND = (sys.executable, "-m", "handler.upkeep.worker")


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
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(max(0.0, left_s), end)
        timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(orjson.dumps({"table": self._uri, "do": do, **job}))
            process.stdin.close()
            for text in process.stdout:
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
            process.stdout.close()  # type: ignore[union-attr]
