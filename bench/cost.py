"""make cost: what a deployment costs a month, by the formula of docs/deploy.md.

Prices are AWS's list prices of us-east-1 as this file was written (November 2026): look yours up.
What Silt needs is measured elsewhere: requests of an append, and how many when writers race, by
`make contention`; the time of an append by the same; the processor by `make bench`.
"""

from dataclasses import dataclass

from silt import output
from silt.prices import BATCH_MB, GET_THOUSAND, PUT_THOUSAND, STORED_GB_MONTH

HOURS = 730
SECONDS = HOURS * 3600

POLLER_UNIT_HOUR = 0.185
"""An event poller unit, up to 20 MB/s of pollers at 5 MB/s each ('AWS Lambda pricing')."""
POLLER_UNIT_MB_S = 20
GB_SECOND_ARM = 0.0000133334
INVOCATIONS_MILLION = 0.20
METRIC_MONTH, ALARM_MONTH, LOG_GB = 0.30, 0.10, 0.50

RECORD_BYTES = 330
FUNCTION_GB = 1769 / 1024
CHECK_S = 0.1
"""Processor of a batch on one vCPU, rounded up from `make bench`."""
PARQUET_SHARE = 0.2
"""Bytes of Parquet by bytes of JSON, of records such as those of `make bench`."""
METRICS_OF_TOPIC, METRICS_OF_TABLE = 21, 9
ALARMS_OF_TOPIC, ALARMS_OF_ALL = 12, 2
"""As the functions emit them and the template has them: tests/bench/test_cost.py counts."""
LINE_BYTES = 3_000
"""A log line and an EMF record of an invocation."""


@dataclass(frozen=True, slots=True)
class Load:
    """A load in MB/s, on so many topics, with pollers of each and what contention makes of it.

    `append_s` and `requests` are the median of an append and its requests at S3's published
    latency, from docs/sizing.md: PUTs are two of them and one more for each race that was lost.
    """

    mb_s: float
    topics: int
    pollers: int
    append_s: float
    requests: float


LOADS = (
    Load(1, 1, 1, 0.31, 3),
    Load(10, 1, 2, 0.54, 6),
    Load(100, 10, 2, 0.54, 6),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a month costs, in USD, by part."""

    pollers: float
    invocations: float
    requests: float
    stored: float
    watched: float
    maintenance: float

    @property
    def total(self) -> float:
        """Return the sum."""
        return sum(getattr(self, name) for name in self.__slots__)


def cost_of(load: Load) -> Cost:
    """Return what a month of a load costs."""
    batches = load.mb_s / BATCH_MB * SECONDS
    units = max(1, load.topics * load.pollers * 5 / POLLER_UNIT_MB_S)
    puts = 2 + (load.requests - 3) / 3
    parquet_gb = load.mb_s * SECONDS * PARQUET_SHARE / 1024
    tables = 2 * load.topics
    watched = (
        load.topics * METRICS_OF_TOPIC * METRIC_MONTH
        + tables * METRICS_OF_TABLE * METRIC_MONTH
        + (load.topics * ALARMS_OF_TOPIC + ALARMS_OF_ALL) * ALARM_MONTH
        + batches * LINE_BYTES / 1024**3 * LOG_GB
    )
    # Each byte is compacted about once, at some 50 MB/s of Parquet a processor; a run that finds
    # nothing takes a second.
    runs = SECONDS / 300
    busy_s = parquet_gb * 1024 / 50 + runs
    return Cost(
        pollers=units * POLLER_UNIT_HOUR * HOURS,
        invocations=batches * (CHECK_S + load.append_s) * FUNCTION_GB * GB_SECOND_ARM
        + batches / 1e6 * INVOCATIONS_MILLION,
        requests=batches * (puts * PUT_THOUSAND + (load.requests - puts) * GET_THOUSAND) / 1000,
        # A month of data, and a week of small files that were compacted.
        stored=parquet_gb * (1 + 7 / 30) * STORED_GB_MONTH,
        watched=watched,
        maintenance=busy_s * FUNCTION_GB * GB_SECOND_ARM
        + runs * 60 * load.topics * GET_THOUSAND / 1000,
    )


def rows() -> list[list[str]]:
    """Return a row for each load, as docs/deploy.md has them."""
    found = []
    for load in LOADS:
        cost = cost_of(load)
        batches = load.mb_s / BATCH_MB * SECONDS
        parts = [getattr(cost, name) for name in Cost.__slots__]
        found.append(
            [
                f"{load.mb_s:g}",
                f"{load.topics} x {load.pollers}",
                f"{batches / 1e6:.1f}",
                *(f"{part:,.0f}" for part in parts),
                f"{cost.total:,.0f}",
                f"{cost.total / (load.mb_s * SECONDS / 1024):.3f}",
            ]
        )
    return found


COLUMNS = (
    *("MB/s", "topics x pollers", "million batches", "pollers", "function", "requests"),
    *("storage", "metrics, logs", "maintenance", "USD a month", "USD a GB"),
)


def main() -> None:
    """Print the table."""
    output.table("A month, in USD", COLUMNS, rows())


if __name__ == "__main__":
    main()
