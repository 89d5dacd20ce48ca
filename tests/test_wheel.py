"""The wheel in an empty environment: a project from nothing to a queried table and an artifact."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Producer

from silt.local.broker import EmbeddedBroker
from tests.builders import ROOT

LIMIT_S = 300


def run(*command: str, cwd: Path, code: int = 0, **environment: str) -> str:
    """Run a command without anything of this checkout; return what it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL", "SILT"))}
    options = {"capture_output": True, "text": True, "timeout": LIMIT_S}
    done = subprocess.run(command, cwd=cwd, env={**clean, **environment}, **options)
    assert done.returncode == code, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it, with the locked packages, where nothing else is."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = str(Path(sys.executable).parent / "uv")
    built = ["build", "--wheel", "--no-build-isolation", "--python", sys.executable]
    run(uv, *built, "-o", str(folder), str(ROOT), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(uv, "venv", "-q", str(folder / "env"), "--python", sys.executable, cwd=folder)
    into = ["--python", str(folder / "env" / "bin" / "python")]
    locked = ["-c", str(ROOT / "requirements" / "dev.txt")]
    run(uv, "pip", "install", "-q", *into, f"{wheel}[cli]", *locked, "pytest", cwd=folder)
    return folder / "env" / "bin"


@pytest.mark.timeout(LIMIT_S)
def test_project_from_nothing_to_a_queried_table(environment: Path, tmp_path: Path) -> None:
    silt = str(environment / "silt")
    assert "14 files written" in run(silt, "init", "lake", cwd=tmp_path)
    lake = tmp_path / "lake"
    before = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    assert "no problems" in run(silt, "check", cwd=lake)
    assert "Nothing was written" in run(silt, "init", ".", cwd=lake)
    assert {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()} == before
    broker = EmbeddedBroker()
    producer = Producer({"bootstrap.servers": broker.servers, "log_level": 0})
    for i in range(40):
        payment = {"id": i, "paid_at": "2026-05-01 10:00:00+0200", "by": {"name": f"n{i}"}}
        producer.produce("payments", value=json.dumps(payment))
    assert producer.flush(10) == 0
    kafka = ["--bootstrap-servers", broker.servers, "--topic", "payments"]
    run(silt, "infer", *kafka, "-o", "schemas/payments.yaml", cwd=lake)
    run(silt, "capture", *kafka, "--count", "5", "-o", "events/payments.json", cwd=lake)
    assert "2 contracts" in run(silt, "check", "--sample", "events/payments.json", cwd=lake)
    tests = run(str(environment / "python"), "-m", "pytest", "-q", cwd=lake)
    assert "3 passed" in tests
    settled = run(silt, "dev", *kafka, "--until-idle", "3", "--window", "0.2", cwd=lake)
    assert "40 appended" in settled
    assert "40 records, each once" in run(silt, "audit", "payments", cwd=lake)
    answer = run(silt, "query", "select count(*), max(paid_at) from payments", cwd=lake)
    assert "40" in answer
    run(silt, "report", "payments", "-o", "report.html", cwd=lake)
    assert "AWS::Lambda::EventSourceMapping" in run(silt, "template", "deploy.yml", cwd=lake)
    served = json.loads(run(silt, "template", "deploy.yml", "--serverless", cwd=lake))
    assert served["functions"]


@pytest.mark.nightly
@pytest.mark.timeout(LIMIT_S)
def test_artifacts_are_the_same_as_from_a_clone(environment: Path, tmp_path: Path) -> None:
    silt = str(environment / "silt")
    run(silt, "init", "lake", cwd=tmp_path)
    lake = tmp_path / "lake"
    run(silt, "package", cwd=lake)
    run(
        sys.executable,
        "-m",
        "silt.cli",
        "package",
        "--out",
        "clone",
        cwd=lake,
        PYTHONPATH=str(ROOT),
    )
    for artifact in (lake / "dist").glob("*.zip"):
        assert artifact.read_bytes() == (lake / "clone" / artifact.name).read_bytes()
    assert len(list((lake / "dist").glob("*.zip"))) == 2
