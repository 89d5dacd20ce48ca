"""How a batch of payloads becomes columns and rejects.

The whole batch is checked at once: orjson, one msgspec pass for types and plain rules, Arrow for
the rest. Only what does not pass is examined record by record (`culprits`), which is the reference
of what is accepted. No value is ever cast: Arrow's builders would turn 2.5 into 2 and true into
1.0, so the types are checked before.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from types import GenericAlias
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa

from handler.columns import Form, Suspect, finish, struct_of
from handler.contract import Contract
from handler.contract_rules import Column, Rules
from handler.culprits import Findings, examine
from handler.decode import dump_exactly, parse_exactly, parse_payloads
from handler.delta_types import INTEGER_BITS
from handler.errors import Problem

_LONG_NUMBER = re.compile(rb"[0-9][0-9.]{15}|[0-9][eE]-?[0-9]{3}")
"""What could be a number that a double does not hold as written: 16 digits or more, or an exponent
that may underflow. Strings of digits match too, which costs only time.
"""

_names = count()


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a batch. `positions[i]` is the index in the batch of row i of `columns`,
    rising.

    `columns` are the finished columns of the contract that the JSON brings, by name. `rejects` and
    `unknown` (fields that the contract lacks, by path) are by index in the batch.
    """

    columns: Mapping[str, pa.Array]
    positions: Sequence[int]
    rejects: Mapping[int, Sequence[Problem]]
    unknown: Mapping[int, Mapping[str, Any]]


class Checker:
    """A contract, compiled once: `check` runs it over a batch."""

    def __init__(self, contract: Contract) -> None:
        self._unknown_fields = contract.unknown_fields
        self._columns = tuple(column for column in contract.columns if column.derived is None)
        strict = contract.unknown_fields != "ignore"
        # Decimals may come as strings or as numbers; a producer sticks to one of them, so both are
        # compiled and the one that fitted the last batch is tried first.
        self._modes = [
            (form, GenericAlias(list, _struct(self._columns, strict, form)))
            for form in (Form.STRINGS, Form.NUMBERS)
        ]
        if not any(_has_decimal(column) for column in self._columns):
            del self._modes[1]
        self._types = {form: struct_of(self._columns, form) for form in Form}

    def check(self, payloads: Sequence[bytes]) -> Checked:
        """Check a batch of values.

        Whatever the bytes are, each comes out as a row or as a reject.
        """
        parsed = parse_payloads(payloads)
        rejects: dict[int, Sequence[Problem]] = {i: [p] for i, p in parsed.problems.items()}
        objects, positions, slow = parsed.objects, parsed.positions, []
        for _round in range(2):  # the second time without those that the first found suspect
            passed = self._pass_at_once(objects, positions, payloads)
            if not isinstance(passed, set):
                break
            slow += [positions[i] for i in sorted(passed)]
            objects = [value for i, value in enumerate(objects) if i not in passed]
            positions = [position for i, position in enumerate(positions) if i not in passed]
        else:
            slow += positions
            passed, positions = [], []
        unknown: dict[int, Mapping[str, Any]] = {}
        wires, found = [], []
        for i in sorted(slow):
            wire, findings = self._examine(payloads[i])
            if findings.problems:
                rejects[i] = findings.problems
                continue
            wires.append(wire)
            found.append(i)
            if findings.unknown:
                unknown[i] = findings.unknown
        arrays = passed
        if wires or not passed:
            arrays, positions = self._join(passed, positions, wires, found)
        return Checked(self._named(arrays), positions, rejects, unknown)

    def _named(self, arrays: Sequence[pa.Array]) -> dict[str, pa.Array]:
        return {column.name: array for column, array in zip(self._columns, arrays, strict=True)}

    def _examine(self, payload: bytes) -> tuple[dict[str, Any], Findings]:
        return examine(parse_exactly(payload), self._columns, self._unknown_fields)

    def _pass_at_once(
        self, objects: Sequence[Any], positions: Sequence[int], payloads: Sequence[bytes]
    ) -> list[pa.Array] | set[int]:
        """Return the finished columns if every object obeys the contract, else the indices of
        suspects.
        """
        for mode in self._modes:
            form, type_ = mode
            try:
                msgspec.convert(objects, type_)
            except msgspec.ValidationError:
                continue
            if self._modes[0] is not mode:
                self._modes.reverse()
            if form is Form.NUMBERS and (long := self._with_long_numbers(positions, payloads)):
                return long
            return self._build_or_suspect(objects, form)
        return self._suspects(objects, positions, payloads)

    def _build(self, objects: Sequence[Any], form: Form) -> list[pa.Array]:
        wire = pa.array(objects, self._types[form])
        return [finish(wire.field(i), column, form) for i, column in enumerate(self._columns)]

    def _build_or_suspect(self, objects: Sequence[Any], form: Form) -> list[pa.Array] | set[int]:
        try:
            wire = pa.array(objects, self._types[form])
        except (pa.ArrowException, OverflowError):  # an integer that a double cannot hold
            return set(range(len(objects)))
        arrays, suspects = [], set[int]()
        for i, column in enumerate(self._columns):
            try:
                arrays.append(finish(wire.field(i), column, form))
            except Suspect as suspect:
                suspects.update(suspect.rows)
        return suspects or arrays

    def _with_long_numbers(self, positions: Sequence[int], payloads: Sequence[bytes]) -> set[int]:
        """Return the indices of records with a number that a double may not hold as written."""
        if len(positions) == len(payloads) and not _LONG_NUMBER.search(b" ".join(payloads)):
            return set()
        return {i for i, p in enumerate(positions) if _LONG_NUMBER.search(payloads[p])}

    def _suspects(
        self, objects: Sequence[Any], positions: Sequence[int], payloads: Sequence[bytes]
    ) -> set[int]:
        """Return the indices of objects whose types or plain rules do not hold in the likelier
        mode.
        """
        best: set[int] | None = None
        for _form, type_ in self._modes:
            one = type_.__args__[0]
            suspects = set()
            for i, value in enumerate(objects):
                try:
                    msgspec.convert(value, one)
                except msgspec.ValidationError:
                    suspects.add(i)
            if best is None or len(suspects) < len(best):
                best = suspects
        return best or set()

    def _join(
        self,
        arrays: Sequence[pa.Array],
        positions: Sequence[int],
        wires: Sequence[Any],
        found: Sequence[int],
    ) -> tuple[list[pa.Array], list[int]]:
        """Put the rows that were examined between those that passed, in the batch's order."""
        examined = self._build(wires, Form.EXACT)
        if not arrays:
            return examined, list(found)
        together = [*positions, *found]
        order = sorted(range(len(together)), key=together.__getitem__)
        indices = pa.array(order, pa.int64())
        joined = [
            pa.concat_arrays([a, b]).take(indices) for a, b in zip(arrays, examined, strict=True)
        ]
        return joined, [together[i] for i in order]


