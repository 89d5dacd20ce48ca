"""Apache Kafka itself, one node in KRaft mode, from its own jars: up in seconds."""

import subprocess
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from silt.local.s3 import free_ports
from tests.real import jars

POM = Path(__file__).parent / "kafka" / "pom.xml"
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
START_LIMIT_S = 60.0
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
log.dirs={folder}/logs
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
# Compaction is a background job: here it looks often.
log.cleaner.backoff.ms=100
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=0
"""


class ApacheKafka:
    """A broker in a folder. Use it as a context manager: it ends with the block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        broker, controller = free_ports(2)
        self.servers = f"127.0.0.1:{broker}"
        self._settings = folder / "server.properties"
        self._settings.write_text(
            SETTINGS.format(broker=broker, controller=controller, folder=folder)
        )
        self._java = ["java", "-Xmx512m", "-cp", jars.classpath(folder, POM)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ApacheKafka":
        tool = [*self._java, "kafka.tools.StorageTool", "format"]
        command = [*tool, "-t", CLUSTER_ID, "-c", str(self._settings)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the broker, for the first time or after a kill, and wait until it answers."""
        with (self._folder / "broker.log").open("ab") as log:
            command = [*self._java, "kafka.Kafka", str(self._settings)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        ends_at = time.monotonic() + START_LIMIT_S
        while True:
            try:
                admin.list_topics(timeout=1)
                return
            except KafkaException:
                if self._process.poll() is not None or time.monotonic() > ends_at:
                    log_end = (self._folder / "broker.log").read_text()[-2000:]
                    raise RuntimeError(f"Apache Kafka did not start: {log_end}") from None

    def kill(self) -> None:
        """End the broker at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
