"""Which files of a log are deleted, and which a reader may still need."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from handler.delta.offer_folder import FOLDER
from handler.delta.store import Entry, ObjectStore, open_store
from handler.errors import AccessDenied
from handler.upkeep import run
from handler.upkeep.engine import Engine
from handler.upkeep.folder import Folder
from silt.local.s3 import LocalS3
from tests.builders import event, function_for, record, rows
from tests.maintained import QUIET, a_minute, aged, check, maintenance_of, set_age, table
from tests.reader import read_folder

CONTRACT = QUIET.replace("maintenance: {", "maintenance: {log_retain: 10d, ")
COMMITS = 30
OLD, YOUNG = 20.0, 5.0


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Make a log with checkpoints of versions 10 and 20, whose first 25 versions are old."""
    folder = table(tmp_path) / "_delta_log"
    function = function_for(tmp_path, CONTRACT)
    for i in range(COMMITS):
        batch = [record(3 * i, {"id": 3 * i}), record(3 * i + 1, {"id": 3 * i + 1})]
        function.handle(event([*batch, record(3 * i + 2, b"bad")]), None)
        if i in (9, 19):
            DeltaTable(table(tmp_path)).create_checkpoint()
    for path in folder.iterdir():
        version = path.name.split(".")[0]
        set_age(path, OLD if version.isdigit() and int(version) < 25 else YOUNG)
    return folder


def clean(folder: Path) -> run.MaintenanceRun:
    cleaning = maintenance_of(folder).new_run("sales/orders")
    cleaning.look(a_minute())
    cleaning.keep(a_minute(), "now")
    return cleaning


def first(log: Path) -> int:
    """Return the version of the oldest commit; no later one may be missing."""
    versions = sorted(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit())
    assert versions == list(range(versions[0], versions[-1] + 1))
    return versions[0]


def test_log_begins_at_the_newest_checkpoint_that_no_young_version_is_before(
    log: Path, tmp_path: Path
) -> None:
    report = clean(tmp_path).report
    assert first(log) == 20
    assert report.log_commits_cleaned == 20
    assert [p.name[:20] for p in log.glob("*.checkpoint.parquet")] == [f"{20:020}"]
    for version in range(20, COMMITS + 1):
        assert DeltaTable(table(tmp_path), version=version).version() == version
    for sandbox in (function_for(tmp_path, CONTRACT), function_for(tmp_path, CONTRACT)):
        assert sandbox.handle(event(rows(0, 2)), None) == {"batchItemFailures": []}
    check(tmp_path, COMMITS)


def test_whatever_belongs_to_a_deleted_version_goes_and_nothing_else(
    log: Path, tmp_path: Path
) -> None:
    gone = [
        f"{5:020}.crc",
        f"{5:020}.checkpoint.parquet.broken",
        f"{5:020}.{9:020}.compacted.json",
        f"{9:020}.checkpoint.{1:010}.{2:010}.parquet",
        f"{7:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet",
    ]
    left = [
        f"{20:020}.crc",
        f"{21:020}.{24:020}.compacted.json",
        "_last_checkpoint",
        ".s3-optimization-0",
        f".{5:020}.json.crc",
        "_sidecars/3a0d65cd-4056-49b8-937b-95f9e3ee90e5.parquet",
        "notes.txt",
    ]
    (log / "_sidecars").mkdir()
    for name in [*gone, *left]:
        if name != "_last_checkpoint":
            (log / name).write_bytes(b"{}")
            set_age(log / name, OLD)
    clean(tmp_path)
    assert [name for name in gone if (log / name).exists()] == []
    assert [name for name in left if not (log / name).exists()] == []


@pytest.mark.parametrize(
    ("change", "start"),
    [
        pytest.param(lambda log: set_age(log / f"{19:020}.json", YOUNG), 10, id="young before it"),
        pytest.param(lambda log: set_age(log / f"{0:020}.json", YOUNG), 0, id="all may be young"),
        pytest.param(lambda log: set_age(log / f"{24:020}.json", YOUNG), 20, id="young after it"),
        pytest.param(
            lambda log: (log / f"{20:020}.checkpoint.parquet").rename(
                log / f"{20:020}.checkpoint.{1:010}.{2:010}.parquet"
            ),
            10,
            id="a part is missing",
        ),
        pytest.param(
            lambda log: [path.unlink() for path in log.glob("*.checkpoint.parquet")],
            0,
            id="no checkpoint",
        ),
    ],
)
def test_log_is_kept_from_an_older_version_where_a_reader_needs_it(
    log: Path, tmp_path: Path, change: Callable[[Path], object], start: int
) -> None:
    change(log)
    (log / "_last_checkpoint").unlink()
    clean(tmp_path)
    assert first(log) == start
    check(tmp_path, COMMITS)


