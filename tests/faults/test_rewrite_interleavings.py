"""Rewrites under every schedule of requests: no row is lost or doubled, without a lock or a clock.

The rewriters are the real `rewrite` over the real compare-and-swap, each with its own view of the
table; their commits may be answered, lost, or land at any later moment. Appends, deletes by another
engine and changes of the schema go on beside them. A file is named by the rows that it holds.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from handler.delta import commit
from handler.delta.active import ActiveFile, ActiveFiles
from handler.delta.change import Change, DataFile, Why, encode_commit
from handler.delta.commit import Transaction
from handler.delta.log import Metadata, Protocol, Snapshot, Txn, commit_key, new_metadata
from handler.delta.retry import Deadline
from handler.delta.rewrite import Rewrite, rewrite
from handler.delta.tables import Table
from handler.delta.types import Field, Primitive
from handler.errors import AlreadyExists, Unavailable
from tests.builders import NOW_MS, FakeClock
from tests.explore import Actor, Asking, Case, InlinePool, Objects, Violation, explore, new_id

FIELDS = (Field("p", Primitive("integer")),)
METADATA = new_metadata("id", FIELDS, (), None, NOW_MS)
STREAM = "s/t/0"


def file_of(rows: str, name: str = "") -> DataFile:
    return DataFile(f"{rows}-{name}.parquet", b"", 1, 1, {}, "{}", NOW_MS)


def rows_of(path: str) -> str:
    return path.partition("-")[0]


def planned_by(operation: str, table: Table, deadline: Deadline, **files: Any) -> Rewrite:
    snapshot = table.known(deadline)
    assert snapshot.metadata is not None
    schema = {"schema": snapshot.metadata.raw["schemaString"]}
    return Rewrite(operation, snapshot, parameters=schema, **files)


class World:
    """One table with the rows a and b, and whatever works on it."""

    def __init__(self, faults_max: int) -> None:
        self.objects = Objects()
        made = Change(
            files=(file_of("a"), file_of("b")),
            txns={STREAM: Txn(0, NOW_MS)},
            metadata=METADATA,
            protocol=Protocol(),
        )
        self.objects.put_if_absent(commit_key(0), made.body("made", NOW_MS))
        self.actors: list[Actor] = []
        self.faults_max = faults_max

    def _table(self, *, files: bool = True) -> tuple[Table, Deadline]:
        store, new_files = Asking(self.objects), ActiveFiles if files else None
        table = Table("t", store, InlinePool(), new_files=new_files)
        return table, Deadline(FakeClock(), 1e9, lambda: 1.0)

    def compactor(self, name: str, *, rounds: int = 2) -> "World":
        """Merge all files into one, planned again where that was in vain."""
        table, deadline = self._table()

        def compact() -> str:
            table.read(deadline)
            for number in range(rounds):
                files = table.files
                assert isinstance(files, ActiveFiles)
                removed = sorted(files, key=lambda file: file.path)
                if len(removed) < 2:
                    return "nothing to do"
                rows = "".join(rows_of(file.path) for file in removed)
                added = file_of(rows, f"{name}{number}")
                change = planned_by("OPTIMIZE", table, deadline, removed=removed, added=[added])
                if rewrite(table, change, deadline) is not None:
                    return "compacted"
            return "another was faster"

        self.actors.append(Actor(name, [compact]))
        return self

    def checker(self, name: str) -> "World":
        """Add the file of row a again, with other statistics."""
        table, deadline = self._table()

        def check() -> str:
            table.read(deadline)
            files = table.files
            assert isinstance(files, ActiveFiles)
            found = [file for file in files if rows_of(file.path) == "a"]
            updated = [replace(file, stats='{"numRecords":1}') for file in found]
            change = planned_by("UPDATE STATISTICS", table, deadline, updated=updated)
            return str(rewrite(table, change, deadline) is not None)

        self.actors.append(Actor(name, [check]))
        return self

    def appender(self, row: str) -> "World":
        table, deadline = self._table(files=False)

        def append() -> str:
            def propose(snapshot: Snapshot) -> Change:
                txns = {STREAM: Txn(snapshot.txns[STREAM].version + 1, NOW_MS)}
                return Change(files=(file_of(row),), txns=txns)

            Transaction([table], deadline).commit_change(table, propose)
            return f"appended after {deadline.conflicts} conflicts"

        self.actors.append(Actor(f"append {row}", [append]))
        return self

    def engine(self, name: str, actions: Callable[[ActiveFiles], list[Any]]) -> "World":
        """Another engine: it reads, and puts its commit if nobody came between, else gives up."""
        table, deadline = self._table()

        def work() -> str:
            snapshot = table.read(deadline)
            assert isinstance(table.files, ActiveFiles)
            body = encode_commit({"operation": name}, actions(table.files))
            try:
                table.store.put_if_absent(commit_key(snapshot.version + 1), body)
            except (AlreadyExists, Unavailable):
                return "gave up"
            return "done"

        self.actors.append(Actor(name, [work]))
        return self

    def deleter(self, row: str) -> "World":
        """Delete a row, by rewriting the file that has it."""

        def actions(files: ActiveFiles) -> list[Any]:
            found = [file for file in files if row in rows_of(file.path)]
            left = [rows_of(file.path).replace(row, "") for file in found]
            return [
                *({"remove": {"path": file.path, "dataChange": True}} for file in found),
                *(file_of(rows, "left").action() for rows in left if rows),
            ]

        return self.engine("DELETE", actions)

    def evolver(self, fields: tuple[Field, ...]) -> "World":
        changed: Metadata = METADATA.with_fields(fields)
        return self.engine("ALTER TABLE", lambda _files: [changed.action()])

    def case(self) -> Case:
        return Case(self.objects, self.actors, self._check, self.faults_max)

    def _check(self, _at_end: bool) -> None:
        """Each row that was ever added is there once, but for those that a DELETE removed."""
        active, expected = dict[str, Any](), Counter[str]()
        schemas = list[str]()
        version = 0
        while (data := self.objects.data.get(commit_key(version))) is not None:
            lines = [orjson.loads(line) for line in data.splitlines()]
            info = lines[0]["commitInfo"]
            before = Counter("".join(rows_of(path) for path in active))
            for action in lines:
                if "metaData" in action:
                    schemas.append(action["metaData"]["schemaString"])
                if "remove" in action:
                    assert action["remove"]["path"] in active, f"{version} removes what is gone"
                    del active[action["remove"]["path"]]
            for action in lines:
                if "add" in action:
                    active[action["add"]["path"]] = version
            after = Counter("".join(rows_of(path) for path in active))
            if info["operation"] in ("OPTIMIZE", "UPDATE STATISTICS"):
                assert after == before, f"version {version} changes the rows: {before} -> {after}"
                planned_for = info["operationParameters"]["schema"]
                assert planned_for == schemas[-1] or "more" in schemas[-1], "another schema"
            expected = after
            version += 1
        assert all(count == 1 for count in expected.values()), f"doubled: {expected}"


WIDER = (Field("p", Primitive("long")),)
MORE = (*FIELDS, Field("more", Primitive("string")))
REQUIRED = (*FIELDS, Field("must", Primitive("string"), nullable=False))

CASES: dict[str, Callable[[], Case]] = {
    "two compactions, a lost commit": lambda: World(1).compactor("x").compactor("y").case(),
    "three compactions": lambda: (
        World(0).compactor("x", rounds=1).compactor("y", rounds=1).compactor("z", rounds=1).case()
    ),
    "a compaction beside appends, a lost commit": lambda: (
        World(1).compactor("x").appender("c").case()
    ),
    "a compaction beside two appends": lambda: (
        World(0).compactor("x").appender("c").appender("d").case()
    ),
    "a compaction beside a delete, a lost commit": lambda: (
        World(1).compactor("x").deleter("a").case()
    ),
    "a compaction, a check and a delete": lambda: (
        World(0).compactor("x").checker("y").deleter("a").case()
    ),
    "a check beside a check, a lost commit": lambda: World(1).checker("x").checker("y").case(),
    "a compaction beside a column that is added": lambda: (
        World(0).compactor("x", rounds=1).evolver(MORE).case()
    ),
    "a compaction beside a type that is widened": lambda: (
        World(0).compactor("x", rounds=1).evolver(WIDER).case()
    ),
}


@pytest.fixture(autouse=True)
def ids_that_are_the_same_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "uuid4", new_id)


@pytest.mark.parametrize("what", CASES)
def test_no_row_is_lost_or_doubled_under_every_schedule(what: str) -> None:
    explored = explore(CASES[what])
    print(f"{explored.schedules:,} schedules, {explored.states:,} states")
    assert explored.schedules > 20


def follow_without_files(table: Table, commit: Any) -> Any:
    files, table.files = table.files, None
    try:
        return original_follow(table, commit)
    finally:
        table.files = files


original_follow = Table.follow
BROKEN = {
    "a file that is gone is not seen": (Rewrite, "conflict", lambda *_: None),
    "it is not looked at again what is active": (Rewrite, "fits", lambda *_: True),
    "files do not follow the log": (Table, "follow", follow_without_files),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_rewrite_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search finds the schedule that doubles or loses a row."""
    target, name, value = BROKEN[what]
    monkeypatch.setattr(target, name, value)

    def explore_all() -> None:
        for case in CASES.values():
            explore(case)

    with pytest.raises((Violation, AssertionError)):
        explore_all()


