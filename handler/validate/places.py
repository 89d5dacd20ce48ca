"""A finished column, and the places in it that are wrong."""

from array import array as longs
from bisect import bisect_left
from collections.abc import Callable, Sequence

import msgspec
import pyarrow as pa

from handler.contract.patterns import match_column
from handler.delta import compute

Step = str | int


def _no_steps(_row: int) -> tuple[Step, ...]:
    return ()


class Places(msgspec.Struct, frozen=True):
    """The rows of a column with a wrong value, rising, and the way to the first one in each.

    `lead` returns the steps from the column to that value. It is asked for few rows, and a column
    may have a million wrong values: so nothing is kept for each.
    """

    rows: Sequence[int] = ()
    lead: Callable[[int], tuple[Step, ...]] = _no_steps

    def __bool__(self) -> bool:
        return bool(self.rows)

    def __contains__(self, row: int) -> bool:
        position = bisect_left(self.rows, row)
        return position < len(self.rows) and self.rows[position] == row


def union(places: Sequence[Places]) -> Sequence[int]:
    """Return the rows that have a wrong value in any of these places, rising."""
    result = [each.rows for each in places if each]
    if len(result) < 2:
        return result[0] if result else ()
    return longs("q", sorted(set().union(*result)))


class Finished(msgspec.Struct):
    """A column in the table's type, or what it is made of.

    `wrong` are the rows that the contract refuses; their values are null. `unsure` are rows with a
    number beyond 63 bits in a double: the JSON may have had an integer that the parser rounded.
    """

    array: pa.Array
    wrong: Places = Places()
    unsure: Sequence[int] = ()


def null_unless(array: pa.Array, held: pa.Array) -> tuple[pa.Array, Places]:
    """Make the values null for which something does not hold, and return their places."""
    if compute.all_(held).as_py() is not False:
        return array, Places()
    wrong = Places(false_rows(held))
    return compute.if_else(held, array, pa.scalar(None, array.type)), wrong


def false_rows(held: pa.Array) -> Sequence[int]:
    """Return the indices of what is false; null is not."""
    rows = compute.cast(compute.indices_nonzero(_is_false(held)), pa.int64())
    return longs("q", rows.buffers()[1].to_pybytes()[: 8 * len(rows)]) if len(rows) else ()


def _is_false(held: pa.Array) -> pa.Array:
    return compute.fill_null(compute.invert(held), False)


def places_of_new_nulls(array: pa.Array, before: pa.Array) -> Places:
    """Return the places where a column is null and was not before."""
    if array.null_count == before.null_count:
        return Places()
    return Places(false_rows(compute.or_(compute.is_valid(array), compute.is_null(before))))


def rewrite_unmatched(
    array: pa.Array, pattern: str, rewrite: Callable[[pa.Array], pa.Array]
) -> tuple[pa.Array, Places]:
    """Rewrite the texts that do not match a pattern. Those that do not match it even then become
    null, and their places are returned.
    """
    held = match_column(array, pattern)
    if compute.all_(held).as_py() is not False:
        return array, Places()
    mask = _is_false(held)
    rewritten = rewrite(compute.filter_(array, mask))
    rewritten, _ = null_unless(rewritten, match_column(rewritten, pattern))
    result = compute.replace_with_mask(array, mask, rewritten)
    return result, places_of_new_nulls(result, array)


def as_microseconds(array: pa.Array) -> pa.Array:
    """Return timestamps as integers, and any other column as it is."""
    return array.view(pa.int64()) if pa.types.is_timestamp(array.type) else array


def is_within(numbers: pa.Array, low: int, high: int) -> bool:
    """Return whether all integers are in a range, its ends included."""
    return all(low <= extreme <= high for extreme in compute.extremes(numbers))


def null_outside(array: pa.Array, low: int, high: int) -> tuple[pa.Array, Places]:
    """Make what is outside of a range null, and return its places. The ends are inside; timestamps
    count as microseconds.
    """
    numbers = as_microseconds(array)
    if is_within(numbers, low, high):
        return array, Places()
    held = compute.and_(compute.greater_equal(numbers, low), compute.less_equal(numbers, high))
    return null_unless(array, held)
