"""The Runtime API of Lambda on this machine: what the runtime client polls and answers."""

import json
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Kind = Literal["response", "error", "timeout", "crash", "throttle"]
API = "/2018-06-01/runtime"


@dataclass(frozen=True, slots=True)
class InvocationOutcome:
    """What came of one invocation: the answer of the function, or why there is none.

    `explanation` is what the function's log says of records that it left unsettled.
    """

    kind: Kind
    payload: Any = None
    explanation: str | None = None

    @property
    def reason(self) -> str:
        """Return what went wrong, in a line."""
        if isinstance(self.payload, dict) and "errorMessage" in self.payload:
            return f"{self.payload.get('errorType')}: {self.payload['errorMessage']}"
        return str(self.payload)


@dataclass(slots=True)
class PendingInvocation:
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
        self._current: PendingInvocation | None = None
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

    def offer(self, invocation: PendingInvocation) -> None:
        """Hand an invocation to the process as soon as it asks."""
        with self._lock:
            self._current = invocation
            self._lock.notify_all()

    def withdraw(
        self, invocation: PendingInvocation, outcome: InvocationOutcome
    ) -> InvocationOutcome:
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

    def take(self) -> PendingInvocation:
        """Wait for the next invocation and hand it over, once."""
        with self._lock:
            while self._current is None or self._current.taken.is_set():
                self._lock.wait()
            invocation = self._current
            # Down, not to the nearest: the client must never see more than the timeout.
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
