"""The APIs of Lambda and of IAM's simulator over HTTP, with recorded answers."""

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from handler.health import Finding
from silt.deployment.functions import functions_of, lambda_function
from silt.deployment.plan import Deployment
from tests.builders import ROOT

RECORDED = json.loads((ROOT / "events/aws/event-source-mapping.json").read_text())
"""An answer of ListEventSourceMappings in the shape that the API's model has."""
SIMULATED = """<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">
<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{}
</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"""


class LambdaApi:
    """The APIs of Lambda and of IAM's simulator over HTTP, in the shapes of their models.

    `denied` are actions that the simulator denies; `simulator` is its status.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.functions: dict[str, dict[str, Any]] = {}
        for function in functions_of(deployment):
            made = lambda_function(deployment.model, function)["Properties"]
            role = f"arn:aws:iam::123456789012:role/{function.key}"
            own = {"State": "Active", "LastUpdateStatus": "Successful", "Role": role}
            self.functions[function.name] = {**made, **own}
        self.mappings = copy.deepcopy(RECORDED["EventSourceMappings"])
        self.health: dict[str, Any] = {
            "build": "0.1.0+abc",
            "healthy": True,
            "findings": [Finding("table", "sales/orders", "ok", "version 3").as_json()],
        }
        self.error = False
        self.invoked: list[str] = []
        self.denied: set[str] = set()
        self.simulator = 200
        self.simulated: list[dict[str, list[str]]] = []

    def simulate(self, body: bytes) -> bytes:
        form = parse_qs(body.decode())
        self.simulated.append(form)
        members = ""
        for key, (action,) in form.items():
            if key.startswith("ActionNames"):
                decision = "implicitDeny" if action in self.denied else "allowed"
                resource = form["ResourceArns.member.1"][0]
                members += (
                    f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{resource}"
                    f"</EvalResourceName><EvalDecision>{decision}</EvalDecision></member>"
                )
        return SIMULATED.format(members).encode()

    def answer(self, path: str) -> tuple[int, Any]:
        parts = urlsplit(path)
        match parts.path.strip("/").split("/"):
            case [_, "event-source-mappings"]:
                return 200, {"EventSourceMappings": self.mappings}
            case [_, "functions", name, "configuration"] if name in self.functions:
                return 200, self.functions[name]
            case [_, "functions", name, "invocations"]:
                self.invoked.append(name)
                return 200, self.health
        return 404, {"Type": "User", "Message": f"Function not found: {parts.path}"}


@contextmanager
def served(answer: LambdaApi) -> Iterator[str]:
    """Serve the API and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer.answer(self.path)
            self._reply(status, json.dumps(body).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.path == "/":
                self._reply(answer.simulator, answer.simulate(body))
            else:
                self.do_GET()

        def _reply(self, status: int, payload: bytes) -> None:
            self.send_response(status)
            if status == 404:
                self.send_header("x-amzn-ErrorType", "ResourceNotFoundException")
            if answer.error and self.path.endswith("invocations"):
                self.send_header("X-Amz-Function-Error", "Unhandled")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
