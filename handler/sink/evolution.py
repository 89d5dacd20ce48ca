"""How a table's schema follows its contract: what is added or widened, and what is refused."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from handler.contract.compiled import SILT_TYPE
from handler.delta.log import Snapshot
from handler.delta.types import Array, DataType, Field, Map, Primitive, Struct, describe

ORIGIN = "silt.origin"
"""The key of a field's metadata that says who brought it: the contract, or the data."""

NEVER_NULL = ("_kafka_partition", "_kafka_offset", "_kafka_timestamp")
"""Columns that a table may declare to be without nulls: Silt always fills them."""

_WIDER: Mapping[str, tuple[str, ...]] = {
    # Measured with deltalake, DuckDB and delta-spark: decision 0006.
    "byte": ("short", "integer", "long"),
    "short": ("integer", "long"),
    "integer": ("long",),
    "float": ("double",),
}


def widens(have: Primitive, want: Primitive) -> bool:
    """Return whether files of the one type are read as the other without a loss."""
    if want.name in _WIDER.get(have.name, ()):
        return True
    if have.decimal is None or want.decimal is None:
        return False
    return have.decimal[1] == want.decimal[1] and have.decimal[0] < want.decimal[0]


def compare(
    fields: Sequence[Field],
    expected: Sequence[Field],
    *,
    evolution: str,
    retired: Sequence[str] = (),
) -> tuple[tuple[Field, ...], list[str]]:
    """Return the schema that a table gets by the contract's columns, and every difference that
    `evolution` does not bridge.
    """
    comparison = _Comparison(evolution, frozenset(retired))
    evolved = comparison.fields(fields, expected, "", owned=False)
    for f in fields:
        if f.name in {w.name for w in expected}:
            continue
        if f.metadata.get(ORIGIN) == "contract":
            comparison.note_missing(f.name)
        if not f.nullable:
            comparison.differences.append(
                f"{f.name}: the table requires this column, but it is not in the contract"
            )
    return evolved, comparison.differences


def compare_partitions(has: Sequence[str], wants: Sequence[str]) -> list[str]:
    """Return what is wrong with a table that is partitioned differently from the contract."""
    if tuple(has) == tuple(wants):
        return []
    difference = (
        f"the table is partitioned by {list(has)}, the contract by {list(wants)}. A table's "
        "partitions cannot change: make a new table, or set partition_by to the table's"
    )
    return [difference]


def mark_origin(fields: Sequence[Field], origin: str) -> tuple[Field, ...]:
    """Return fields that say who brought them."""
    return tuple(replace(f, metadata={**f.metadata, ORIGIN: origin}) for f in fields)


def is_own(snapshot: Snapshot) -> bool:
    """Return whether every column of a table was brought by Silt."""
    fields = snapshot.metadata.fields if snapshot.metadata is not None else ()
    return all(ORIGIN in f.metadata for f in fields)


def is_widened(before: Sequence[Field], after: Sequence[Field]) -> bool:
    """Return whether a column, or a part of one, has a wider type than before."""
    types = {f.name: f.type for f in after}
    return any(_is_widened(f.type, types[f.name]) for f in before if f.name in types)


def _is_widened(before: DataType, after: DataType) -> bool:
    match before, after:
        case Struct(), Struct():
            return is_widened(before.fields, after.fields)
        case Array(), Array():
            return _is_widened(before.element, after.element)
        case Map(), Map():
            return _is_widened(before.value, after.value)
    return before != after


