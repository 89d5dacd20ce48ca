"""Why records of a batch were rejected, for the operator: codes, paths and an example each. Pure.

Nothing of it is data: values are never in it, and of a path only the names of the contract. What a
producer may have named, such as the key of a map, is `*`.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from handler.contract.compiled import Column
from handler.contract.contract import Contract
from handler.contract.reserved import KAFKA_COLUMNS
from handler.sink.arrow_tables import Flat
from handler.sink.outcomes import Outcome, Plan
from handler.validate.diagnose import join
from handler.validate.wire import wire_columns

SHOWN_MAX = 5
"""So many pairs of a code and a path are in a log line, the most frequent first."""
ANYTHING = "*"
OTHER = "other"
"""In place of a code: what is less frequent than those that are shown."""
_REJECTED = (Outcome.DEAD_LETTER, Outcome.UNSETTLED)
_STEP = re.compile(
    r'\[(?P<index>[0-9]+)\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]|\.?(?P<bare>[^.\[\]]+)'
)
"""A step of a path, as `handler.validate.diagnose.join` writes it."""


def summarize_rejects(contract: Contract, flat: Flat, plan: Plan) -> list[dict[str, Any]]:
    """Return the most frequent reasons, by the first problem of each record that is rejected, and
    how many records have another one.
    """
    counts = Counter[tuple[str, str]]()
    examples: dict[tuple[str, str], int] = {}
    paths: dict[str, str] = {}
    for i, problems in plan.problems.items():
        if plan.outcomes[i] not in _REJECTED:
            continue
        raw = problems[0].path
        if raw not in paths:
            paths[raw] = known_path(contract.columns, raw)
        reason = str(problems[0].code), paths[raw]
        counts[reason] += 1
        examples.setdefault(reason, i)
    most = counts.most_common()
    shown = most[:SHOWN_MAX]
    if rest := most[SHOWN_MAX:]:
        other = OTHER, ANYTHING
        examples[other] = examples[rest[0][0]]
        shown.append((other, sum(count for _, count in rest)))
    return [
        {
            "code": code,
            "path": path,
            "records": count,
            "example": f"{flat.topic}-{flat.partitions[i]}:{flat.offsets[i]}",
        }
        for (code, path), count in shown
        for i in [examples[code, path]]
    ]


def known_path(columns: Sequence[Column], path: str) -> str:
    """Return a path in which only names of the contract are left; indices are `[*]`."""
    if path in KAFKA_COLUMNS:
        return path
    columns, known, position = wire_columns(columns), "", 0
    above: Column | None = None
    while position < len(path):
        step = _STEP.match(path, position)
        if step is None or (above is not None and above.type == "map"):
            return join(known, ANYTHING)
        position = step.end()
        if step["index"] is not None:
            if above is None or above.type != "array":
                return join(known, ANYTHING)
            known, above = f"{known}[*]", above.parts[0]
            continue
        name = json.loads(step["quoted"]) if step["quoted"] is not None else step["bare"]
        parts = columns if above is None else above.parts if above.type == "struct" else ()
        above = next((part for part in parts if part.source == name), None)
        if above is None:
            return join(known, ANYTHING)
        known = join(known, name)
    return known
