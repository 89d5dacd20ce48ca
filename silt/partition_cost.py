"""What many partition values in each batch cost: a file, and so a PUT, for each of them."""

import statistics
from collections.abc import Iterator

from handler.delta.log import Actions
from handler.delta.retry import Deadline
from handler.delta.tables import Table
from handler.errors import SiltError, counted
from handler.health import Finding
from handler.sink.invocation_report import MANY_FILES
from silt.prices import BATCH_MB, MONTH_S, PUT_THOUSAND

COMMITS_LOOKED_AT = 20
FIX = (
    "Partition by something that few values of a batch differ in, such as a date; or not at all, "
    "and let maintenance sort (maintenance: sort_by). docs/sizing.md#partitions"
)


def puts_of_month(files: float, mb_s: float = 10) -> float:
    """Return what the PUTs of data files cost in a month, in USD, with so many files a batch."""
    return files * mb_s / BATCH_MB * MONTH_S * PUT_THOUSAND / 1000


def warn_of_files(table: Table, deadline: Deadline) -> Iterator[Finding]:
    """Warn of a table that was read, and whose last appends put many files each."""
    snapshot = table.snapshot
    if snapshot is None or snapshot.metadata is None or not snapshot.metadata.partition_columns:
        return
    try:
        first = max(snapshot.version - COMMITS_LOOKED_AT, 0)
        commits = table.log.commits_after(first, deadline) or []
    except SiltError:
        return  # what is wrong with the table was found before
    # A batch of which nothing became a row adds none.
    counts = [n for commit in commits if (n := _files_of_batch(commit.actions))]
    files = statistics.median(counts) if counts else 0
    if files > MANY_FILES:
        yield Finding(
            "files",
            table.name,
            "warning",
            f"in the median its last {counted(len(counts), 'append')} put {files:.0f} files, one "
            f"for each partition value: at 10 MB/s some {puts_of_month(files):,.0f} USD of PUTs a "
            "month",
            FIX,
        )


def _files_of_batch(actions: Actions) -> float:
    """Return how many files an append has for each of its batches, 0 for any other commit."""
    infos = (action["commitInfo"].get("silt") for action in actions if "commitInfo" in action)
    info = next(infos, None)
    files = sum("add" in action for action in actions)
    return files / info.get("batches", 1) if info else 0
