"""A contract from records: learned from some, checked with all by the function's own code."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.contract.load import parse_contract
from handler.errors import RejectCode, SiltError, counted
from handler.validate.batch import Checker
from handler.validate.decode import parse_numbers, parse_payloads
from handler.validate.diagnose import join
from silt.infer.choose_types import COLUMNS_MAX, choose_columns
from silt.infer.column_names import is_readable
from silt.infer.describe import describe_columns, suggest_partitions
from silt.infer.observe import FIELDS_MAX, Observation
from silt.infer.write_contract import write_contract

SAMPLE = 10_000
"""So many records are looked at one by one; the others only if the contract refuses them."""
PASSES_MAX = 6

Batches = Callable[[], Iterable[Sequence[bytes]]]
"""Gives the values of records, again from the first at each call."""


@dataclass(slots=True)
class Inference:
    """What is known so far. `refused` counts the reasons of records that no contract could take."""

    topic: str
    table: str
    source: str
    seen: Observation = field(default_factory=Observation)
    observed: int = 0
    records: int = 0
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    _text: str = ""
    _unreadable: Sequence[str] = ()
    _ignored: frozenset[str] = frozenset()
    _checker: Checker | None = None
    _width: int = COLUMNS_MAX
    _hashes: set[int] = field(default_factory=set)

    def learn(self, batches: Batches, progress: Callable[[int], None]) -> str:
        """Return the text of a contract that takes the records, but for those in `refused`.

        Raises SiltError where there is no record that is a JSON object.
        """
        for _ in range(PASSES_MAX):
            # What an earlier contract has taken is checked once more by the last one.
            if not self._pass(batches(), progress) and not self._make_narrower():
                break
        if self._checker is None:
            reasons = ", ".join(f"{n:,} {code}" for (code, _), n in self.refused.most_common(3))
            problem = "no record that is a JSON object with fields for columns"
            problem = f"{problem} ({reasons})" if reasons else "no records"
            raise SiltError(f"{self.source} has {problem}. Nothing can be inferred.")
        return self.write(final=True)

    def _pass(self, batches: Iterable[Sequence[bytes]], progress: Callable[[int], None]) -> bool:
        """Check every record, and learn from those that are refused. Returns if any were."""
        learned, self.records, unseen = False, 0, False
        self.refused.clear()
        for batch in batches:
            if self.observed < SAMPLE and self.records == self.observed:
                self._observe(batch[: SAMPLE - self.observed])
            self.records += len(batch)
            learned |= self._check(batch)
            unseen |= self._checker is None
            progress(len(batch))
        # Records from before the first column were checked by no contract.
        return learned or (unseen and self._checker is not None)

    def _make_narrower(self) -> bool:
        """Keep wide items of arrays as JSON where records are too large by them. Returns if so."""
        if not any(code == RejectCode.TOO_LARGE for code, _ in self.refused) or not self._width:
            return False
        self._width //= 8
        self._compile()
        return True

    def _observe(self, payloads: Sequence[bytes], *, again: bool = False) -> None:
        """Look at records one by one; `again`, only at those that were not looked at before."""
        for position in parse_payloads(payloads).positions:
            mark = hash(payloads[position])
            if again and mark in self._hashes:
                continue
            self._hashes.add(mark)
            value = parse_numbers(payloads[position])
            if isinstance(value, dict):
                self.observed += 1
                self.seen.see(value)
        self._compile()

    def _check(self, batch: Sequence[bytes]) -> bool:
        """Learn from the records of a batch that the contract refuses, until none is left from
        which there is more to learn. Returns if any were.
        """
        if self._checker is None:
            self._observe(batch)
        if self._checker is None:  # there is no object yet, so no column
            broken = parse_payloads(batch).problems
            for i in range(len(batch)):
                code = broken[i].code if i in broken else RejectCode.NOT_AN_OBJECT
                self.refused[str(code), ""] += 1
            return False
        learned = False
        while True:
            before = self._checker
            checked = before.check(batch)
            unknown = [i for i, f in checked.unknown.items() if not self._ignored.issuperset(f)]
            if bad := sorted({*checked.rejects, *unknown}):
                self._observe([batch[i] for i in bad], again=True)
            if self._checker is before:
                for problems in checked.rejects.values():
                    self.refused[str(problems[0].code), problems[0].path] += 1
                return learned
            learned = True

    def _compile(self) -> None:
        if not any(map(is_readable, self.seen.fields)):
            return
        text = self.write(final=False)
        if text == self._text:
            return
        problems: list[str] = []
        contract, _ = parse_contract(text, "inferred", problems)
        if contract is None:
            raise SiltError(
                "The contract that was inferred is not valid, which is an error in Silt:\n"
                + "\n".join(problems)
            )
        self._text = text
        self._checker = Checker(contract)

    def write(self, *, final: bool) -> str:
        """Return the contract's text; with `final`, with what was seen as comments."""
        columns, self._unreadable = choose_columns(self.seen, self.observed, self._width)
        self._ignored = frozenset(join("", key) for key in self._unreadable)
        keys: dict[str, Any] = {"unknown_fields": "rescue"}
        if not final:
            return write_contract(self.topic, self.table, columns, keys=keys, head=(), draft=True)
        describe_columns(columns, self.seen, self.observed, whole=self.observed >= self.records)
        too_many = self.seen.rest is not None
        if not self._unreadable and not too_many:
            keys = {}
        head = [f"Inferred by silt infer from {counted(self.records, 'record')} of {self.source}."]
        for (code, path), count in self.refused.most_common(5):
            where = f" at {path}" if path else ""
            head.append(f"{counted(count, 'record')} would be rejected: {code}{where}.")
        if self.observed < self.records:
            head.append(
                f"Comments are of {self.observed:,} records that were looked at one by one."
            )
        if too_many:
            head.append(f"Fields beyond {FIELDS_MAX:,} are kept in _rescued.")
        if self._unreadable:
            fields = ", ".join(self._unreadable[:5])
            head.append(f"Fields that no column can read are kept in _rescued: {fields}")
        tail = suggest_partitions(columns, self.seen, self.observed)
        return write_contract(self.topic, self.table, columns, keys=keys, head=head, tail=tail)
