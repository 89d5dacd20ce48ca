"""From the words of one contract file to its compiled columns: what the models alone cannot say."""

import re
from collections.abc import Mapping
from typing import Any

from handler.contract.compile_form import compile_form
from handler.contract.compiled import Column, Rules, broken_rule
from handler.contract.derive import (
    check_derived,
    check_partition_columns,
    forbid_empty_partitions,
    parse_from,
)
from handler.contract.form import USUAL, Form
from handler.contract.message_paths import is_message_path, parse_message_path
from handler.contract.model import BOUNDS, ColumnModel, ContractModel
from handler.contract.patterns import PatternRefused, check_pattern
from handler.contract.reporting import Path, Report
from handler.contract.reserved import NESTED, RESCUED
from handler.contract.scalar import Refused, Scalar
from handler.contract.source_paths import check_sources, parse_source
from handler.contract.type_names import explain_unknown_type
from handler.contract.values import read_scalar
from handler.delta.types import (
    INTEGER_BITS,
    PRIMITIVES,
    normal_type,
    parse_decimal,
)

STRUCTS_MAX = 32
SCHEMA_DEPTH_MAX = 3 * STRUCTS_MAX
"""Rust readers refuse JSON nested deeper than 128 (serde_json), and a struct is three levels of the
schema in the log: deltalake, DuckDB and polars cannot open a table of 42 structs."""
LEVELS_MAX = 60
"""Arrow imports schemas of at most 64 levels from other libraries (kMaxImportRecursionLevel), and
reads Parquet of at most 100, of which an array or a map takes two."""

_WITH_LENGTH = ("string", "binary", "array", "map")
_ORDERED = ("date", "timestamp", "timestamp_ntz", "double", "float", *INTEGER_BITS)
_NAME = re.compile(r'[^ ,;{}()=."\\\x00-\x1f]+')


def compile_columns(model: ContractModel, report: Report) -> tuple[Column, ...]:
    """Compile the columns of a contract and report everything that is wrong with them."""
    columns = _compile_level(model.columns, ("columns",), report)
    by_name = {column.name: column for column in columns}
    for column in columns:
        if column.derived is not None:
            check_derived(column, column.derived, by_name, report)
    check_partition_columns(model, by_name, report)
    for column in columns:
        if _depth(column, 3, 1) > SCHEMA_DEPTH_MAX or _depth(column, 1, 2) > LEVELS_MAX:
            report(
                ("columns", column.name),
                f"{column.name!r} is nested too deep: deltalake, DuckDB and polars could not open "
                f"the table. At most {STRUCTS_MAX} structs may be nested (an array or a "
                f"map counts as a third of one), and at most {LEVELS_MAX // 2} arrays or maps (a "
                "struct counts as half of one). Keep what is deeper as a string",
            )
    columns = forbid_empty_partitions(model, columns, report)
    for i, name in enumerate(model.retired):
        filled = {f"_kafka_{kind}" for kind in ("partition", "offset", "timestamp")}
        filled |= {f"_kafka_{kind}" for kind in model.kafka_columns}
        if model.unknown_fields in ("rescue", "add") or model.on_invalid == "rescue":
            filled.add(RESCUED)
        if name in by_name or name in filled:
            report(("retired", i), f"{name!r} is a column of the contract, so it is not retired")
    return columns


def _compile_level(
    models: Mapping[str, ColumnModel], path: Path, report: Report
) -> tuple[Column, ...]:
    names: dict[str, str] = {}
    columns = []
    for name, model in models.items():
        here = (*path, name)
        if _NAME.fullmatch(name) is None:
            report(
                here,
                f"{name!r} is not a valid column name: it may not contain any of ' "
                f",;{{}}()=.', quotes or line breaks",
            )
        if len(path) == 1 and (name.lower().startswith("_kafka_") or name.lower() == RESCUED):
            report(here, f"the names _kafka_* and {RESCUED} are reserved for Silt. Choose another")
        if (twin := names.setdefault(name.lower(), name)) != name:
            report(here, f"{name!r} and {twin!r} differ only in case, and Delta ignores case")
        columns.append(compile_column(name, model, here, report))
    read = [c for c in columns if c.derived is None]
    check_sources([(c.name, c.path) for c in read if not c.of_message], path, report)
    check_sources([(c.name, c.path) for c in read if c.of_message], path, report)
    return tuple(columns)


def compile_column(name: str, model: ColumnModel, path: Path, report: Report) -> Column:
    """Compile one column and its parts."""
    type_name = normal_type(model.type)
    known = type_name in PRIMITIVES or type_name in NESTED or type_name == "json"
    if not known and parse_decimal(type_name) is None:
        report((*path, "type"), f"{model.type!r} is not a type{explain_unknown_type(type_name)}")
        return Column(name, (name,), "string")
    is_derived = model.from_ is not None and not is_message_path(type_name, model.from_)
    _check_keys(type_name, model, path, report, is_derived=is_derived)
    derived, from_message = None, None
    if model.from_ is not None:
        from_message = parse_message_path(type_name, model, path, report)
        derived = parse_from(model.from_, path, report) if from_message is None else None
    if model.source is not None and len(path) >= 2 and path[-1] in ("items", "values"):
        report((*path, "source"), "items and values have no name, so they take no `source`")
    keys: tuple[str, ...] = from_message or (name,)
    if model.source is not None:
        keys = parse_source(model.source, (*path, "source"), report)
    return Column(
        name=name,
        path=keys,
        type=type_name,
        required=model.required,
        default=_compile_default(type_name, model, path, report),
        form=compile_form(type_name, model, path, report),
        rules=_compile_rules(type_name, model, path, report),
        parts=_compile_parts(type_name, model, path, report),
        derived=derived,
        description=model.description,
        dotted=isinstance(model.source, str) and len(keys) > 1,
        of_message=from_message is not None,
    )


