"""Faults 2 to 4 and 8: a request that fails, lies or loses its answer, zombies, cleaned and remade
logs.

Each test injects one fault at one request of an append and then counts rows, over stores in memory.
"""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from handler.app import Function
from handler.delta.log import commit_key
from handler.delta.store import ObjectStore
from handler.errors import AccessDenied, AlreadyExists, BadStore, SourceMismatch, Unavailable
from handler.sink.writer import Writer
from tests.builders import (
    NOW_MS,
    SMALL,
    Context,
    FakeClock,
    checkpoint_bytes,
    event,
    function_for,
    record,
    rows,
)
from tests.fakes import Memory, fail_once
from tests.reader import rows_of_memory, state_of_memory

OK = {"batchItemFailures": []}


class Lab:
    """Tables in memory, and sandboxes over them."""

    def __init__(self, folder: Path, contract: str | None = None, **settings: Any) -> None:
        self.folder, self.contract, self.settings = folder, contract, settings
        self.memory = Memory()
        self.uri = str(folder / "tables" / "sales" / "orders")

    def sandbox(self, memory: Memory | None = None, **settings: Any) -> Any:
        arguments: dict[str, Any] = {"open_store": (memory or self.memory).open}
        if self.contract is not None:
            arguments["contract"] = self.contract
        return function_for(self.folder, **arguments, **self.settings, **settings)

    def make(self) -> None:
        """Make both tables, with nothing in them."""
        self.sandbox().handle(event([record(99, None)]), None)

    def view(self) -> Memory:
        """Return the same tables with hooks and counts of their own: one sandbox's network."""
        return Memory(stores=self.memory.stores)

    def offsets(self, partition: int = 0) -> list[int]:
        read = rows_of_memory(self.memory, self.uri, ["_kafka_partition", "_kafka_offset"])
        return [o for p, o in read if p == partition]

    def dead(self) -> list[int]:
        uri = f"{self.uri}__dead_letters"
        return [o for (o,) in rows_of_memory(self.memory, uri, ["offset"])]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


BATCH = [*rows(0, 3), record(3, b"x"), *rows(4, 6)]
STEPS = [("put", "part-"), ("put_if_absent", "_delta_log")]
READS = [("get", "_last_checkpoint"), ("list", "_delta_log")]


@pytest.mark.parametrize("lost_answer", [False, True])
@pytest.mark.parametrize(("verb", "part"), STEPS + READS)
def test_request_that_fails_once_leaves_each_record_once(
    lab: Lab, verb: str, part: str, lost_answer: bool
) -> None:
    hook = fail_once(verb, part, Unavailable("500"))
    memory = lab.view()
    setattr(memory, "after" if lost_answer else "before", hook)
    assert lab.sandbox(memory).handle(event(BATCH), None) == OK
    assert (lab.offsets(), lab.dead()) == ([0, 1, 2, 4, 5], [3])
    assert lab.sandbox().handle(event(BATCH), None) == OK
    assert (lab.offsets(), lab.dead()) == ([0, 1, 2, 4, 5], [3])


