"""How long a writer waits, and when it does not begin any more."""

import pytest

from handler.delta.retry import ATTEMPT_MIN_S, Deadline
from handler.errors import OutOfTime, Unavailable
from tests.builders import FakeClock


def deadline(left_s: float = 1e6) -> tuple[Deadline, FakeClock]:
    clock = FakeClock()
    return Deadline(clock, clock.now_s + left_s, lambda: 1.0), clock


def test_wait_for_a_store_that_errs_doubles_up_to_its_ceiling() -> None:
    made, clock = deadline()
    for attempt in range(1, 11):
        made.wait(attempt, "x")
    assert clock.slept == [0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.0, 2.0, 2.0, 2.0]


def test_wait_after_a_lost_race_is_by_the_writers_and_shorter_each_time() -> None:
    """A wait that grew would let the winner win again (decision 0009)."""
    made, clock = deadline()
    for lost in (1, 2, 3):
        made.wait_turn(lost, round_s=4 * 0.1, what="x")
    assert clock.slept == pytest.approx([0.04, 0.04 / 1.75, 0.04 / 2.5])


def test_attempt_that_cannot_end_in_time_is_not_begun() -> None:
    made, clock = deadline(ATTEMPT_MIN_S)
    made.begin("put")
    clock.now_s += 0.001
    with pytest.raises(OutOfTime, match="too few to put"):
        made.begin("put")


def test_wait_behind_which_no_attempt_fits_is_not_waited() -> None:
    made, clock = deadline(1.0)
    made.failed(Unavailable("503 from the store"))
    with pytest.raises(OutOfTime, match=r"The store's last error: 503 from the store"):
        made.wait(9, "commit")
    assert clock.slept == []
