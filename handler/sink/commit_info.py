"""What `commitInfo` says of a batch: the accounting, and the offsets of each stream. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from handler.sink.checked_batch import CheckedBatch
from handler.sink.outcomes import NAMES, Outcome, Plan, count

SKIPPED = "skipped_runs"
"""The offsets that a rule dropped, as `runs_of` writes them: all of them, however many."""
SKIPPED_RANGES = "skipped"
"""The same in older commits: ranges, first and last, and at most 200 of them."""


def commit_info(batch: CheckedBatch, plan: Plan, *, looked_up: bool) -> dict[str, Any]:
    """Return it. `looked_up`: the tables were searched for records of the batch."""
    counts = count(plan.outcomes)
    offsets = batch.flat.offsets
    streams = [
        {
            "stream": stream.app_id,
            "first_offset": offsets[indices[0]],
            "last_offset": offsets[indices[-1]],
            **count(plan.outcomes[indices.start : indices.stop]),
            **_skipped(plan, offsets, indices),
        }
        for stream, indices in zip(batch.streams, batch.flat.streams, strict=True)
    ]
    return {
        # An append that was decided by a look-up read the table.
        "isBlindAppend": not looked_up,
        "silt": {
            "contract_version": batch.contract.version,
            "delivered": len(offsets) + batch.repeats,
            **counts,
            "duplicates": counts["duplicates"] + batch.repeats,
            "streams": streams,
        },
    }


def merge_info(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the commit of two batches says of both; None where they were decided by different
    versions of the contract, and for what `commit_info` did not write.
    """
    first, second = one.get("silt"), other.get("silt")
    version, names = "contract_version", ("delivered", *NAMES.values())
    known = {version, "streams", *names}
    if (
        not first
        or not second
        or not first.keys() - {"batches"} == known == second.keys() - {"batches"}
    ):
        return None
    if first[version] != second[version]:
        return None
    sums = {name: first[name] + second[name] for name in names}
    return {
        "isBlindAppend": one["isBlindAppend"] and other["isBlindAppend"],
        "silt": {
            version: first[version],
            "batches": first.get("batches", 1) + second.get("batches", 1),
            **sums,
            "streams": [*first["streams"], *second["streams"]],
        },
    }


def _skipped(plan: Plan, offsets: Sequence[int], indices: range) -> dict[str, Any]:
    """Return which offsets of a stream a rule dropped, so that nobody takes them for lost."""
    if not plan.outcomes.count(Outcome.SKIP, indices.start, indices.stop):
        return {}  # nearly always, and known without a look at each record
    return {SKIPPED: runs_of([offsets[i] for i in indices if plan.outcomes[i] == Outcome.SKIP])}


def runs_of(offsets: Sequence[int]) -> list[int]:
    """Return rising offsets in a short form: the first, how many follow each other from there, how
    many are missing then, how many follow each other again, and so on.

    So 5, 6, 7, 10 become 5, 3, 2, 1. Every second record of a batch of 10,000 takes 20 KB.
    """
    runs = list[int]()
    expected = 0
    for offset in offsets:
        if runs and offset == expected:
            runs[-1] += 1
        else:
            runs += [offset - expected, 1]
        expected = offset + 1
    return runs


def skipped_ranges(stream: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Yield the ranges that a rule dropped, first and last, of a stream of a commit."""
    position = 0
    runs = stream.get(SKIPPED, ())
    for missing, length in zip(runs[::2], runs[1::2], strict=True):
        position += missing
        yield position, position + length - 1
        position += length
    yield from stream.get(SKIPPED_RANGES, ())
