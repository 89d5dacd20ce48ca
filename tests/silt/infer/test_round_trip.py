"""Whatever the records are, the contract that is inferred from them takes each, without loss."""

import json
import string
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handler.validate.batch import Checker
from silt.infer import from_records
from silt.infer.column_names import is_readable
from silt.infer.from_records import Inference
from tests.builders import contract_of
from tests.silt.infer.restore import differences


def infer(payloads: list[bytes], batch: int = 5_000) -> tuple[str, Inference]:
    """Return the contract's text, and what it was inferred by."""
    inference = Inference("t", "t", "a test")
    parts = [payloads[i : i + batch] for i in range(0, len(payloads), batch)]
    return inference.learn(lambda: parts, lambda _records: None), inference


def assert_round_trip(records: list[Any], batch: int = 5_000) -> str:
    """Infer from records, check them with the contract, and compare the rows with them."""
    payloads = [json.dumps(each).encode() for each in records]
    text, inference = infer(payloads, batch)
    contract = contract_of(text)
    checked = Checker(contract).check(payloads)
    assert not checked.rejects, (text, checked.rejects)
    assert not inference.refused
    if contract.unknown_fields == "ignore":
        rows = [{} for _ in records]
        for name, array in checked.columns.items():
            for row, value in zip(rows, array.to_pylist(), strict=True):
                row[name] = value
        for record, row in zip(records, rows, strict=True):
            assert not (found := differences(contract.columns, record, row)), (text, found)
    return text


keys = st.one_of(
    st.sampled_from(
        ["id", "a", "A", "b.c", "x y", "@t", "_kafka_offset", "ünï", "created_at", "ts"]
    ),
    st.text(string.printable, min_size=0, max_size=5),
)
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "true", "False", "12", "007", "1.50", "-3.25", "1e5", "2026-05-01"]),
    st.sampled_from(["2026-05-01T10:00:00Z", "2026-05-01 10:00:00+02", "2026-05-01T10:00", "x"]),
    st.sampled_from(["2026-05-01T10:00:00.123456789Z", "31/12/2026", "05/06/2026", "20260501"]),
    st.sampled_from(["Fri, 01 May 2026 10:00:00 GMT", "2026-05-01 10:00:00 UTC", "01.05.2026"]),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.binary(min_size=16, max_size=24).map(
        lambda data: __import__("base64").b64encode(data).decode()
    ),
    st.uuids().map(str),
)
numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.integers(1_700_000_000, 1_800_000_000),
    st.integers(1_700_000_000_000, 1_800_000_000_000),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)
records = st.lists(st.dictionaries(keys, values, min_size=1, max_size=6), min_size=1, max_size=12)
alike = st.tuples(st.dictionaries(keys, values, min_size=1, max_size=5), st.integers(1, 30)).map(
    lambda pair: [pair[0]] * pair[1]
)


@settings(max_examples=150)
@given(st.one_of(records, alike), st.integers(1, 4), st.integers(1, 12))
def test_every_record_passes_its_contract_without_loss(
    given_records: list[Any], batch: int, sample: int
) -> None:
    # A contract has at least one column.
    assume(any(is_readable(key) for each in given_records for key in each))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_records, "SAMPLE", sample)
        assert_round_trip(given_records, batch)
