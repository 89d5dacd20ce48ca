"""The README's commands, in the order of a reader, with a topic of their own and its contract."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from confluent_kafka import Producer

from silt.local.broker import EmbeddedBroker
from tests.builders import ROOT
from tests.reader import rows_of_folder

STEPS = re.compile(r"```(yaml)?\n(.*?)```", re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """Return the blocks up to the deployment: contracts, and lines for a shell."""
    text = (ROOT / "README.md").read_text()
    text = text[: text.index("\n## Deploy")]
    return [(kind, re.sub(r"(?m)^   ", "", block)) for kind, block in STEPS.findall(text)]


def test_commands_of_the_readme_work_in_their_order(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    producer = Producer({"bootstrap.servers": broker.servers, "log_level": 0})
    for i in range(20):
        payment = {"payment_id": str(i), "amount": "1.50", "paid_at": "2026-05-01T10:00:00Z"}
        value = b"no JSON" if i == 7 else json.dumps(payment)
        producer.produce("payments", value=value, partition=i % 4)
    producer.flush(10)
    for folder in ("schemas", "events"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    said = ""
    commands = []
    for kind, block in steps():
        if kind == "yaml":
            (tmp_path / "schemas/payments.yaml").write_text(block)
            continue
        for line in block.splitlines():
            command = shlex.split(line.replace("localhost:9092", broker.servers))
            if not command or command[0] != ".venv/bin/silt":
                continue  # make demo and what it prints: CI runs it
            if command[1] == "dev":
                command += ["--until-idle", "3"]
            done = subprocess.run(
                [sys.executable, "-m", "silt.cli", *command[1:]],
                cwd=tmp_path,
                env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=100,
            )
            commands.append(command[1])
            stays = command[1] in ("infer", "redrive")  # the record that is no JSON
            assert done.returncode == int(stays), (line, done.stdout, done.stderr)
            said += done.stdout
    assert commands[-4:] == ["dev", "audit", "redrive", "redrive"]
    assert {"infer", "replay"} <= set(commands)
    assert "20 records settled" in said
    folder = tmp_path / ".silt/tables/sales"
    assert len(rows_of_folder(folder / "payments")) == 19
    assert len(rows_of_folder(folder / "payments__dead_letters", '"offset"')) == 1
