"""From the bytes of a few records to wire columns: kinds of JSON, unknown fields, conversions.

Each pass says exactly which records it refuses, so a reject costs its neighbors nothing. No value
is ever cast: Arrow's builders would turn 2.5 into 2 and true into 1.0, so the kinds are checked
before.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import orjson
import pyarrow as pa

from handler.contract.compiled import Column
from handler.validate.checked import FirstProblem, Verdict, refused_problem, unknown_problem
from handler.validate.columns import has_default, struct_of
from handler.validate.convert import Conversions, always_converts, built_columns
from handler.validate.decode import (
    NAMED_KEYS_MAX,
    Written,
    dump_exactly,
    parse_numbers,
    parse_payloads,
)
from handler.validate.diagnose import not_an_object, problem
from handler.validate.kinds import all_convert, kind_problem, object_type, refusals
from handler.validate.numbers import Doubles
from handler.validate.replace_values import ValueRefused, holding
from handler.validate.size import Sizes
from handler.validate.slices import Slice
from handler.validate.unknown import TOO_MANY_PATHS, TooManyPaths, UnknownFields
from handler.validate.wire import LiteralKeys

MANY_COLUMNS = 64
"""From so many columns on it pays to build only those that some record brings."""
LARGE_BYTES = 1 << 20
"""Larger records are not held as objects twice at one time."""


class WireColumns(msgspec.Struct, frozen=True):
    """The wire columns of some records, by their fields of the JSON; one that is missing is null.

    `objects` are those of rescued records, which are not what their payloads say.
    """

    positions: list[int]
    payloads: list[bytes]
    columns: Mapping[str, pa.Array]
    objects: list[Any] | None = None

    @property
    def nbytes(self) -> int:
        """Return the memory of the columns."""
        return sum(column.get_total_buffer_size() for column in self.columns.values())


class WireReader:
    """Reads the fields of a contract that the JSON brings, a slice of a batch at a time."""

    def __init__(
        self,
        columns: Sequence[Column],
        unknown_fields: str,
        sizes: Sizes,
        literal_keys: LiteralKeys,
    ) -> None:
        self._sizes = sizes
        self._literal_keys = literal_keys
        self._unknown_fields = unknown_fields
        self._conversions = Conversions(columns)
        self.built = built_columns(columns)
        """The columns as they are built: converted values are in the usual form."""
        self._struct = struct_of(self.built)
        self._doubles = Doubles(columns)
        self._unknown = UnknownFields(columns)
        self._kinds = object_type(columns, strict=False)
        # Where every value is in its usual form, there is nothing to convert.
        self._usual_kinds = None
        if self._conversions and not holding(columns, always_converts):
            self._usual_kinds = object_type(columns, strict=False, only_usual=True)
        self._known_only = None
        if unknown_fields != "ignore":
            self._known_only = object_type(columns, strict=True)

    def parse(self, payloads: Sequence[bytes], some: range, verdict: Verdict) -> Slice:
        """Parse a slice of a batch; what is not JSON is refused."""
        mine = list(payloads[some.start : some.stop])
        parsed = parse_payloads(mine, NAMED_KEYS_MAX - verdict.unparsed)
        verdict.unparsed += len(parsed.problems)
        if not parsed.problems:
            return Slice(list(some), parsed.objects, mine)
        start = some.start
        verdict.final.update({start + i: found for i, found in parsed.problems.items()})
        positions = [start + i for i in parsed.positions]
        return Slice(positions, parsed.objects, [payloads[i] for i in positions])

    def read(self, part: Slice, verdict: Verdict, *, rescued: bool = False) -> WireColumns:
        """Return the wire columns of the records that are not refused. Their objects change."""
        part = self._refuse_shapes(part, verdict)
        usual = self._usual_kinds is not None and all_convert(part.objects, self._usual_kinds)
        refused = {} if usual else self._check_kinds(part)
        refused |= self._find_unknown(part, refused, verdict, rescued=rescued)
        verdict.refuse(refused)
        out = set(refused)
        if verdict.final:
            out |= verdict.final.keys() & part.positions
        rest = part.without(out) if out else part
        if self._conversions and not usual:
            refused = self._convert(rest)
            verdict.refuse(refused)
            rest = rest.without(refused) if refused else rest
        columns = self._columns_of(rest)
        wire, rest = self._build(rest, columns, verdict)
        arrays = {column.source: wire.field(i) for i, column in enumerate(columns)}
        return WireColumns(rest.positions, rest.payloads, arrays, rest.objects if rescued else None)

    def read_again(self, payload: bytes) -> Any:
        """Return the object of a record whose wire columns were made, as they were made of it."""
        record = orjson.loads(payload)
        if self._conversions:
            self._conversions.apply(record, payload)
        return record

    def check_numbers(self, record: Any, payload: bytes) -> None:
        """Look for integers beyond 64 bits, which are doubles already. Raises ValueRefused."""
        self._doubles.check_text(record, payload)

    def _refuse_shapes(self, part: Slice, verdict: Verdict) -> Slice:
        """Refuse records that become too many values, or have a key that is a path here."""
        if self._literal_keys:
            for position, value in zip(part.positions, part.objects, strict=True):
                if (found := self._literal_keys.problem(value)) is not None:
                    verdict.final[position] = found
            part = part.without(verdict.final)
        return self._sizes.refuse_large(part, verdict)

    def _columns_of(self, part: Slice) -> tuple[Column, ...]:
        """Return the columns that some record brings, where there are many: the others are null."""
        if len(self.built) <= MANY_COLUMNS:
            return self.built
        brought = frozenset().union(*(record for record in part.objects))
        return tuple(c for c in self.built if c.source in brought or has_default(c))

    def _check_kinds(self, part: Slice) -> dict[int, FirstProblem]:
        """Check the kinds of JSON. Returns the first problem of each record that is refused."""
        refused: dict[int, FirstProblem] = {}
        for i, message in refusals(part.objects, self._kinds).items():
            value = part.objects[i]
            first = partial(kind_problem, message)
            if not isinstance(value, dict):
                first = partial(problem, *not_an_object(value))
            refused[part.positions[i]] = first
        return refused

    def _convert(self, part: Slice) -> dict[int, FirstProblem]:
        """Convert values to what the columns are built from; some records are refused."""
        refused: dict[int, FirstProblem] = {}
        unusual: Iterable[int] = range(len(part.objects))
        if self._usual_kinds is not None:
            unusual = refusals(part.objects, self._usual_kinds)
        for i in unusual:
            try:
                self._conversions.apply(part.objects[i], part.payloads[i])
            except ValueRefused as reason:
                refused[part.positions[i]] = partial(refused_problem, reason)
        return refused

    def _find_unknown(
        self, part: Slice, refused: Container[int], verdict: Verdict, *, rescued: bool
    ) -> dict[int, FirstProblem]:
        """Find the fields that the contract lacks, where it says something of them."""
        if self._known_only is None:
            return {}
        results: dict[int, FirstProblem] = {}
        for i in refusals(part.objects, self._known_only):
            position, payload = part.positions[i], part.payloads[i]
            if position in refused:
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
        self, part: Slice, columns: Sequence[Column], verdict: Verdict
    ) -> tuple[pa.StructArray, Slice]:
        """Build the wire columns; records with an integer that no double holds are refused."""
        type_ = self._struct if columns is self.built else struct_of(columns)
        try:
            wire = pa.array(part.objects, type_)
            if self._doubles.restore_signs(wire, part.objects, part.payloads):
                wire = pa.array(part.objects, type_)
            return wire, part
        except (pa.ArrowException, OverflowError):
            # Arrow takes integers up to 2^53 for a double, the contract each that is exact.
            refused: dict[int, FirstProblem] = {}
            for position, value in zip(part.positions, part.objects, strict=True):
                try:
                    self._doubles.convert_integers(value)
                except ValueRefused as reason:
                    refused[position] = partial(refused_problem, reason)
        verdict.refuse(refused)
        rest = part.without(refused)
        self._doubles.restore_signs(None, rest.objects, rest.payloads)
        return pa.array(rest.objects, type_), rest
