"""Which files are rewritten, together with which, in which order, and what is left alone."""

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from handler.contract.compile_upkeep import default_upkeep
from handler.contract.upkeep import Upkeep
from handler.delta.active import ActiveFile
from handler.upkeep.due import BAD_FILES, BIN_FILES_MAX, SAVED_MIN, Bin, due, partitions_of
from tests.builders import NOW_MS

UPKEEP = default_upkeep()
SORTED = replace(UPKEEP, sort_by=("id",))
MIB = 1 << 20
HOUR_MS = 3_600_000


def files(
    day: str | None, count: int, *, age_h: float = 9, size: int = MIB, **more: Any
) -> list[ActiveFile]:
    values = {"day": day}
    return [
        ActiveFile(
            path=f"day={day}/{size}-{age_h}-{i}.parquet",
            partition_values=values,
            size=size,
            modified_ms=NOW_MS - round(age_h * HOUR_MS),
            rows=10,
            **more,
        )
        for i in range(count)
    ]


def bins_of(
    given_files: Iterable[ActiveFile],
    upkeep: Upkeep = UPKEEP,
    now_ms: int = NOW_MS,
    *,
    forced: Any = lambda _file: False,
) -> list[Bin]:
    return due(partitions_of(given_files), upkeep, now_ms, forced)


def days(bins: list[Bin]) -> list[str | None]:
    return [each.values["day"] for each in bins]


def test_coldest_partition_comes_first() -> None:
    given_files = [*files("b", 9, age_h=2), *files("a", 9, age_h=50), *files("c", 9, age_h=3)]
    assert days(bins_of(given_files)) == ["a", "c", "b"]


def test_partition_that_is_appended_to_is_left_alone_until_it_is_bad() -> None:
    active = [*files("bad", BAD_FILES + 1, age_h=0.1), *files("not yet", BAD_FILES, age_h=0.1)]
    assert days(bins_of(active)) == ["bad"]


def test_quiet_begins_exactly_when_the_contract_says() -> None:
    edge = files("a", SAVED_MIN + 1, age_h=1)
    assert bins_of(edge)
    assert not bins_of(edge, now_ms=NOW_MS - 1)


def test_late_record_does_not_rewrite_a_large_file() -> None:
    large = files("a", 1, size=100 * MIB)
    assert not bins_of([*large, *files("a", 2, size=MIB)])
    # What is small is merged; the large file stays as it is.
    (merged,) = bins_of([*large, *files("a", SAVED_MIN + 1, size=MIB)])
    assert {file.size for file in merged.files} == {MIB}
    (merged,) = bins_of([*large, *files("a", 2, size=20 * MIB)])
    assert len(merged.files) == 2


def test_sorted_table_sorts_what_is_not_sorted_whatever_its_size() -> None:
    large = files("a", 4, size=100 * MIB)
    bins = bins_of(large, SORTED)
    assert [(len(each.files), each.sort_by) for each in bins] == [(1, ("id",))] * 4
    assert not bins_of(files("a", 4, size=100 * MIB, sorted_by="id"), SORTED)
    assert not bins_of(files("a", 4, size=300 * MIB), SORTED)  # larger than is worth it


def test_what_is_sorted_is_not_sorted_again_however_small_its_files_are() -> None:
    done = files("a", 40, sorted_by="id")
    assert not bins_of(done, SORTED)
    # A late record does not rewrite the partition either; some of them do.
    assert not bins_of([*done, *files("a", SAVED_MIN - 1, age_h=8)], SORTED)
    assert bins_of([*done, *files("a", SAVED_MIN, age_h=8)], SORTED)
    assert bins_of(done, replace(UPKEEP, sort_by=("id", "other")))


def test_forced_files_come_first_alone_or_with_others() -> None:
    def forced(file: ActiveFile) -> bool:
        return file.types == 0

    wide = files("a", 9, types=1, age_h=99)
    alone = files("b", 1, size=500 * MIB, types=0, age_h=0.1)
    first, second = bins_of([*wide, *alone], forced=forced)
    assert (first.files, first.forced, second.forced) == (tuple(alone), True, False)
    (mixed,) = bins_of([*wide, *files("a", 1, types=0, age_h=8)], forced=forced)
    assert mixed.forced
    assert len(mixed.files) == 10


def test_what_another_engine_must_rewrite_is_left_to_it() -> None:
    marked = files("a", 9, deletion_vector={"storageType": "u"})
    assert not bins_of(marked)
    outside = files("a", 9)
    for i, file in enumerate(outside):
        file.path = f"s3://elsewhere/{i}.parquet"
    assert not bins_of(outside)
    assert not bins_of([*marked, *outside], forced=lambda _file: True)


def test_bin_has_so_many_files_that_a_run_can_end_it() -> None:
    bins = bins_of(files("a", 2 * BIN_FILES_MAX + 10, size=1_000))
    assert [len(each.files) for each in bins] == [BIN_FILES_MAX, BIN_FILES_MAX, 10]


sizes = st.lists(st.integers(1, 3 * UPKEEP.target_file_size), min_size=1, max_size=60)


@given(sizes=sizes, sort=st.booleans(), old=st.booleans(), forced=st.integers(0, 5))
def test_bins_are_disjoint_bounded_and_leave_nothing_due(
    sizes: list[int], sort: bool, old: bool, forced: int
) -> None:
    """A second run finds less to do than the first; it ends."""
    upkeep = SORTED if sort else UPKEEP
    given_files = [
        ActiveFile(f"{i}", {}, size, NOW_MS - old * 9 * HOUR_MS + i - 60, 1)
        for i, size in enumerate(sizes)
    ]
    must = {file.path for file in given_files[:forced]}
    bins = bins_of(given_files, upkeep, forced=lambda file: file.path in must)
    merged = [file.path for each in bins for file in each.files]
    assert len(merged) == len(set(merged))
    assert must <= set(merged)
    for each in bins:
        assert each.bytes <= upkeep.target_file_size or len(each.files) == 1
    now_ms = NOW_MS
    for _ in range(4):
        merged_now = {file.path for each in bins for file in each.files}
        made = [
            ActiveFile(f"{now_ms}-{i}", {}, each.bytes, now_ms, 1, sorted_by="id" if sort else None)
            for i, each in enumerate(bins)
        ]
        given_files = [file for file in given_files if file.path not in merged_now] + made
        now_ms += 2 * HOUR_MS
        bins = bins_of(given_files, upkeep, now_ms)
    assert not bins


def test_bin_names_its_partition_as_a_folder() -> None:
    each = Bin({"day": "2026-11-24", "site": None}, ())
    assert each.where == "day=2026-11-24/site=None"
    assert replace(each, values={}).where == "the whole table"


def test_default_upkeep_is_what_the_reference_says() -> None:
    assert Upkeep(True, 128 * MIB, (), 20, HOUR_MS, None, None) == UPKEEP
