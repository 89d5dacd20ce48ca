"""When alarms go off: `docs/deploy.md` says for each alarm what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from handler.metrics import NAMESPACE
from silt.deployment.deploy_yml import Alarms
from silt.deployment.functions import MAINTENANCE_KEY
from silt.deployment.names import cut, function_key
from silt.deployment.plan import Deployment, TopicDeployment

NAME_MAX = 255
"""'PutMetricAlarm' of the CloudWatch API."""
NEAR_TIMEOUT = 0.8
"""The share of the timeout from which an invocation is long."""
HALF_AN_HOUR = 6
"""In periods of five minutes. An invocation takes 15 at most, and attempts may lie apart."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of CloudWatch: where it is, of what, and how its points are put together."""

    namespace: str
    name: str
    dimensions: dict[str, Any]
    statistic: str = "Sum"

    def as_stat(self, period_s: int) -> dict[str, Any]:
        """Return it as a query of an alarm asks for it."""
        dimensions = [{"Name": k, "Value": v} for k, v in self.dimensions.items()]
        metric = {"Namespace": self.namespace, "MetricName": self.name, "Dimensions": dimensions}
        return {"Metric": metric, "Period": period_s, "Stat": self.statistic}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `key` ends its logical id; `anchor` is its heading in docs/deploy.md.

    `metrics` are by the names that `expression` uses; the first is the alarm's own without one.
    It goes off if `periods` of the last `within` breach: what is delivered again and again need
    not come in each of them.
    """

    key: str
    what: str
    metrics: dict[str, Metric]
    threshold: float
    period_s: int = 300
    periods: int = 1
    within: int | None = None
    expression: str | None = None
    comparison: str = "GreaterThanThreshold"
    missing: str = "notBreaching"

    @property
    def anchor(self) -> str:
        """Return where the guide says what to do."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in self.key).lstrip("-")


def of_topic(deployment: Deployment, topic: TopicDeployment) -> list[Alarm]:
    """Return the alarms of a topic."""
    return [
        *(_of_mapping(topic) if topic.mapping.create else ()),
        *_of_records(topic, {"topic": topic.topic, "service": deployment.model.name}),
        *_of_function(topic),
    ]


def _of_mapping(topic: TopicDeployment) -> Iterator[Alarm]:
    """Give the alarms on what AWS counts of the mapping."""
    own = {"EventSourceMappingUUID": {"Ref": f"{function_key(topic.topic)}Mapping"}}
    most = topic.alarms.lag_records
    function = {"FunctionName": {"Ref": f"{function_key(topic.topic)}LambdaFunction"}}
    of_lag = own if topic.provisioned else function
    yield Alarm(
        "LagGrowing",
        f"more than {most:,} records behind, and growing for 15 minutes",
        {"lag": Metric("AWS/Lambda", topic.lag_metric, of_lag, "Maximum")},
        threshold=0,
        periods=3,
        expression=f"IF(lag > {most} AND DIFF(lag) > 0, 1, 0)",
    )
    yield Alarm(
        "Dropped",
        "AWS dropped records without keeping them: rewind the consumer group",
        {"dropped": Metric("AWS/Lambda", "DroppedEventCount", own)},
        threshold=0,
    )
    if topic.on_failure:
        yield Alarm(
            "GivenUp",
            "AWS gave up on a batch: replay it from the on-failure bucket before it expires",
            {"given_up": Metric("AWS/Lambda", "OnFailureDestinationDeliveredEventCount", own)},
            threshold=0,
        )


def _of_records(topic: TopicDeployment, own: dict[str, Any]) -> Iterator[Alarm]:
    """Give the alarms on what the function counts of its records."""
    alarms = topic.alarms
    yield Alarm(
        "Freshness",
        f"records were older than {alarms.freshness_s} s when they were settled",
        {"age": Metric(NAMESPACE, "freshness_ms", own, "Maximum")},
        threshold=alarms.freshness_s * 1000,
        periods=3,
        within=HALF_AN_HOUR,
    )
    yield Alarm(
        "Unsettled",
        "records were still unsettled after half an hour of retries: their partitions are stuck",
        {"unsettled": Metric(NAMESPACE, "unsettled", own)},
        threshold=0,
        periods=2,
        within=HALF_AN_HOUR,
    )
    yield Alarm(
        "CircuitBreaker",
        "the circuit breaker stopped a batch: its partitions are stuck",
        {"tripped": Metric(NAMESPACE, "circuit_breaker", own)},
        threshold=0,
    )
    yield Alarm(
        "ContractDrift",
        "the contract does not fit the table, or another version of it took over the table",
        {"drift": Metric(NAMESPACE, "contract_drift", own)},
        threshold=0,
        periods=2,
        within=HALF_AN_HOUR,
    )
    yield Alarm(
        "DeadLetters",
        f"more than {alarms.dead_letter_percent} % of the records were rejects",
        {
            "bad": Metric(NAMESPACE, "dead_lettered", own),
            "all": Metric(NAMESPACE, "delivered", own),
        },
        threshold=float(alarms.dead_letter_percent),
        period_s=900,
        expression="IF(all > 0, 100 * bad / all, 0)",
    )
    reads = topic.mapping.create and topic.mapping.enabled
    if alarms.no_data_minutes is not None and reads:
        yield Alarm(
            "NoData",
            f"no record in {alarms.no_data_minutes} minutes",
            {"delivered": Metric(NAMESPACE, "delivered", own)},
            threshold=1,
            periods=alarms.no_data_minutes // 5,
            comparison="LessThanThreshold",
            missing="breaching",
        )


