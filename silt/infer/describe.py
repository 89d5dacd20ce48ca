"""What was seen of each column, in a few words: how often, between which bounds, an example."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from silt.infer.choose_types import ENUM_NOTE
from silt.infer.inferred import Inferred
from silt.infer.observe import Observation
from silt.infer.write_contract import inline
from silt.mask import mask

EXAMPLE_MAX = 40
_EVENT = re.compile(r"created|event|occurred|placed|sent|timestamp|^at$|^ts$|^time$|_at$|At$")
_NO_EVENT = re.compile(
    r"birth|dob|expir|version|valid|due|deleted|updated|start|end", re.IGNORECASE
)


def describe_columns(
    columns: Mapping[str, Inferred], seen: Observation, records: int, *, whole: bool
) -> None:
    """Add to the notes of columns and their parts what was seen of them.

    An enum is suggested only where the `whole` of the records was looked at.
    """
    for name, column in columns.items():
        key = column.keys.get("source", [name])[0]
        inner = seen.fields.get(key)
        if inner is None:
            continue
        present = inner.values
        words = []
        if present and not column.keys.get("required"):
            words.append(f"in {_percent(present, records)} of {records:,}")
        words += _bounds(inner, column)
        if not whole:
            column.notes = [note for note in column.notes if not note.startswith(ENUM_NOTE)]
        column.notes[:0] = words
        _describe_parts(column, inner, whole=whole)


def _describe_parts(column: Inferred, seen: Observation, *, whole: bool) -> None:
    if column.fields is not None:
        describe_columns(column.fields, seen, seen.kinds["object"], whole=whole)
    elif column.inner is not None:
        inside = seen.items if column.type == "array" else seen.merged_fields()
        if inside is not None:
            column.inner.notes[:0] = _bounds(inside, column.inner)
            _describe_parts(column.inner, inside, whole=whole)


def _percent(part: int, whole: int) -> str:
    if part == whole:
        return "all"
    # Never rounded up to all of them.
    return f"{min(part * 1000 // whole, 999) / 10:g} %" if part * 1000 >= whole else "under 0.1 %"


def _bounds(seen: Observation, column: Inferred) -> list[str]:
    if seen.least is not None and column.type in ("long", "double"):
        return [f"{_short(seen.least)} to {_short(seen.most)}"]
    example = next((v for v in seen.samples(1) if isinstance(v, str)), seen.example)
    if example and column.type not in ("struct", "array", "map", "json", "boolean"):
        masked: Any = orjson.loads(mask(orjson.dumps(example)))
        return [f"such as {masked[:EXAMPLE_MAX]}"]
    return []


def _short(number: Any) -> str:
    """Return a bound to two digits: of one person's number no more is repeated."""
    return f"{float(f'{number:.2g}'):g}"


def suggest_partitions(
    columns: Mapping[str, Inferred], seen: Observation, records: int
) -> list[str]:
    """Return comments that say how the table could be partitioned by day."""
    times = [
        name
        for name, column in columns.items()
        if column.type in ("timestamp", "timestamp_ntz", "date") and not _NO_EVENT.search(name)
    ]
    fields = {name: seen.fields[columns[name].keys.get("source", [name])[0]] for name in times}
    always = [name for name, each in fields.items() if each.values == records]
    always.sort(key=lambda name: _EVENT.search(name) is None)
    source = always[0] if always else "_kafka_timestamp"
    if source in columns and columns[source].type == "date":
        return ["", f"To partition the table by day: partition_by: [{inline(source)}]"]
    taken = {name.lower() for name in columns}
    day = next(name for name in ("day", "event_day", "partition_day") if name not in taken)
    return [
        "",
        "To partition the table by day, add:",
        f"partition_by: [{day}]",
        f"and to the columns: {day}: {{type: date, from: {inline(source)}}}",
    ]
