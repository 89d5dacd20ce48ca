"""A sandbox on this machine: the real Lambda runtime client in a process, and the Runtime API it
talks to.

The API is AWS's 'Lambda runtime API' (2018-06-01): next, response, error, init error. A timeout is
a kill of the process, as in Lambda; the next invocation starts a new one.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from silt.local.events import encode
from silt.local.runtime_api import InvocationOutcome, PendingInvocation, RuntimeApi

CLIENT = (sys.executable, "-m", "awslambdaric")
START_LIMIT_S = 60.0
"""A process that has not asked for its first invocation by then has failed to start."""
MEMORY_MB = 512
"""The memory that the function is informed of: the default of a deployment."""


class Sandbox:
    """One execution environment.

    Not for use by two threads at once: Lambda gives it one event at a time.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        handler: str = "handler.app.lambda_handler",
        timeout_s: float = 60.0,
        log: Path | None = None,
        client: Sequence[str] = CLIENT,
        task_root: Path | None = None,
        on_line: Callable[[bytes], None] | None = None,
    ) -> None:
        """`client` starts the runtime client, this interpreter's by default. `on_line` is given
        each line that the function logs, in a thread of its own.

        With `task_root`, a folder as Lambda unpacks it, the process is there and sees nothing
        of this one's environment; otherwise the function is the checkout's.
        """
        self._environment = {**({} if task_root else os.environ), **environment}
        self._client = client
        self._task_root = task_root
        self._handler = handler
        self.timeout_s = timeout_s
        self._log = log
        self._on_line = on_line
        self._reader: threading.Thread | None = None
        self._api: RuntimeApi | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.is_stale = False
        """Whether the next event gets a process of its own, as after a deployment."""
        self._started_at = 0.0
        self.init_s = 0.0
        """How long the last start took, from the process to its request for the first event."""
        self.answer_s = 0.0
        """How long the function had the last event that it answered."""

    def invoke(self, event: Mapping[str, Any]) -> InvocationOutcome:
        """Give an event to the function and wait for what comes of it."""
        api = self._started()
        is_first = not api.is_warm
        invocation = PendingInvocation(encode(event), self.timeout_s)
        api.offer(invocation)
        begun = time.monotonic()
        while not invocation.done.wait(0.02):
            if api.init_error is not None:
                self.kill()
                return api.init_error
            if self.process is None or self.process.poll() is not None:
                return api.withdraw(invocation, InvocationOutcome("crash", "the process ended"))
            is_taken = invocation.taken.is_set()
            limit_s = self.timeout_s if is_taken or api.is_warm else START_LIMIT_S
            if time.monotonic() - (invocation.taken_at if is_taken else begun) > limit_s:
                self.end_late()
                timed_out = f"the function did not answer within {limit_s:g} s"
                return api.withdraw(invocation, InvocationOutcome("timeout", timed_out))
        assert invocation.outcome is not None
        self.answer_s = time.monotonic() - invocation.taken_at
        if is_first:
            self.init_s = invocation.taken_at - self._started_at
        return invocation.outcome

    @property
    def busy(self) -> bool:
        """Return whether the function has an event and has not answered yet."""
        return self._api is not None and self._api.busy

    def kill(self) -> None:
        """End the process at once, whatever it is doing (SIGKILL)."""
        process = self.process
        if process is not None:
            process.kill()
            process.wait()

    def kill_busy(self) -> bool:
        """End the process in the middle of its event. Returns False where it has none, or has
        answered: then it lives.

        An answer that is on its way when the signal is sent is lost, as if it had come too late.
        """
        if self._api is None or not self._api.abandon():
            return False
        self.kill()
        return True

    def end_late(self) -> None:
        """End a process that did not answer in time, as Lambda does: by a kill."""
        self.kill()

    def _read_log(self) -> None:
        """Copy what the process logs into the log, and give each line away."""
        process, on_line = self.process, self._on_line
        assert process is not None
        assert process.stdout is not None
        assert on_line is not None
        with process.stdout, (self._log or Path(os.devnull)).open("ab") as log:
            for line in process.stdout:
                log.write(line)
                log.flush()
                on_line(line)

    def close(self) -> None:
        """End the process and its API."""
        self.kill()
        if self._reader is not None:
            self._reader.join(timeout=5)
        if self._api is not None:
            self._api.close()

    def _started(self) -> RuntimeApi:
        """Return the API of the process, which is started if there is none."""
        if self.is_stale:
            self.is_stale = False
            self.kill()
        if self._api is not None and self.process is not None and self.process.poll() is None:
            return self._api
        if self._api is not None:
            self._api.close()
        self._api = RuntimeApi()
        self._start(self._api.address)
        return self._api

    def _start(self, address: str) -> None:
        root = self._task_root or Path(__file__).resolve().parent.parent
        environment = {
            **self._environment,
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "silt-local",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
            "AWS_LAMBDA_LOG_GROUP_NAME": "/silt/local",
            "AWS_LAMBDA_LOG_STREAM_NAME": "local",
            "LAMBDA_TASK_ROOT": str(root),
            "_HANDLER": self._handler,
        }
        output: Any = subprocess.DEVNULL
        if self._log is not None:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            output = self._log.open("ab")
        self._started_at = time.monotonic()
        try:
            # A group of its own, so that Ctrl-C reaches only us and we end it in order.
            self.process = subprocess.Popen(
                [*self._client, self._handler],
                env=environment,
                cwd=self._task_root,
                stdout=subprocess.PIPE if self._on_line is not None else output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if self._log is not None:
                output.close()
        if self._on_line is not None:
            self._reader = threading.Thread(target=self._read_log, daemon=True)
            self._reader.start()
        self.starts += 1
