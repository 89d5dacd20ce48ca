"""Fault 2: kill -9, freezing and timeouts at every named step, in the real Lambda runtime client.

A process dies (or is frozen) before or after a step of its first invocation. The batch then is
delivered again, with other boundaries, to another sandbox. A frozen one is thawed after that and
goes on where it was. Two readers count.
"""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from silt.local.runtime_api import InvocationOutcome
from silt.local.s3 import LocalS3
from tests.builders import SMALL, event, record, rows
from tests.reader import rows_of_folder
from tests.torture.fleet import FrailSandbox, is_frozen, wait_until
from tests.torture.judge import Tables
from tests.torture.proxy import Fault, FaultProxy, Request
from tests.torture.steps import STEPS, Moment
from tests.verifier import verify

pytestmark = pytest.mark.timeout(120)

OK = InvocationOutcome("response", {"batchItemFailures": []})
ALWAYS = [step for step in STEPS if step not in ("look-up", "catch-up")]
"""Steps of a cold invocation whose batch is new and whom nobody disturbs."""
WHEN = ("before", "after")


def sandbox(folder: Path, *moments: Moment, **environment: str) -> FrailSandbox:
    contracts = folder / "contracts"
    contracts.mkdir(exist_ok=True)
    (contracts / "c.yaml").write_text(SMALL)
    made = FrailSandbox(
        {
            "SILT_TABLE_ROOT": str(folder / "tables"),
            "SILT_CONTRACTS": str(contracts),
            **environment,
        },
        log=folder / "function.log",
    )
    made.doom(*moments)
    return made


def batch(first: int, end: int) -> list[dict[str, Any]]:
    """Return records of which every fifth is bad."""
    return [record(o, b"bad") if o % 5 == 4 else rows(o, o + 1)[0] for o in range(first, end)]


def check(folder: Path, end: int) -> None:
    """Compare both tables with what was delivered, by two readers."""
    uri = folder / "tables" / "sales" / "orders"
    delivered = {(0, o): b"bad" if o % 5 == 4 else o for o in range(end)}
    found = rows_of_folder(uri, "_kafka_offset, id")
    dead = rows_of_folder(uri.with_name("orders__dead_letters"), '"offset", value')
    assert not verify(delivered, [((0, o), i) for o, i in found], [((0, o), v) for o, v in dead])
    engine = pa.table(DeltaTable(str(uri)).to_pyarrow_dataset().scanner(columns=["id"]).to_table())
    assert sorted(engine["id"].to_pylist()) == sorted(i for _, i in found)


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    ("step", "nth"), [*((step, 1) for step in ALWAYS), *(("commit", nth) for nth in (2, 3, 4))]
)
def test_kill_at_each_step_leaves_each_record_once(
    step: str, nth: int, when: Any, tmp_path: Path
) -> None:
    """Two commits make the tables, the third has the dead letters, the fourth the rows."""
    with (
        closing(sandbox(tmp_path, Moment(step, when, nth))) as dying,
        closing(sandbox(tmp_path)) as sound,
    ):
        assert dying.invoke(event(batch(0, 7))).kind == "crash"
        assert sound.invoke(event(batch(0, 3))) == OK
        assert sound.invoke(event(batch(2, 9))) == OK
    check(tmp_path, 9)


@pytest.mark.parametrize("when", WHEN)
def test_kill_while_a_warm_sandbox_looks_at_its_last_commit(when: Any, tmp_path: Path) -> None:
    with (
        closing(sandbox(tmp_path)) as sound,
        # The first look is that of a cold sandbox, at the dead letters, once it knows both tables.
        closing(sandbox(tmp_path, Moment("look", when, 2))) as dying,
    ):
        assert sound.invoke(event(batch(0, 2))) == OK
        assert dying.invoke(event(batch(2, 3))) == OK
        assert dying.invoke(event(batch(3, 7))).kind == "crash"
        assert sound.invoke(event(batch(2, 9))) == OK
    check(tmp_path, 9)


