"""The simulation of contention: it keeps the promise itself, and shows that nobody starves."""

import random
import statistics

from bench.contention import between, exactly, simulate


def test_one_writer_appends_in_two_requests_in_sequence() -> None:
    measured = simulate(1, exactly(0.1), 20.0)
    assert {round(s, 6) for s in measured.appends_s[1:]} == {0.2}
    assert measured.row()[5] == 3.0


def test_no_writer_starves_beside_others() -> None:
    """With a wait that grew, the slowest append of 8 writers took over 10 s."""
    measured = simulate(8, exactly(0.02), 30.0)
    assert max(measured.appends_s) < 5.0
    assert measured.rate > 25
    assert measured.given_up == 0


def test_many_writers_take_the_appends_of_each_other_along() -> None:
    """When each committed by itself, 16 writers made 41 appends a second, by 24 requests each."""
    measured = simulate(16, exactly(0.02), 15.0)
    assert measured.rate >= 45
    assert measured.requests <= 12 * len(measured.appends_s)
    assert measured.given_up == 0


def test_distribution_is_the_one_that_it_says() -> None:
    dice, latency = random.Random(1), between(0.1, 0.2)
    drawn = sorted(latency(dice) for _ in range(20_000))
    assert 0.095 < drawn[2_000] < 0.105
    assert 0.19 < drawn[18_000] < 0.21
    assert 0.13 < statistics.median(drawn) < 0.15
