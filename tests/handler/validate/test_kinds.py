"""Which of many records are not of a type: found together, as each would be alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.validate import kinds
from handler.validate.batch import Checker
from handler.validate.kinds import object_type, refusals
from tests.builders import columns_contract

COLUMNS = """
a: {type: long, required: true}
"$[0]": {type: string, source: ["$[0]"]}
m: {type: map, values: {type: boolean}}
s: {type: struct, fields: {x: {type: double}}}
"""
GOOD: list[Any] = [{"a": 1}, {"a": 2, "m": {"k": True}, "s": {"x": 1}}]
WRONG: list[Any] = [
    {"a": "x"},
    {},
    5,
    None,
    [{"a": 1}],
    {"a": 1, "$[0]": 5},
    {"a": 1, "m": {"$[1]": 1}},
    {"a": 1, "s": {"x": "y"}},
]
UNKNOWN: list[Any] = [
    {"a": 1, "$[7]": 1},
    {"a": 1, "z` - at `$[2].a`": 1},
    {"a": 1, "s": {"x": 1, "$[3]": 0}},
]
"""Good, unless unknown fields are refused."""


@given(
    st.lists(st.sampled_from(GOOD + WRONG + UNKNOWN), max_size=12),
    st.booleans(),
    st.integers(1, 5),
)
def test_records_are_refused_together_as_each_is_alone(
    records: list[Any], strict: bool, at_once: int
) -> None:
    contract = columns_contract(COLUMNS)
    type_ = object_type(contract.columns, strict=strict)
    alone = {
        i: message
        for i, record in enumerate(records)
        for message in refusals([record], type_).values()
    }
    refused = WRONG + UNKNOWN if strict else WRONG
    assert list(alone) == [i for i, record in enumerate(records) if record in refused]
    assert all(alone.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_AT_ONCE", at_once)
        assert refusals(records, type_) == alone


@pytest.mark.parametrize("policy", ["ignore", "reject", "rescue"])
def test_problems_of_a_value_are_listed_beside_known_and_unknown_fields(policy: str) -> None:
    """A reject whose wrong columns are known is asked for these alone."""
    columns = """
id: {type: long}
d: {type: "decimal(5,2)"}
t: {type: date}
s: {type: struct, fields: {e: {type: string, enum: [a]}, f: {type: string}}}
"""
    checker = Checker(columns_contract(columns, unknown_fields=policy))
    payload = b'{"id":1,"d":"1.234","t":"2026-02-30","s":{"e":"b","f":"ok"},"zzz":1}'
    found = checker.check([payload, b'{"id":2}']).rejects
    unknown = [("unknown_field", "zzz")] if policy == "reject" else []
    assert sorted((str(p.code), p.path) for p in found[0]) == sorted(
        [("bad_decimal", "d"), ("bad_date", "t"), ("not_allowed", "s.e"), *unknown]
    )
    assert list(found) == [0]
