"""What became of a batch, and what is found of it while it is checked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from handler.errors import Problem, RejectCode
from handler.validate.diagnose import path_of, problem
from handler.validate.replace_values import ValueRefused

FirstProblem = Callable[[], Problem]


class Checked(msgspec.Struct, frozen=True):
    """What became of a batch. `positions[i]` is the index in the batch of row i of `columns`,
    rising.

    `columns` are the finished columns of the contract that the JSON brings, by name. `rejects` and
    `unknown` (fields that the contract lacks, by path) are by index in the batch. `of_messages` are
    the columns of keys and headers, with a value for each record of the batch. `rescued` are
    the values that were not of their column's type, by path, and are null in the row.
    """

    columns: Mapping[str, pa.Array]
    positions: Sequence[int]
    rejects: Mapping[int, Sequence[Problem]]
    unknown: Mapping[int, Mapping[str, Any]]
    of_messages: Mapping[str, pa.Array] = msgspec.field(default_factory=dict)
    rescued: Mapping[int, Mapping[str, Any]] = msgspec.field(default_factory=dict)


class Verdict(msgspec.Struct):
    """What is found of a batch while it is checked.

    `first` tells the first problem of a reject, if it is asked for; the problems of `final` are all
    that there is to say. `wrong` are the columns, by their sources, that refused a record, where
    all columns were asked. `unparsed` counts those that could not be parsed.
    """

    first: dict[int, FirstProblem] = msgspec.field(default_factory=dict)
    wrong: dict[int, list[str]] = msgspec.field(default_factory=dict)
    final: dict[int, Problem] = msgspec.field(default_factory=dict)
    unknown: dict[int, Mapping[str, Any]] = msgspec.field(default_factory=dict)
    unparsed: int = 0

    def refuse(self, first: Mapping[int, FirstProblem]) -> None:
        """Note records that are rejects, with the first problem of each."""
        self.first.update(first)
        for position in first:
            self.unknown.pop(position, None)


def refused_problem(refused: ValueRefused) -> Problem:
    return problem(refused.code, path_of(refused.steps), refused.message)


def unknown_problem() -> Problem:
    message = "the record has a field that is not in the contract, and unknown_fields is reject"
    return Problem(RejectCode.UNKNOWN_FIELD, "", message)
