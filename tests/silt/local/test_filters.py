"""Filters of a mapping: AWS's own examples, and moto's reading of patterns as judge."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.events.models import EventPattern

from silt.local.filters import FilterError, Filters

DEVICE = (
    b'{"device_ID": "AB1234", "session": {"minutes": 162, "open": true}, "tags": ["a", "b"],'
    b' "list": [{"n": 1}, {"n": 2}]}'
)


def take(value: Any, raw: bytes | None) -> bool:
    return Filters([json.dumps({"value": value})]).take(raw)


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ({"device_ID": [{"prefix": "AB"}]}, True),
        ({"device_ID": [{"suffix": "5"}]}, False),
        ({"device_ID": ["x", "AB1234"]}, True),
        ({"device_ID": [{"equals-ignore-case": "ab1234"}]}, True),
        ({"device_ID": [{"anything-but": ["AB1234"]}]}, False),
        ({"session": {"minutes": [{"numeric": [">", 100, "<=", 162]}]}}, True),
        ({"session": {"minutes": [{"numeric": ["<", 162]}]}}, False),
        ({"session": {"open": [True]}}, True),
        ({"session": {"open": [1]}}, False),
        ({"session": {"closed": [{"exists": False}]}}, True),
        ({"nothing": {"closed": [{"exists": False}]}}, True),
        ({"tags": ["b"]}, True),
        ({"tags": ["c"]}, False),
        ({"list": {"n": [2]}}, True),
        ({"list": {"n": [3]}}, False),
        ({"$or": [{"device_ID": ["x"]}, {"tags": ["a"]}]}, True),
        ({"$or": [{"device_ID": ["x"]}, {"tags": ["c"]}]}, False),
        ([{"anything-but": ["error"]}], True),
    ],
)
def test_pattern_takes_what_aws_says(pattern: Any, taken: bool) -> None:
    assert take(pattern, DEVICE) == taken


def test_text_is_filtered_as_text() -> None:
    assert take([{"anything-but": ["error"]}], b"fine")
    assert not take([{"anything-but": ["error"]}], b"error")
    assert not take({"a": [1]}, b"fine")
    assert not take({"a": [1]}, None)
    assert not take([{"prefix": ""}], b"\xff")


def test_any_of_several_filters_is_enough_and_none_takes_all() -> None:
    two = Filters(['{"value": {"a": [1]}}', '{"value": {"a": [2]}}'])
    assert [two.take(b'{"a": %d}' % i) for i in (1, 2, 3)] == [True, True, False]
    assert Filters([]).take(None)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{", "is not JSON"),
        ('{"key": ["a"]}', "is not over 'value' alone"),
        ('{"value": {}}', "no object of fields"),
        ('{"value": {"a": []}}', "an empty list of rules"),
        ('{"value": {"a": "b"}}', "no object of fields: 'b'"),
        ('{"value": {"$or": []}}', "an empty list of rules"),
        ('{"value": {"a": [{"wildcard": "*"}]}}', "not known here: anything-but, equals"),
        ('{"value": {"a": [{"numeric": ["~", 1]}]}}', "not known here"),
        ('{"value": {"a": [{"prefix": 1}]}}', "not known here"),
        ('{"value": {"a": [{"prefix": "a", "suffix": "b"}]}}', "a rule has 2 names"),
    ],
)
def test_bad_filter_is_named(pattern: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        Filters([pattern])
    with pytest.raises(FilterError, match="at most 10 filters"):
        Filters(['{"value": ["a"]}'] * 11)


words = st.sampled_from(["a", "ab", "b", "c"])
rules = st.one_of(
    words,
    st.fixed_dictionaries({"prefix": words}),
    st.fixed_dictionaries({"suffix": words}),
    st.fixed_dictionaries({"anything-but": st.lists(words, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"exists": st.just(True)}),
)
patterns = st.dictionaries(words, st.lists(rules, min_size=1, max_size=2), min_size=1, max_size=3)
documents = st.fixed_dictionaries(dict.fromkeys(["a", "ab", "b", "c"], words))


@given(patterns, documents)
def test_moto_reads_patterns_of_text_alike(pattern: Any, document: Any) -> None:
    ours = take({"d": pattern}, json.dumps({"d": document}).encode())
    assert EventPattern.load(json.dumps(pattern)).matches_event(document) == ours
