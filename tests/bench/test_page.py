"""docs/performance.md is made of its template and of the results of a run."""

import json
import xml.etree.ElementTree as ET

from bench.hostile import CASES
from bench.page import PAGE, RESULTS, render
from bench.work import WORKS
from tests.builders import ROOT


def test_page_is_that_of_the_results() -> None:
    assert (ROOT / PAGE).read_text() == render(), "run: make bench"


def test_results_are_of_every_work_and_every_way() -> None:
    results = json.loads((ROOT / RESULTS).read_text())
    measured = {
        figures[0]["work"]: {each["way"] for each in figures} for figures in results["works"]
    }
    assert list(measured) == [work.name for work in WORKS]
    for work in WORKS:
        expected = {"silt"} | ({"limit"} if work.limit else set())
        assert measured[work.name] >= expected | ({"obvious"} if work.obvious else set())
    assert [case["name"] for case in results["hostile"]] == [case.name for case in CASES]
    assert all(len(series) >= 4 for series in results["growth"].values())


def test_flame_graph_is_of_the_function() -> None:
    picture = ROOT / "docs" / "flame.svg"
    ET.parse(picture)
    assert "handler/validate" in picture.read_text()
