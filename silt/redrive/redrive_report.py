"""What a redrive did, or would do, by the reason for which each dead letter was rejected."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handler.errors import Problem
from silt.redrive.letters import Letter

EXAMPLES_MAX = 10
"""So many letters that stay rejected are shown with their problems."""


@dataclass(slots=True)
class CodeReport:
    """The dead letters of one reason code: how many were chosen, and what became of them."""

    selected: int = 0
    redriven: int = 0
    dropped: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, other: "CodeReport") -> None:
        """Take in what became of others."""
        self.selected += other.selected
        self.redriven += other.redriven
        self.dropped += other.dropped
        self.rejected += other.rejected

    def as_json(self) -> dict[str, Any]:
        """Return it for a script."""
        return {
            "selected": self.selected,
            "redriven": self.redriven,
            "dropped": self.dropped,
            "rejected": dict(self.rejected.most_common()),
        }


@dataclass(slots=True)
class RedriveReport:
    """What became of the chosen dead letters of a table.

    `codes` is by the code with which a letter was rejected, `rejected` in it by the code of today.
    `remaining` is how many dead letters of the table stay open, None while nobody has counted.
    `examples` are places of letters that stay rejected, with today's problems.
    """

    table: str
    codes: dict[str, CodeReport] = field(default_factory=dict)
    remaining: int | None = None
    notes: list[str] = field(default_factory=list)
    examples: list[tuple[str, int, int, Sequence[Problem]]] = field(default_factory=list)

    def of(self, code: str) -> CodeReport:
        """Return the part of one code."""
        return self.codes.setdefault(code, CodeReport())

    @property
    def total(self) -> CodeReport:
        """Return the sum of all codes."""
        whole = CodeReport()
        for each in self.codes.values():
            whole.add(each)
        return whole

    def add_rejected(self, letter: Letter, problems: Sequence[Problem]) -> None:
        """Count a letter that stays what it is, by today's problems."""
        self.of(letter.code).rejected[str(problems[0].code)] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append((*letter.place, problems))

    def note(self, text: str) -> None:
        """Note once what the operator should know."""
        self.notes += [text] if text not in self.notes else []

    def add(self, other: "RedriveReport") -> None:
        """Take in what became of the letters of one more file."""
        for code, each in other.codes.items():
            self.of(code).add(each)
        self.examples += other.examples[: EXAMPLES_MAX - len(self.examples)]
        for text in other.notes:
            self.note(text)

    def as_json(self) -> dict[str, Any]:
        """Return all of it for a script."""
        return {
            "table": self.table,
            **self.total.as_json(),
            "remaining": self.remaining,
            "codes": {code: each.as_json() for code, each in sorted(self.codes.items())},
            "notes": self.notes,
        }
