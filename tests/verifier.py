"""The promise as a pure function: what was delivered against what stands in both tables."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

Place = tuple[int, int]
"""Partition and offset."""


def verify(
    delivered: Mapping[Place, Any],
    rows: Iterable[tuple[Place, Any]],
    dead_letters: Iterable[tuple[Place, Any]],
    unsettled: Iterable[Place] = (),
) -> list[str]:
    """Return what is wrong: a record lost, doubled, moved, altered or invented; nothing if all is
    well.

    `delivered` maps each record to the content that its row, or else its dead letter, must have.
    """
    problems = []
    rows, dead_letters = list(rows), list(dead_letters)
    seen = Counter(place for place, _ in [*rows, *dead_letters])
    problems += [f"{place} stands {n} times" for place, n in seen.items() if n > 1]
    waiting = set(unsettled)
    problems += [
        f"{place} is lost" for place in delivered if not seen[place] and place not in waiting
    ]
    for place, content in [*rows, *dead_letters]:
        if place not in delivered:
            problems.append(f"{place} was never delivered")
        elif delivered[place] != content:
            problems.append(f"{place} holds {content!r} and was delivered as {delivered[place]!r}")
    return problems
