"""make soak: steady load for half an hour, with maintenance running: memory, latency, nothing lost.

Orders go into a broker at a steady rate; the local mapping settles them through the real Lambda
runtime client into a table on a real S3 server; the maintenance function runs every 20 seconds. At
the end `silt audit` compares the table with the producer's own list.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from silt import output
from silt.audit.proof import audit
from silt.audit.sources import compare_with_list
from silt.local.mapping import MappingConfig
from silt.local.orders import make_order
from silt.local.pollers import LocalMapping, LocalSettings
from silt.local.s3 import LocalS3
from tests.builders import ROOT
from tests.real.brokers import PARTITIONS, best_broker, fresh_topic

FOLDER = Path(".silt/soak").absolute()
TOPIC, TABLE_ROOT = "orders", "s3://lake/soak"
TABLE = "sales/orders"
MAINTENANCE_EVERY_S = 20.0
SAMPLE_EVERY_S = 5.0
SETTLE_LIMIT_S = 120.0


class Load:
    """A producer that keeps to its rate, and its list of what the broker confirmed."""

    def __init__(self, servers: str, per_second: int, path: Path) -> None:
        self._producer = Producer(
            {"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 0}
        )
        self._per_second = per_second
        self._list = path.open("w")
        self.confirmed = 0

    def run(self, ends_at: float) -> None:
        """Produce until the time is over."""
        dice, number, began = random.Random(1), 0, time.monotonic()
        while (now := time.monotonic()) < ends_at:
            due = int((now - began) * self._per_second)
            while number < due:
                made = make_order(number, dice)
                self._producer.produce(
                    TOPIC,
                    value=made.value,
                    partition=number % PARTITIONS,
                    on_delivery=self._confirm(made.fate),
                )
                number += 1
            self._producer.poll(0)
            time.sleep(0.02)
        self._producer.flush(60)
        self._list.close()

    def _confirm(self, fate: str) -> Any:
        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                raise RuntimeError(f"the broker did not take a record: {error}")
            self.confirmed += 1
            place = {"partition": message.partition(), "offset": message.offset(), "fate": fate}
            self._list.write(json.dumps(place) + "\n")

        return delivered


def maintain(environment: dict[str, str], stop: threading.Event, seconds: list[float]) -> None:
    """Run the maintenance function again and again, as a schedule does."""
    code = "from handler.maintenance import lambda_handler; lambda_handler({}, None)"
    while not stop.wait(MAINTENANCE_EVERY_S):
        began = time.monotonic()
        with (FOLDER / "maintenance.log").open("a") as log:
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, **environment},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                check=True,
            )
        seconds.append(time.monotonic() - began)


def resident_mb(pid: int) -> float:
    """Return the memory of a process, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def invocations(log: Path) -> list[dict[str, float]]:
    """Return what each invocation said of itself."""
    found = []
    for line in log.read_text().splitlines():
        if line.startswith("{") and '"message":"invocation"' in line:
            entry = json.loads(line)
            moment = datetime.strptime(entry["timestamp"], "%Y-%m-%d %H:%M:%S,%f%z").timestamp()
            kept = ("delivered", "write_ms", "check_ms", "freshness_ms", "commit_conflicts")
            found.append({"at": moment, **{k: entry[k] for k in kept if k in entry}})
    return found