@pytest.mark.parametrize("when", WHEN)
def test_kill_in_the_look_up_of_a_redelivery(when: Any, tmp_path: Path) -> None:
    with (
        closing(sandbox(tmp_path)) as sound,
        closing(sandbox(tmp_path, Moment("look-up", when))) as dying,
    ):
        assert sound.invoke(event(batch(0, 7))) == OK
        assert dying.invoke(event(batch(3, 9))).kind == "crash"
        assert sound.invoke(event(batch(0, 9))) == OK
    check(tmp_path, 9)


@pytest.mark.parametrize("when", WHEN)
def test_kill_while_it_reads_what_came_in_between(when: Any, tmp_path: Path) -> None:
    """Frozen before its commit, its version is taken; thawed, it catches up and is killed."""
    moments = Moment("commit", "before", 1, "STOP"), Moment("catch-up", when)
    with closing(sandbox(tmp_path)) as sound, closing(sandbox(tmp_path, *moments)) as dying:
        assert sound.invoke(event(batch(0, 2))) == OK
        with frozen_in(dying, batch(2, 9)):
            assert sound.invoke(event(batch(2, 6))) == OK
        assert dying.deaths == [-signal.SIGKILL]
        assert sound.invoke(event(batch(0, 9))) == OK
    check(tmp_path, 9)


@contextmanager
def frozen_in(frozen: FrailSandbox, delivered: list[dict[str, Any]]) -> Iterator[None]:
    """Invoke a sandbox that freezes; the block runs meanwhile; then it is thawed and goes on."""
    thread = threading.Thread(target=lambda: frozen.invoke(event(delivered)))
    thread.start()
    wait_until(lambda: frozen.process is not None and is_frozen(frozen.process), "frozen")
    yield
    frozen.end_late()
    thread.join(20)
    assert frozen.thaw(10.0) == 1


FREEZING = [
    *(("decide", "before"), ("stage", "before"), ("data-put", "before"), ("commit", "before")),
    *(("commit", "after"), ("answer", "before")),
]


@pytest.mark.parametrize(("step", "when"), FREEZING)
def test_frozen_sandbox_that_is_thawed_after_its_successor_ran(
    step: str, when: Any, tmp_path: Path
) -> None:
    stops = Moment(step, when, 1, "STOP")
    with closing(sandbox(tmp_path)) as successor, closing(sandbox(tmp_path, stops)) as frozen:
        assert successor.invoke(event(batch(0, 2))) == OK
        with frozen_in(frozen, batch(2, 9)):
            assert successor.invoke(event(batch(2, 6))) == OK
            assert successor.invoke(event(batch(4, 12))) == OK
    check(tmp_path, 12)


@pytest.mark.parametrize("fault", ["cut before", "slow", "cut after"])
def test_kill_with_the_commit_in_flight(fault: Fault, s3: LocalS3, tmp_path: Path) -> None:
    """The process dies while its put is in progress; that of a slow network lands after its
    death."""
    root = f"s3://lake/late/{fault.replace(' ', '-')}"
    with FaultProxy(s3.endpoint, slow_s=2.0) as proxy:
        environment = {**s3.environment, "AWS_ENDPOINT_URL": proxy.endpoint}
        slow = sandbox(tmp_path, SILT_TABLE_ROOT=root, **environment)
        try:
            assert slow.invoke(event(batch(0, 2))) == OK

            def plan(request: Request) -> Fault | None:
                return fault if request.kind == "commit put" else None

            proxy.plan = plan
            with ThreadPoolExecutor(1) as thread:
                answer = thread.submit(slow.invoke, event(batch(2, 9)))
                wait_until(lambda: proxy.counts["commit put", fault], "the commit is in flight")
                slow.kill()
                assert answer.result().kind == "crash"
            proxy.plan = lambda _request: None
            assert slow.invoke(event(batch(1, 6))) == OK
            wait_until(lambda: proxy.idle, "the late put has landed")
            assert slow.invoke(event(batch(0, 9))) == OK
        finally:
            slow.close()
    tables = Tables(s3, root)
    offsets = sorted(offset for (_, offset), _ in tables.rows())
    assert offsets == [0, 1, 2, 3, 5, 6, 7, 8]
    assert [offset for (_, offset), _ in tables.dead_letters()] == [4]
