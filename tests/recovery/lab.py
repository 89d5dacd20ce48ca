"""A deployment on real parts: a Kafka topic, a bucket, the function in the Lambda runtime client.

Trouble is made in it, and the commands of a page are followed.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer
from deltalake import DeltaTable

from handler.app import Function
from handler.settings import read_settings
from silt.local.broker import EmbeddedBroker, TopicRecords
from silt.local.mapping import MappingConfig, Poller
from silt.local.runtime_api import InvocationOutcome
from silt.local.s3 import LocalS3
from tests.builders import ROOT
from tests.real.brokers import Broker, fresh_topic

TOPIC, GROUP, PARTITIONS = "orders", "silt-orders", 4
CONTRACT = """topic: orders
table: sales/orders
columns:
  order_id: {type: string, required: true}
  status: {type: string, enum: [new, paid]}
  amount: {type: double}
circuit_breaker: {ratio: 0.9, min_records: 1000}
"""
COMMAND = re.compile(r"(?m)^\$ ")
LIVE_LIMIT_S = 100.0


@dataclass
class Lab:
    """A folder as of a project, with what its deployment has."""

    folder: Path
    broker: Broker
    s3: LocalS3
    edits: dict[str, Callable[[str], str]] = field(default_factory=dict)
    """What a person does in an editor, by the name of the file."""
    printed: list[tuple[str, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.servers = self.broker.servers
        self.root = f"s3://{self.s3.bucket}/{time.time_ns()}"
        self.given_up = f"{self.root}-given-up"
        (self.folder / "schemas").mkdir(parents=True)
        self.contract.write_text(CONTRACT)
        self.deployment.write_text(yaml.safe_dump(self._deployment()))
        self.recreate_topic()
        self._git("init", "-q")
        self.save("the first contract")

    @property
    def contract(self) -> Path:
        """Return the contract's file."""
        return self.folder / "schemas/orders.yaml"

    @property
    def deployment(self) -> Path:
        """Return deploy.yml."""
        return self.folder / "deploy.yml"

    @property
    def uri(self) -> str:
        """Return where the table is."""
        return f"{self.root}/sales/orders"

    def _deployment(self) -> dict[str, Any]:
        secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:silt-kafka-AbCdEf"
        return {
            "name": "shop",
            "region": "us-east-1",
            "contracts": "schemas",
            "table_root": self.root,
            "self_managed": {
                "bootstrap_servers": ["kafka-1.example.com:9096"],
                "authentication": "scram_512",
                "secret_arn": secret,
                "name": "shop-kafka",
                "vpc": {
                    "subnets": ["subnet-0a0a0a0a0a0a0a0a0"],
                    "security_groups": ["sg-0c0c0c0c0c0c0c0c0"],
                },
            },
            "topics": ["orders"],
        }

    def _git(self, *arguments: str) -> None:
        name = ["-c", "user.name=lab", "-c", "user.email=lab@example.com"]
        subprocess.run(["git", *name, *arguments], cwd=self.folder, check=True, capture_output=True)

    def save(self, why: str) -> None:
        """Commit what is in the folder."""
        (self.folder / ".gitignore").write_text("log\n")
        self._git("add", "-A")
        self._git("commit", "-qm", why)

    def recreate_topic(self) -> None:
        """Make the topic, after deleting it if it is there."""
        if self.broker.whole:
            fresh_topic(self.servers, TOPIC, PARTITIONS)
        else:  # it cannot delete a topic
            self._own = EmbeddedBroker()
            self.servers = self._own.servers

    def send(self, numbers: range, partition: int = 0, **fields: Any) -> None:
        """Produce orders with these numbers."""
        producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})
        for number in numbers:
            order = {"order_id": f"o-{number}", "status": "new", "amount": number / 2, **fields}
            producer.produce(TOPIC, value=json.dumps(order), partition=partition)
        assert producer.flush(10) == 0

    def settle(self) -> None:
        """Have the function settle all that is new, in this process, which is quick."""
        wanted = {**self.s3.environment, **self._settings()}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in wanted.items():
                patch.setenv(name, value)
            function = Function(read_settings(wanted))
            records = TopicRecords(self.servers, TOPIC, list(range(PARTITIONS)), GROUP)
            source = {"eventSource": "SelfManagedKafka", "bootstrapServers": self.servers}
            poller = Poller(
                MappingConfig(maximum_batching_window_s=0.5),
                records,
                lambda event: InvocationOutcome("response", function.handle(event, None)),
                source,
            )
            # The first batch takes a while: the consumer looks for its broker.
            idle, limit = 0, 12
            while idle < limit:
                idle, limit = (0, 4) if poller.run_once() else (idle + 1, limit)
            records.close()

    def _settings(self) -> dict[str, str]:
        deployed = yaml.safe_load(self.deployment.read_text())
        return {
            "SILT_TABLE_ROOT": self.root,
            "SILT_CONTRACTS": str(self.folder / "schemas"),
            "SILT_SOURCE": "shop-kafka",
            "SILT_GENERATION": str(deployed.get("function", {}).get("generation", 0)),
        }

    def run_function(self, *options: str, expected: int = 0) -> str:
        """Have the mapping and the function, in the runtime client of Lambda, settle all that is
        new; return what they print.
        """
        done = subprocess.run(self.live(*options), **self._process(), timeout=LIVE_LIMIT_S)
        text = str(done.stdout) + str(done.stderr)
        assert done.returncode == expected, text
        return text

    def live(self, *options: str) -> list[str]:
        """Return the command that stands for the deployed mapping."""
        return [
            *(sys.executable, "-m", "silt.cli", "dev", "--bootstrap-servers", self.servers),
            *("--topic", TOPIC, "--group", GROUP, "--source", "shop-kafka"),
            *("--table-root", self.root, "--contracts", "schemas", "--log", "log"),
            *("--until-idle", "5", "--window", "0.2", *options),
        ]

    def _process(self) -> dict[str, Any]:
        return {
            "cwd": self.folder,
            "env": self.environment,
            "capture_output": True,
            "text": True,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Return what the commands and the function find in their environment."""
        generation = self._settings()["SILT_GENERATION"]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SILT_"))}
        return {
            **inherited,
            **self.s3.environment,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "100",
            "SILT_GENERATION": generation,
        }

    def table(self) -> DeltaTable:
        """Open the table by another engine."""
        options = {k.lower(): v for k, v in self.s3.environment.items()}
        return DeltaTable(self.uri, storage_options=options)

    def ids(self) -> list[str]:
        """Return the orders that are in the table, by number."""
        ids = self.table().to_pyarrow_table(columns=["order_id"])["order_id"].to_pylist()
        return sorted(ids, key=lambda text: int(text.removeprefix("o-")))

    def drop(self, prefix: str) -> None:
        """Delete every object below a prefix of the bucket."""
        client, key = self.s3.client(), prefix.removeprefix(f"s3://{self.s3.bucket}/")
        for entry in client.list_objects_v2(Bucket=self.s3.bucket, Prefix=key).get("Contents", ()):
            client.delete_object(Bucket=self.s3.bucket, Key=entry["Key"])

    def follow(self, block: str) -> None:
        """Run the commands of a block of a page, and compare what they print with it.

        `...` stands for anything, as in doctest; white space is one blank.
        """
        for part in COMMAND.split(block)[1:]:
            line, _, expected = part.partition("\n")
            while line.endswith("\\"):
                more, _, expected = expected.partition("\n")
                line = f"{line[:-1].rstrip()} {more.strip()}"
            code, text = self._run(line)
            self.printed.append((line, code, text))
            assert matches(expected, text), f"$ {line}\n{text}\nThe page says:\n{expected}"

    def _run(self, line: str) -> tuple[int, str]:
        command, _, edit = (part.strip() for part in line.partition("  #"))
        if command == "make deploy":
            self.settle()
            return 0, ""
        if command.startswith("$EDITOR "):
            file = self.folder / command.removeprefix("$EDITOR ")
            before = file.read_text()
            after = self.edits[file.name](before)
            assert before != after
            assert edit in after, f"the page says {edit}"
            file.write_text(after)
            return 0, ""
        command = command.replace(".venv/bin/python", "python")
        command = command.replace(".venv/bin/silt", "python -m silt.cli")
        command = re.sub(r"^python", sys.executable, command)
        command = command.replace("s3://lake/tables/sales/orders", self.uri)
        command = command.replace("localhost:9092", self.servers)
        command = command.replace("s3://my-on-failure-bucket", self.given_up)
        name = "git -c user.name=lab -c user.email=lab@example.com"
        command = re.sub(r"^git", name, command)
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1"], **self._process(), timeout=LIVE_LIMIT_S
        )
        return done.returncode, done.stdout


def matches(expected: str, text: str) -> bool:
    """Return whether a text is as a page shows it, of which `...` is anything."""
    parts = [re.escape(" ".join(part.split())) for part in expected.split("...")]
    return re.fullmatch(r"\s?.*?\s?".join(parts), " ".join(text.split()), re.DOTALL) is not None
