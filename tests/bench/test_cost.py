"""The formula of the guide: what it multiplies is counted from the code."""

import json
from pathlib import Path

import pytest

from bench.cost import (
    ALARMS_OF_ALL,
    ALARMS_OF_TOPIC,
    LOADS,
    METRICS_OF_TABLE,
    METRICS_OF_TOPIC,
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
    totals = [cost_of(load).total for load in LOADS]
    assert totals[0] < totals[1] < 10 * totals[0]
    assert totals[1] < totals[2] < 10 * totals[1]
