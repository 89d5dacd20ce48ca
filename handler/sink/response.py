"""What AWS and the operator learn: the failures, the accounting, one log line and its metrics.
Pure.
"""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any

from handler.errors import AccountingBroken, Unsettled, counted
from handler.sink.arrow_tables import Flat
from handler.sink.outcomes import NAMES, Outcome, count

PARTS = tuple(NAMES.values())
"""What a delivered record can have become; the parts of the accounting identity."""
FRESHNESS_MAX_MS = 10 * 365 * 86_400_000
"""An older timestamp is not an age: Kafka's -1, an unset clock, seconds taken for milliseconds."""


def account(outcomes: bytes, repeats: int, delivered: int) -> dict[str, int]:
    """Return the accounting of an invocation. Raises AccountingBroken unless it adds up.

    `repeats` are second copies of a record in one event: they count as duplicates.
    """
    parts = count(outcomes)
    parts["duplicates"] += repeats
    if sum(parts.values()) != delivered:
        raise AccountingBroken(
            f"{delivered} records were delivered, and {parts} do not add up to that. This is an "
            "error in Silt. The invocation fails, so that AWS delivers the records again: "
            "please report it."
        )
    return {"delivered": delivered, **parts}


def failures(flat: Flat, outcomes: bytes) -> list[dict[str, Any]]:
    """Return every unsettled record as AWS reads it, by stream and offset."""
    if not outcomes.count(Outcome.UNSETTLED):
        return []
    return [
        {
            "itemIdentifier": {
                "partition": f"{flat.topic}-{flat.partitions[i]}",
                "offset": flat.offsets[i],
            }
        }
        for i, outcome in enumerate(outcomes)
        if outcome == Outcome.UNSETTLED
    ]


def raise_for(items: Sequence[Mapping[str, Any]], why: str) -> None:
    """Raise Unsettled for a mapping that does not honor partial responses."""
    if items:
        first = items[0]["itemIdentifier"]
        raise Unsettled(
            f"{counted(len(items), 'record')} unsettled ({why}), the first at "
            f"{first['partition']} offset {first['offset']}. The other records were committed. "
            "SILT_PARTIAL_BATCH_RESPONSE is false, so the whole batch will be delivered again, "
            "which does no harm."
        )


def freshness_ms(flat: Flat, outcomes: bytes, now_ms: int) -> int | None:
    """Return the age of the oldest record that was appended; None if no age is known.

    Producers set timestamps as they like: those that cannot be an age are left out.
    """
    oldest_ms = now_ms - FRESHNESS_MAX_MS
    if outcomes.count(Outcome.APPEND) == len(outcomes) and oldest_ms <= flat.oldest_ms:
        return max(0, now_ms - flat.oldest_ms)
    appended = compress(flat.timestamps, map(Outcome.APPEND.__eq__, outcomes))
    times = [time for time in appended if oldest_ms <= time]
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
