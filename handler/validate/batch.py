"""How a batch of payloads becomes columns and rejects.

One pass, as whole columns: orjson, one msgspec pass for the kinds of JSON, Arrow for values and
rules. Each pass says exactly which records it refuses, so a reject costs its neighbors nothing. No
value is ever cast: Arrow's builders would turn 2.5 into 2 and true into 1.0, so the kinds are
checked before.
"""

from collections.abc import Container, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from handler.contract.compiled import Column
from handler.contract.contract import Contract
from handler.delta.types import to_arrow
from handler.errors import Problem
from handler.validate.batch_diagnosis import BatchDiagnosis
from handler.validate.checked import (
    Checked,
    FirstProblem,
    Verdict,
    refused_problem,
    unknown_problem,
    value_problem,
)
from handler.validate.columns import finish, has_default, struct_of
from handler.validate.convert import Conversions, always_converts, built_columns
from handler.validate.decode import Parsed, Written, dump_exactly, parse_numbers, parse_payloads
from handler.validate.kinds import all_convert, kind_problem, object_type, refusal
from handler.validate.numbers import Doubles
from handler.validate.places import Finished
from handler.validate.replace_values import ValueRefused, holding
from handler.validate.rescue import rescue_rejects
from handler.validate.size import Sizes
from handler.validate.slices import Slice
from handler.validate.unknown import TOO_MANY_PATHS, TooManyPaths, UnknownFields
from handler.validate.wire import LiteralKeys, reveal, wire_columns

MANY_COLUMNS = 64
"""From so many columns on it pays to build only those that a batch brings."""
LARGE_BYTES = 1 << 20
"""Larger records are not held as objects twice at one time."""


