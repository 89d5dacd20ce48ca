"""Starts the Delta engine's work in a process of its own, and ends it in time."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from handler.errors import EngineFailed, OutOfTime

COMMAND = (sys.executable, "-P", "-m", "handler.upkeep.worker")
"""-P: a folder named handler, in the current directory, is not ours."""
SECONDS_MIN = 1.0
"""With less time than this the engine could not even be started."""


class Engine:
    """The engine for one table."""

    def __init__(self, uri: str, command: Sequence[str] = COMMAND) -> None:
        self._uri = uri
        self._command = command

    def do(self, job: str, left_s: float, **options: Any) -> Mapping[str, Any]:
        """Do a job and return what the engine says of it.

        Raises OutOfTime when it is not done within `left_s` seconds: its process is killed then,
        which is safe at any moment. Raises EngineFailed for what the engine could not do.
        """
        if left_s < SECONDS_MIN:
            raise OutOfTime(f"There is no time left to {job} {self._uri}; the next run does it.")
        asked = {"table": self._uri, "do": job, **options}
        path = os.pathsep.join(path for path in sys.path if path)
        try:
            process = subprocess.run(
                self._command,
                input=orjson.dumps(asked),
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path},
                timeout=left_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OutOfTime(
                f"The time was up before the engine had finished to {job} {self._uri}; the next "
                "run goes on."
            ) from error
        try:
            answer: Mapping[str, Any] = orjson.loads(process.stdout)
        except orjson.JSONDecodeError as error:
            reason = f"its process ended with {process.returncode}"
            raise EngineFailed(job, self._uri, "ended", reason) from error
        if "error" in answer:
            raise EngineFailed(job, self._uri, answer["error"], answer["message"])
        return answer
