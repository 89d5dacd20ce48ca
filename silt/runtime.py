"""A sandbox on this machine: the real Lambda runtime client in a process, and the Runtime API it
talks to.

The API is AWS's 'Lambda runtime API' (2018-06-01): next, response, error, init error. A time-out is
a kill of the process, as in Lambda; the next invocation starts a new one.
"""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from silt.events import encode

Kind = Literal["response", "error", "timeout", "crash", "throttle"]

API = "/2018-06-01/runtime"
START_LIMIT_S = 60.0
"""A process that has not asked for its first invocation by then has failed to start."""
MEMORY_MB = 1769
"""The memory that the function is told of: one vCPU in Lambda."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one invocation: the answer of the function, or why there is none."""

    kind: Kind
    payload: Any = None

    @property
    def reason(self) -> str:
        """Return what went wrong, in a line."""
        if isinstance(self.payload, dict) and "errorMessage" in self.payload:
            return f"{self.payload.get('errorType')}: {self.payload['errorMessage']}"
        return str(self.payload)


@dataclass(slots=True)
class _Invocation:
    body: bytes
    deadline_ms: int
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    outcome: Outcome | None = None


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
    ) -> None:
        self._environment = dict(environment)
        self._handler = handler
        self.timeout_s = timeout_s
        self._log = log
        self._lock = threading.Condition()
        self._current: _Invocation | None = None
        self._init_error: Outcome | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_class(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._serving = False
        """Whether the process has asked for an invocation: from then on it is timed."""
        self.starts = 0

    def invoke(self, event: Mapping[str, Any]) -> Outcome:
        """Give an event to the function and wait for what comes of it."""
        self._start_if_needed()
        invocation = _Invocation(encode(event), round((time.time() + self.timeout_s) * 1000))
        with self._lock:
            self._init_error = None
            self._current = invocation
            self._lock.notify_all()
        begun = time.monotonic()
        while not invocation.done.wait(0.02):
            if self._init_error is not None:
                self.kill()
                return self._init_error
            if self.process is None or self.process.poll() is not None:
                return self._abandon(invocation, Outcome("crash", "the process ended"))
            limit_s = self.timeout_s if self._serving else START_LIMIT_S
            if time.monotonic() - begun > limit_s:
                self.end_late()
                timed_out = f"the function did not answer within {limit_s:g} s"
                return self._abandon(invocation, Outcome("timeout", timed_out))
        assert invocation.outcome is not None
        return invocation.outcome

    @property
    def busy(self) -> bool:
        """Return whether the function has an event and has not answered yet."""
        current = self._current
        return current is not None and current.taken.is_set()

    def kill(self) -> None:
        """End the process at once, whatever it is doing (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end_late(self) -> None:
        """End a process that did not answer in time, as Lambda does: by a kill."""
        self.kill()

    def close(self) -> None:
        """End the process and the API."""
        self.kill()
        self._server.shutdown()
        self._server.server_close()

    def _abandon(self, invocation: _Invocation, outcome: Outcome) -> Outcome:
        with self._lock:
            if invocation.outcome is not None:  # the answer came with the last breath
                return invocation.outcome
            self._current = None
        return outcome

    def _start_if_needed(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        root = Path(__file__).resolve().parent.parent
        host, port = self._server.server_address[:2]
        environment = {
            **os.environ,
            **self._environment,
            "AWS_LAMBDA_RUNTIME_API": f"{host!s}:{port}",
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
        try:
            # A group of its own, so that Ctrl-C reaches only us and we end it in order.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", self._handler],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if self._log is not None:
                output.close()
        self.starts += 1
        self._serving = False

    # What the API asks for, from its own threads.

    def take(self) -> _Invocation:
        """Wait for the next invocation and hand it over, once."""
        with self._lock:
            while self._current is None or self._current.taken.is_set():
                self._lock.wait()
            self._current.taken.set()
            self._serving = True
            return self._current

    def answer(self, request_id: str, outcome: Outcome) -> bool:
        """Take the function's answer. Returns False for an invocation that is not waited for."""
        with self._lock:
            invocation = self._current
            if invocation is None or invocation.request_id != request_id:
                return False
            invocation.outcome = outcome
            self._current = None
        invocation.done.set()
        return True

    def fail_init(self, outcome: Outcome) -> None:
        """Take the news that the function could not be loaded."""
        self._init_error = outcome


def _handler_class(sandbox: Sandbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != f"{API}/invocation/next":
                self._reply(404, b"{}")
                return
            invocation = sandbox.take()
            arn = "arn:aws:lambda:us-east-1:123456789012:function:silt-local"
            headers = {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": arn,
                "Lambda-Runtime-Trace-Id": "Root=1-0-0;Sampled=0",
            }
            self._reply(200, invocation.body, headers)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                payload = json.loads(body or b"null")
            except ValueError:
                payload = body.decode(errors="replace")
            steps = self.path.removeprefix(API).strip("/").split("/")
            known = True
            match steps:
                case ["init", "error"]:
                    sandbox.fail_init(Outcome("error", payload))
                case ["invocation", request_id, "response"]:
                    known = sandbox.answer(request_id, Outcome("response", payload))
                case ["invocation", request_id, "error"]:
                    known = sandbox.answer(request_id, Outcome("error", payload))
                case _:
                    known = False
            self._reply(202 if known else 404, b"{}")

        def _reply(
            self, status: int, body: bytes, headers: Mapping[str, str] | None = None
        ) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the process was killed

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: the function's own log is what matters."""

    return Handler
