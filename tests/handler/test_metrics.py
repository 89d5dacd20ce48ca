"""What CloudWatch makes metrics of: one line of JSON in its embedded metric format."""

import json
from typing import Any

import pytest

from handler.metrics import NAMESPACE, emit

MEASURES = {"appended": 3, "commit_ms": 2.5, "value_bytes": 4096, "peak_memory_mb": 93.4}


def test_line_has_dimensions_units_and_values(capsys: Any) -> None:
    emit("silt", {"topic": "orders", "table": "s/tä"}, MEASURES)
    out = capsys.readouterr().out
    assert out.isascii()  # whatever the encoding of the output is
    line = json.loads(out)
    (definition,) = line["_aws"]["CloudWatchMetrics"]
    assert definition["Namespace"] == NAMESPACE
    assert definition["Dimensions"] == [["topic", "table", "service"]]
    assert [line[name] for name in ("topic", "table", "service")] == ["orders", "s/tä", "silt"]
    assert definition["Metrics"] == [
        {"Name": "appended", "Unit": "Count"},
        {"Name": "commit_ms", "Unit": "Milliseconds"},
        {"Name": "value_bytes", "Unit": "Bytes"},
        {"Name": "peak_memory_mb", "Unit": "Megabytes"},
    ]
    assert {name: line[name] for name in MEASURES} == {k: [float(v)] for k, v in MEASURES.items()}


def test_lines_keep_nothing_of_the_line_before(capsys: Any) -> None:
    emit("silt", {"topic": "orders"}, {"a": 1})
    emit("other", {"topic": "clicks"}, {"b": 2})
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["service"], first["a"], "b" in first) == ("silt", [1.0], False)
    assert (second["service"], second["b"], "a" in second) == ("other", [2.0], False)


def test_metrics_can_be_turned_off(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    emit("silt", {"topic": "orders"}, MEASURES)
    assert capsys.readouterr().out == ""