class _Comparison:
    """One comparison of a table with its contract, and the differences that it found."""

    def __init__(self, evolution: str, retired: frozenset[str]) -> None:
        self._evolution = evolution
        self._retired = retired
        self.differences: list[str] = []

    def note_missing(self, path: str) -> None:
        """Note a column that came from the contract and that the contract lacks now."""
        if path not in self._retired:
            self.differences.append(
                f"{path}: this column came from the contract and is no longer in it. Dropping "
                f"or renaming it would silently lose its values. To stop filling it, "
                f"write `retired: [{path}]`; to rename it, also add the new column; to remove "
                f"it, create a new table"
            )

    def fields(
        self,
        fields: Sequence[Field],
        expected: Sequence[Field],
        prefix: str,
        *,
        owned: bool,
        in_map: bool = False,
    ) -> tuple[Field, ...]:
        """Return fields with what the contract adds.

        `owned`: all of them came from the contract. `in_map`: a map lies above them.
        """
        result = {f.name: f for f in fields}
        by_folded = {f.name.lower(): f.name for f in fields}
        for want in expected:
            path = prefix + want.name
            have = result.get(want.name)
            if have is not None:
                ours = owned or have.metadata.get(ORIGIN) == "contract"
                if not have.nullable and path not in NEVER_NULL:
                    self.differences.append(
                        f"{path}: the table allows no nulls here, and Silt leaves that to the "
                        f"contract. Run: ALTER TABLE ... ALTER COLUMN {path} DROP NOT NULL"
                    )
                self.json_text(have, want, path, owned=ours)
                evolved = self.type(have.type, want.type, path, owned=ours, in_map=in_map)
                if evolved != have.type:
                    result[want.name] = replace(have, type=evolved)
            elif (twin := by_folded.get(want.name.lower())) is not None:
                self.differences.append(f"{path}: the table has {twin!r}: only the case differs")
            elif self._evolution == "none":
                self.differences.append(
                    f"{path}: the table does not have this column ({describe(want.type)}), and "
                    f"evolution "
                    "is none"
                )
            elif in_map:
                self.differences.append(
                    f"{path}: a field cannot be added below a map: deltalake then cannot read the "
                    "older files beside the newer ones ('Cannot cast column'). Add a column of the "
                    "table for it, or make a new table"
                )
            else:
                result[want.name] = want
        if owned:
            for name in {f.name for f in fields} - {w.name for w in expected}:
                self.note_missing(prefix + name)
        return tuple(result.values())

    def json_text(self, have: Field, want: Field, path: str, *, owned: bool) -> None:
        """Note a string that was plain text and becomes the text of JSON, or the other way.

        What others wrote into a column of theirs is not known.
        """
        before, after = have.metadata.get(SILT_TYPE), want.metadata.get(SILT_TYPE)
        if before != after and (owned or before is not None):
            self.differences.append(
                f"{path}: the table has {before or describe(have.type)}, the contract "
                f"{after or describe(want.type)}: one has the text of JSON, the other has strings. "
                "Silt never casts: add a column under another name (`source` names the field of "
                "the JSON) and retire this one"
            )

    def type(
        self, have: DataType, want: DataType, path: str, *, owned: bool, in_map: bool
    ) -> DataType:
        """Return the type that holds what the table and the contract have."""
        match have, want:
            case Struct(), Struct():
                parts = self.fields(
                    have.fields, want.fields, f"{path}.", owned=owned, in_map=in_map
                )
                return Struct(parts)
            case (Array(contains_null=False), Array()) | (Map(contains_null=False), Map()):
                self.differences.append(
                    f"{path}: the table allows no nulls inside; Silt leaves that to the contract"
                )
                return have
            case Array(), Array():
                element = self.type(
                    have.element, want.element, f"{path}.items", owned=owned, in_map=in_map
                )
                return replace(have, element=element)
            case Map(), Map() if have.key == want.key:
                value = self.type(
                    have.value, want.value, f"{path}.values", owned=owned, in_map=True
                )
                return replace(have, value=value)
            case Primitive(), Primitive() if have == want:
                return have
            case Primitive(), Primitive() if widens(have, want):
                if self._evolution == "widen":
                    return want
                self.differences.append(
                    f"{path}: the table has {have.name}, the contract {want.name}. "
                    "`evolution: widen` allows this widening"
                )
                return have
        self.differences.append(
            f"{path}: the table has {describe(have)}, the contract {describe(want)}. Silt never "
            "casts: add a column under another name (`source` names the field of the JSON) and "
            "retire this one"
        )
        return have
