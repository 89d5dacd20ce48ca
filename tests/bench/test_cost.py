"""The formula of the guide: what it multiplies is counted from the code."""

import json
from pathlib import Path

import pytest

from bench.cost import (
    ALARMS_OF_ALL,
    ALARMS_OF_TOPIC,
    FIREHOSE_GB,
    LOADS,
    METRICS_OF_TABLE,
    METRICS_OF_TOPIC,
    Load,
    cost_of,
    rows,
)
from handler.maintenance import METRICS
from silt.deployment.alarms import of_maintenance, of_topic
from silt.deployment.read import read_deployment
from tests.builders import ROOT, event, function_for
from tests.builders import rows as records


def test_metrics_and_alarms_are_as_many_as_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function_for(tmp_path).handle(event(records(0, 1)), None)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    (emitted,) = json.loads(line)["_aws"]["CloudWatchMetrics"]
    drift = 1  # of an invocation that fails
    assert len(emitted["Metrics"]) + drift == METRICS_OF_TOPIC
    stopped = 1
    assert len(METRICS) + stopped == METRICS_OF_TABLE
    deployment = read_deployment(ROOT / "docs/deployments/msk-iam.yml")
    assert len(of_topic(deployment, deployment.topics[0])) == ALARMS_OF_TOPIC
    assert len(of_maintenance(5)) == ALARMS_OF_ALL


def test_costs_of_the_guide_are_those_of_the_formula() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    for row in rows():
        assert f"| {' | '.join(row)} |" in guide, "run: make cost"


def test_ten_times_the_load_costs_less_than_ten_times_as_much() -> None:
    alone = {load.mb_s: cost_of(load).total for load in LOADS if load.topics == 1}
    assert alone[1] < alone[10] < 10 * alone[1]
    grouped = {load.mb_s: cost_of(load).total for load in LOADS if load.grouped}
    assert grouped[10] < grouped[100] < 10 * grouped[10]


@pytest.mark.parametrize(
    ("load", "units"),
    [
        (Load(1, 1, 1, False, 0.3, 3), 1),
        (Load(1, 10, 1, False, 0.3, 3), 10),
        (Load(1, 10, 1, True, 0.3, 3), 1),
        (Load(100, 10, 2, True, 0.3, 3), 5),
        (Load(100, 10, 2, False, 0.3, 3), 10),
        (Load(10, 50, 1, True, 0.3, 3), 5),
    ],
)
def test_poller_units_are_by_throughput_pollers_and_mappings(load: Load, units: int) -> None:
    assert load.units == units


def test_without_storage_a_gb_costs_a_fifth_of_firehose_at_10_mb_a_second() -> None:
    """Neither is storage in the price of Firehose."""
    (load,) = (each for each in LOADS if (each.mb_s, each.topics) == (10, 1))
    cost = cost_of(load)
    assert (cost.total - cost.stored) / load.gb < FIREHOSE_GB / 5