def rescued_text(unknown: Mapping[str, Any]) -> str:
    """Return unknown fields as the JSON text of `_rescued`: paths to values, as written."""
    return dump_exactly(unknown)


def _has_decimal(column: Column) -> bool:
    if column.parts:
        return any(_has_decimal(part) for part in column.parts)
    return column.type.startswith("decimal")


def _struct(columns: Sequence[Column], strict: bool, form: Form) -> Any:
    """Make the msgspec type of an object; its instances are dropped, so need no collector."""
    fields: list[Any] = []
    rename = {}
    for i, column in enumerate(sorted(columns, key=lambda c: not c.required)):
        type_ = _type(column, strict, form)
        rename[f"f{i}"] = column.source
        fields.append((f"f{i}", type_) if column.required else (f"f{i}", type_, None))
    return msgspec.defstruct(
        f"Object{next(_names)}", fields, rename=rename, forbid_unknown_fields=strict, gc=False
    )


def _type(column: Column, strict: bool, form: Form) -> Any:
    match column.type:
        case "struct":
            plain = _struct(column.parts, strict, form)
        case "array":
            inner = _type(column.parts[0], strict, form)
            plain = _with_length(GenericAlias(list, inner), column.rules)
        case "map":
            inner = _type(column.parts[0], strict, form)
            plain = _with_length(GenericAlias(dict, (str, inner)), column.rules)
        case _:
            plain = _scalar_type(column, form)
    return plain if column.required else plain | None


def _scalar_type(column: Column, form: Form) -> Any:
    rules = column.rules
    if column.type == "string":
        if rules.allowed is not None:
            plain = replace(rules, allowed=None) == Rules()
            # msgspec takes no other rule beside a Literal; the reference then decides.
            return Literal[tuple(sorted(rules.allowed))] if plain else _never()
        pattern = rules.pattern.pattern if rules.pattern is not None else None
        meta = msgspec.Meta(
            min_length=rules.min_length, max_length=rules.max_length, pattern=pattern
        )
        return Annotated[str, meta]
    if column.type in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[column.type] - 1)
        return Annotated[int, msgspec.Meta(ge=-limit, le=limit - 1)]
    if column.type == "boolean":
        return bool
    if column.type in ("double", "float"):
        return float  # takes integers too, and no booleans
    if column.unit is not None:
        return Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    if column.type.startswith("decimal") and form is Form.NUMBERS:
        return float
    return str


def _never() -> Any:
    return Annotated[str, msgspec.Meta(max_length=0, min_length=1)]


def _with_length(type_: Any, rules: Rules) -> Any:
    if rules.min_length is None and rules.max_length is None:
        return type_
    return Annotated[type_, msgspec.Meta(min_length=rules.min_length, max_length=rules.max_length)]
