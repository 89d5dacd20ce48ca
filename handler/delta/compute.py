"""Arrow's functions on arrays, as `pyarrow.compute` has them.

That module wraps all 300 with their documentation when it is imported, which takes 30 ms of each
cold start, and methods such as `Array.cast` import it. The function of appends calls these; others
are free to use `pyarrow.compute`.
"""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow._compute import (
    CastOptions,
    CountOptions,
    DictionaryEncodeOptions,
    FilterOptions,
    MapLookupOptions,
    MatchSubstringOptions,
    ReplaceSubstringOptions,
    SetLookupOptions,
    SortOptions,
    StructFieldOptions,
    TakeOptions,
    call_function,
)


def _function(name: str) -> Callable[..., Any]:
    """Return a function that takes arrays, scalars, and Python values as scalars."""

    def call(*arguments: Any) -> Any:
        return call_function(name, arguments)

    return call


abs_ = _function("abs")
add = _function("add")
all_ = _function("all")
and_ = _function("and")
and_kleene = _function("and_kleene")
and_not = _function("and_not")
any_ = _function("any")
ascii_upper = _function("ascii_upper")
binary_length = _function("binary_length")
coalesce = _function("coalesce")
day = _function("day")
divide = _function("divide")
drop_null = _function("drop_null")
equal = _function("equal")
greater = _function("greater")
greater_equal = _function("greater_equal")
hour = _function("hour")
if_else = _function("if_else")
indices_nonzero = _function("indices_nonzero")
invert = _function("invert")
is_finite = _function("is_finite")
is_nan = _function("is_nan")
is_null = _function("is_null")
is_valid = _function("is_valid")
less = _function("less")
less_equal = _function("less_equal")
max_ = _function("max")
month = _function("month")
multiply = _function("multiply")
not_equal = _function("not_equal")
or_ = _function("or")
replace_with_mask = _function("replace_with_mask")
subtract = _function("subtract")
utf8_length = _function("utf8_length")
value_counts = _function("value_counts")
year = _function("year")


def cast(values: Any, *types: pa.DataType) -> Any:
    """Return values as another type, by way of those before it. Raises ArrowInvalid where that
    would change one.
    """
    for type_ in types:
        values = call_function("cast", [values], CastOptions.safe(type_))
    return values


def count_distinct(values: Any) -> Any:
    """Return how many different values there are, nulls aside."""
    return call_function("count_distinct", [values], CountOptions(mode="only_valid"))


def dictionary_encode(values: Any, *, with_null: bool = False) -> Any:
    """Return values as a dictionary and their numbers in it, in the order in which they occur
    first. Null has no number, unless it is taken as a value too.
    """
    options = DictionaryEncodeOptions("encode" if with_null else "mask")
    return call_function("dictionary_encode", [values], options)


def extremes(values: Any) -> tuple[Any, ...]:
    """Return the least and the greatest value, as Python's; an empty tuple without any value."""
    found = call_function("min_max", [values])
    least = found["min"].as_py()
    return () if least is None else (least, found["max"].as_py())


def fill_null(values: Any, value: Any) -> Any:
    """Return values with another in place of null."""
    scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value, values.type)
    return call_function("coalesce", [values, scalar])


def filter_(values: Any, mask: Any) -> Any:
    """Return the values whose place in the mask is true."""
    return call_function("filter", [values, mask], FilterOptions("drop"))


def is_in(values: Any, value_set: Any) -> Any:
    """Return which values are in a set."""
    return call_function("is_in", [values], SetLookupOptions(value_set=value_set))


def map_lookup_first(maps: Any, key: Any) -> Any:
    """Return the value of a key of each map, the first if there are several."""
    return call_function("map_lookup", [maps], MapLookupOptions(key, "first"))


def match_substring_regex(values: Any, pattern: str) -> Any:
    """Return in which texts a pattern of RE2 occurs."""
    return call_function("match_substring_regex", [values], MatchSubstringOptions(pattern))


def replace_first_substring_regex(values: Any, pattern: str, replacement: str) -> Any:
    """Return texts in which the first match of a pattern of RE2 is replaced."""
    options = ReplaceSubstringOptions(pattern, replacement, max_replacements=1)
    return call_function("replace_substring_regex", [values], options)


def sort_indices(values: Any) -> Any:
    """Return the places of values in rising order; equal ones keep theirs."""
    return call_function("sort_indices", [values], SortOptions([("", "ascending")]))


def struct_field(values: Any, index: int) -> Any:
    """Return a field of structs, null where the struct is."""
    return call_function("struct_field", [values], StructFieldOptions([index]))


def take(values: Any, indices: Any) -> Any:
    """Return the values at some places."""
    return call_function("take", [values, indices], TakeOptions(boundscheck=True))
