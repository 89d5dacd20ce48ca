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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from silt.local.events import encode

Kind = Literal["response", "error", "timeout", "crash", "throttle"]

API = "/2018-06-01/runtime"
CLIENT = (sys.executable, "-m", "awslambdaric")
START_LIMIT_S = 60.0
"""A process that has not asked for its first invocation by then has failed to start."""
MEMORY_MB = 1769
"""The memory that the function is told of: one vCPU in Lambda."""


@dataclass(frozen=True, slots=True)
class InvocationOutcome:
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
    timeout_s: float
    deadline_ms: int = 0
    taken_at: float = 0.0
    """When the process took it, in seconds of the monotonic clock: from then on it is timed."""
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    taken: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    outcome: InvocationOutcome | None = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke: processes are killed."""


class RuntimeApi:
    """The API for one process: what it asks for and answers goes to its sandbox.

    A process has an API of its own, so that one that was left behind, or the connection of one that
    was killed, can never take an invocation that is meant for its successor.
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._current: _Invocation | None = None
        self.init_error: InvocationOutcome | None = None
        self.is_warm = False
        """Whether the process has answered before: it needs no time to start."""
        self._server = _Server(("127.0.0.1", 0), _handler_class(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Return host and port, as `AWS_LAMBDA_RUNTIME_API` names them."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def busy(self) -> bool:
        """Return whether the process has an event and has not answered yet."""
        current = self._current
        return current is not None and current.taken.is_set()

    def offer(self, invocation: _Invocation) -> None:
        """Hand an invocation to the process as soon as it asks."""
        with self._lock:
            self._current = invocation
            self._lock.notify_all()

    def withdraw(self, invocation: _Invocation, outcome: InvocationOutcome) -> InvocationOutcome:
        """Take an invocation back that has come to this, unless it was answered all the same."""
        with self._lock:
            if invocation.outcome is not None:  # the answer came with the last breath
                return invocation.outcome
            self._current = None
        return outcome

    def abandon(self) -> bool:
        """Hear no answer to the event that the process has. Returns False where it has none."""
        with self._lock:
            if not self.busy:
                return False
            self._current = None
            return True

    def close(self) -> None:
        """End the API; what a process says after that is not heard."""
        self._server.shutdown()
        self._server.server_close()

    # What the process asks for, from the server's threads.

    def take(self) -> _Invocation:
        """Wait for the next invocation and hand it over, once."""
        with self._lock:
            while self._current is None or self._current.taken.is_set():
                self._lock.wait()
            invocation = self._current
            # Down, not to the nearest: the client must never see more than the time-out.
            invocation.deadline_ms = int((time.time() + invocation.timeout_s) * 1000)
            invocation.taken_at = time.monotonic()
            invocation.taken.set()
            return invocation

    def answer(self, request_id: str, outcome: InvocationOutcome) -> bool:
        """Take the function's answer. Returns False for an invocation that is not waited for."""
        with self._lock:
            invocation = self._current
            if invocation is None or invocation.request_id != request_id:
                return False
            invocation.outcome = outcome
            self._current = None
            self.is_warm = True
        invocation.done.set()
        return True


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
    ) -> None:
        """`client` starts the runtime client, this interpreter's by default.

        With `task_root`, a folder as Lambda unpacks it, the process stands there and sees nothing
        of this one's environment; otherwise the function is the checkout's.
        """
        self._environment = {**({} if task_root else os.environ), **environment}
        self._client = client
        self._task_root = task_root
        self._handler = handler
        self.timeout_s = timeout_s
        self._log = log
        self._api: RuntimeApi | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._started_at = 0.0
        self.init_s = 0.0
        """How long the last start took, from the process to its request for the first event."""
        self.answer_s = 0.0
        """How long the function had the last event that it answered."""

    def invoke(self, event: Mapping[str, Any]) -> InvocationOutcome:
        """Give an event to the function and wait for what comes of it."""
        api = self._started()
        is_first = not api.is_warm
        invocation = _Invocation(encode(event), self.timeout_s)
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

    def close(self) -> None:
        """End the process and its API."""
        self.kill()
        if self._api is not None:
            self._api.close()

    def _started(self) -> RuntimeApi:
        """Return the API of the process, which is started if there is none."""
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
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        finally:
            if self._log is not None:
                output.close()
        self.starts += 1


def _handler_class(api: RuntimeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != f"{API}/invocation/next":
                self._reply(404, b"{}")
                return
            invocation = api.take()
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
                    api.init_error = InvocationOutcome("error", payload)
                case ["invocation", request_id, "response"]:
                    known = api.answer(request_id, InvocationOutcome("response", payload))
                case ["invocation", request_id, "error"]:
                    known = api.answer(request_id, InvocationOutcome("error", payload))
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
