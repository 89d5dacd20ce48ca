"""What the commits of a table's log say of its past: how much came when, and how late."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.delta.statistics import microseconds, parse_statistics
from handler.delta.store import Store
from silt.log_commits import read_commits

COMMITS_MAX = 20_000
"""So many commits are read, the newest: of a busy table those of some hours."""
BUCKETS_MAX = 60
_STEPS_S = (
    *(0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10_800, 21_600, 43_200),
    *(86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400),
)


@dataclass(frozen=True, slots=True)
class PastCommit:
    """One commit of a log. `records` are new rows or dead letters; `late_s` is how old the newest
    record was when it was committed, None where it has none.
    """

    at_s: float
    operation: str
    records: int
    files: int
    added_bytes: int
    late_s: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was committed in a span of time that begins at `at_s`."""

    at_s: float
    rows: int
    dead_letters: int
    late_s: float | None


def read_history(store: Store, timestamp: str) -> list[PastCommit]:
    """Return the newest commits of a table; `timestamp` names its column of Kafka's timestamps.

    Raises StoreError or BrokenLog.
    """
    return [
        commit
        for _version, actions in read_commits(store, COMMITS_MAX)
        for commit in _past_commit(actions, timestamp)
    ]


def _past_commit(actions: Sequence[Mapping[str, Any]], timestamp: str) -> Iterator[PastCommit]:
    info = next((a["commitInfo"] for a in actions if "commitInfo" in a), None)
    if info is None or not isinstance(info.get("timestamp"), int):
        return
    added = [a["add"] for a in actions if "add" in a]
    new = [add for add in added if add.get("dataChange", True)]
    stats = [parse_statistics(add.get("stats")) for add in new]
    # What replaces files brings nothing new, by any engine and under any name.
    is_rewrite = any("remove" in action for action in actions)
    ends_us = [microseconds((each.get("maxValues") or {}).get(timestamp)) for each in stats]
    newest_us = max((end for end in ends_us if end is not None), default=None)
    at_s = info["timestamp"] / 1000
    is_late = (
        newest_us is not None and not is_rewrite and not (info.get("silt") or {}).get("redrive")
    )
    yield PastCommit(
        at_s=at_s,
        operation=str(info.get("operation")),
        records=0 if is_rewrite else sum(each.get("numRecords", 0) for each in stats),
        files=len(added),
        added_bytes=sum(int(add["size"]) for add in added),
        late_s=max(0.0, at_s - newest_us / 1e6) if is_late and newest_us is not None else None,
    )


def buckets_of(
    rows: Sequence[PastCommit], letters: Sequence[PastCommit]
) -> tuple[float, list[Bucket]]:
    """Return the length of a bucket in seconds, and the buckets from the first commit on."""
    times = [commit.at_s for commit in (*rows, *letters) if commit.records]
    if not times:
        return 1, []
    span_s = max(times) - min(times)
    step_s = next((s for s in _STEPS_S if span_s / s < BUCKETS_MAX), _STEPS_S[-1])
    first = int(min(times) // step_s)
    count = int(max(times) // step_s) - first + 1
    sums = [[0, 0] for _ in range(count)]
    late: list[float | None] = [None] * count
    for kind, commits in enumerate((rows, letters)):
        for commit in commits:
            if not commit.records:
                continue
            number = int(commit.at_s // step_s) - first
            sums[number][kind] += commit.records
            if commit.late_s is not None:
                late[number] = max(commit.late_s, late[number] or 0.0)
    return step_s, [
        Bucket((first + number) * step_s, appended, rejected, late[number])
        for number, (appended, rejected) in enumerate(sums)
    ]


def growth_of(commits: Sequence[PastCommit], rows: int) -> list[tuple[float, float]]:
    """Return how many rows there were when, reckoned back from what there is now."""
    total = rows - sum(commit.records for commit in commits)
    points = list[tuple[float, float]]()
    for commit in commits:
        total += commit.records
        points.append((commit.at_s, float(max(0, total))))
    return points
