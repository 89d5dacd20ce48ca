"""What `commitInfo` says of a batch: the accounting, and the offsets of each stream. Pure."""

from collections.abc import Sequence
from typing import Any

from handler.sink.checked_batch import CheckedBatch
from handler.sink.outcomes import Outcome, Plan, count

SKIPPED_RANGES_MAX = 200
"""A commit lists so many ranges of dropped offsets of a stream; its count is of all."""


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


def _skipped(plan: Plan, offsets: Sequence[int], indices: range) -> dict[str, Any]:
    """Return which offsets of a stream a rule dropped, so that nobody takes them for lost."""
    if not plan.outcomes.count(Outcome.SKIP, indices.start, indices.stop):
        return {}  # nearly always, and known without a look at each record
    return {"skipped": ranges_of([offsets[i] for i in indices if plan.outcomes[i] == Outcome.SKIP])}


def ranges_of(offsets: Sequence[int]) -> list[list[int]]:
    """Return rising offsets as ranges, first and last, at most SKIPPED_RANGES_MAX of them."""
    ranges: list[list[int]] = []
    for offset in offsets:
        if ranges and offset == ranges[-1][1] + 1:
            ranges[-1][1] = offset
        elif len(ranges) == SKIPPED_RANGES_MAX:
            break
        else:
            ranges.append([offset, offset])
    return ranges
