"""silt report: one page that loads nothing, whose figures are those of the table."""

import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from silt.cli import main
from silt.report.charts import bars_by_name, nice_end, span
from silt.report.history import BUCKETS_MAX, PastCommit, buckets_of, growth_of
from tests.builders import SMALL, event, function_for, record, rows

VOID = {"meta", "rect", "line", "circle", "polyline"}
HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """The elements of a page; raises where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in VOID or tag in ("rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(folder: Path, *more: str) -> int:
    place = ["--table-root", str(folder / "tables"), "--contracts", str(folder / "contracts")]
    return main(["report", *place, "-o", str(folder / "out" / "page.html"), *more])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table with three batches, a gap, and dead letters with a hostile path."""
    contract = SMALL + "unknown_fields: reject\n"
    function = function_for(tmp_path, contract)
    for batch in (
        rows(0, 40),
        [*rows(50, 60), record(60, {"id": 60, HOSTILE: 1}), record(61, b"no JSON")],
        rows(0, 7, partition=3),
    ):
        function.handle(event(batch), None)
    return tmp_path


def test_page_says_what_the_table_has_and_loads_nothing(folder: Path, capsys: Any) -> None:
    assert report(folder) == 0
    assert "The page is" in capsys.readouterr().out
    text = (folder / "out" / "page.html").read_text()
    page = Page(text)
    for expected in ("57 rows", "2 open dead letters", "10 offsets in gaps", "not_json"):
        assert expected in page.text
    assert "unknown_field at" in page.text
    assert "silt audit has 1 finding" in page.text
    assert "offsets 40 to 49 are missing" in text
    assert page.count["svg"] >= 7
    assert "script" not in page.count
    assert not [name for name, _ in page.attributes if name in ("src", "href", "onload")]
    assert not re.search(r"https?:|url\(|@import", text)
    assert HOSTILE not in text


def test_several_tables_and_one_that_does_not_exist_are_on_one_page(folder: Path) -> None:
    other = SMALL.replace("topic: orders", "topic: clicks").replace("sales/orders", "web/clicks")
    (folder / "contracts" / "clicks.yaml").write_text(other)
    assert report(folder) == 0
    page = Page((folder / "out" / "page.html").read_text())
    assert "There is no table yet" in page.text
    assert page.count["h2"] == 2


def test_table_without_rows_has_a_page(tmp_path: Path) -> None:
    function_for(tmp_path).handle(event([record(0, b"x")]), None)
    assert report(tmp_path) == 0
    page = Page((tmp_path / "out" / "page.html").read_text())
    assert "0 rows" in page.text
    assert "1 open dead letters" in page.text


def test_what_cannot_be_reported_is_said(folder: Path, capsys: Any) -> None:
    assert report(folder, "-o", "/proc/nowhere/page.html") == 2
    assert "cannot be written" in capsys.readouterr().err
    function_for(folder / "empty")
    assert report(folder / "empty") == 1
    assert "No page was written" in capsys.readouterr().err
    next((folder / "tables/sales/orders").rglob("*.parquet")).unlink()
    (folder / "out").mkdir(exist_ok=True)
    assert report(folder) == 1
    assert "A data file that the log names is missing" in " ".join(capsys.readouterr().err.split())


def test_rewrites_bring_no_records(folder: Path) -> None:
    """Compaction and deletion by another engine are commits, and no throughput."""
    table = DeltaTable(folder / "tables/sales/orders")
    table.optimize.compact()
    table.update({"name": "'x'"}, predicate="_kafka_offset < 3")
    assert report(folder) == 0
    text = (folder / "out" / "page.html").read_text()
    assert "57 rows" in Page(text).text
    assert (
        sum(int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) records \(rows\)", text)) == 57
    )


def past(at_s: float, records: int, late_s: float | None = None) -> PastCommit:
    return PastCommit(at_s, "WRITE", records, 1, 1, late_s)


@pytest.mark.parametrize("days", [0, 0.01, 1, 30, 4000])
def test_buckets_cover_every_commit_and_are_few(days: float) -> None:
    commits = [past(1_795_000_000 + i * days * 864, i + 1, float(i)) for i in range(100)]
    letters = [past(1_795_000_000 + i * days * 864, 1) for i in range(0, 100, 7)]
    step_s, buckets = buckets_of(commits, letters)
    assert len(buckets) <= BUCKETS_MAX + 1
    assert sum(bucket.rows for bucket in buckets) == 5050
    assert sum(bucket.dead_letters for bucket in buckets) == 15
    assert max(bucket.late_s or 0 for bucket in buckets) == 99
    assert all(b.at_s - a.at_s == pytest.approx(step_s) for a, b in itertools.pairwise(buckets))
    assert buckets_of([], []) == (1, [])


def test_growth_ends_with_what_there_is_now() -> None:
    assert growth_of([past(1, 5), past(2, 10)], 100) == [(1, 90.0), (2, 100.0)]
    assert growth_of([past(1, 5)], 0) == [(1, 0.0)]  # rows were deleted since


@pytest.mark.parametrize(
    ("highest", "end"),
    [(0, 1), (1, 1), (1.1, 2), (2, 2), (3, 5), (7, 10), (450, 500), (0.03, 0.05)],
)
def test_axis_ends_at_a_round_number(highest: float, end: float) -> None:
    assert nice_end(highest) == pytest.approx(end)


def test_spans_and_names() -> None:
    assert [span(s) for s in (0, 0.1, 2.5, 3, 60, 7200)] == [
        *("0 s", "100 ms", "2.5 s", "3 s", "1.0 min", "2.0 h"),
    ]
    assert "&lt;b&gt;" in bars_by_name([("<b>", 1.0)], "rows")


MEASURE = """<script>
const box = (element) => element.getBoundingClientRect();
const isInside = (a, b) => a.left > b.left - 1 && a.right < b.right + 1
  && a.top > b.top - 2 && a.bottom < b.bottom + 2;
const all = (selector) => [...document.querySelectorAll(selector)];
document.title = "measured " + JSON.stringify({
  width: innerWidth,
  scroll: document.documentElement.scrollWidth,
  background: getComputedStyle(document.body).backgroundColor,
  marks: all("rect, circle").filter(mark => box(mark).width > 0).length,
  cut: all("svg text").filter(t => !isInside(box(t), box(t.ownerSVGElement)))
    .map(t => t.textContent),
  loaded: performance.getEntriesByType("resource").length});
</script></body>"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("scheme", "background"), [(1, "rgb(255, 255, 255)"), (0, "rgb(20, 24, 31)")]
)
@pytest.mark.parametrize("width", [1280, 500])
def test_page_in_a_browser(
    folder: Path, tmp_path: Path, scheme: int, background: str, width: int
) -> None:
    """In Chromium, light and dark, wide and narrow: nothing is cut, nothing is loaded."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("there is no Chromium here: make browser")
    assert report(folder) == 0
    page = (folder / "out" / "page.html").read_text()
    measured = tmp_path / "measured.html"
    measured.write_text(page.replace("</body>", MEASURE))
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND"),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={scheme}",
            *(f"--window-size={width},1500", "--dump-dom", f"file://{measured}"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    title = re.search(r"<title>measured (\{.*?\})</title>", done.stdout)
    assert title is not None, done.stderr
    found = json.loads(title[1].replace("&amp;", "&"))
    assert found["scroll"] <= found["width"]
    assert (found["background"], found["cut"], found["loaded"]) == (background, [], 0)
    assert found["marks"] > 10
