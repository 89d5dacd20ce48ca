"""make cost: what a deployment costs a month, by the formula of docs/deploy.md.

Prices are AWS's list prices of us-east-1 as this file was written (November 2026): look yours up.
What Silt needs is measured elsewhere: requests of an append, and how many when writers race, by
`make contention`; the time of an append by the same; the processor by `make bench`.
"""

import math
from dataclasses import dataclass

from silt import output
from silt.prices import BATCH_MB, GET_THOUSAND, MONTH_S, PUT_THOUSAND, STORED_GB_MONTH

HOURS = 730

POLLER_UNIT_HOUR = 0.185
POLLER_UNIT_MB_S, POLLER_UNIT_POLLERS = 20, 10
"""An event poller unit, and what one takes ('AWS Lambda pricing'). Mappings of a group share
units; any other mapping has one of its own at least."""
FIREHOSE_GB = 0.075
"""Amazon Data Firehose to Iceberg tables, the first 250 TB a month. Storage is not in it."""
GB_SECOND_ARM = 0.0000133334
INVOCATIONS_MILLION = 0.20
METRIC_MONTH, ALARM_MONTH, LOG_GB = 0.30, 0.10, 0.50

FUNCTION_GB = 512 / 1024
CHECK_S = 0.31
"""The time of such a batch without S3, with the share of a processor that 512 MB have: by
`make memory-size`."""
MAINTENANCE_GB = 1769 / 1024
WINDOW_S = 5
"""A batch waits so long for more (`MaximumBatchingWindowInSeconds`)."""
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

    `grouped`: their mappings share poller units (`PollerGroupName`). `append_s` and `requests` are
    the median of an append and its requests at S3's published latency, from docs/sizing.md. PUTs
    are two of them, and a lost race is a PUT, a listing at the same price, and two GETs.
    """

    mb_s: float
    topics: int
    pollers: int
    grouped: bool
    append_s: float
    requests: float

    @property
    def batch_mb(self) -> float:
        """Return the size of a batch: a full one, or what comes in the window."""
        return min(BATCH_MB, self.mb_s / self.topics / self.pollers * WINDOW_S)

    @property
    def batches(self) -> float:
        """Return how many batches there are in a month."""
        return self.mb_s / self.batch_mb * MONTH_S

    @property
    def units(self) -> float:
        """Return how many poller units are needed."""
        mappings = 1 if self.grouped else self.topics
        pollers, mb_s = self.topics * self.pollers / mappings, self.mb_s / mappings
        units = max(1, pollers / POLLER_UNIT_POLLERS, mb_s / POLLER_UNIT_MB_S)
        return mappings * math.ceil(units)

    @property
    def gb(self) -> float:
        """Return the GB of a month."""
        return self.mb_s * MONTH_S / 1024


LOADS = (
    Load(1, 1, 1, False, 0.31, 3),
    Load(1, 10, 1, True, 0.31, 3),
    Load(10, 1, 2, False, 0.43, 5.2),
    Load(10, 10, 1, True, 0.31, 3),
    Load(10, 10, 1, False, 0.31, 3),
    Load(100, 10, 2, True, 0.43, 5.2),
    Load(100, 10, 2, False, 0.43, 5.2),
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
    batches = load.batches
    puts = 2 + (load.requests - 3) / 2
    parquet_gb = load.gb * PARQUET_SHARE
    tables = 2 * load.topics
    watched = (
        load.topics * METRICS_OF_TOPIC * METRIC_MONTH
        + tables * METRICS_OF_TABLE * METRIC_MONTH
        + (load.topics * ALARMS_OF_TOPIC + ALARMS_OF_ALL) * ALARM_MONTH
        + batches * LINE_BYTES / 1024**3 * LOG_GB
    )
    # Each byte is compacted about once, at some 50 MB/s of Parquet a processor; a run that finds
    # nothing takes a second.
    runs = MONTH_S / 300
    busy_s = parquet_gb * 1024 / 50 + runs
    return Cost(
        pollers=load.units * POLLER_UNIT_HOUR * HOURS,
        invocations=batches
        * (CHECK_S * load.batch_mb / BATCH_MB + load.append_s)
        * FUNCTION_GB
        * GB_SECOND_ARM
        + batches / 1e6 * INVOCATIONS_MILLION,
        requests=batches * (puts * PUT_THOUSAND + (load.requests - puts) * GET_THOUSAND) / 1000,
        # A month of data, and a week of small files that were compacted.
        stored=parquet_gb * (1 + 7 / 30) * STORED_GB_MONTH,
        watched=watched,
        maintenance=busy_s * MAINTENANCE_GB * GB_SECOND_ARM
        + runs * 60 * load.topics * GET_THOUSAND / 1000,
    )


def rows() -> list[list[str]]:
    """Return a row for each load, as docs/deploy.md has them."""
    found = []
    for load in LOADS:
        cost = cost_of(load)
        parts = [getattr(cost, name) for name in Cost.__slots__]
        found.append(
            [
                f"{load.mb_s:g}",
                f"{load.topics} x {load.pollers}{', a group' if load.grouped else ''}",
                f"{load.batches / 1e6:.1f}",
                *(f"{part:,.0f}" for part in parts),
                f"{cost.total:,.0f}",
                f"{cost.total / load.gb:.4f}",
                f"{(cost.total - cost.stored) / load.gb:.4f}",
                f"{FIREHOSE_GB * load.gb:,.0f}",
            ]
        )
    return found


COLUMNS = (
    *("MB/s", "topics x pollers", "million batches", "pollers", "function", "requests"),
    *("storage", "metrics, logs", "maintenance", "USD a month", "USD a GB"),
    *("USD a GB without storage", "Firehose, USD a month"),
)


def main() -> None:
    """Print the table."""
    output.table("A month, in USD", COLUMNS, rows())


if __name__ == "__main__":
    main()
