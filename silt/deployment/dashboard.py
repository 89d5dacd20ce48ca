"""The dashboard: for each topic what came, what became of it, how late; and the tables' shape."""

import json
from typing import Any

from handler.metrics import NAMESPACE
from silt.deployment.names import function_key
from silt.deployment.plan import Deployment

_HEIGHT, _WIDTH = 6, 8


def dashboard(deployment: Deployment) -> dict[str, Any]:
    """Return the dashboard as a resource; a row a topic, and one for all tables."""
    model = deployment.model
    rows: list[list[tuple[str, str, list[Any]]]] = []
    for topic in deployment.topics:
        key, own = function_key(topic.topic), ["topic", topic.topic, "service", model.name]
        function = ["FunctionName", f"${{{key}LambdaFunction}}"]
        mapping = ["EventSourceMappingUUID", f"${{{key}Mapping}}"]
        lag: list[Any] = [topic.lag_metric, *(mapping if topic.provisioned else function)]
        parts = ("appended", "dead_lettered", "skipped_by_rule", "duplicates", "unsettled")
        rows.append(
            [
                (f"{topic.topic}: records", "Sum", [[NAMESPACE, part, *own] for part in parts]),
                (
                    f"{topic.topic}: how late",
                    "Maximum",
                    [
                        [NAMESPACE, "freshness_ms", *own],
                        *([["AWS/Lambda", *lag, {"yAxis": "right"}]] * topic.mapping.create),
                    ],
                ),
                (
                    f"{topic.topic}: invocations",
                    "Maximum",
                    [
                        ["AWS/Lambda", "Duration", *function],
                        [NAMESPACE, "write_ms", *own],
                        ["AWS/Lambda", "Errors", *function, {"stat": "Sum", "yAxis": "right"}],
                        [NAMESPACE, "commit_conflicts", *own, {"stat": "Sum", "yAxis": "right"}],
                    ],
                ),
            ]
        )
    tables = [
        name
        for topic in deployment.topics
        for contract in topic.contracts
        for name in (contract.table, contract.dead_letters)
    ]
    rows.append(
        [
            (title, "Maximum", [[NAMESPACE, m, "table", t, "service", model.name] for t in tables])
            for title, m in (
                ("tables: small files", "small_files"),
                ("tables: commits since a checkpoint", "commits_since_checkpoint"),
                ("tables: bytes", "data_bytes"),
            )
        ]
    )
    widgets = [
        _widget(column, row, widget, model.region)
        for row, columns in enumerate(rows)
        for column, widget in enumerate(columns)
    ]
    # The keys of widgets are written in one order, so that a template is the same each time.
    body = json.dumps({"widgets": widgets}, sort_keys=True)
    return {
        "Type": "AWS::CloudWatch::Dashboard",
        "Properties": {"DashboardName": model.name, "DashboardBody": {"Fn::Sub": body}},
    }


def _widget(
    column: int, row: int, widget: tuple[str, str, list[Any]], region: str
) -> dict[str, Any]:
    title, statistic, metrics = widget
    return {
        "type": "metric",
        "x": column * _WIDTH,
        "y": row * _HEIGHT,
        "width": _WIDTH,
        "height": _HEIGHT,
        "properties": {
            "title": title,
            "view": "timeSeries",
            "region": region,
            "stat": statistic,
            "period": 300,
            "metrics": metrics,
        },
    }
