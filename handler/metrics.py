"""One EMF record: what CloudWatch makes metrics of, as a line of the log."""

import resource
import sys
from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "Silt"
_UNITS = {
    "_ms": MetricUnit.Milliseconds,
    "_bytes": MetricUnit.Bytes,
    "_mb": MetricUnit.Megabytes,
}


def emit(service: str, dimensions: Mapping[str, str], measures: Mapping[str, float]) -> None:
    """Print the measures of a topic or table of a deployment, which `service` names.

    The end of a measure's name is its unit, else it is a count.
    """
    metrics = EphemeralMetrics(namespace=NAMESPACE, service=service)
    for dimension, value in dimensions.items():
        metrics.add_dimension(name=dimension, value=value)
    for name, measure in measures.items():
        ending = next((ending for ending in _UNITS if name.endswith(ending)), None)
        unit = _UNITS[ending] if ending is not None else MetricUnit.Count
        metrics.add_metric(name=name, unit=unit, value=measure)
    metrics.flush_metrics()


def peak_memory_mb() -> float:
    """Return the most memory that this process has taken so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
