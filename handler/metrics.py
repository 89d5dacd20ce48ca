"""One EMF record: what CloudWatch makes metrics of, as a line of the log."""

import resource
import sys
from collections.abc import Mapping

import orjson
from aws_lambda_powertools.metrics import MetricUnit
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
    metrics = {
        name: {"Unit": _UNITS.get(name.rpartition("_")[2], _COUNT), "Value": [float(measure)]}
        for name, measure in measures.items()
    }
    # All at once: Powertools' `add_metric` costs a small batch more than its statistics do.
    line = _PROVIDER.serialize_metric_set(metrics, {**dimensions, "service": service})
    print(orjson.dumps(line).decode())


def peak_memory_mb() -> float:
    """Return the most memory that this process has taken so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
