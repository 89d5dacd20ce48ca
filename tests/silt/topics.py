"""A topic of a test's own on an embedded broker, a contract for it, and the command on both."""

import json
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from handler.settings import read_settings
from silt.cli import main
from silt.local.broker import EmbeddedBroker
from silt.local.topic_reader import RecordRange
from silt.replay.topic_events import TopicEvents
from tests.builders import SMALL
from tests.reader import rows_of_folder


class Topic:
    """Records on the broker, and a function that reads them from there."""

    def __init__(self, cluster: EmbeddedBroker, folder: Path, contract: str = SMALL) -> None:
        self.servers, self.folder = cluster.servers, folder
        self.name = f"orders-{time.time_ns()}"
        self.uri = str(folder / "tables" / "sales" / "orders")
        self.write_contract(contract)
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 0})

    def write_contract(self, text: str) -> None:
        """Make this the contract of the topic."""
        (self.folder / "contracts").mkdir(exist_ok=True)
        text = text.replace("topic: orders", f"topic: {self.name}")
        (self.folder / "contracts" / "c.yaml").write_text(text)

    def send(self, *values: Any, partition: int = 0, **more: Any) -> None:
        """Produce values: JSON, bytes as they are, None for a tombstone."""
        for value in values:
            sent = value if isinstance(value, bytes) or value is None else json.dumps(value)
            self._producer.produce(self.name, value=sent, partition=partition, **more)
        assert self._producer.flush(10) == 0

    def ingest(self, first: int, last: int, partition: int = 0, **settings: str) -> None:
        """Have the function read a range, as a mapping would give it."""
        from handler.app import Function

        environment = {
            "SILT_TABLE_ROOT": str(self.folder / "tables"),
            "SILT_CONTRACTS": str(self.folder / "contracts"),
            "SILT_SOURCE": "mine",
            **settings,
        }
        function = Function(read_settings(environment))
        with TopicEvents(self.servers, {}) as events:
            ranges = [RecordRange(self.name, partition, first, last)]
            for _name, event in events.read(ranges, events.source):
                assert function.handle(event, None) == {"batchItemFailures": []}

    def run(self, verb: str, *arguments: str, broker: bool = True) -> int:
        """Run a command on the tables, with the broker."""
        place = ["--table-root", str(self.folder / "tables")]
        place += ["--contracts", str(self.folder / "contracts")]
        servers = ["--bootstrap-servers", self.servers] if broker else []
        return main([verb, *arguments, *place, *servers])

    def ids(self) -> list[int]:
        """Return the ids that are in the table, sorted."""
        table = Path(self.uri)
        return sorted(i for (i,) in rows_of_folder(table, "id")) if table.exists() else []
