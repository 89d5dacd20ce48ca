"""What AWS and the operator are told:

the failures, the accounting, one log line and its metrics. Pure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from handler.errors import AccountingBroken, Unsettled
from handler.plan import Outcome
from handler.rows import Flat

PARTS = ("appended", "dead_lettered", "skipped_by_rule", "duplicates", "unsettled")
"""What a delivered record can have become; the parts of the accounting identity."""


def account(outcomes: Sequence[Outcome], repeats: int, delivered: int) -> dict[str, int]:
    """Return the accounting of an invocation. Raises AccountingBroken unless it adds up.

    `repeats` are second copies of a record in one event: they count as duplicates.
    """
    counts = Counter(outcomes)
    parts = {
        "appended": counts[Outcome.APPEND],
        "dead_lettered": counts[Outcome.DEAD_LETTER],
        "skipped_by_rule": counts[Outcome.SKIP],
        "duplicates": counts[Outcome.DUPLICATE] + repeats,
        "unsettled": counts[Outcome.UNSETTLED],
    }
    if sum(parts.values()) != delivered:
        raise AccountingBroken(
            f"{delivered} records were delivered, and {parts} do not add up to that. This is an "
            "error in Silt. The invocation fails, so that the records come again: please report it."
        )
    return {"delivered": delivered, **parts}


def failures(flat: Flat, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return every unsettled record as AWS reads it, by stream and offset."""
    return [
        {
            "itemIdentifier": {
                "partition": f"{flat.topic}-{flat.partitions[i]}",
                "offset": flat.offsets[i],
            }
        }
        for i, outcome in enumerate(outcomes)
        if outcome is Outcome.UNSETTLED
    ]


def raise_for(items: Sequence[Mapping[str, Any]], why: str) -> None:
    """Raise Unsettled for a mapping that does not honour partial responses."""
    if items:
        first = items[0]["itemIdentifier"]
        raise Unsettled(
            f"{len(items)} records are unsettled ({why}), the first at {first['partition']} offset "
            f"{first['offset']}. What is good has been committed. SILT_PARTIAL_BATCH_RESPONSE is "
            "false, so the whole batch has to come again, which is harmless."
        )


def freshness_ms(flat: Flat, outcomes: Sequence[Outcome], now_ms: int) -> int | None:
    """Return the age of the oldest record that was appended, None if none was."""
    times = [flat.timestamps[i] for i, o in enumerate(outcomes) if o is Outcome.APPEND]
    return max(0, now_ms - min(times)) if times else None


def offsets_of(flat: Flat) -> list[dict[str, int]]:
    """Return the offset range of each stream, for the log."""
    return [
        {
            "partition": flat.partitions[stream.start],
            "first_offset": flat.offsets[stream.start],
            "last_offset": flat.offsets[stream.stop - 1],
        }
        for stream in flat.streams
    ]
