"""What every reader makes of every table, compared with what was sent."""

import json
import operator
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.builders import ROOT
from tests.readers.tables import Table, neighbors
from tests.readers.values import to_text

PYTHON = ROOT / ".venv-readers" / "bin" / "python"
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that a reader shows otherwise than it was sent."""

    reader: str
    kind: str
    age: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reader}, {self.kind}, {self.age}: {self.what}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Question:
    """One table at one version: what a reader is asked, and what it has to answer.

    Of the predicates on values only one of `share` is asked.
    """

    table: Table
    age: str
    version: int | None
    rows: Sequence[Mapping[str, Any]]
    share: int = 1

    @property
    def columns(self) -> list[tuple[str, Any]]:
        own = [(name, type_) for name, type_ in self.table.columns if name in self.rows[0]]
        return sorted(own, key=lambda column: column[0] != self.table.id)

    def predicates(self) -> Iterator[tuple[dict[str, Any], list[int]]]:
        """Yield each predicate with the ids of the rows that pass it."""
        for path, type_ in self.table.paths:
            values = [value_at(row, path) for row in self.rows]
            ids = [int(row[self.table.id]) for row in self.rows]
            for op in ("is null", "is not null"):
                wanted = [
                    i for i, v in zip(ids, values, strict=True) if (v is None) == (op == "is null")
                ]
                yield {"path": path, "op": op}, wanted
            for value in around(values, type_)[:: self.share]:
                for op, compare in OPERATORS.items():
                    if op != "=" and type_ in ("boolean", "binary"):
                        continue
                    passed = [
                        i
                        for i, v in zip(ids, values, strict=True)
                        if v is not None and compare(v, value)
                    ]
                    asked = {"path": path, "op": op, "type": type_, "value": to_text(value, type_)}
                    yield asked, passed

    def job(self) -> dict[str, Any]:
        """Return it as the reader's process is asked."""
        return {
            "uri": str(self.table.uri),
            "version": self.version,
            "id": self.table.id,
            "columns": [{"name": name, "type": type_} for name, type_ in self.columns],
            "predicates": [predicate for predicate, _ in self.predicates()],
        }


def value_at(row: Mapping[str, Any], path: Sequence[str]) -> Any:
    value: Any = row
    for name in path:
        value = value[name] if value is not None else None
    return value


def around(values: Iterable[Any], type_: str) -> list[Any]:
    """Return each value once, and its neighbors."""
    found = dict[Any, Any]()
    for value in values:
        if value is not None:
            for each in (value, *neighbors(value, type_)):
                found.setdefault(to_text(each, type_), each)
    return list(found.values())


def questions_of(table: Table, share: int = 1) -> list[Question]:
    """Ask of a table as it is, let it grow old, and ask again, of an earlier version too."""
    fresh = max(table.versions)
    rows = table.versions[fresh]
    made = [Question(table, "fresh", fresh, rows, share)]
    table.maintain()
    newest = max(table.versions)
    made.append(Question(table, "maintained", None, table.versions[newest], share))
    return made


Ask = Callable[[str, Sequence[Question], Path], list[Any]]
"""What has a reader answer questions."""


def type_text(type_: Any) -> str:
    """Return a type of a Delta schema in the readers' words."""
    if isinstance(type_, str):
        return type_
    if type_["type"] == "array":
        return f"array<{type_text(type_['elementType'])}>"
    if type_["type"] == "map":
        return f"map<{type_text(type_['keyType'])}, {type_text(type_['valueType'])}>"
    fields = (f"{f['name']}: {type_text(f['type'])}" for f in type_["fields"])
    return "struct<" + ", ".join(fields) + ">"


def ask(reader: str, questions: Sequence[Question], folder: Path) -> list[Any]:
    """Have a reader answer, in a process of its own."""
    jobs, answers = folder / f"{reader}.jobs.json", folder / f"{reader}.answers.json"
    jobs.write_text(json.dumps([question.job() for question in questions]))
    done = subprocess.run(
        [str(PYTHON), "-m", "tests.readers.read", reader, str(jobs), str(answers)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "DAFT_ANALYTICS_ENABLED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(answers.read_text()))


def compare(reader: str, question: Question, answer: Mapping[str, Any]) -> Iterator[Difference]:
    """Yield where an answer is not what was sent."""

    def difference(what: str, detail: object) -> Difference:
        return Difference(reader, question.table.kind, question.age, what, str(detail)[:300])

    if "error" in answer:
        yield difference("cannot be read", answer["error"])
        return
    if "rows" in answer:
        yield from compare_rows(difference, question, answer)
    for (predicate, wanted), ids in zip(question.predicates(), answer["answers"], strict=True):
        if ids is not None and ids != sorted(wanted):
            what = f"filter {'.'.join(predicate['path'])} {predicate['op']}"
            value = f"{predicate.get('type', '')} {predicate.get('value', '')!r}"
            yield difference(what, f"{value}: {ids}, and not {sorted(wanted)}")


def compare_rows(
    difference: Callable[[str, object], Difference], question: Question, answer: Mapping[str, Any]
) -> Iterator[Difference]:
    """Yield where types and values are not what was sent."""
    columns = question.columns
    for name, type_ in columns:
        expected, shown = type_text(type_), answer["types"].get(name)
        if shown != expected:
            yield difference(f"type of {name}", f"{shown}, and not {expected}")
    rows = [
        [to_text(row[name], type_) for name, type_ in columns]
        for row in sorted(question.rows, key=lambda row: int(row[question.table.id]))
    ]
    if len(rows) != len(answer["rows"]):
        yield difference("rows", f"{len(answer['rows'])} of {len(rows)}")
    for row, shown in zip(rows, answer["rows"], strict=False):
        for (name, _), want, have in zip(columns, row, shown, strict=True):
            if want != have:
                yield difference(f"value of {name}", f"{have!r}, and not {want!r}")


def differences_of(
    readers: Sequence[str],
    questions: Sequence[Question],
    folder: Path,
    others: Mapping[str, Ask] = MappingProxyType({}),
) -> list[Difference]:
    """Ask every reader everything, two at once. `others` do not run in the readers' environment."""
    with ThreadPoolExecutor(2) as pool:
        answers = list(
            pool.map(lambda reader: others.get(reader, ask)(reader, questions, folder), readers)
        )
    return [
        difference
        for reader, answered in zip(readers, answers, strict=True)
        for question, answer in zip(questions, answered, strict=True)
        for difference in compare(reader, question, answer)
    ]
