"""Every reader sees what was sent: values, types, partitions and filters, before and after
maintenance.

These are the short forms, without daft: of one in sixteen predicates, and each night of one in
four. `make readers` is the long one.
"""

from pathlib import Path

import pytest

from tests.readers.exceptions import over, unexplained
from tests.readers.matrix import Difference, compare, differences_of, questions_of
from tests.readers.tables import SHORT, primitive_types
from tests.readers.values import to_text

READERS = ("deltalake", "pyarrow dataset", "polars", "DuckDB")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("share", [16, pytest.param(4, marks=pytest.mark.nightly)])
def test_every_reader_sees_every_table_as_it_was_sent(share: int, tmp_path: Path) -> None:
    questions = []
    for number, make in enumerate(SHORT.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        questions += questions_of(make(folder), share=share)
    differences = differences_of(READERS, questions, tmp_path)
    assert [str(each) for each in unexplained(differences)] == []
    assert over(differences, READERS, list(SHORT)) == []


def test_matrix_notices_what_a_reader_shows_otherwise(tmp_path: Path) -> None:
    """A lost row, another value, another type, a filter that loses a row, an error."""
    question = questions_of(primitive_types(tmp_path))[0]
    job = question.job()
    right = {
        "types": dict(question.columns),
        "rows": [
            [to_text(row[name], type_) for name, type_ in question.columns] for row in question.rows
        ],
        "answers": [sorted(ids) for _, ids in question.predicates()],
    }

    def found(**changed: object) -> list[Difference]:
        return list(compare("r", question, {**right, **changed}))

    assert found() == []
    rows = right["rows"]
    assert next(d.what for d in found(rows=rows[1:])) == "rows"
    other = [[*rows[0][:-1], "5.00"], *rows[1:]]
    assert [d.what for d in found(rows=other)] == [f"value of {job['columns'][-1]['name']}"]
    types = {**right["types"], "c0": "integer"}
    assert [d.what for d in found(types=types)] == ["type of c0"]
    answers = [right["answers"][0][1:], *right["answers"][1:]]
    assert [d.what for d in found(answers=answers)] == ["filter c0 is null"]
    assert [d.what for d in found(error="no")] == ["cannot be read"]
