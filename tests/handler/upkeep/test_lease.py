"""The lease of a table: one holds it, a dead one loses it by time, nobody's clock blocks others."""

from pathlib import Path

import pytest

from handler.delta.log import Txn
from handler.delta.patience import Patience
from handler.delta.store import Pool
from handler.delta.tables import Table
from handler.errors import Unavailable
from handler.upkeep.lease import LEASE, LEASE_MS, VACUUMED, Lease, holder
from tests.builders import NOW_MS, FakeClock, event, function_for, rows
from tests.fakes import Memory, fail_once

URI = "tables/sales/orders"


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    memory = Memory()
    function_for(tmp_path, open_store=lambda uri: memory.open(named(uri))).handle(
        event(rows(0, 3)), None
    )
    return memory


def named(uri: str) -> str:
    return uri[uri.index("tables/") :]


def table_of(memory: Memory, clock: FakeClock) -> tuple[Table, Patience]:
    table = Table("sales/orders", memory.open(URI), Pool())
    patience = Patience(clock, clock.now_s + 600, lambda: 0.5)
    table.read(patience)
    return table, patience


def test_one_of_two_takes_it(memory: Memory) -> None:
    clock = FakeClock()
    (first, patience), (second, _) = table_of(memory, clock), table_of(memory, clock)
    lease = Lease.take(first, patience)
    assert lease is not None
    # The second decided from a snapshot without the lease, and reads that it came second.
    assert Lease.take(second, patience) is None
    assert lease.release(patience)
    second.read(patience)
    assert Lease.take(second, patience) is not None


def test_holder_that_died_loses_it_by_time(memory: Memory) -> None:
    clock = FakeClock()
    table, patience = table_of(memory, clock)
    dead = Lease.take(table, patience)
    assert dead is not None
    clock.now_s += LEASE_MS / 1000 - 1
    other, patience = table_of(memory, clock)
    assert Lease.take(other, patience) is None
    clock.now_s += 1
    taken = Lease.take(other, patience)
    assert taken is not None
    assert taken.number > dead.number
    # It was not dead, it slept: what it would do as the holder is refused.
    assert not dead.renew(patience)
    assert not dead.release(patience)
    assert holder(other.read(patience), clock.epoch_ms()) == taken.number


def test_renewed_lease_lasts_from_then(memory: Memory) -> None:
    clock = FakeClock()
    table, _ = table_of(memory, clock)
    patience = Patience(clock, clock.now_s + 10_000, lambda: 0.5)
    lease = Lease.take(table, patience)
    assert lease is not None
    clock.now_s += LEASE_MS / 1000 - 1
    assert lease.renew(patience)
    assert lease.renewed_ms == clock.epoch_ms()
    clock.now_s += LEASE_MS / 1000 - 1
    other, _ = table_of(memory, clock)
    assert Lease.take(other, patience) is None


@pytest.mark.parametrize("ahead_ms", [LEASE_MS, 10**9])
def test_clock_that_ran_far_ahead_blocks_nobody(memory: Memory, ahead_ms: int) -> None:
    wrong = FakeClock(NOW_MS + ahead_ms)
    table, patience = table_of(memory, wrong)
    assert Lease.take(table, patience) is not None
    clock = FakeClock()
    other, patience = table_of(memory, clock)
    assert Lease.take(other, patience) is not None


def test_what_was_done_is_noted(memory: Memory) -> None:
    clock = FakeClock()
    table, patience = table_of(memory, clock)
    for done in (1, 2):
        lease = Lease.take(table, patience)
        assert lease is not None
        clock.now_s += 5
        assert lease.renew(patience, VACUUMED)
        assert table.read(patience).txns[VACUUMED] == Txn(done, clock.epoch_ms())
        assert lease.release(patience)
    assert table.read(patience).txns[LEASE].version == 4


@pytest.mark.parametrize("hook", ["before", "after"])
def test_lost_answer_takes_one_lease(memory: Memory, hook: str) -> None:
    clock = FakeClock()
    table, patience = table_of(memory, clock)
    setattr(memory, hook, fail_once("put_if_absent", "_delta_log", Unavailable("lost")))
    lease = Lease.take(table, patience)
    assert lease is not None
    assert table.read(patience).txns[LEASE].version == lease.number == 1


def test_stream_of_the_table_is_not_disturbed(memory: Memory, tmp_path: Path) -> None:
    """The lease is a txn, and so are watermarks: an append beside it goes on."""
    clock = FakeClock()
    function = function_for(tmp_path, open_store=lambda uri: memory.open(named(uri)))
    function.handle(event(rows(3, 5)), None)
    table, patience = table_of(memory, clock)
    lease = Lease.take(table, patience)
    assert lease is not None
    assert function.handle(event(rows(5, 7)), None) == {"batchItemFailures": []}
    assert lease.release(patience)
