"""What is new, duplicate, hole or recreated: both sides of every limit."""

import pytest

from handler.errors import SourceMismatch, TopicRecreated
from handler.kafka.offsets import (
    CLOCK_SKEW_MS,
    FORGOTTEN,
    Evidence,
    Known,
    Mark,
    Marks,
    Stream,
    begins_generation,
    check_source,
    classify,
    earlier_app_ids,
    to_look_up,
)

STREAM = Stream("prod", "orders", 3)
LATER = Stream("prod", "orders", 3, 2)
TIME = 1_000_000
NOTHING: Known = {}
AHEAD = TIME + CLOCK_SKEW_MS + 1


def records(*offsets: int, timestamp: int = TIME) -> Evidence:
    return Evidence(list(offsets), [timestamp] * len(offsets))


def known(*offsets: int, timestamp: int = TIME) -> Known:
    return {o: frozenset([timestamp * 1000]) for o in offsets}


def run(
    items: Evidence,
    marks: Marks,
    what: Known = NOTHING,
    trust: bool = False,
    stream: Stream = STREAM,
) -> set[int]:
    return classify(stream, items, marks, what, trust_watermark=trust)


def test_stream_names() -> None:
    assert STREAM.app_id == "prod/orders/3"
    assert LATER.app_id == "prod/orders/3/2"
    assert Stream.of("prod/orders/3/2") == LATER
    assert Stream.of("some-spark-query") is None


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


@pytest.mark.parametrize("timestamp", [0, -1, TIME, AHEAD, TIME * 1000, 2**62, -(2**62)])
def test_no_clock_makes_a_missing_record_anything_but_a_hole(timestamp: int) -> None:
    missing = records(4, timestamp=timestamp)
    assert run(missing, Marks(Mark(9, TIME))) == set()
    assert run(missing, Marks(Mark(9, None))) == set()
    assert run(missing, Marks(Mark(9, TIME), earlier=20), stream=LATER) == set()


def test_same_offset_with_another_timestamp_is_a_recreated_topic() -> None:
    with pytest.raises(TopicRecreated, match=r"offset 4 arrived .* SILT_GENERATION=1 \(now 0\)"):
        run(records(4), Marks(Mark(9, TIME)), known(4, timestamp=TIME - 1))


def test_one_offset_in_both_tables_with_two_timestamps_is_known_by_each_of_them() -> None:
    both = {4: frozenset([TIME * 1000, 7000])}
    assert run(records(4), Marks(Mark(9, TIME)), both) == {0}
    assert run(records(4, timestamp=7), Marks(Mark(9, TIME)), both) == {0}
    with pytest.raises(TopicRecreated, match=r"00:00:00\.007Z and 1970-01-01T00:16:40"):
        run(records(4, timestamp=8), Marks(Mark(9, TIME)), both)


def test_in_a_later_generation_the_same_record_of_an_earlier_one_is_a_duplicate() -> None:
    marks = Marks(earlier=9)
    assert to_look_up(records(4, 10), marks, trust_watermark=False) == [4]
    assert run(records(4, 10), marks, known(4), stream=LATER) == {0}
    assert run(records(4, 10), marks, known(4, timestamp=TIME - 1), stream=LATER) == set()


def test_in_a_later_generation_only_its_own_watermark_is_trusted() -> None:
    marks = Marks(Mark(5, TIME), earlier=20)
    assert to_look_up(records(4, 5, 6, 20, 21), marks, trust_watermark=True) == [6, 20]
    assert run(records(4, 5, 6, 20, 21), marks, known(20), trust=True, stream=LATER) == {0, 1, 3}


def test_offset_that_only_the_dead_letters_passed_is_a_hole() -> None:
    """A crash between the two commits leaves rows that no watermark of the table has passed."""
    marks = Marks(Mark(3, TIME), Mark(9, TIME))
    assert run(records(5, timestamp=TIME + 2 * CLOCK_SKEW_MS), marks) == set()
    assert run(records(5, timestamp=TIME + 2 * CLOCK_SKEW_MS), marks, trust=True) == set()


def test_trusted_watermark_has_what_is_newer_looked_up_and_refuses_it_if_missing() -> None:
    marks = Marks(Mark(9, TIME))
    ahead = records(4, timestamp=AHEAD)
    assert to_look_up(ahead, marks, trust_watermark=True) == [4]
    assert run(ahead, marks, known(4, timestamp=AHEAD), trust=True) == {0}
    with pytest.raises(TopicRecreated, match=r"redelivered: look_up. until .* past offset 9"):
        run(ahead, marks, trust=True)


def test_trusted_watermark_settles_up_to_the_skew_of_clocks() -> None:
    at_limit = records(4, timestamp=AHEAD - 1)
    assert to_look_up(at_limit, Marks(Mark(9, TIME)), trust_watermark=True) == []
    assert run(at_limit, Marks(Mark(9, TIME)), trust=True) == {0}


def test_trusted_watermark_without_a_time_settles_what_it_passed() -> None:
    assert run(records(4, timestamp=TIME * 1000), Marks(Mark(9, None)), trust=True) == {0}


def test_trusted_watermark_settles_what_it_passed_without_a_look() -> None:
    marks = Marks(Mark(5, TIME), Mark(7, TIME))
    assert to_look_up(records(4, 5, 6, 7, 8), marks, trust_watermark=True) == [6, 7]
    assert run(records(4, 5, 6, 7, 8), marks, known(7), trust=True) == {0, 1, 3}


@pytest.mark.parametrize("trust", [False, True])
def test_watermark_that_may_be_forgotten_has_everything_looked_up(trust: bool) -> None:
    marks = Marks(FORGOTTEN)
    assert to_look_up(records(4, 10**15), marks, trust_watermark=trust) == [4, 10**15]
    assert run(records(4, 5), marks, known(4), trust=trust) == {0}


def test_timestamp_that_no_table_holds_matches_the_null_that_is_stored_for_it() -> None:
    odd = records(4, timestamp=2**62)
    assert run(odd, Marks(Mark(9, None)), {4: frozenset([None])}) == {0}


def test_no_records_are_no_evidence() -> None:
    assert to_look_up(records(), Marks(Mark(9)), trust_watermark=False) == []
    assert run(records(), Marks(Mark(9))) == set()


def test_earlier_generations_are_those_of_the_same_partition_from_any_source() -> None:
    ids = ["old/orders/3", "prod/orders/3/1", "prod/orders/3/2", "prod/orders/4", "spark"]
    assert earlier_app_ids(ids, LATER) == ["old/orders/3", "prod/orders/3/1"]
    assert earlier_app_ids(ids, STREAM) == []


def test_generation_begins_on_a_table_that_only_earlier_ones_feed() -> None:
    assert begins_generation(["prod/orders/3", "spark"], 1)
    assert not begins_generation(["prod/orders/3", "prod/orders/4/1"], 1)
    assert not begins_generation(["prod/orders/3"], 0)
    assert not begins_generation(["spark"], 1)


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
