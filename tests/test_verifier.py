"""The verifier must see each way in which a table can be wrong."""

from tests.verifier import verify

DELIVERED = {(0, 0): "a", (0, 1): "b", (1, 0): "c"}
ROWS = [((0, 0), "a"), ((0, 1), "b")]
DEAD = [((1, 0), "c")]


def test_what_is_right_is_right() -> None:
    assert verify(DELIVERED, ROWS, DEAD) == []


def test_lost_row_is_seen() -> None:
    assert verify(DELIVERED, ROWS[:1], DEAD) == ["(0, 1) is lost"]
    assert verify(DELIVERED, ROWS[:1], DEAD, unsettled=[(0, 1)]) == []


def test_doubled_row_is_seen_within_and_across_tables() -> None:
    assert verify(DELIVERED, [*ROWS, ROWS[0]], DEAD) == ["(0, 0) stands 2 times"]
    assert verify(DELIVERED, ROWS, [*DEAD, ROWS[0]]) == ["(0, 0) stands 2 times"]


def test_altered_row_is_seen() -> None:
    assert len(verify(DELIVERED, [((0, 0), "x"), ROWS[1]], DEAD)) == 1


def test_moved_row_is_seen() -> None:
    assert len(verify(DELIVERED, [((0, 7), "a"), ROWS[1]], DEAD)) == 2


def test_invented_row_is_seen() -> None:
    assert verify(DELIVERED, [*ROWS, ((9, 9), "z")], DEAD) == ["(9, 9) was never delivered"]
