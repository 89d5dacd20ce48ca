"""The problems of a batch's rejects, within a budget that bounds the time of a hostile batch."""

from collections.abc import Sequence

import orjson

from handler.contract.compiled import Column
from handler.errors import Problem
from handler.validate.checked import Verdict
from handler.validate.decode import parse_numbers
from handler.validate.diagnose import examine

DIAGNOSIS_VALUES = 10_000
"""So many values of a reject are looked at for its problems."""
DIAGNOSES_VALUES = 100_000
"""So many values of all rejects of a batch. A reject beyond has its first problem only."""
EXACT_BYTES_MAX = 16 * 1024
"""Rejects up to this size are diagnosed with each number as it was written."""
_BYTES_OF_A_VALUE, _BYTES_OF_A_VALUE_BY_ORJSON = 16, 256
"""To parse so many bytes of a reject once more costs as much as to look at a value."""


class BatchDiagnosis:
    """Lists the problems of rejects of one contract."""

    def __init__(self, columns: Sequence[Column], unknown_fields: str) -> None:
        self._columns = columns
        self._by_source = {column.source: column for column in columns}
        self._unknown_fields = unknown_fields

    def explain(self, verdict: Verdict, payloads: Sequence[bytes]) -> dict[int, Sequence[Problem]]:
        """List the problems of rejects, as far as the budget reaches; the first is always known."""
        result: dict[int, Sequence[Problem]] = {}
        left = DIAGNOSES_VALUES
        for position, first in sorted(verdict.first.items()):
            problems: Sequence[Problem] = ()
            if left > 0:
                payload = payloads[position]
                if len(payload) <= EXACT_BYTES_MAX:
                    value = parse_numbers(payload)
                    left -= len(payload) // _BYTES_OF_A_VALUE
                else:
                    value = orjson.loads(payload)
                    left -= len(payload) // _BYTES_OF_A_VALUE_BY_ORJSON
                budget = min(max(left, 0), DIAGNOSIS_VALUES)
                if (sources := verdict.wrong.get(position)) is not None:
                    columns = [self._by_source[source] for source in sources]
                    problems, rest = examine(value, columns, "ignore", budget)
                else:
                    problems, rest = examine(value, self._columns, self._unknown_fields, budget)
                left -= budget - rest
            result[position] = problems or [first()]
        return result