@pytest.mark.parametrize(
    ("first_young", "readable", "start"),
    [(25, 20, 20), (25, 10, 10), (25, 9, None), (20, 20, 10), (21, 20, 20), (None, 20, 20)],
)
def test_checkpoint_that_was_not_read_is_not_relied_on(
    first_young: int | None, readable: int, start: int | None
) -> None:
    """It came after the table was read, and may be broken: then it takes the commits before it."""
    checkpoints = [Entry(f"_delta_log/{v:020}.checkpoint.parquet", 9) for v in (10, 20)]
    folder = Folder(checkpoints=checkpoints, first_young=first_young)
    assert folder.log_start(readable, known_since_ms=0) == start


def test_two_clean_the_same_log_beside_appends(log: Path, tmp_path: Path) -> None:
    function = function_for(tmp_path, CONTRACT)
    batch = [record(90, {"id": 90}), record(91, {"id": 91}), record(92, b"bad")]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(clean, tmp_path) for _ in range(3)]
        append = pool.submit(function.handle, event(batch), None)
        for each in [*runs, append]:
            each.result()
    assert first(log) == 20
    check(tmp_path, COMMITS + 1)


def test_log_without_a_checkpoint_for_long_gets_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine cannot read all of it in the time of a run, however often it tries."""
    aged(tmp_path, 25, QUIET.replace("maintenance: {", "maintenance: {checkpoint_commits: 4, "))
    monkeypatch.setattr(run, "CHECKPOINT_COMMITS_MAX", 10)
    shutil.rmtree(table(tmp_path, "orders__dead_letters"))
    report = maintenance_of(tmp_path).new_run("sales/orders")
    report.look(a_minute())
    report.checkpoint(a_minute())
    found = sorted(path.name[:20] for path in table(tmp_path).rglob("*.checkpoint.parquet"))
    assert [int(version) for version in found] == [9, 19, 25]
    assert DeltaTable(table(tmp_path)).version() == read_folder(table(tmp_path)).version == 25


def test_listing_up_to_a_key_reads_no_further_on_s3(
    s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of millions of commits is not listed once for each thousand that is deleted."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    for uri in (f"s3://{s3.bucket}/{tmp_path.name}", str(tmp_path / "disk")):
        store = open_store(uri)
        for number in range(5):
            store.put(f"log/{number:020}.json", b"")
        store.put("log/_other", b"")
        found = [entry.key for entry in store.scan("log/", before=f"log/{3:020}")]
        assert sorted(found) == [f"log/{number:020}.json" for number in range(3)]
        assert len(list(store.scan("log/"))) == 6


@pytest.mark.parametrize("recreated", [True, False])
def test_table_that_is_deleted_during_the_vacuum_is_left_alone(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recreated: bool
) -> None:
    """Neither is the log of its successor cleaned by what was seen before, nor is a commit put
    where there is no table: no append could read that."""

    def delete_table(_engine: Engine, job: str, _left_s: float, **_options: Any) -> Any:
        assert job == "vacuum"
        shutil.rmtree(table(tmp_path))
        if recreated:
            function_for(tmp_path, CONTRACT).handle(event(rows(1000, 1003)), None)
        return {"files": []}

    monkeypatch.setattr(Engine, "do", delete_table)
    clean(tmp_path)
    assert log.exists() == recreated
    if recreated:
        assert first(log) == 0
    answer = function_for(tmp_path, CONTRACT).handle(event(rows(1000, 1006)), None)
    assert answer == {"batchItemFailures": []}
    assert DeltaTable(table(tmp_path)).to_pyarrow_table().num_rows == 6


def test_commits_behind_a_checkpoint_of_today_are_kept_for_readers_that_do_not_know_it(
    log: Path, tmp_path: Path
) -> None:
    """They listed the log before it was written, and read the commits."""
    set_age(log / f"{20:020}.checkpoint.parquet", 0.5)
    clean(tmp_path)
    assert first(log) == 10


def test_deletion_that_is_refused_does_not_keep_the_table_from_being_compacted(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_store: object, _keys: object) -> None:
        raise AccessDenied("no")

    monkeypatch.setattr(ObjectStore, "delete_all", refuse)
    cleaning = maintenance_of(tmp_path).new_run("sales/orders")
    cleaning.look(a_minute())
    with pytest.raises(AccessDenied):
        cleaning.keep(a_minute(), "now")
    assert cleaning.report.files_removed > 0
    assert first(log) == 0


def test_old_offers_are_deleted(log: Path, tmp_path: Path) -> None:
    offers = table(tmp_path) / FOLDER
    offers.mkdir()
    for name, days in (("old", 0.1), ("young", 0.0)):
        (offers / f"{name}.json").write_bytes(b"{}")
        set_age(offers / f"{name}.json", days)
    clean(tmp_path)
    assert [path.name for path in offers.iterdir()] == ["young.json"]
