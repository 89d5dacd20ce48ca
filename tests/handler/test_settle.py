"""What is new, duplicate, hole or recreated: both sides of every limit."""

import pytest

from handler.errors import SourceMismatch, TopicRecreated
from handler.event import StreamRecords
from handler.settle import (
    CLOCK_SKEW_MS,
    Known,
    Mark,
    Marks,
    Stream,
    check_source,
    classify,
    to_look_up,
)

STREAM = Stream("prod", "orders", 3)
TIME = 1_000_000
NOTHING = Known({})
NOW = 100 * TIME


def records(*offsets: int, timestamp: int = TIME) -> StreamRecords:
    return StreamRecords(3, list(offsets), [timestamp] * len(offsets), [], [{}] * len(offsets))


def known(*offsets: int, timestamp: int = TIME, newest: int | None = None) -> Known:
    return Known({o: frozenset([timestamp * 1000]) for o in offsets}, newest)


def run(items: StreamRecords, marks: Marks, what: Known = NOTHING, trust: bool = False) -> set[int]:
    return classify(STREAM, items, marks, what, trust_watermark=trust, now_ms=NOW)


def test_stream_names() -> None:
    assert STREAM.app_id == "prod/orders/3"
    assert Stream("prod", "orders", 3, 2).app_id == "prod/orders/3/2"


def test_above_the_watermark_nothing_is_looked_up_and_all_is_new() -> None:
    marks = Marks(Mark(9, TIME), Mark(4, TIME))
    assert to_look_up(records(10, 11), marks, trust_watermark=False) == []
    assert run(records(10, 11), marks) == set()


def test_at_the_watermark_is_looked_up() -> None:
    marks = Marks(Mark(9, TIME), Mark(-1))
    assert to_look_up(records(8, 9, 10), marks, trust_watermark=False) == [8, 9]
    assert run(records(8, 9, 10), marks, known(8, 9)) == {0, 1}


def test_the_dead_letters_watermark_counts_too() -> None:
    marks = Marks(Mark(5, TIME), Mark(9, TIME))
    assert to_look_up(records(9, 10), marks, trust_watermark=False) == [9]
    assert run(records(9, 10), marks, known(9)) == {0}


def test_what_is_not_found_below_the_watermark_is_a_hole() -> None:
    assert run(records(3, 4, 5), Marks(Mark(9, TIME)), known(4)) == {1}


def test_same_offset_with_another_timestamp_is_a_recreated_topic() -> None:
    with pytest.raises(TopicRecreated, match=r"offset 4 arrived .* SILT_GENERATION=1 \(now 0\)"):
        run(records(4), Marks(Mark(9, TIME)), known(4, timestamp=TIME - 1))


def test_in_a_later_generation_rows_of_earlier_ones_are_no_sign() -> None:
    later = Stream("prod", "orders", 3, 1)
    held = Known({4: frozenset([1])})
    assert (
        classify(later, records(4), Marks(Mark(9, TIME)), held, trust_watermark=False, now_ms=NOW)
        == set()
    )


def test_missing_record_newer_than_its_passing_is_a_recreated_topic() -> None:
    marks = Marks(Mark(9, TIME))
    at_limit = records(4, timestamp=TIME + CLOCK_SKEW_MS)
    assert run(at_limit, marks) == set()
    with pytest.raises(TopicRecreated, match="though it was passed"):
        run(records(4, timestamp=TIME + CLOCK_SKEW_MS + 1), marks)


def test_producers_whose_clocks_run_ahead_do_not_look_like_a_recreated_topic() -> None:
    ahead = TIME + 10 * CLOCK_SKEW_MS
    assert run(records(4, timestamp=ahead), Marks(Mark(9, TIME)), known(newest=ahead)) == set()


def test_offset_that_only_the_dead_letters_passed_is_a_hole() -> None:
    """A crash between the two commits leaves rows that no watermark of the table has passed."""
    marks = Marks(Mark(3, TIME), Mark(9, TIME))
    assert run(records(5, timestamp=TIME + 2 * CLOCK_SKEW_MS), marks) == set()


def test_timestamp_ahead_of_our_own_clock_proves_nothing() -> None:
    marks = Marks(Mark(9, TIME))
    assert run(records(4, timestamp=NOW + CLOCK_SKEW_MS + 1), marks) == set()
    with pytest.raises(TopicRecreated):
        run(records(4, timestamp=NOW + CLOCK_SKEW_MS), marks)


def test_trusted_watermark_has_what_looks_recreated_looked_up() -> None:
    ahead = records(4, timestamp=TIME + CLOCK_SKEW_MS + 1)
    marks = Marks(Mark(9, TIME))
    assert to_look_up(ahead, marks, trust_watermark=True) == [4]
    held = known(4, timestamp=TIME + CLOCK_SKEW_MS + 1)
    assert run(ahead, marks, held, trust=True) == {0}


def test_watermark_without_a_time_proves_nothing() -> None:
    assert run(records(4, timestamp=TIME * 1000), Marks(Mark(9, None))) == set()


def test_trusted_watermark_settles_what_it_passed_without_a_look() -> None:
    marks = Marks(Mark(5, TIME), Mark(7, TIME))
    assert to_look_up(records(4, 5, 6, 7, 8), marks, trust_watermark=True) == [6, 7]
    assert run(records(4, 5, 6, 7, 8), marks, known(7), trust=True) == {0, 1, 3}


def test_trusted_watermark_does_not_swallow_a_recreated_topic() -> None:
    with pytest.raises(TopicRecreated):
        run(records(4, timestamp=TIME * 9), Marks(Mark(9, TIME)), trust=True)


def test_timestamp_that_no_table_holds_matches_the_null_that_stands_for_it() -> None:
    odd = records(4, timestamp=2**62)
    assert run(odd, Marks(Mark(9, None)), Known({4: frozenset([None])})) == {0}


def test_second_source_topic_or_older_generation_is_refused() -> None:
    own = ["prod/orders/0", "prod/orders/1", "some-spark-query", "a/b/c"]
    check_source(own, "prod", "orders", 0, "t")
    check_source(own, "other", "orders", 1, "t")
    with pytest.raises(SourceMismatch, match="SILT_SOURCE=prod"):
        check_source(own, "other", "orders", 0, "t")
    with pytest.raises(SourceMismatch):
        check_source(own, "prod", "clicks", 0, "t")
    with pytest.raises(SourceMismatch, match="Set SILT_GENERATION=2"):
        check_source(["prod/orders/0/2"], "prod", "orders", 1, "t")
