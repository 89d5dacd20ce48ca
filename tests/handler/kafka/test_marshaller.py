"""The seam to the runtime client: Kafka events come decoded, everything else as before."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

from handler.kafka.event import KafkaEvent
from handler.kafka.marshaller import CLIENT, Marshaller, install_marshaller
from silt.local.runtime import Sandbox
from tests.builders import SMALL, event, record


def client(version: str = "4.2.2", marshaller: Any = None) -> tuple[ModuleType, ModuleType]:
    """Return a stand-in for the client's package and module, with the seam if there is one."""
    package, module = ModuleType("awslambdaric"), ModuleType(CLIENT)
    package.__dict__["__version__"] = version

    class BaseLambdaRuntimeClient:
        pass

    class LambdaRuntimeClient(BaseLambdaRuntimeClient):
        pass

    if marshaller is not None:
        BaseLambdaRuntimeClient.marshaller = marshaller  # type: ignore[attr-defined] # a stand-in
    module.__dict__.update(
        BaseLambdaRuntimeClient=BaseLambdaRuntimeClient, LambdaRuntimeClient=LambdaRuntimeClient
    )
    return package, module


def install(
    monkeypatch: pytest.MonkeyPatch, package: ModuleType, module: ModuleType
) -> tuple[bool, Any]:
    monkeypatch.setitem(sys.modules, "awslambdaric", package)
    monkeypatch.setitem(sys.modules, CLIENT, module)
    done = install_marshaller()
    return done, getattr(module.__dict__["LambdaRuntimeClient"], "marshaller", None)


def test_marshaller_of_the_client_is_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    own = LambdaMarshaller()
    made = client(marshaller=own)
    assert install(monkeypatch, *made)[0]
    done, ours = install(monkeypatch, *made)
    assert done
    assert isinstance(ours, Marshaller)
    assert ours.marshal_response == own.marshal_response


class Other(LambdaMarshaller):
    """A marshaller that somebody else has put there, or one of a later version."""

    def unmarshal_request(self, request: Any, content_type: str = "application/json") -> Any:
        return {"event": request}


@pytest.mark.parametrize(
    ("package", "module"),
    [
        client("5.0.0", LambdaMarshaller()),
        client("", LambdaMarshaller()),
        client("4.2.2"),
        client("4.2.2", Other()),
        client("4.2.2", object()),
    ],
    ids=["later version", "no version", "no seam", "another marshaller", "another interface"],
)
def test_client_that_is_not_as_documented_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, package: ModuleType, module: ModuleType
) -> None:
    done, marshaller = install(monkeypatch, package, module)
    assert not done
    assert not isinstance(marshaller, Marshaller)


def test_process_without_the_client_has_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, CLIENT, raising=False)
    assert not install_marshaller()


def test_everything_but_a_sound_kafka_event_is_as_the_client_reads_it() -> None:
    own = LambdaMarshaller()
    ours = Marshaller(own)
    whole = json.dumps(event([record(0, {"a": 1})])).encode()
    assert isinstance(ours.unmarshal_request(whole, "application/json"), KafkaEvent)
    assert ours.unmarshal_request(whole, "text/plain") == whole
    broken = event([record(0) | {"offset": "0"}])
    for value in ({"silt": "health"}, [], None, 1.5, {"records": {}}, broken):
        body = json.dumps(value).encode()
        assert ours.unmarshal_request(body) == own.unmarshal_request(body)
    with pytest.raises(Exception, match="Unable to unmarshal input"):
        ours.unmarshal_request(b"{")


def test_real_runtime_client_hands_over_decoded_events(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "orders.yaml").write_text(SMALL)
    environment = {
        "SILT_TABLE_ROOT": str(tmp_path / "tables"),
        "SILT_CONTRACTS": str(tmp_path / "schemas"),
    }
    log = tmp_path / "log"
    sandbox = Sandbox(environment, log=log)
    try:
        answer = sandbox.invoke(event([record(0, {"id": 1}), record(1, {"id": "x"})]))
        assert answer.payload == {"batchItemFailures": []}
        health = sandbox.invoke({"silt": "health"}).payload
        assert {"check": "table", "state": "ok"}.items() <= health["findings"][0].items()
        broken = sandbox.invoke(event([record(0) | {"value": "%"}])).payload
        assert "orders-0 offset 0: its value is not valid base64" in broken["errorMessage"]
    finally:
        sandbox.close()
    started = json.loads(next(line for line in log.read_text().splitlines() if "start" in line))
    assert started["typed_events"] is True
