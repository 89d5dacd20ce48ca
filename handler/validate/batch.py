"""How a batch of payloads becomes columns and rejects.

Slice by slice the payloads become wire columns; these are finished as whole columns: values and
rules, by Arrow. Whatever the bytes are, each record comes out as a row or as a reject.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import pyarrow as pa

from handler.contract.compiled import Column
from handler.contract.contract import Contract
from handler.delta import compute
from handler.errors import Problem
from handler.validate.batch_diagnosis import BatchDiagnosis
from handler.validate.checked import Checked, FirstProblem, Verdict, refused_problem
from handler.validate.columns import finish, wire_type
from handler.validate.diagnose import problem_at
from handler.validate.places import Finished, Places
from handler.validate.replace_values import ValueRefused
from handler.validate.rescue import rescue_rejects
from handler.validate.size import VALUE_BYTES, Sizes
from handler.validate.slices import join_lists, ranges_of
from handler.validate.wire import LiteralKeys, reveal, wire_columns
from handler.validate.wire_reader import WireColumns, WireReader

FINISHED_BYTES = 32 << 20
"""Wire columns of so much memory are finished at once: what that needs besides is bounded by it."""

Group = tuple[list[int], list[pa.Array]]
"""The rows of some records: their positions in the batch, and their finished columns."""


class Checker:
    """A contract, compiled once: `check` runs it over a batch."""

    def __init__(self, contract: Contract) -> None:
        columns = [c for c in contract.columns if c.derived is None and not c.of_message]
        self._rescues = contract.on_invalid == "rescue"
        self._names = [column.name for column in columns]
        self._columns = wire_columns(columns)
        self._sizes = sizes = Sizes(self._columns, contract.max_values)
        literal_keys = LiteralKeys(columns)
        self._reader = WireReader(self._columns, contract.unknown_fields, sizes, literal_keys)
        self._diagnosis = BatchDiagnosis(self._columns, contract.unknown_fields)

    def check(self, payloads: Sequence[bytes]) -> Checked:
        """Check a batch of values.

        Whatever the bytes are, each comes out as a row or as a reject.
        """
        verdict = Verdict()
        some = ranges_of(payloads, self._sizes.records_max)
        slices = (self._reader.parse(payloads, each, verdict) for each in some)
        wire = (self._reader.read(part, verdict) for part in slices)
        groups = [self._finish(group, verdict) for group in self._groups(wire)]
        rescued = {}
        if self._rescues and verdict.first:
            rescued = self._rescue(verdict, payloads, groups)
        rejects: dict[int, Sequence[Problem]] = {i: [p] for i, p in verdict.final.items()}
        rejects |= self._diagnosis.explain(verdict, payloads)
        positions = join_lists([group for group, _ in groups])
        columns = self._named([arrays for _, arrays in groups])
        if rescued:
            order = sorted(range(len(positions)), key=positions.__getitem__)
            positions = sorted(positions)
            rows = pa.array(order, pa.int64())
            columns = {name: compute.take(array, rows) for name, array in columns.items()}
        return Checked(columns, positions, rejects, verdict.unknown, rescued=rescued)

    def _rescue(
        self, verdict: Verdict, payloads: Sequence[bytes], groups: list[Group]
    ) -> dict[int, dict[str, object]]:
        """Check rejects once more, without the values that are not of their columns' types.

        Adds those that are rows now to `groups`. Returns their values.
        """
        again = Verdict()
        records, rescued = rescue_rejects(verdict.first, payloads, self._columns, again.final)
        parts = records.divide(self._sizes.records_max)
        wire = (self._reader.read(part, again, rescued=True) for part in parts)
        kept_values = {}
        for group in self._groups(wire):
            positions, arrays = self._finish(group, again)
            groups.append((positions, arrays))
            for position in positions:
                del verdict.first[position]
                kept_values[position] = rescued[position]
        verdict.unknown.update(again.unknown)
        verdict.final.update(again.final)
        for position in again.final:
            del verdict.first[position]
        return kept_values

    def _named(self, groups: Sequence[Sequence[pa.Array]]) -> dict[str, pa.Array]:
        """Return the columns of the contract, in its order."""
        parts = [dict(reveal(self._columns, arrays)) for arrays in groups]
        if len(parts) == 1:
            return {name: parts[0][name] for name in self._names}
        return {name: pa.chunked_array([part[name] for part in parts]) for name in self._names}

    def _finish(self, group: Sequence[WireColumns], verdict: Verdict) -> Group:
        """Return the rows of a group; records with a wrong value are refused."""
        positions = join_lists([wire.positions for wire in group])
        nulls = _Nulls(len(positions))
        finished = []
        for column in self._reader.built:
            array = _join(group, column)
            missing = array is None
            finished.append(Finished(nulls.of(column)) if missing else finish(array, column))
        arrays = [column.array for column in finished]
        if wrong := self._refused_values(group, positions, finished, verdict):
            kept = pa.array([position not in wrong for position in positions])
            arrays = [compute.filter_(array, kept) for array in arrays]
            positions = [position for position in positions if position not in wrong]
            verdict.refuse(wrong)
        return positions, arrays

    def _refused_values(
        self,
        group: Sequence[WireColumns],
        positions: Sequence[int],
        finished: Sequence[Finished],
        verdict: Verdict,
    ) -> dict[int, FirstProblem]:
        """Return the records of a group, by their positions, with a value that its column
        refused.
        """
        if not any(result.wrong or result.unsure for result in finished):
            return {}
        payloads = join_lists([wire.payloads for wire in group])
        wrong: dict[int, FirstProblem] = {}
        for column, result in zip(self._reader.built, finished, strict=True):
            for row in result.wrong.rows:
                first = partial(self._value_problem, payloads[row], column, result.wrong, row)
                wrong.setdefault(positions[row], first)
                verdict.wrong.setdefault(positions[row], []).append(column.source)
        for row in sorted({row for result in finished for row in result.unsure}):
            try:
                self._reader.check_numbers(self._object(group, row), payloads[row])
            except ValueRefused as reason:
                wrong.setdefault(positions[row], partial(refused_problem, reason))
                verdict.wrong.pop(positions[row], None)  # its column is not known
        return wrong

    def _value_problem(self, payload: bytes, column: Column, wrong: Places, row: int) -> Problem:
        """Return what is wrong with the first wrong value of a column in a record."""
        value = self._reader.read_again(payload)[column.source]
        return problem_at(value, column, wrong.lead(row))

    def _object(self, group: Sequence[WireColumns], row: int) -> object:
        """Return the object that a row of a group was made of."""
        for wire in group:
            if row < len(wire.positions):
                break
            row -= len(wire.positions)
        if wire.objects is not None:
            return wire.objects[row]
        return self._reader.read_again(wire.payloads[row])

    def _groups(self, slices: Iterable[WireColumns]) -> Iterator[list[WireColumns]]:
        """Yield slices that are finished together. There is always one group, if only an empty one.

        A column that one slice of a group brings takes memory for all of its records.
        """
        group: list[WireColumns] = []
        size, is_first = 0, True
        for wire in slices:
            nbytes = max(wire.nbytes, VALUE_BYTES * self._sizes.flat * len(wire.positions))
            if group and size + nbytes > FINISHED_BYTES:
                yield group
                group, size, is_first = [], 0, False
            group.append(wire)
            size += nbytes
        if group or is_first:
            yield group


def _join(group: Sequence[WireColumns], column: Column) -> pa.Array | None:
    """Return a wire column of a group, None where no record brings it."""
    arrays = [wire.columns.get(column.source) for wire in group]
    if all(array is None for array in arrays):
        return None
    pieces = [
        array if array is not None else pa.nulls(len(wire.positions), wire_type(column))
        for array, wire in zip(arrays, group, strict=True)
    ]
    return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces)


class _Nulls:
    """Columns that no record brings; those of one type share their memory."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._made: dict[pa.DataType, pa.Array] = {}

    def of(self, column: Column) -> pa.Array:
        """Return a column of nulls."""
        type_ = column.arrow_type
        if type_ not in self._made:
            self._made[type_] = pa.nulls(self._rows, type_)
        return self._made[type_]
