"""Columns that are derived from others, and columns that a table is partitioned by."""

import re
from collections.abc import Mapping

from msgspec.structs import replace

from handler.contract.compiled import Column, Derived
from handler.contract.model import ContractModel
from handler.contract.reporting import Path, Report, nearest
from handler.contract.reserved import KAFKA_COLUMNS, NESTED, PARTS
from handler.delta.types import (
    Primitive,
)

_FROM = re.compile(rf"(?:({'|'.join(PARTS)})\(\s*)?([^()\s]+?)\s*(\))?")


def parse_from(text: str, path: Path, report: Report) -> Derived | None:
    match = _FROM.fullmatch(text.strip())
    if match is None or (match[1] is None) is not (match[3] is None):
        report(
            (*path, "from"),
            f"{text!r} is not a valid source. Expected a column, a path such as "
            f"customer.country, or one of " + ", ".join(f"{part}(column)" for part in PARTS),
        )
        return None
    return Derived(tuple(match[2].split(".")), match[1])


def check_derived(
    column: Column, derived: Derived, columns: Mapping[str, Column], report: Report
) -> None:
    here: Path = ("columns", column.name, "from")
    source = _resolve(derived.path, columns)
    if source is None:
        words = [*columns, *KAFKA_COLUMNS]
        dotted = ".".join(derived.path)
        report(here, f"there is no column {dotted!r} to derive from{nearest(dotted, words)}")
        return
    name = source if isinstance(source, str) else source.type
    if isinstance(source, Column) and source.derived is not None:
        report(here, f"{'.'.join(derived.path)!r} is itself derived. Name its source instead")
        return
    part = derived.part or ("date" if column.type == "date" and "timestamp" in name else None)
    if part is None:
        if name in NESTED:
            report(here, f"only a scalar can be copied, and the source is of type {name}")
        elif name != column.type:
            report(here, f"the source is of type {name}, the column of type {column.type}")
    elif name not in ("timestamp", "timestamp_ntz", "date") or (part == "hour" and name == "date"):
        report(here, f"there is no {part} in a {name}")
    elif part == "date" and column.type != "date":
        report(here, f"a date needs a column of type date, not {column.type}")
    elif part != "date" and column.type not in ("integer", "long", "short"):
        report(here, f"a {part} needs a column of type integer, short or long, not {column.type}")


def forbid_empty_partitions(
    model: ContractModel, columns: tuple[Column, ...], report: Report
) -> tuple[Column, ...]:
    """Give the strings that part the table a least length of 1:

    Delta reads an empty one as null.
    """
    paths: set[tuple[str, ...]] = {(name,) for name in model.partition_by}
    paths |= {c.derived.path for c in columns if c.derived is not None and (c.name,) in paths}

    def forbid(column: Column, path: tuple[str, ...], here: Path) -> Column:
        if path in paths and column.type == "string":
            if column.default is not None and column.default.order == "":
                report((*here, "default"), "Delta reads an empty partition value as null")
            rules = replace(column.rules, min_length=max(1, column.rules.min_length or 0))
            return replace(column, rules=rules)
        if column.type == "struct":
            parts = (forbid(p, (*path, p.name), (*here, "fields", p.name)) for p in column.parts)
            return replace(column, parts=tuple(parts))
        return column

    return tuple(forbid(column, (column.name,), ("columns", column.name)) for column in columns)


def _resolve(path: tuple[str, ...], columns: Mapping[str, Column]) -> Column | str | None:
    """Return the column at a path through structs, the type of a Kafka column, or None."""
    if len(path) == 1 and path[0] in KAFKA_COLUMNS:
        kafka = KAFKA_COLUMNS[path[0]]
        return kafka.name if isinstance(kafka, Primitive) else "array"
    column = columns.get(path[0])
    for name in path[1:]:
        if column is None or column.type != "struct":
            return None
        column = next((part for part in column.parts if part.name == name), None)
    return column


def check_partition_columns(
    model: ContractModel, columns: Mapping[str, Column], report: Report
) -> None:
    for i, name in enumerate(model.partition_by):
        here: Path = ("partition_by", i)
        column = columns.get(name)
        if column is None:
            report(here, f"{name!r} is not a column of this contract{nearest(name, columns)}")
        elif column.type in (*NESTED, "json", "double", "float", "binary"):
            report(
                here,
                f"{name!r} is of type {column.type}, by which a table cannot be partitioned. "
                "Choose a string, number, boolean, date or timestamp",
            )
        elif name in model.partition_by[:i]:
            report(here, f"{name!r} is listed twice")
    for i, name in enumerate(model.kafka_columns):
        if name in model.kafka_columns[:i]:
            report(("kafka_columns", i), f"{name!r} is listed twice")