def planned(metadata: Metadata = METADATA, **more: Any) -> tuple[Rewrite, Any]:
    snapshot = Snapshot(3, None, Protocol(), metadata, {})
    file = ActiveFile("a.parquet", {}, 1, NOW_MS, 1)
    return Rewrite("OPTIMIZE", snapshot, removed=[file], **more), snapshot


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ({"add": {"path": "b.parquet"}}, None),
        ({"txn": {"appId": "new/stream/0", "version": 5}}, None),
        (METADATA.action(), None),
        (METADATA.with_fields(MORE).action(), None),
        (
            METADATA.with_configuration({"silt.term": "t", "delta.logRetention": "x"}).action(),
            None,
        ),
        ({"remove": {"path": "b.parquet"}}, None),
        ({"remove": {"path": "a.parquet"}}, Why.FILES),
        ({"add": {"path": "a.parquet"}}, Why.FILES),
        (METADATA.with_fields(WIDER).action(), Why.METADATA),
        (METADATA.with_fields(REQUIRED).action(), Why.METADATA),
        (METADATA.with_fields(()).action(), Why.METADATA),
        (METADATA.with_configuration({"delta.appendOnly": "true"}).action(), Why.METADATA),
        (
            METADATA.with_configuration({"delta.enableChangeDataFeed": "true"}).action(),
            Why.METADATA,
        ),
        (replace(Protocol(), min_writer=5).action(), Why.PROTOCOL),
        (Protocol().action(), None),
    ],
)
def test_what_makes_a_rewrite_void(action: dict[str, Any], why: Why | None) -> None:
    change, snapshot = planned()
    assert change.conflict([{"commitInfo": {}}, action], snapshot) is why


def test_remove_names_the_file_as_the_log_does() -> None:
    """Path verbatim, partition values, deletion vector: readers match a file by these."""
    change, _ = planned(data_change=True)
    vector = {"storageType": "u", "pathOrInlineDv": "x", "offset": 1}
    file = ActiveFile("day=a%20b/f%25.parquet", {"day": "a b"}, 7, NOW_MS, 1)
    file.deletion_vector = vector
    body = replace(change, removed=[file]).body("id", NOW_MS)
    (remove,) = [orjson.loads(line)["remove"] for line in body.splitlines() if b'"remove"' in line]
    assert remove == {
        "path": "day=a%20b/f%25.parquet",
        "deletionTimestamp": NOW_MS,
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": {"day": "a b"},
        "size": 7,
        "deletionVector": vector,
    }