@pytest.mark.parametrize("table", ["orders", "orders__dead_letters"])
def test_lost_answer_after_a_durable_commit_leaves_each_record_once(
    lab: Lab, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The put took effect and nobody said so: the log is read, and the commit in it is ours."""
    memory = lab.view()
    inner = memory.open(str(Path(lab.uri).parent / table))
    done = []
    lab.make()

    def after(verb: str, key: str) -> None:
        if verb == "put_if_absent" and not done:
            try:
                inner._inner.head(key)
            except Exception:
                return
            done.append(key)
            raise Unavailable("the connection was cut")

    memory.after = after
    assert lab.sandbox(memory).handle(event(BATCH), None) == OK
    assert done
    # The commit is known for ours: what it holds was appended, it is no duplicate.
    assert '"appended":5,"dead_lettered":1' in capsys.readouterr().out
    assert state_of_memory(lab.memory, lab.uri).version == 1
    assert (lab.offsets(), lab.dead()) == ([0, 1, 2, 4, 5], [3])


def test_lost_answer_and_a_commit_on_top_is_still_ours(lab: Lab) -> None:
    first, other = lab.view(), lab.sandbox()
    other.handle(event(rows(0, 1, partition=1)), None)

    def after(verb: str, key: str) -> None:
        if verb == "put_if_absent" and "0002.json" in key:
            first.after = lambda verb, key: None
            other.handle(event(rows(1, 2, partition=1)), None)
            raise Unavailable("lost")

    first.after = after
    assert lab.sandbox(first).handle(event(rows(0, 3)), None) == OK
    assert (lab.offsets(), lab.offsets(1)) == ([0, 1, 2], [0, 1])
    assert state_of_memory(lab.memory, lab.uri).version == 3


def test_put_that_lands_after_it_was_given_up_is_found_by_the_redelivery(lab: Lab) -> None:
    """The sandbox hears nothing until its deadline; the commit lands; the batch is delivered
    again."""
    memory = lab.view()
    late: list[tuple[ObjectStore, str, bytes]] = []

    class Late:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def put_if_absent(self, key: str, data: bytes) -> str | None:
            late.append((self._inner._inner, key, data))
            raise Unavailable("no answer")

    clock = FakeClock()
    function = function_for(lab.folder, open_store=lambda uri: Late(memory.open(uri)), clock=clock)
    answer = function.handle(event(rows(0, 2)), Context(20_000))
    assert [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]] == [0, 1]
    assert lab.offsets() == []
    store, key, data = late[0]
    store.put_if_absent(key, data)
    assert lab.sandbox().handle(event(rows(0, 3)), None) == OK
    assert lab.offsets() == [0, 1, 2]
    for store, key, data in late[1:]:
        with pytest.raises(AlreadyExists):
            store.put_if_absent(key, data)


def test_two_sandboxes_of_one_stream_append_each_record_once(lab: Lab) -> None:
    """A zombie and its successor start from one snapshot; the slower one decides again."""
    zombie_memory = lab.view()
    zombie, successor = lab.sandbox(zombie_memory), lab.sandbox()
    zombie.handle(event(rows(0, 2)), None)

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            zombie_memory.before = lambda verb, key: None
            successor.handle(event(rows(0, 6)), None)

    zombie_memory.before = before
    assert zombie.handle(event(rows(0, 8)), None) == OK
    assert lab.offsets() == list(range(8))


def test_holes_filled_by_two_sandboxes_beside_a_third_above_the_watermark(lab: Lab) -> None:
    lab.sandbox().handle(event(rows(10, 12)), None)
    views = [lab.view() for _ in range(3)]
    sandboxes = [lab.sandbox(view) for view in views]
    for sandbox in sandboxes:
        sandbox.handle(event(rows(11, 12)), None)
    barrier = threading.Barrier(3, timeout=20)

    def hold(view: Memory) -> Callable[[str, str], None]:
        def before(verb: str, key: str) -> None:
            if verb == "put_if_absent":
                view.before = lambda verb, key: None
                barrier.wait()

        return before

    for view in views:
        view.before = hold(view)
    batches = [rows(0, 6), rows(3, 9), rows(12, 15)]
    answers: list[Any] = []

    def work(sandbox: Any, batch: list[Any]) -> None:
        answers.append(sandbox.handle(event(batch), None))

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(sandboxes, batches, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [OK] * 3
    assert lab.offsets() == [*range(9), *range(10, 15)]


@pytest.mark.parametrize("writers", [2, 8])
def test_writers_of_many_streams_into_one_table(lab: Lab, writers: int) -> None:
    sandboxes = [lab.sandbox(lab.view()) for _ in range(writers)]

    def work(partition: int) -> None:
        sandbox = sandboxes[partition]
        for start in range(0, 12, 3):
            batch = [*rows(start, start + 3, partition=partition)]
            batch[1] = record(start + 1, b"x", partition=partition)
            assert sandbox.handle(event(batch), None) == OK

    threads = [threading.Thread(target=work, args=(i,)) for i in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [o for o in range(12) if o % 3 != 1]
    assert all(lab.offsets(p) == expected for p in range(writers))
    assert len(lab.dead()) == 4 * writers


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_race_of_creators_ends_with_one_table(lab: Lab, nth: int) -> None:
    """The other makes and fills both tables before our first commit, or second, third, fourth."""
    memory = lab.view()
    other = lab.sandbox()
    commits = []

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            commits.append(key)
        if len(commits) == nth:
            memory.before = lambda verb, key: None
            other.handle(event([*rows(0, 2, partition=1), record(2, b"x", partition=1)]), None)

    memory.before = before
    assert lab.sandbox(memory).handle(event(BATCH), None) == OK
    state = state_of_memory(lab.memory, lab.uri)
    assert state.version == 2
    assert (lab.offsets(), lab.offsets(1)) == ([0, 1, 2, 4, 5], [0, 1])
    assert sorted(lab.dead()) == [2, 3]


def test_log_that_was_cleaned_behind_an_idle_sandbox_takes_no_commit_into_the_void(
    lab: Lab,
) -> None:
    idle = lab.sandbox()
    idle.handle(event(rows(0, 1)), None)
    busy = lab.sandbox()
    for i in range(1, 6):
        busy.handle(event(rows(i, i + 1)), None)
    store = lab.memory.stores[lab.uri]
    # As after a checkpoint and a clean-up: the newest commits only, and the idle sandbox's are
    # gone.
    whole = b"".join(store.get(commit_key(v)).data for v in range(4))
    for version in range(4):
        obstore.delete(store._store, commit_key(version))
    _put_checkpoint(store, whole, 3)
    assert idle.handle(event(rows(6, 7)), None) == OK
    assert lab.sandbox().handle(event(rows(0, 8)), None) == OK
    offsets = rows_of_memory(lab.memory, lab.uri, ["_kafka_offset"])
    assert [o for (o,) in offsets] == list(range(8))


def _put_checkpoint(store: ObjectStore, log: bytes, version: int) -> None:
    store.put(f"_delta_log/{version:020}.checkpoint.parquet", checkpoint_bytes(log))
    store.put("_delta_log/_last_checkpoint", json.dumps({"version": version, "size": 9}).encode())


def writers_of(function: Function) -> list[Writer]:
    return [writer for topic in function._writers.values() for writer in topic.writers]


def test_recreated_table_is_read_cold(lab: Lab) -> None:
    idle = lab.sandbox()
    idle.handle(event(rows(0, 3)), None)
    lab.memory.stores.clear()
    other = lab.sandbox()
    other.handle(event(rows(0, 1, partition=1)), None)
    fresh = lab.memory.stores
    # The idle sandbox looks at the same place, where another table stands now.
    for writer in writers_of(idle):
        for table in writer.tables:
            uri = lab.uri + ("__dead_letters" if "dead" in table.name else "")
            table.store._inner = fresh.setdefault(uri, table.store._inner)
    assert idle.handle(event(rows(3, 5)), None) == OK
    assert (lab.offsets(), lab.offsets(1)) == ([3, 4], [0])


@pytest.mark.logs_errors
@pytest.mark.parametrize("error", [AccessDenied("403"), BadStore("301")])
@pytest.mark.parametrize(("verb", "part"), STEPS + READS)
def test_error_that_cannot_pass_fails_the_invocation(
    lab: Lab, verb: str, part: str, error: Exception
) -> None:
    memory = lab.view()
    memory.before = fail_once(verb, part, error)  # type: ignore[arg-type]
    function = lab.sandbox(memory)
    with pytest.raises(type(error)):
        function.handle(event(rows(0, 3)), None)
    assert lab.offsets() == []
    assert function.handle(event(rows(0, 3)), None) == OK
    assert lab.offsets() == [0, 1, 2]


@pytest.mark.parametrize("verb", ["put", "put_if_absent", "list"])
def test_store_that_never_answers_ends_in_time_with_everything_reported(
    lab: Lab, verb: str
) -> None:
    memory = lab.view()

    def before(v: str, key: str) -> None:
        if v == verb:
            raise Unavailable("503")

    memory.before = before
    clock = FakeClock()
    function = function_for(lab.folder, open_store=memory.open, clock=clock)
    started = clock.now_s
    answer = function.handle(event(rows(0, 2)), Context(33_000))
    assert [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]] == [0, 1]
    assert 25 < clock.now_s - started <= 30
    assert len(clock.slept) < 2000


def test_dead_letters_committed_and_rows_not_then_redelivered(lab: Lab) -> None:
    """A kill between the two commits: the redelivery finds the rejects settled and the rows not."""
    memory = lab.view()
    count = []

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            count.append(key)
            if len(count) == 2:
                raise KeyboardInterrupt  # nothing catches it, as nothing survives a kill

    lab.make()
    memory.before = before
    with pytest.raises(KeyboardInterrupt):
        lab.sandbox(memory).handle(event(BATCH), None)
    assert (lab.offsets() if lab.uri in lab.memory.stores else [], lab.dead()) == ([], [3])
    assert lab.sandbox().handle(event(BATCH), None) == OK
    assert (lab.offsets(), lab.dead()) == ([0, 1, 2, 4, 5], [3])


def test_conflict_with_another_stream_puts_the_same_commit_again(lab: Lab) -> None:
    memory = lab.view()
    function, other = lab.sandbox(memory), lab.sandbox()
    function.handle(event(rows(0, 1)), None)
    other.handle(event(rows(0, 1, partition=1)), None)
    function.handle(event(rows(1, 2)), None)  # both streams are known to the snapshot
    memory.requests.clear()

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            memory.before = lambda verb, key: None
            other.handle(event(rows(1, 2, partition=1)), None)

    memory.before = before
    assert function.handle(event(rows(2, 3)), None) == OK
    assert memory.count("put") == 1, "the data file was written once"
    assert memory.count("put_if_absent") == 2
    assert (lab.offsets(), lab.offsets(1)) == ([0, 1, 2], [0, 1])


def test_crash_between_the_commits_with_a_clock_that_runs_ahead(lab: Lab) -> None:
    """The rows' timestamps lie ahead of the dead letters' commit: they are holes all the same."""
    memory = lab.view()
    ahead = NOW_MS + 3_600_000
    batch = event([record(0, {"id": 0}, timestamp=ahead), record(1, b"x", timestamp=NOW_MS)])
    count = []

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            count.append(key)
            if len(count) == 2:
                raise KeyboardInterrupt

    memory.before = before
    with pytest.raises(KeyboardInterrupt):
        lab.sandbox(memory).handle(batch, None)
    later = FakeClock(NOW_MS + 2 * 3_600_000)
    assert lab.sandbox(clock=later).handle(batch, None) == OK
    assert (lab.offsets(), lab.dead()) == ([0], [1])


def test_trusted_watermark_of_a_recreated_table_settles_nothing(tmp_path: Path) -> None:
    lab = Lab(tmp_path, SMALL + "redelivered: skip\n")
    idle = lab.sandbox()
    idle.handle(event(rows(0, 3)), None)
    for store in lab.memory.stores.values():
        for entry in store.list("", ""):
            obstore.delete(store._store, entry.key)
    assert idle.handle(event(rows(0, 3)), None) == OK
    assert lab.offsets() == [0, 1, 2]


def test_table_that_was_thought_absent_is_looked_for_before_its_first_commit(lab: Lab) -> None:
    """Others made the dead letters meanwhile, and the log's beginning was cleaned."""
    idle, busy = lab.sandbox(), lab.sandbox()
    idle.handle(event(rows(0, 1)), None)
    for i in range(1, 5):
        busy.handle(event([record(i, b"x")]), None)
    store = lab.memory.stores[f"{lab.uri}__dead_letters"]
    whole = b"".join(store.get(commit_key(v)).data for v in range(3))
    _put_checkpoint(store, whole, 2)
    for version in range(3):
        obstore.delete(store._store, commit_key(version))
    assert idle.handle(event([record(9, b"y")]), None) == OK
    keys = [entry.key for entry in store.list("_delta_log", "_delta_log/")]
    assert commit_key(0) not in keys
    assert commit_key(4) in keys


@pytest.mark.logs_errors
def test_second_source_that_commits_first_is_seen_before_ours(lab: Lab) -> None:
    """Two sources race for an empty table: whoever comes second is refused, not mixed in."""
    lab.make()
    memory = lab.view()
    ours, other = lab.sandbox(memory, source="a"), lab.sandbox(source="b")

    def before(verb: str, key: str) -> None:
        if verb == "put_if_absent":
            memory.before = lambda verb, key: None
            assert other.handle(event(rows(0, 3)), None) == OK

    memory.before = before
    with pytest.raises(SourceMismatch):
        ours.handle(event(rows(5, 8)), None)
    assert lab.offsets() == [0, 1, 2]


@pytest.mark.logs_errors
def test_recreated_table_with_as_many_versions_is_another_table(lab: Lab) -> None:
    """The version that the idle sandbox knows is there again, and it is not the same."""
    idle = lab.sandbox(source="a")
    idle.handle(event(rows(0, 3)), None)
    tables = [table for writer in writers_of(idle) for table in writer.tables]
    for inner in lab.memory.stores.values():
        for entry in inner.list("", ""):
            obstore.delete(inner._store, entry.key)
    lab.sandbox(source="b").handle(event(rows(0, 1)), None)
    versions = [table.snapshot.version for table in tables if table.snapshot is not None]
    assert versions[1] == state_of_memory(lab.memory, lab.uri).version
    with pytest.raises(SourceMismatch):
        idle.handle(event(rows(3, 5)), None)
    assert lab.offsets() == [0]
