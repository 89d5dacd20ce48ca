"""What a commit says of the offsets that a rule dropped."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.sink.commit_info import merge_info, runs_of, skipped_ranges
from handler.sink.outcomes import NAMES


@pytest.mark.parametrize(
    ("offsets", "runs"),
    [([], []), ([0], [0, 1]), ([5, 6, 7, 10], [5, 3, 2, 1]), ([2**62], [2**62, 1])],
)
def test_runs_are_short(offsets: list[int], runs: list[int]) -> None:
    assert runs_of(offsets) == runs


@given(st.sets(st.one_of(st.integers(0, 60), st.integers(0, 2**63 - 1))))
def test_ranges_are_those_of_the_offsets(offsets: set[int]) -> None:
    ranges = list(skipped_ranges({"skipped_runs": runs_of(sorted(offsets))}))
    assert [o for first, last in ranges for o in range(first, last + 1)] == sorted(offsets)
    assert all(after[0] > before[1] + 1 for before, after in itertools.pairwise(ranges))


def test_half_of_the_largest_batch_takes_a_few_kilobytes() -> None:
    assert len(json.dumps(runs_of(range(10**15, 10**15 + 10_000, 2)))) < 32_000


def test_ranges_of_an_older_commit_are_read() -> None:
    assert list(skipped_ranges({"skipped": [[1, 2], [5, 5]]})) == [[1, 2], [5, 5]]


def info(appended: int, stream: str, version: int = 1, *, blind: bool = True) -> dict[str, Any]:
    counts = {**dict.fromkeys(NAMES.values(), 0), "appended": appended}
    streams = [{"stream": stream, **counts}]
    silt = {"contract_version": version, "delivered": appended, **counts, "streams": streams}
    return {"isBlindAppend": blind, "silt": silt}


def test_merged_info_counts_all_batches() -> None:
    both = merge_info(info(3, "a"), info(4, "b", blind=False))
    assert both is not None
    merged = merge_info(both, info(5, "c"))
    assert merged is not None
    assert not merged["isBlindAppend"]
    silt = merged["silt"]
    assert (silt["batches"], silt["delivered"], silt["appended"], silt["unsettled"]) == (
        3,
        12,
        12,
        0,
    )
    assert [(each["stream"], each["appended"]) for each in silt["streams"]] == [
        ("a", 3),
        ("b", 4),
        ("c", 5),
    ]


def test_info_of_two_versions_of_a_contract_or_of_somebody_else_is_not_merged() -> None:
    assert merge_info(info(3, "a"), info(4, "b", version=2)) is None
    assert merge_info({}, info(4, "b")) is None
    assert merge_info(info(4, "b"), {}) is None
