"""A proxy in front of an S3 server that does to requests what networks and servers do.

It tells requests apart by what they are for (a data file, a commit, a look at the log), and asks
`plan` what happens to each. Nothing it does depends on Silt's code: it sees HTTP alone.
"""

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

Kind = Literal[
    "data put", "commit put", "checkpoint put", "log get", "data get", "list", "head", "other"
]
Fault = Literal[
    "cut before",
    "cut during",
    "cut after",
    "403",
    "409",
    "412",
    "429",
    "500",
    "503",
    "500 after",
    "slow",
    "twice",
    "stale",
]
"""What may happen: `before` the server has the request, `during` its body, `after` it took effect.

A number is that answer, and the server never sees the request; `500 after` it did. `twice`: it
arrives twice, as a network may repeat it, and the second answer counts. `stale`: an old listing.
"""
FAULTS: tuple[Fault, ...] = (
    *("cut before", "cut during", "cut after", "409", "412", "429", "500", "503", "500 after"),
    *("slow", "twice", "stale"),
)
_HOP = {"connection", "keep-alive", "transfer-encoding", "proxy-connection", "te", "expect"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request on its way to the server."""

    kind: Kind
    method: str
    key: str
    number: int
    query: str = ""


def kind_of(method: str, path: str) -> Kind:
    """Return what a request to S3 is for."""
    parts = urlsplit(path)
    if method == "GET" and "list-type" in parse_qs(parts.query, keep_blank_values=True):
        return "list"
    key = unquote(parts.path)
    in_log = "/_delta_log/" in key
    match method:
        case "PUT" if in_log:
            is_checkpoint = "checkpoint" in key.rsplit("/", 1)[1]
            return "checkpoint put" if is_checkpoint else "commit put"
        case "PUT":
            return "data put"
        case "GET":
            return "log get" if in_log else "data get"
        case "HEAD":
            return "head"
    return "other"


def nothing(_request: Request) -> Fault | None:
    """Let a request go through."""
    return None


@dataclass(slots=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed, and connections are cut on purpose."""


@dataclass(eq=False)
class FaultProxy:
    """The proxy. Use it as a context manager; `plan` may be changed at any time.

    `counts` says how often each fault was done to each kind of request, `seen` how many came.
    """

    upstream: str
    plan: Callable[[Request], Fault | None] = nothing
    slow_s: float = 1.0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    _listings: dict[str, _Answer] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "FaultProxy":
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Return where clients find the server now."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def idle(self) -> bool:
        """Return whether no request is in progress."""
        return self.under_way == 0

    def go(self, step: int) -> None:
        """Count a request that begins (1) or has ended (-1)."""
        with self._lock:
            self.under_way += step

    def decide(self, method: str, path: str) -> tuple[Request, Fault | None]:
        """Count a request and ask what happens to it."""
        with self._lock:
            kind = kind_of(method, path)
            self.seen[kind] += 1
            parts = urlsplit(path)
            number = self.seen.total()
            request = Request(kind, method, unquote(parts.path), number, parts.query)
            fault = self.plan(request)
            if fault == "stale" and path not in self._listings:
                fault = None
            if fault is not None:
                self.counts[kind, fault] += 1
            return request, fault

    def keep(self, path: str, answer: _Answer) -> None:
        """Keep the first listing of a place, to serve it when it is stale."""
        with self._lock:
            self._listings.setdefault(path, answer)

    def stale(self, path: str) -> _Answer:
        """Return a listing from before."""
        return self._listings[path]


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: Nagle would hold the second back for 40 ms.
    disable_nagle_algorithm = True

    def _handle(self) -> None:
        self.proxy.go(1)
        try:
            self._pass_on()
        finally:
            self.proxy.go(-1)

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request, fault = self.proxy.decide(self.command, self.path)
        match fault:
            case "cut before":
                self._cut()
                return
            case "cut during":
                self._forward(body, half=True)
                self._cut()
                return
            case "403" | "409" | "412" | "429" | "500" | "503":
                self._reply(_error(int(fault)))
                return
            case "stale":
                self._reply(self.proxy.stale(self.path))
                return
            case "slow":
                time.sleep(self.proxy.slow_s)
            case "twice":
                self._forward(body)
        answer = self._forward(body)
        if answer is None or fault == "cut after":
            self._cut()
            return
        if fault == "500 after":
            answer = _error(500)
        elif request.kind == "list":
            self.proxy.keep(self.path, answer)
        self._reply(answer)

    def do_GET(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _forward(self, body: bytes, *, half: bool = False) -> _Answer | None:
        """Send the request on, or half of its body and no more. Returns what was answered."""
        server = urlsplit(self.proxy.upstream).netloc
        connection = http.client.HTTPConnection(server, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in _HOP:
                    connection.putheader(name, value)
            connection.endheaders()
            connection.send(body[: len(body) // 2] if half else body)
            if half:
                return None
            response = connection.getresponse()
            data = response.read()
            headers = [(n, v) for n, v in response.getheaders() if n.lower() not in _HOP]
            return _Answer(response.status, response.reason, headers, data)
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def _reply(self, answer: _Answer) -> None:
        try:
            self.send_response_only(answer.status, answer.reason)
            length = None
            for name, value in answer.headers:
                if name.lower() == "content-length":
                    length = value
                else:
                    self.send_header(name, value)
            # The answer to a HEAD says how long the object is, and has no body.
            keeps = self.command == "HEAD" and length is not None
            self.send_header("Content-Length", length if keeps else str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True

    def _cut(self) -> None:
        """End the connection as a network does: by a reset."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _error(status: int) -> _Answer:
    codes = {
        403: "AccessDenied",
        409: "ConditionalRequestConflict",
        412: "PreconditionFailed",
        429: "TooManyRequests",
    }
    code = codes.get(status, {500: "InternalError", 503: "SlowDown"}.get(status, "Error"))
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code></Error>'.encode()
    reason = http.client.responses[status]
    return _Answer(status, reason, [("Content-Type", "application/xml")], body)