def _compile_parts(
    type_name: str, model: ColumnModel, path: Path, report: Report
) -> tuple[Column, ...]:
    key = {"struct": "fields", "array": "items", "map": "values"}.get(type_name)
    if key is None:
        return ()
    inner = getattr(model, key)
    if inner is None:
        report(path, f"a column of type {type_name} needs `{key}`")
        # A placeholder, so that the rest of the file is still checked.
        return (Column("element", ("element",), "string"),)
    if isinstance(inner, dict):
        return _compile_level(inner, (*path, key), report)
    return (compile_column("element" if key == "items" else "value", inner, (*path, key), report),)


def _check_keys(
    type_name: str, model: ColumnModel, path: Path, report: Report, *, is_derived: bool
) -> None:
    """Report keys that say nothing about a column of this type."""
    scalar = type_name not in (*NESTED, "json")
    ordered = type_name in _ORDERED or parse_decimal(type_name) is not None
    fits = {
        "fields": type_name == "struct",
        "items": type_name == "array",
        "values": type_name == "map",
        "pattern": type_name == "string",
        "min_length": type_name in _WITH_LENGTH,
        "max_length": type_name in _WITH_LENGTH,
        **dict.fromkeys(BOUNDS, ordered),
        "enum": scalar,
        "default": scalar,
    }
    for key, fit in fits.items():
        if key in model.model_fields_set and not fit:
            report((*path, key), f"`{key}` does not apply to a column of type {type_name}")
    if model.from_ is not None and len(path) != 2:
        report((*path, "from"), "only a top-level column can be derived")
    if is_derived:
        rest = model.model_fields_set - {"type", "description", "from_"}
        for key in sorted(rest):
            report(
                (*path, key), f"`{key}` is not allowed on a derived column: set it on the source"
            )
    elif model.required and "default" in model.model_fields_set:
        report(
            (*path, "default"),
            "a required column cannot have a default: the record must have a value",
        )


def _compile_default(
    type_name: str, model: ColumnModel, path: Path, report: Report
) -> Scalar | None:
    if model.default is None or type_name in (*NESTED, "json"):
        return None
    scalar = _scalar(type_name, model.unit, model.default, (*path, "default"), report)
    if scalar is not None:
        rules = _compile_rules(type_name, model, path, lambda _path, _message: None)
        if (broken := broken_rule(type_name, rules, scalar.order)) is not None:
            report((*path, "default"), f"the default breaks the column's own rule: {broken[1]}")
    return scalar


def _scalar(
    type_name: str, unit: str | None, value: Any, path: Path, report: Report
) -> Scalar | None:
    # A bound of a timestamp or date that is a number may be written as text, too.
    form = Form(unit=unit) if unit is not None and not isinstance(value, str) else USUAL
    try:
        return read_scalar(type_name, form, value)
    except Refused as refused:
        quotes = ". Put it in quotes" if type_name == "string" else ""
        report(
            path, f"this is not a valid {type_name}: {refused.message.split('. Silt')[0]}{quotes}"
        )
        return None


def _compile_rules(type_name: str, model: ColumnModel, path: Path, report: Report) -> Rules:
    bounds: dict[str, Any] = {}
    for key in BOUNDS:
        value = getattr(model, key)
        if value is not None and (type_name in _ORDERED or parse_decimal(type_name)):
            scalar = _scalar(type_name, model.unit, value, (*path, key), report)
            bounds[key] = scalar.order if scalar is not None else None
    _check_empty(bounds, model, path, report)
    pattern = None
    if model.pattern is not None and type_name == "string":
        try:
            check_pattern(model.pattern)
            pattern = model.pattern
        except PatternRefused as refused:
            report((*path, "pattern"), str(refused))
    allowed = None
    if model.enum is not None and type_name not in (*NESTED, "json"):
        scalars = [
            _scalar(type_name, model.unit, value, (*path, "enum", i), report)
            for i, value in enumerate(model.enum)
        ]
        allowed = dict.fromkeys(scalar.order for scalar in scalars if scalar is not None)
    return Rules(
        **bounds,
        min_length=model.min_length if type_name in _WITH_LENGTH else None,
        max_length=model.max_length if type_name in _WITH_LENGTH else None,
        pattern=pattern,
        allowed=allowed,
    )


def _check_empty(bounds: Mapping[str, Any], model: ColumnModel, path: Path, report: Report) -> None:
    for low_key, high_key in (
        ("minimum", "maximum"),
        ("exclusive_minimum", "maximum"),
        ("minimum", "exclusive_maximum"),
        ("exclusive_minimum", "exclusive_maximum"),
    ):
        low, high = bounds.get(low_key), bounds.get(high_key)
        strict = (low_key, high_key) != ("minimum", "maximum")
        if low is not None and high is not None and (low > high or (strict and low == high)):
            report((*path, high_key), f"no value can satisfy `{low_key}` and `{high_key}` at once")
    least, most = model.min_length, model.max_length
    if least is not None and most is not None and least > most:
        report((*path, "max_length"), "no value can satisfy `min_length` and `max_length` at once")


def _depth(column: Column, struct: int, repeated: int) -> int:
    """Return how deep a column is nested: what a struct counts, and what an array or a map."""
    own = struct if column.type == "struct" else repeated if column.parts else 0
    return own + max((_depth(part, struct, repeated) for part in column.parts), default=0)
