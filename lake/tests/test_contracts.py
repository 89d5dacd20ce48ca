"""The contracts take their samples: those of events/NAME.* are for schemas/NAME.yaml."""

from pathlib import Path

import pytest

from silt.testing import assert_rejected, assert_rows

PROJECT = Path(__file__).parent.parent
SAMPLES = sorted((PROJECT / "events").iterdir())


@pytest.mark.parametrize("samples", SAMPLES, ids=lambda path: path.name)
def test_samples_become_rows(samples: Path) -> None:
    assert_rows(PROJECT / "schemas" / f"{samples.stem}.yaml", samples)


def test_order_without_an_amount_is_rejected() -> None:
    order = {"order_id": "o-1", "placed_at": "2026-05-01T10:00:00Z"}
    assert_rejected(PROJECT / "schemas" / "orders.yaml", [order], code="missing", path="amount")