class Checker:
    """A contract, compiled once: `check` runs it over a batch."""

    def __init__(self, contract: Contract) -> None:
        self._unknown_fields = contract.unknown_fields
        self._rescues = contract.on_invalid == "rescue"
        columns = [c for c in contract.columns if c.derived is None and not c.of_message]
        self._names = [column.name for column in columns]
        self._columns = wire_columns(columns)
        self._literal_keys = LiteralKeys(columns)
        self._sizes = Sizes(self._columns, contract.max_values)
        self._conversions = Conversions(self._columns)
        self._built = built_columns(self._columns)
        self._doubles = Doubles(self._columns)
        self._unknown = UnknownFields(self._columns)
        self._kinds = object_type(self._columns, strict=False)
        # Where every value is in its usual form, there is nothing to convert.
        self._usual_kinds = None
        if self._conversions and not holding(self._columns, always_converts):
            self._usual_kinds = object_type(self._columns, strict=False, only_usual=True)
        self._diagnosis = BatchDiagnosis(
            self._columns, contract.unknown_fields, changes_objects=bool(self._conversions)
        )
        self._known_only = None
        if contract.unknown_fields != "ignore":
            self._known_only = object_type(self._columns, strict=True)

    def check(self, payloads: Sequence[bytes]) -> Checked:
        """Check a batch of values.

        Whatever the bytes are, each comes out as a row or as a reject.
        """
        return self.check_parsed(parse_payloads(payloads), payloads)

    def check_parsed(self, parsed: Parsed, payloads: Sequence[bytes]) -> Checked:
        """Check values that are parsed, by their indices in `payloads`. The objects change.

        Each of them, and of the problems of parsing, comes out as a row or as a reject.
        """
        verdict = Verdict()
        verdict.final.update(parsed.problems)
        batch = Slice(parsed.positions, parsed.objects, [payloads[i] for i in parsed.positions])
        if self._literal_keys:
            for position, value in zip(batch.positions, batch.objects, strict=True):
                if (problem := self._literal_keys.problem(value)) is not None:
                    verdict.final[position] = problem
            batch = batch.without(verdict.final)
        positions: list[int] = []
        finished: list[list[pa.Array]] = []
        for part in self._sizes.slices(batch, verdict):
            kept, arrays = self._check_slice(part, verdict)
            positions += kept
            finished.append(arrays)
        rescued: dict[int, dict[str, Any]] = {}
        if self._rescues and verdict.first:
            rescued = self._rescue(verdict, payloads, positions, finished)
        objects = dict(zip(parsed.positions, parsed.objects, strict=True)) if verdict.first else {}
        rejects: dict[int, Sequence[Problem]] = {i: [p] for i, p in verdict.final.items()}
        rejects |= self._diagnosis.explain(verdict.first, payloads, objects)
        columns = self._named(finished)
        if rescued:
            order = sorted(range(len(positions)), key=positions.__getitem__)
            positions.sort()
            rows = pa.array(order, pa.int64())
            columns = {name: array.take(rows) for name, array in columns.items()}
        return Checked(columns, positions, rejects, verdict.unknown, rescued=rescued)

    def _rescue(
        self,
        verdict: Verdict,
        payloads: Sequence[bytes],
        positions: list[int],
        finished: list[list[pa.Array]],
    ) -> dict[int, dict[str, Any]]:
        """Check rejects once more, without the values that are not of their columns' types.

        Adds those that are rows now to `positions` and `finished`. Returns their values.
        """
        again = Verdict()
        records, rescued = rescue_rejects(verdict.first, payloads, self._columns, again.final)
        kept_values = {}
        for part in self._sizes.slices(records, again):
            kept, arrays = self._check_slice(part, again, rescued=True)
            positions += kept
            finished.append(arrays)
            for position in kept:
                del verdict.first[position]
                kept_values[position] = rescued[position]
        verdict.unknown.update(again.unknown)
        for position, problem in again.final.items():
            verdict.first.pop(position)
            verdict.final[position] = problem
        return kept_values

    def _named(self, slices: Sequence[Sequence[pa.Array]]) -> dict[str, pa.Array]:
        """Return the columns of the contract, in its order."""
        if len(slices) == 1:
            columns = dict(reveal(self._columns, slices[0]))
        else:
            parts = [dict(reveal(self._columns, arrays)) for arrays in slices]
            columns = {name: pa.chunked_array([part[name] for part in parts]) for name in parts[0]}
        return {name: columns[name] for name in self._names}

    def _check_slice(
        self, part: Slice, verdict: Verdict, *, rescued: bool = False
    ) -> tuple[list[int], list[pa.Array]]:
        """Check records together. Returns which are rows, and their finished columns.

        The objects of `rescued` records are not what their payloads say.
        """
        usual = self._usual_kinds is not None and all_convert(part.objects, self._usual_kinds)
        refused = {} if usual else self._check_kinds(part)
        refused |= self._find_unknown(part, refused, verdict, rescued=rescued)
        verdict.first.update(refused)
        rest = part.without({**refused, **verdict.final}) if refused or verdict.final else part
        late: dict[int, FirstProblem] = {}
        if self._conversions and not usual:
            late = self._convert(rest)
            rest = rest.without(late) if late else rest
        columns = self._columns_of(rest)
        wire, refused = self._build(rest, columns)
        if refused:
            rest = rest.without(refused)
        built = {c.source: finish(wire.field(i), c) for i, c in enumerate(columns)}
        nulls = _Nulls(len(wire))
        finished = [built.get(c.source) or Finished(nulls.of(c)) for c in self._built]
        wrong = self._refused_values(rest, finished)
        arrays = [column.array for column in finished]
        if wrong:
            kept = pa.array([position not in wrong for position in rest.positions])
            arrays = [array.filter(kept) for array in arrays]
        for position, problem in {**late, **refused, **wrong}.items():
            verdict.first[position] = problem
            verdict.unknown.pop(position, None)
        return [p for p in rest.positions if p not in wrong] if wrong else rest.positions, arrays

    def _columns_of(self, part: Slice) -> tuple[Column, ...]:
        """Return the columns that some record brings, where there are many: the others are null."""
        if len(self._built) <= MANY_COLUMNS:
            return self._built
        brought = frozenset().union(*(record for record in part.objects))
        return tuple(c for c in self._built if c.source in brought or has_default(c))

    def _check_kinds(self, part: Slice) -> dict[int, FirstProblem]:
        """Check the kinds of JSON. Returns the first problem of each record that is refused."""
        if all_convert(part.objects, self._kinds):
            return {}
        return {
            position: partial(kind_problem, value, message)
            for position, value in zip(part.positions, part.objects, strict=True)
            if (message := refusal(value, self._kinds)) is not None
        }

    def _convert(self, part: Slice) -> dict[int, FirstProblem]:
        """Convert values to what the columns are built from; some records are refused."""
        refused: dict[int, FirstProblem] = {}
        for position, value, payload in zip(*part.parts, strict=True):
            try:
                self._conversions.apply(value, payload)
            except ValueRefused as reason:
                refused[position] = partial(refused_problem, reason)
        return refused

    def _find_unknown(
        self, part: Slice, refused: Container[int], verdict: Verdict, *, rescued: bool
    ) -> dict[int, FirstProblem]:
        """Find the fields that the contract lacks, where it says something of them."""
        if self._known_only is None:
            return {}
        if not refused and all_convert(part.objects, self._known_only):
            return {}
        results: dict[int, FirstProblem] = {}
        for i, (position, payload) in enumerate(zip(part.positions, part.payloads, strict=True)):
            if position in refused or refusal(part.objects[i], self._known_only) is None:
                continue
            if self._unknown_fields == "reject":
                results[position] = unknown_problem
                continue
            try:
                large = len(payload) > LARGE_BYTES and not rescued
                if large and self._unknown_fields == "rescue":
                    verdict.unknown[position] = self._collect_large(part, i)
                else:
                    numbers = parse_numbers(payload)
                    verdict.unknown[position] = self._unknown.collect(numbers, payload)
            except TooManyPaths:
                verdict.final[position] = TOO_MANY_PATHS
        return results

    def _collect_large(self, part: Slice, i: int) -> dict[str, Written]:
        """Return a record's unknown fields as texts; its objects are never there twice."""
        payload = part.payloads[i]
        part.objects[i] = None
        unknown = self._unknown.collect(parse_numbers(payload), payload)
        texts = {path: Written(dump_exactly(unknown.pop(path))) for path in list(unknown)}
        (part.objects[i],) = parse_payloads([payload]).objects
        return texts

    def _build(
        self, part: Slice, columns: Sequence[Column]
    ) -> tuple[pa.StructArray, dict[int, FirstProblem]]:
        """Build the wire columns; records with an integer that no double holds are refused."""
        if self._doubles:
            self._doubles.restore_signs(part.objects, part.payloads)
        wire = struct_of(columns)
        try:
            return pa.array(part.objects, wire), {}
        except (pa.ArrowException, OverflowError):
            # Arrow takes integers up to 2^53 for a double, the contract each that is exact.
            refused: dict[int, FirstProblem] = {}
            for position, value in zip(part.positions, part.objects, strict=True):
                try:
                    self._doubles.convert_integers(value)
                except ValueRefused as reason:
                    refused[position] = partial(refused_problem, reason)
        return pa.array(part.without(refused).objects, wire), refused

    def _refused_values(self, part: Slice, finished: Sequence[Finished]) -> dict[int, FirstProblem]:
        """Return the records with a value that its column refused."""
        wrong: dict[int, FirstProblem] = {}
        for column, result in zip(self._built, finished, strict=True):
            for row in result.wrong.rows:
                value = part.objects[row][column.source]
                first = partial(value_problem, value, column, result.wrong, row)
                wrong.setdefault(part.positions[row], first)
        for row in sorted({row for result in finished for row in result.unsure}):
            try:
                self._doubles.check_text(part.objects[row], part.payloads[row])
            except ValueRefused as reason:
                wrong.setdefault(part.positions[row], partial(refused_problem, reason))
        return wrong


class _Nulls:
    """Columns that no record brings; those of one type share their memory."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._made: dict[pa.DataType, pa.Array] = {}

    def of(self, column: Column) -> pa.Array:
        """Return a column of nulls."""
        type_ = to_arrow(column.data_type)
        if type_ not in self._made:
            self._made[type_] = pa.nulls(self._rows, type_)
        return self._made[type_]
