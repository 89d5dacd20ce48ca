"""Which partitions are compacted, in which order, and what is left alone."""

from dataclasses import replace

from handler.contract_upkeep import Upkeep, default_upkeep
from handler.upkeep.plan import (
    BAD_FILES,
    SAVED_MIN,
    SORT_BYTES_MAX,
    Merge,
    Partition,
    Task,
    due,
    targets,
)
from tests.builders import NOW_MS

UPKEEP = default_upkeep()
SORTED = replace(UPKEEP, sort_by=("id",))
MIB = 1 << 20
HOUR_MS = 3_600_000


def part(
    name: str,
    *,
    saved: int,
    age_h: float,
    files: int = 50,
    small: int = 0,
    partly: int | None = None,
    unsorted: int = 0,
) -> Partition:
    return Partition(
        values={"day": name},
        files=files,
        bytes=100 * MIB,
        rows=1000,
        small_files=files,
        small_bytes=small * MIB,
        unsorted_files=unsorted,
        unsorted_bytes=unsorted * MIB,
        newest_ms=NOW_MS - round(age_h * HOUR_MS),
        whole=Merge(saved, 10 * MIB if saved else 0),
        partly=Merge(saved if partly is None else partly, 10 * MIB),
    )


def names(tasks: list[Task]) -> list[str | None]:
    return [task.values["day"] for task in tasks]


def test_coldest_partition_comes_first() -> None:
    parts = [part("b", saved=9, age_h=2), part("a", saved=9, age_h=50), part("c", saved=9, age_h=3)]
    assert names(due(parts, UPKEEP, NOW_MS)) == ["a", "c", "b"]


def test_partition_that_is_appended_to_is_left_alone_until_it_is_bad() -> None:
    active = [
        part("bad", saved=BAD_FILES, age_h=0.1),
        part("not yet", saved=BAD_FILES - 1, age_h=0.1),
    ]
    assert names(due(active, UPKEEP, NOW_MS)) == ["bad"]


def test_quiet_begins_exactly_when_the_contract_says() -> None:
    edge = part("a", saved=SAVED_MIN, age_h=1)
    assert due([edge], UPKEEP, NOW_MS)
    assert not due([edge], UPKEEP, NOW_MS - 1)


def test_late_record_does_not_rewrite_a_large_file() -> None:
    assert not due([part("a", saved=1, age_h=9, small=1)], UPKEEP, NOW_MS)
    assert due([part("a", saved=1, age_h=9, small=20)], UPKEEP, NOW_MS)
    assert due([part("a", saved=SAVED_MIN, age_h=9, small=1)], UPKEEP, NOW_MS)


def test_what_the_engine_would_not_merge_is_never_due() -> None:
    assert not due([part("a", saved=0, age_h=999, small=100)], UPKEEP, NOW_MS)


def test_sorted_table_is_compacted_in_part_while_active_and_sorted_once_quiet() -> None:
    whole, partly = targets(SORTED)
    assert partly * 4 == whole
    active = part("a", saved=0, age_h=0, partly=BAD_FILES, unsorted=50)
    (task,) = due([active], SORTED, NOW_MS)
    assert (task.target, task.sort_by, task.interim) == (partly, (), True)
    quiet = part("a", saved=0, age_h=2, unsorted=20)
    (task,) = due([quiet], SORTED, NOW_MS)
    assert (task.target, task.sort_by, task.interim) == (whole, ("id",), False)
    assert task.work_bytes == quiet.bytes  # a sort rewrites all of it


def test_what_a_sort_wrote_is_not_sorted_again_however_small_its_files_are() -> None:
    assert not due([part("a", saved=40, age_h=9, small=100, unsorted=0)], SORTED, NOW_MS)
    # A late record does not rewrite the partition either; some of them do.
    assert not due([part("a", saved=40, age_h=9, unsorted=SAVED_MIN - 1)], SORTED, NOW_MS)
    assert due([part("a", saved=40, age_h=9, unsorted=SAVED_MIN)], SORTED, NOW_MS)


def test_partition_too_large_to_sort_is_compacted_all_the_same() -> None:
    large = replace(part("a", saved=9, age_h=2), bytes=SORT_BYTES_MAX + 1)
    (task,) = due([large], SORTED, NOW_MS)
    assert (task.sort_by, task.interim) == ((), False)


def test_unsorted_table_has_one_target() -> None:
    assert targets(UPKEEP) == [UPKEEP.target_file_size] * 2


def test_task_names_its_partition_as_a_folder() -> None:
    task = Task({"day": "2026-11-24", "site": None}, 1, (), 1, 1, False, 1)
    assert task.where == "day=2026-11-24/site=None"
    assert replace(task, values={}).where == "the whole table"


def test_default_upkeep_is_what_the_reference_says() -> None:
    assert Upkeep(True, 128 * MIB, (), 20, HOUR_MS, None, None) == UPKEEP
