"""The Python of docs/query.md runs as it is there, on the table of the README."""

import re
import subprocess
from pathlib import Path

import pytest

from silt.replay.saved import read_events, saved_file
from tests.builders import ROOT, function_for
from tests.readers.matrix import PYTHON

PAGE = (ROOT / "docs" / "query.md").read_text()
SECTIONS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
BLOCKS = [
    (title, code)
    for title, text in SECTIONS.items()
    for code in re.findall(r"```python\n([^`]*)```", text)
]
DUCK_SQL = re.findall(r"LOAD delta;\n([^`]*)```", SECTIONS["DuckDB"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("query")
    function = function_for(folder, (ROOT / "schemas/orders.yaml").read_text())
    for _, saved in read_events(saved_file(ROOT / "events" / "orders.json")):
        assert function.handle(saved, None) == {"batchItemFailures": []}
    (folder / ".silt").mkdir()
    (folder / "tables").rename(folder / ".silt" / "tables")
    return folder


def run(code: str, place: Path) -> str:
    done = subprocess.run(
        [str(PYTHON), "-c", code],
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place), "DAFT_ANALYTICS_ENABLED": "0"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_page_has_its_readers() -> None:
    titles = [title for title, _ in BLOCKS]
    assert titles == ["DuckDB", "polars", "pandas and pyarrow, by deltalake", "daft"]


@pytest.mark.parametrize(("title", "code"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_code_of_the_page_runs(title: str, code: str, place: Path) -> None:
    assert re.search(r"\d", run(code, place)), title


def test_sql_of_duckdb_runs(place: Path) -> None:
    (sql,) = DUCK_SQL
    code = (
        "import duckdb, duckdb_extensions\n"
        "connection = duckdb.connect()\n"
        "duckdb_extensions.import_extension('delta', con=connection)\n"
        f"print(connection.execute({sql!r}).fetchall())\n"
    )
    assert "(0, " in run(code, place)