def _of_function(topic: TopicDeployment) -> Iterator[Alarm]:
    """Give the alarms on what AWS counts of the function."""
    own = {"FunctionName": {"Ref": f"{function_key(topic.topic)}LambdaFunction"}}
    yield Alarm(
        "Errors",
        "the function failed in two quarters of the last half hour",
        {"errors": Metric("AWS/Lambda", "Errors", own)},
        threshold=0,
        periods=2,
        within=HALF_AN_HOUR,
    )
    yield Alarm(
        "NearTimeout",
        f"an invocation took more than {NEAR_TIMEOUT:.0%} of the timeout",
        {"duration": Metric("AWS/Lambda", "Duration", own, "Maximum")},
        threshold=NEAR_TIMEOUT * topic.function.timeout_s * 1000,
    )
    yield Alarm(
        "Throttled",
        "invocations were throttled for a quarter of an hour",
        {"throttles": Metric("AWS/Lambda", "Throttles", own)},
        threshold=0,
        periods=3,
    )


def of_maintenance(every_minutes: int) -> list[Alarm]:
    """Return the alarms of the maintenance function."""
    own = {"FunctionName": {"Ref": f"{MAINTENANCE_KEY}LambdaFunction"}}
    period_s = 3600 * -(-every_minutes // 60)  # whole hours in which at least one run falls
    return [
        Alarm(
            "MaintenanceErrors",
            f"maintenance failed in two periods of {period_s // 3600} h in a row",
            {"errors": Metric("AWS/Lambda", "Errors", own)},
            threshold=0,
            period_s=period_s,
            periods=2,
        ),
        Alarm(
            "MaintenanceMissing",
            "maintenance did not run",
            {"runs": Metric("AWS/Lambda", "Invocations", own)},
            threshold=1,
            period_s=period_s,
            periods=2,
            comparison="LessThanThreshold",
            missing="breaching",
        ),
    ]


def alarms_of(deployment: Deployment) -> dict[str, Any]:
    """Return the alarms of a deployment as resources, by logical id."""
    model = deployment.model
    result: dict[str, Any] = {}
    for topic in deployment.topics:
        if topic.alarms.enabled:
            key = function_key(topic.topic)
            for alarm in of_topic(deployment, topic):
                name = f"{model.name} {topic.topic}: {alarm.anchor}"
                result[f"{key}{alarm.key}Alarm"] = _resource(alarm, name, topic.alarms)
    if model.maintenance.enabled and model.alarms.enabled:
        for alarm in of_maintenance(model.maintenance.every_minutes):
            name = f"{model.name}: {alarm.anchor}"
            result[f"{alarm.key}Alarm"] = _resource(alarm, name, model.alarms)
    return result


def _resource(alarm: Alarm, name: str, settings: Alarms) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "AlarmName": cut(name, NAME_MAX),
        "AlarmDescription": f"{alarm.what}. {settings.guide}#{alarm.anchor}",
        "ComparisonOperator": alarm.comparison,
        "Threshold": alarm.threshold,
        "EvaluationPeriods": alarm.within or alarm.periods,
        "DatapointsToAlarm": alarm.periods,
        "TreatMissingData": alarm.missing,
    }
    if settings.notify:
        properties |= {"AlarmActions": settings.notify, "OKActions": settings.notify}
    if alarm.expression is None:
        (metric,) = alarm.metrics.values()
        statistic = metric.as_stat(alarm.period_s)
        properties |= {
            **statistic["Metric"],
            "Period": statistic["Period"],
            "Statistic": statistic["Stat"],
        }
    else:
        queries: list[dict[str, Any]] = [
            {"Id": key, "MetricStat": metric.as_stat(alarm.period_s), "ReturnData": False}
            for key, metric in alarm.metrics.items()
        ]
        value = {"Id": "value", "Expression": alarm.expression, "ReturnData": True}
        properties["Metrics"] = [*queries, {**value, "Label": alarm.anchor}]
    return {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}
