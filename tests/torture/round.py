"""One round of the torture: a topic through the mapping into tables, with everything going wrong.

What happens is drawn from the round's seed. Processes and networks keep their own time, so a seed
brings the same faults and not the same schedule; `tests/properties/test_world.py` has schedules
that are the same to the step.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from silt.audit.proof import audit
from silt.local.broker import TopicRecords, committed_offsets
from silt.local.destinations import Destination
from silt.local.mapping import MappingConfig, Poller
from silt.local.runtime_api import InvocationOutcome
from silt.local.s3 import LocalS3
from tests.builders import ROOT, SMALL
from tests.real.brokers import PARTITIONS, Broker, fresh_topic
from tests.torture.engine import DEEDS
from tests.torture.fleet import FrailSandbox
from tests.torture.judge import Tables, judge, on_the_broker, parsed
from tests.torture.proxy import FAULTS, Fault, FaultProxy, Request
from tests.torture.steps import STEPS, Moment

_REST = (
    "circuit_breaker: {ratio: 1.0}\n"
    "maintenance: {quiet_for: 0m, target_file_size: 1 MiB, checkpoint_commits: 5}\n"
)
CONTRACTS = (SMALL + _REST, SMALL.replace("string}", "string, max_length: 8}") + _REST)
TIMEOUT_S = 8.0
GROUP = "torture"


@dataclass
class RoundReport:
    """What one round was: for the line that is printed, and for who replays it."""

    seed: int
    records: int = 0
    seconds: float = 0.0
    invocations: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    deeds: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        deeds = ", ".join(f"{count} {what}" for what, count in sorted(self.deeds.items()))
        outcomes = ", ".join(f"{n} {kind}" for kind, n in sorted(self.outcomes.items()))
        verdict = "each record once" if not self.problems else f"BROKEN: {self.problems[:3]}"
        return (
            f"seed {self.seed}: {self.records} records, {self.invocations} invocations "
            f"({outcomes}), {self.faults} faults of the network; {deeds}; "
            f"{self.checks} checks meanwhile; "
            f"{self.seconds:.0f} s: {verdict}"
        )


class Round:
    """One topic, one mapping with its sandboxes, one pair of tables."""

    def __init__(
        self, seed: int, broker: Broker, s3: LocalS3, proxy: FaultProxy, folder: Path
    ) -> None:
        self.report = RoundReport(seed)
        self._dice = random.Random(seed)
        self._broker, self._s3, self._proxy = broker, s3, proxy
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._topic = "orders"
        drawn = self._dice.randint(1, PARTITIONS)
        self._partitions = drawn if broker.whole else PARTITIONS
        self._group = f"{GROUP}-{seed}"
        self.tables = Tables(s3, f"s3://{s3.bucket}/torture/{seed}")
        self._environment = {
            **s3.environment,
            "AWS_ENDPOINT_URL": proxy.endpoint,
            "SILT_TABLE_ROOT": self.tables.root,
            "SILT_CONTRACTS": str(folder / "contracts"),
        }
        self._calm = threading.Event()
        self._stop = threading.Event()
        self._sandboxes: list[FrailSandbox] = []
        self._deployed = 0
        self._redrives = self._dice.random() < 0.5
        """Whether dead letters are redriven: a row may then be beside its open dead letter."""
        self._write_contract()
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []

    def run(self) -> RoundReport:
        """Go through the round. What is wrong is in the answer's `problems`."""
        began = time.monotonic()
        faults = self._proxy.counts.total()
        if self._broker.whole:
            fresh_topic(self._broker.servers, self._topic, self._partitions)
        pollers = self._pollers()
        threads = [threading.Thread(target=self._guarded, args=(p,), daemon=True) for p in pollers]
        threads += [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._trouble, self._maintain, self._produce)
        ]
        try:
            self._proxy.plan = self._plan(self._dice.choice([0.0, 0.03, 0.1, 0.2]))
            for thread in threads:
                thread.start()
            self._watch(self._dice.uniform(8, 16))
            self._calm.set()
            self._proxy.plan = lambda _request: None
            threads.pop().join(60)  # the producer
            for sandbox in self._sandboxes:  # from here on one version is deployed
                sandbox.kill()
            self._wait_until_settled()
            self._stop.set()
            for thread in threads:
                thread.join(60)
            self._thaw()
            if self._redrives:
                self._redrive_to_the_end()
            self._check_at_the_end()
        finally:
            self._calm.set()
            self._stop.set()
            for sandbox in self._sandboxes:
                sandbox.close()
        self.report.faults = self._proxy.counts.total() - faults
        self.report.seconds = time.monotonic() - began
        return self.report

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except SystemExit:
            return  # the round is over
        except BaseException as error:
            self._errors.append(error)

    # The producer.

    def _produce(self) -> None:
        settings: dict[str, Any] = {"bootstrap.servers": self._broker.servers, "log_level": 0}
        transactional = self._broker.whole and self._dice.random() < 0.5
        if transactional:
            settings["transactional.id"] = f"torture-{self.report.seed}"
        else:
            settings["enable.idempotence"] = True
        producer = Producer(settings)
        if transactional:
            producer.init_transactions(30)
        dice = random.Random(self.report.seed)
        number = 0
        while not self._calm.wait(dice.uniform(0.05, 0.4)):
            burst = dice.randint(1, 15)
            if transactional:
                producer.begin_transaction()
            for i in range(number, number + burst):
                value = self._value(i, dice)
                producer.produce(
                    self._topic,
                    value=value,
                    key=b"k%d" % (i % 17),
                    partition=dice.randrange(self._partitions),
                    headers=[("n", b"%d" % i)],
                )
            if transactional and dice.random() < 0.25:
                producer.flush(30)
                producer.abort_transaction(30)
                self._did("aborted transactions")
            elif transactional:
                producer.commit_transaction(30)
            number += burst
        producer.flush(30)

    @staticmethod
    def _value(number: int, dice: random.Random) -> bytes | None:
        kind = dice.choices(["good", "long", "bad", "tombstone"], [20, 2, 2, 1])[0]
        name = {"good": "n", "long": "n" * 9}.get(kind)
        if name is not None:
            return json.dumps({"id": number, "name": name}).encode()
        return b"bad %d" % number if kind == "bad" else None

    # The mapping.

    def _pollers(self) -> list[Callable[[], None]]:
        count = self._dice.randint(1, min(2, self._partitions))
        runs = []
        for i in range(count):
            settings = {
                "batch_size": self._dice.choice([5, 20, 50]),
                "maximum_batching_window_s": self._dice.choice([0.0, 0.2]),
                "bisect_batch_on_function_error": self._dice.random() < 0.3,
            }
            partitions = list(range(self._partitions))[i::count]
            sandbox = self._sandbox()
            runs.append(self._runner(partitions, self._group, sandbox, MappingConfig(**settings)))
        if self._dice.random() < 0.6:
            # The same records by another mapping too, which gives up now and then: redelivery with
            # other boundaries, holes, and two invocations of one stream at once.
            given_up = Destination(str(self._folder / "given-up"))
            config = MappingConfig(
                batch_size=self._dice.choice([7, 33]),
                maximum_retry_attempts=self._dice.choice([0, 1]),
                on_failure=given_up,
            )
            everything = list(range(self._partitions))
            runs.append(self._runner(everything, f"{self._group}-again", self._sandbox(), config))
        return runs

    def _runner(
        self, partitions: list[int], group: str, sandbox: FrailSandbox, config: MappingConfig
    ) -> Callable[[], None]:
        servers = self._broker.servers
        source = {"eventSource": "SelfManagedKafka", "bootstrapServers": servers}

        def run() -> None:
            records = TopicRecords(servers, self._topic, partitions, group)
            poller = Poller(config, records, self._invoker(sandbox), source)
            try:
                while not self._stop.is_set():
                    poller.run_once()
            finally:
                records.close()

        return run

    def _sandbox(self) -> FrailSandbox:
        made = FrailSandbox(
            {**self._environment, "SILT_SOURCE": "torture", "SILT_DEADLINE_MARGIN_MS": "1000"},
            timeout_s=TIMEOUT_S,
            log=self._folder / "function.log",
        )
        self._sandboxes.append(made)
        return made

    def _invoker(self, sandbox: FrailSandbox) -> Callable[[Mapping[str, Any]], InvocationOutcome]:
        dice = random.Random(self._dice.random())

        def invoke(event: Mapping[str, Any]) -> InvocationOutcome:
            if self._stop.is_set():
                raise SystemExit  # what is in progress now is not needed any more
            if self._calm.is_set():
                sandbox.doom()
            elif sandbox.process is None or sandbox.process.poll() is not None:
                sandbox.doom(*self._fate(dice))
            if dice.random() < 0.03:
                foreign = sandbox.invoke({**event, "eventSource": "aws:sqs"})
                self._did("foreign events")
                if foreign.kind == "response":
                    self.report.problems.append(f"a foreign event was answered: {foreign.payload}")
            outcome = sandbox.invoke(event)
            with self._lock:
                self.report.invocations += 1
                self.report.outcomes[outcome.kind] += 1
            return outcome

        return invoke

    def _fate(self, dice: random.Random) -> list[Moment]:
        """Return when a process that is about to start shall die or freeze, if at all."""
        if dice.random() < 0.4:
            return []
        step, when = dice.choice(list(STEPS)), dice.choice(["before", "after"])
        signal = dice.choice(["KILL", "KILL", "STOP"])
        self._did(f"{signal} at a step")
        return [Moment(step, when, dice.randint(1, 6), signal)]  # type: ignore[arg-type]

    # Trouble from outside.

    def _plan(self, rate: float) -> Callable[[Request], Fault | None]:
        dice = random.Random(self._dice.random())
        # A permission that is gone for a moment ends the invocation; the others it survives.
        faults: tuple[Fault, ...] = (*FAULTS, "403")
        return lambda _request: dice.choice(faults) if dice.random() < rate else None

    def _trouble(self) -> None:
        dice = random.Random(self._dice.random())
        deeds = {
            self._kill: 3,
            self._freeze: 1,
            self._thaw: 2,
            self._deploy: 1,
            self._engine: 2,
            **({self._redrive: 1} if self._redrives else {}),
        }
        while not self._calm.wait(dice.uniform(0.05, 0.6)):
            deed = dice.choices(list(deeds), list(deeds.values()))[0]
            deed(dice)

    def _did(self, what: str, count: int = 1) -> None:
        with self._lock:
            self.report.deeds[what] += count

    def _kill(self, dice: random.Random) -> None:
        sandbox = dice.choice(self._sandboxes)
        process = sandbox.process
        if process is not None and process.poll() is None:
            process.kill()
            self._did("kill -9")

    def _freeze(self, dice: random.Random) -> None:
        dice.choice(self._sandboxes).freeze()
        self._did("freezes")

    def _thaw(self, _dice: random.Random | None = None) -> None:
        for sandbox in self._sandboxes:
            self._did("thawed zombies", sandbox.thaw(5.0))

    def _deploy(self, _dice: random.Random) -> None:
        """Change the contract: processes that start from now on have the other version."""
        self._deployed = 1 - self._deployed
        self._write_contract()
        self._did("deployments")

    def _write_contract(self) -> None:
        # By a rename, as a deployment does: a process that starts reads the one or the other.
        contracts = self._folder / "contracts"
        contracts.mkdir(exist_ok=True)
        written = self._folder / "contract.new"
        written.write_text(CONTRACTS[self._deployed])
        written.replace(contracts / "c.yaml")

    def _engine(self, dice: random.Random) -> None:
        """Let the engine work on a table, through the proxy; now and then it is killed at it."""
        deed = dice.choice(list(DEEDS))
        uri = f"{self.tables.root}/{self.tables.name}{dice.choice(['', '__dead_letters'])}"
        work = self._start("tests.torture.engine", deed, uri)
        self._await(work, f"{deed} by the engine", dice)

    def _redrive(self, dice: random.Random) -> None:
        """Redrive by the contract of the moment, at times twice at once, or kill it."""
        runs = [self._start(*self._redrive_command()) for _ in range(dice.choice([1, 1, 2]))]
        for run in runs:
            self._await(run, "redrives", dice, fine=(0, 1))

    def _redrive_command(self) -> list[str]:
        place = ["--table-root", self.tables.root, "--contracts", str(self._folder / "contracts")]
        return ["silt.cli", "redrive", self.tables.name, "--yes", "--json", *place]

    def _redrive_to_the_end(self) -> None:
        """Redrive by the contract that takes more, with nobody else at work."""
        self._deployed = 0
        self._write_contract()
        run = self._start(*self._redrive_command(), stdout=subprocess.PIPE)
        said, _ = run.communicate(timeout=120)
        self._did("letters redriven at the end", json.loads(said)["redriven"])
        long = [
            value
            for _, value in self.tables.dead_letters()
            if (record := parsed(value)) is not None and "name" in record
        ]
        if run.returncode > 1 or long:
            self.report.problems.append(f"a redrive ended with {run.returncode}, left {long[:3]}")

    def _maintain(self) -> None:
        """Run the maintenance function again and again, at times twice at once, or kill it."""
        dice = random.Random(self._dice.random())
        while not self._calm.wait(dice.uniform(0.1, 1.0)):
            count = dice.choice([1, 1, 2])
            runs = [
                self._start("tests.torture.maintenance", VACUUM_EVERY_MS="2000")
                for _ in range(count)
            ]
            for run in runs:
                self._await(run, "runs of maintenance", dice)

    def _start(
        self, module: str, *arguments: str, stdout: int = subprocess.DEVNULL, **more: str
    ) -> "subprocess.Popen[bytes]":
        """Start a program through the proxy, with all its processes in a group of their own."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, **self._environment, **more},
            cwd=ROOT,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _await(
        self,
        work: "subprocess.Popen[bytes]",
        what: str,
        dice: random.Random,
        fine: Sequence[int] = (0,),
    ) -> None:
        """Wait for a program, or kill it: whole, or leaving orphans that go on."""
        try:
            # What it cannot do is no matter; what it does half is.
            code = work.wait(dice.choice([0.7, 1.0, 1.5, 3.0, 10.0, 10.0]))
            self._did(what, int(code in fine))
        except subprocess.TimeoutExpired:
            if dice.random() < 0.5:
                os.killpg(work.pid, signal.SIGKILL)
            work.kill()
            work.wait()
            self._did(f"kill -9 of {what.removeprefix('runs of ')}")

    # What must hold.

    def _done(self) -> dict[int, int]:
        """Return the committed offset of each partition, as the broker keeps it."""
        consumer = Consumer(
            {"bootstrap.servers": self._broker.servers, "group.id": self._group, "log_level": 0}
        )
        places = [TopicPartition(self._topic, p) for p in range(self._partitions)]
        try:
            return {p.partition: p.offset for p in committed_offsets(consumer, places)}
        finally:
            consumer.close()

    def _watch(self, seconds: float) -> None:
        """Compare the tables with the broker again and again, while everything goes on."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not self._errors:
            time.sleep(0.5)
            try:
                # What is committed before the tables are read must be in them. Rows are read after
                # the dead letters: a letter that is redriven between the two could hide otherwise.
                done = self._done()
                dead, rows = self.tables.dead_letters(), self.tables.rows()
                sent = on_the_broker(self._broker.servers, self._topic, self._partitions)
            except KafkaException:
                continue
            if self._redrives:
                places = {place for place, _ in rows}
                dead = [letter for letter in dead if letter[0] not in places]
            self.report.problems += judge(sent, rows, dead, done)
            self.report.checks += 1

    def _wait_until_settled(self) -> None:
        ends: dict[int, int] = {}
        for sent in on_the_broker(self._broker.servers, self._topic, self._partitions):
            partition, offset = sent.place
            ends[partition] = max(offset + 1, ends.get(partition, 0))
        ends_at = time.monotonic() + 120
        while any(self._done().get(p, -1) < end for p, end in ends.items()):
            if self._errors:
                raise self._errors[0]
            if time.monotonic() > ends_at:
                self.report.problems.append(f"not settled: {self._done()} of {ends}")
                return
            time.sleep(0.2)

    def _check_at_the_end(self) -> None:
        sent = on_the_broker(self._broker.servers, self._topic, self._partitions)
        self.report.records = len(sent)
        rows, dead = self.tables.rows(), self.tables.dead_letters()
        self.report.problems += judge(sent, rows, dead, self._done())
        self.report.problems += self.tables.disagreement(rows, dead)
        if self._errors:
            self.report.problems.append(f"a thread ended: {self._errors[0]!r}")
        if not rows or not dead:
            self.report.problems.append(
                f"{len(rows)} rows and {len(dead)} dead letters of {len(sent)}"
            )
            return
        findings = audit_of(self.tables)
        self.report.problems += [f"audit: {finding}" for finding in findings]


def audit_of(tables: Tables) -> list[str]:
    """Return what `silt audit` finds wrong; gaps are for the judge, who has the broker's list."""
    before = dict(os.environ)
    os.environ.update(tables.s3.environment)
    try:
        result = audit(f"{tables.root}/{tables.name}", gaps_allowed=True)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return [finding.message for finding in result.findings]
