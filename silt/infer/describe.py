"""What was seen of each column, in a few words: how often, between which bounds, an example."""

from collections.abc import Mapping
from typing import Any

import orjson

from silt.infer.choose_types import Inferred
from silt.infer.observe import Observation
from silt.mask import mask

EXAMPLE_MAX = 40


def describe_columns(columns: Mapping[str, Inferred], seen: Observation, records: int) -> None:
    """Add to the notes of columns and their parts what was seen of them."""
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
        column.notes[:0] = words
        _describe_parts(column, inner)


def _describe_parts(column: Inferred, seen: Observation) -> None:
    if column.fields is not None:
        describe_columns(column.fields, seen, seen.kinds["object"])
    elif column.inner is not None:
        inside = seen.items if column.type == "array" else seen.merged_fields()
        if inside is not None:
            column.inner.notes[:0] = _bounds(inside, column.inner)
            _describe_parts(column.inner, inside)


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
    return f"{number:g}" if isinstance(number, float) else str(number)


def suggest_partitions(
    columns: Mapping[str, Inferred], seen: Observation, records: int
) -> list[str]:
    """Return comments that say how the table could be partitioned by day."""
    times = [n for n, c in columns.items() if c.type in ("timestamp", "timestamp_ntz", "date")]
    fields = {name: seen.fields[columns[name].keys.get("source", [name])[0]] for name in times}
    always = (name for name, field in fields.items() if field.values == records)
    source = next(always, "_kafka_timestamp")
    if columns.get(source) is not None and columns[source].type == "date":
        return ["", f"To partition the table by day: partition_by: [{source}]"]
    return [
        "",
        "To partition the table by day, add:",
        "partition_by: [day]",
        f"and to the columns: day: {{type: date, from: {source}}}",
    ]