def soak(minutes: float, per_second: int) -> dict[str, Any]:
    """Run the soak and return its report."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    listed, log = FOLDER / "sent.jsonl", FOLDER / "function.log"
    samples: list[dict[str, Any]] = []
    maintenance: list[float] = []
    stop = threading.Event()
    with LocalS3(FOLDER / "s3", "lake") as s3, best_broker(FOLDER / "kafka") as broker:
        if broker.whole:
            fresh_topic(broker.servers, TOPIC, PARTITIONS)
        else:
            # It knows no topic before the first record, and its listing makes one.
            Producer({"bootstrap.servers": broker.servers}).list_topics(TOPIC, timeout=15)
        os.environ.update(s3.environment)
        environment = {
            **s3.environment,
            "SILT_TABLE_ROOT": TABLE_ROOT,
            "SILT_CONTRACTS": str(ROOT / "schemas"),
        }
        settings = LocalSettings(
            servers=broker.servers,
            topic=TOPIC,
            group_id="soak",
            environment={**environment, "SILT_SOURCE": "soak"},
            pollers=2,
            log=log,
        )
        config = MappingConfig(batch_size=1000, maximum_batching_window_s=1.0)
        mapping = LocalMapping(settings, config)
        load = Load(broker.servers, per_second, listed)
        began, began_epoch = time.monotonic(), time.time()
        ends_at = began + 60 * minutes
        threads = [
            threading.Thread(target=load.run, args=(ends_at,), daemon=True),
            threading.Thread(target=maintain, args=(environment, stop, maintenance), daemon=True),
        ]
        for thread in threads:
            thread.start()
        mapping.start()
        try:
            while threads[0].is_alive() or mapping.records < load.confirmed:
                mapping.check()
                if time.monotonic() > ends_at + SETTLE_LIMIT_S:
                    raise RuntimeError(f"{mapping.records} of {load.confirmed} are settled")
                pids = [s.process.pid for _, _, s in mapping.parts if s.process is not None]
                samples.append(
                    {
                        "at": time.monotonic() - began,
                        "memory_mb": [round(resident_mb(pid), 1) for pid in pids],
                        "behind": load.confirmed - mapping.records,
                    }
                )
                time.sleep(SAMPLE_EVERY_S)
        finally:
            stop.set()
            mapping.close()
        threads[1].join(120)
        result = audit(f"{TABLE_ROOT}/{TABLE}")
        compare_with_list(result, listed)
    calls = invocations(log)
    for call in calls:
        call["at"] -= began_epoch
    return {
        "broker": broker.kind,
        "minutes": minutes,
        "per_second": per_second,
        "confirmed": load.confirmed,
        "starts": mapping.starts,
        "maintenance_s": maintenance,
        "samples": samples,
        "invocations": calls,
        "findings": [finding.message for finding in result.findings],
        "commits_checked": result.commits,
        "version": result.version,
    }


def thirds(report: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """Return each measure in the first, second and last third of the time."""
    length = report["minutes"] * 60 / 3

    def parts(points: Sequence[tuple[float, float]], of: Any) -> list[float]:
        split = [[v for at, v in points if i * length <= at < (i + 1) * length] for i in range(3)]
        return [round(of(values), 1) if values else 0.0 for values in split]

    def p99(values: Sequence[float]) -> float:
        return sorted(values)[int(len(values) * 0.99)]

    calls = report["invocations"]
    memory = [(s["at"], max(s["memory_mb"])) for s in report["samples"] if s["memory_mb"]]
    write = [(c["at"], c["write_ms"]) for c in calls]
    fresh = [(c["at"], c["freshness_ms"] / 1000) for c in calls if "freshness_ms" in c]
    behind = [(s["at"], s["behind"]) for s in report["samples"]]
    return [
        ("memory of a sandbox, MB, median", parts(memory, statistics.median)),
        ("memory of a sandbox, MB, most", parts(memory, max)),
        ("append, ms, median", parts(write, statistics.median)),
        ("append, ms, p99", parts(write, p99)),
        ("age of the oldest record of a batch, s, median", parts(fresh, statistics.median)),
        ("records behind, median", parts(behind, statistics.median)),
    ]


def main() -> int:
    """Run the soak, print its figures, keep its report. Returns 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--per-second", type=int, default=200, help="records")
    options = parser.parse_args()
    report = soak(options.minutes, options.per_second)
    (FOLDER / "report.json").write_text(json.dumps(report))
    rows = [[name, *values] for name, values in thirds(report)]
    output.table("Soak", ["measure", "first third", "second", "last"], rows)
    output.say(
        f"{report['confirmed']:,} records in {report['minutes']:g} minutes by "
        f"{len(report['invocations']):,} invocations of {report['starts']} processes, "
        f"{report['version'] + 1:,} versions, {len(report['maintenance_s'])} rounds of "
        f"maintenance beside them ({report['broker']})."
    )
    for finding in report["findings"]:
        output.complain(finding)
    if not report["findings"]:
        output.say("Each record once, by silt audit from the producer's own list.", "green")
    return int(bool(report["findings"]))


if __name__ == "__main__":
    sys.exit(main())
