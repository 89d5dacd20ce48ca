"""One EMF record: what CloudWatch makes metrics of, as a line of the log."""

import json
import resource
import sys
from collections.abc import Mapping

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.functions import is_metrics_disabled
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import (
    AmazonCloudWatchEMFProvider,
)

NAMESPACE = "Silt"
_UNITS = {
    "ms": MetricUnit.Milliseconds.value,
    "bytes": MetricUnit.Bytes.value,
    "mb": MetricUnit.Megabytes.value,
}
_COUNT = MetricUnit.Count.value
_PROVIDER = AmazonCloudWatchEMFProvider(namespace=NAMESPACE)


def emit(service: str, dimensions: Mapping[str, str], measures: Mapping[str, float]) -> None:
    """Print the measures of a topic or table of a deployment, which `service` names.

    The end of a measure's name is its unit, else it is a count.
    """
    if is_metrics_disabled():
        return
    metrics = {
        name: {"Unit": _UNITS.get(name.rpartition("_")[2], _COUNT), "Value": [float(measure)]}
        for name, measure in measures.items()
    }
    # In one call: Powertools' `add_metric` for each costs a small batch more than its statistics.
    line = _PROVIDER.serialize_metric_set(metrics, {**dimensions, "service": service})
    print(json.dumps(line, separators=(",", ":")))


def peak_memory_mb() -> float:
    """Return the most memory that this process has taken so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
