"""The policy of a contract: who is appended, dead-lettered, skipped, left unsettled."""

from handler.errors import Problem, RejectCode
from handler.sink.outcomes import Outcome, plan, replan
from tests.builders import SMALL, contract_of

A, D, S, U, X = (
    Outcome.APPEND,
    Outcome.DEAD_LETTER,
    Outcome.SKIP,
    Outcome.DUPLICATE,
    Outcome.UNSETTLED,
)
BAD = [Problem(RejectCode.NOT_JSON, "", "no")]


def outcomes(extra: str, count: int, rejects=(), tombstones=(), duplicates=(), streams=None):
    contract = contract_of(SMALL + extra)
    ranges = streams or [range(count)]
    made = plan(contract, ranges, dict.fromkeys(rejects, BAD), tombstones, set(duplicates))
    return list(made.outcomes), made


def test_good_records_are_appended_and_rejects_are_dead_letters() -> None:
    assert outcomes("", 3, rejects=[1])[0] == [A, D, A]


def test_duplicates_are_neither() -> None:
    assert outcomes("", 3, rejects=[1], duplicates=[0, 1])[0] == [U, U, A]


def test_tombstones_follow_their_rule() -> None:
    assert outcomes("on_tombstone: skip", 2, tombstones=[1])[0] == [A, S]
    assert outcomes("on_tombstone: row", 2, tombstones=[1])[0] == [A, A]
    made, whole = outcomes("on_tombstone: dead_letter", 2, tombstones=[1])
    assert made == [A, D]
    assert whole.problems[1][0].code == "tombstone"


def test_redelivered_tombstone_is_a_duplicate_unless_it_is_skipped_anyway() -> None:
    assert outcomes("on_tombstone: row", 1, tombstones=[0], duplicates=[0])[0] == [U]
    assert outcomes("on_tombstone: skip", 1, tombstones=[0], duplicates=[0])[0] == [S]


def test_fail_stops_a_stream_at_its_first_new_reject_and_no_other() -> None:
    streams = [range(4), range(4, 7)]
    made, whole = outcomes(
        "on_invalid: fail", 7, rejects=[0, 2], duplicates=[0, 3], streams=streams
    )
    assert made == [U, A, X, U, A, A, A]
    assert whole.stopped == "on_invalid"


def test_fail_without_rejects_stops_nothing() -> None:
    made, whole = outcomes("on_invalid: fail", 2)
    assert made == [A, A]
    assert whole.stopped is None


BREAKER = "circuit_breaker: {ratio: 0.5, min_records: 4}"


def test_breaker_stops_above_its_ratio_and_not_at_it() -> None:
    assert outcomes(BREAKER, 4, rejects=[0, 1])[0] == [D, D, A, A]
    made, whole = outcomes(BREAKER, 4, rejects=[0, 1, 2])
    assert made == [X] * 4
    assert whole.stopped == "circuit_breaker"


def test_breaker_never_trips_below_its_least_batch() -> None:
    assert outcomes(BREAKER, 3, rejects=[0, 1, 2])[0] == [D, D, D]


def test_breaker_counts_new_records_only() -> None:
    assert outcomes(BREAKER, 5, rejects=[0, 1, 2], duplicates=[3, 4])[0] == [D, D, D, U, U]
    assert outcomes(BREAKER, 5, rejects=[0, 1, 2], duplicates=[0])[0] == [U, D, D, A, A]


def test_breaker_leaves_settled_records_settled() -> None:
    assert outcomes(BREAKER, 6, rejects=[0, 1, 2, 3], duplicates=[5])[0] == [X, X, X, X, X, U]


def test_breaker_does_not_count_tombstones() -> None:
    extra = f"{BREAKER}\non_tombstone: dead_letter"
    assert outcomes(extra, 6, tombstones=[0, 1, 2, 3, 4])[0] == [D, D, D, D, D, A]
    assert X not in outcomes(extra, 6, rejects=[5], tombstones=[0, 1, 2])[0]


def test_breaker_of_ratio_one_never_trips_and_of_zero_at_the_first() -> None:
    assert outcomes("circuit_breaker: {ratio: 1.0, min_records: 1}", 2, rejects=[0, 1])[0] == [D, D]
    assert outcomes("circuit_breaker: {ratio: 0, min_records: 1}", 2, rejects=[0])[0] == [X, X]


def test_replan_takes_found_rows_out_and_leaves_dead_letters() -> None:
    before = outcomes("", 4, rejects=[1])[1]
    assert list(replan(before, {0, 1}).outcomes) == [U, D, A, A]
