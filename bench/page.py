"""make bench: docs/performance.md from its template and the results of the last run."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.comparison import LIMIT, OBVIOUS, SILT, Figures, ratio
from silt.docs import fill

RESULTS = Path("bench/results.json")
TEMPLATE = Path("docs/templates/performance.md")
PAGE = Path("docs/performance.md")
NOTE = "<!-- Made by `make bench` from docs/templates/performance.md and bench/results.json. -->"


def render() -> str:
    """Return the page."""
    results = json.loads(RESULTS.read_text())
    ref = results["ref"]
    parts = {
        "note": NOTE,
        "machine": results["machine"],
        "commit": results["commit"],
        "rounds": str(results["rounds"]),
        "works": _works(results["works"], ref),
        "hostile": _table(
            ["event", "CPU of the clean one, times", "aim", "peak, MB"],
            [
                [case["name"], f"{case['ratio']:.1f}", case["aim"], f"{case['peak_mb']:.0f}"]
                for case in results["hostile"]
            ],
        ),
        "beyond": _beyond(results["hostile"]),
        "conversions": _table(
            ["values", "time of the check, times the usual", "us a value more"],
            [
                [case["name"], f"{case['ratio']:.1f}", f"{case['more_us']:.1f}"]
                for case in results["conversions"]
            ],
        ),
    }
    return fill(TEMPLATE, parts)


def _beyond(cases: Sequence[Any]) -> str:
    """Return which hostile events are above their aims."""
    names = [case["name"] for case in cases if case["ratio"] > case["aim"]]
    if not names:
        return "None is above its aim."
    return (
        f"Above the aim: {'; '.join(names)}. The aims are from when clean events took twice as "
        "long, so the ratio has grown and the time has not."
    )


def _works(listed: Sequence[Any], ref: str | None) -> str:
    others = [way for way in (LIMIT, OBVIOUS, ref) if way is not None]
    words = {LIMIT: "times the limit", OBVIOUS: "of the obvious function", ref: f"of {ref}"}
    rows = []
    for figures in listed:
        by_way = {each["way"]: Figures(**each) for each in figures}
        own = by_way[SILT]
        least, most = min(own.cpu_s) * 1e3, max(own.cpu_s) * 1e3
        ratios = [f"{ratio(own, by_way[way]):.2f}" if way in by_way else "" for way in others]
        took = f"{statistics.median(own.cpu_s) * 1e3:.1f} ({least:.1f} to {most:.1f})"
        rows.append([own.work, took, *ratios, f"{own.peak_mb:.0f}"])
    columns = ["work", "CPU, ms (least to most)", *(words[way] for way in others), "peak, MB"]
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render())
