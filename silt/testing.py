"""Tests of contracts, for pytest or any other: what becomes of samples, without a table.

from silt.testing import assert_rejected, assert_rows

def test_orders() -> None:
    rows = assert_rows("schemas/orders.yaml", "events/orders.json")
    assert rows[0]["status"] == "new"
    assert_rejected("schemas/orders.yaml", [{"order_id": 7}], code="wrong_type", path="order_id")
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from handler.contract.contract import Contract
from handler.contract.load import parse_contract
from handler.errors import ContractError
from silt.samples.judge import Judgement, judge
from silt.samples.read_samples import Sample, read_samples, samples_of_values

Samples = str | Path | Sequence[Any]
"""A file, folder or pattern as `silt check --sample` takes it; or values: JSON as Python has it,
bytes as they are, None for a tombstone."""


def assert_rows(contract: str | Path, samples: Samples) -> list[dict[str, Any]]:
    """Assert that each sample becomes a row, and return the rows: values by column, without those
    of Kafka.

    Raises AssertionError with the problems of each that does not, and ContractError.
    """
    judgements = _judge(contract, samples)
    wrong = [each for each in judgements if each.outcome != "row"]
    assert not wrong, f"{len(wrong)} of {len(judgements)} samples are no rows:\n" + "\n".join(
        f"  {each.name}: {'; '.join(map(str, each.problems)) or each.outcome}" for each in wrong
    )
    return [each.values or {} for each in judgements]


def assert_rejected(
    contract: str | Path, samples: Samples, code: str | None = None, path: str | None = None
) -> list[Judgement]:
    """Assert that each sample is rejected, for a reason with this code at this path if given.

    Raises AssertionError, ContractError.
    """
    judgements = _judge(contract, samples)
    for each in judgements:
        assert each.outcome == "rejected", f"{each.name} is not rejected: it is {each.outcome}"
        reasons = [(str(problem.code), problem.path) for problem in each.problems]
        fits = [r for r in reasons if code in (None, r[0]) and path in (None, r[1])]
        assert fits, f"{each.name} is rejected for {reasons}, not for {(code, path)}"
    return judgements


def _judge(contract: str | Path, samples: Samples) -> list[Judgement]:
    found = _read(samples)
    assert found, f"{samples} has no samples"
    return list(judge(_load(Path(contract)), found))


def _read(samples: Samples) -> list[Sample]:
    if isinstance(samples, str | Path):
        return read_samples([str(samples)])
    return samples_of_values(samples)


def _load(file: Path) -> Contract:
    problems: list[str] = []
    contract, _ = parse_contract(file.read_text("utf-8"), str(file), problems)
    if contract is None:
        raise ContractError(problems)
    return contract
