"""An event source mapping as the API tells it, against what the guarantees need. Pure."""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from handler.health import Finding

REPORTS = "ReportBatchItemFailures"
_WELL = ("OK", "No records processed")
"""What `LastProcessingResult` says of a mapping that reads ('EventSourceMappingConfiguration')."""
_POLLERS = "ProvisionedPollerConfig"
_IN_TRANSIT = ("Creating", "Enabling", "Updating", "Disabling", "Deleting")
_DEPLOYED = (
    *("BatchSize", "MaximumBatchingWindowInSeconds", "MaximumRetryAttempts"),
    *("MaximumRecordAgeInSeconds", _POLLERS, "MetricsConfig", "LoggingConfig"),
)
"""What may differ from deploy.yml without a loss."""
_DEPLOY = "Deploy again: docs/deploy.md#first-deployment"
_IN_TWO_STEPS = "In two deployments: docs/deploy.md#between-pollers-and-on-demand"
_MADE_ANEW = "Put it back, or create the mapping again: docs/deploy.md#recreate-a-mapping"


def of_mapping(
    topic: str,
    actual: Mapping[str, Any],
    target: Mapping[str, Any],
    environment: Mapping[str, str],
) -> Iterator[Finding]:
    """Give what is found of a mapping.

    `actual` is an entry of ListEventSourceMappings, `target` the properties that the template has,
    `environment` the variables of the function as it is deployed.
    """
    yield _state(topic, actual, target)
    yield _processing(topic, actual)
    yield _partial_responses(topic, actual, environment)
    yield _bounds(topic, actual)
    yield from _refused(topic, actual, target)
    yield _schema_registry(topic, actual)
    yield from _differences(topic, actual, target)


def _state(topic: str, actual: Mapping[str, Any], target: Mapping[str, Any]) -> Finding:
    state = str(actual.get("State"))
    why = actual.get("StateTransitionReason") or ""
    reason = f"{state}{f' ({why})' if why else ''}"
    if state == "Enabled":
        return Finding("mapping", topic, "ok", reason)
    if state in _IN_TRANSIT:
        return Finding("mapping", topic, "warning", reason, "Wait some minutes, and look again.")
    fix = "Enable it: mapping: {enabled: true} in deploy.yml, and deploy again."
    expected = state == "Disabled" and target.get("Enabled") is False
    return Finding("mapping", topic, "warning" if expected else "wrong", reason, fix)


def _processing(topic: str, actual: Mapping[str, Any]) -> Finding:
    last = str(actual.get("LastProcessingResult") or "No records processed")
    if last in _WELL:
        return Finding("mapping result", topic, "ok", last)
    text = last.lower()
    fix = "Look into the function's log: docs/deploy.md#errors"
    if "authenticat" in text or "secret" in text or "sasl" in text or "authoriz" in text:
        fix = "Look at authentication, secret and the role: docs/deploy.md#authentication"
    elif "connect" in text or "network" in text or "timed out" in text or "vpc" in text:
        fix = "Look at subnets, security groups and endpoints: docs/deploy.md#networks"
    elif "topic" in text:
        fix = "Is the topic there, and may the role describe and read it?"
    return Finding("mapping result", topic, "wrong", last, fix)


def of_change(
    topic: str,
    actual: Mapping[str, Any],
    target: Mapping[str, Any],
    before: Mapping[str, str] | None,
    after: Mapping[str, str],
) -> Iterator[Finding]:
    """Give what a deployment over a mapping would lose, or fail at.

    `before` and `after` are the variables of the function; where those before may not be read it
    is taken to fit its mapping. CloudFormation updates the function before its mapping, and a
    failed update is taken back in any order: so each of the two must go with both of the other. A
    mapping that reads nothing loses nothing. Where even what is there does not go together nothing
    gets worse.
    """
    reads_now, reads_then = actual.get("State") != "Disabled", target.get("Enabled") is not False
    answered = _honors(actual) if before is None else _answers(before)
    loses_now = reads_now and answered and not _honors(actual)
    may_lose = (reads_now and not _honors(actual)) or (reads_then and not _honors(target))
    if (answered or _answers(after)) and may_lose and not loses_now:
        reason = (
            "function and mapping change one after the other; between them the function would "
            "report single records to a mapping that treats every answer as a success"
        )
        yield Finding("partial responses", topic, "wrong", reason, _IN_TWO_STEPS)
    for finding in _made_anew(topic, actual, target):
        yield replace(finding, state="wrong")


def _honors(mapping: Mapping[str, Any]) -> bool:
    """Return whether a mapping, as it is or as it should be, honors partial batch responses."""
    reports = REPORTS in (mapping.get("FunctionResponseTypes") or [])
    return reports and bool(mapping.get(_POLLERS))


def _answers(environment: Mapping[str, str]) -> bool:
    """Return whether the function reports single records."""
    return environment.get("SILT_PARTIAL_BATCH_RESPONSE", "true").lower() in ("true", "1", "yes")


def _partial_responses(
    topic: str, actual: Mapping[str, Any], environment: Mapping[str, str]
) -> Finding:
    check = "partial responses"
    honors, answers = _honors(actual), _answers(environment)
    if answers and not honors:
        lacks = "provisioned pollers" if actual.get("FunctionResponseTypes") else REPORTS
        return Finding(
            check,
            topic,
            "wrong",
            f"the function reports single records and the mapping has no {lacks}: AWS treats "
            "every answer as a success, and unsettled records are lost",
            f"{_DEPLOY}. At once: set SILT_PARTIAL_BATCH_RESPONSE=false.",
        )
    if honors and not answers:
        reason = "the mapping honors them, but the function fails whole batches: safe, but slower"
        fix = "Remove partial_batch_response: false from deploy.yml and deploy again."
        return Finding(check, topic, "warning", reason, fix)
    return Finding(check, topic, "ok", "mapping and function agree")


def _bounds(topic: str, actual: Mapping[str, Any]) -> Finding:
    check = "on-failure destination"
    attempts = actual.get("MaximumRetryAttempts", -1)
    age_s = actual.get("MaximumRecordAgeInSeconds", -1)
    destination = destination_of(actual)
    bounded = attempts != -1 or age_s != -1
    if bounded and destination is None:
        return Finding(
            check,
            topic,
            "wrong",
            f"{attempts} attempts and an age of {age_s} s at most, and no destination: then "
            "records are dropped",
            "Set on_failure: true in deploy.yml, and deploy again.",
        )
    if destination is None:
        return Finding(check, topic, "ok", "none, and retries are endless")
    if ":s3:::" not in destination:
        reason = (
            f"{destination} keeps which records they were, not the records: a replay reads Kafka"
        )
        return Finding(check, topic, "warning", reason, "Use a bucket: on_failure in deploy.yml.")
    if attempts == -1:
        reason = f"{destination}, and AWS caps endless attempts at 10 beside a destination"
        return Finding(check, topic, "warning", reason, "Give retry_attempts in deploy.yml.")
    return Finding(check, topic, "ok", f"{destination}, after {attempts} attempts")


def destination_of(actual: Mapping[str, Any]) -> str | None:
    """Return where a mapping keeps batches that are given up, an ARN, None if there is none."""
    on_failure = (actual.get("DestinationConfig") or {}).get("OnFailure") or {}
    return on_failure.get("Destination")


def _refused(topic: str, actual: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[Finding]:
    """Give what must not be, and what drops records that deploy.yml does not name."""
    if actual.get("BisectBatchOnFunctionError"):
        reason = "halves of a batch that the circuit breaker stopped slip under it"
        yield Finding("bisect", topic, "wrong", reason, f"Turn it off. {_DEPLOY}")
    own = actual.get("SelfManagedKafkaEventSourceConfig") or {}
    if own.get("ConsumptionMode", "Stream") != "Stream":
        reason = "share groups give up the order, so each record would be looked up"
        yield Finding("consumption mode", topic, "wrong", reason, f"Use Stream. {_DEPLOY}")
    filters = (actual.get("FilterCriteria") or {}).get("Filters") or []
    if actual.get("KMSKeyArn") and not filters:
        # 'If filter criteria is encrypted, this field shows up as null' (ListEventSourceMappings).
        reason, fix = "they are encrypted, and a list does not show them", "Look by get, with kms"
        yield Finding("filters", topic, "unknown", reason, f"{fix}:Decrypt, if in doubt.")
    elif filters != (target.get("FilterCriteria") or {}).get("Filters", []):
        reason = (
            f"its {len(filters)} filters are not those of deploy.yml, and records that a filter "
            "drops are never seen: no row, no dead letter, no count"
        )
        yield Finding("filters", topic, "warning", reason, _DEPLOY)


def _schema_registry(topic: str, actual: Mapping[str, Any]) -> Finding:
    check = "schema registry"
    configs = (
        actual.get("AmazonManagedKafkaEventSourceConfig") or {},
        actual.get("SelfManagedKafkaEventSourceConfig") or {},
    )
    registry: Mapping[str, Any] = {}
    for config in configs:
        registry = config.get("SchemaRegistryConfig") or registry
    if not registry:
        return Finding(check, topic, "ok", "off: values come as producers wrote them")
    if registry.get("EventRecordFormat") == "JSON":
        reason = f"{registry.get('SchemaRegistryURI')} turns records into JSON before they arrive"
        return Finding(check, topic, "warning", reason, "Replayed SOURCE bytes would be rejected.")
    reason = "records come in the registry's own format, which Silt does not read: all are rejects"
    return Finding(check, topic, "wrong", reason, "Set EventRecordFormat: JSON, or turn it off.")


def _differences(
    topic: str, actual: Mapping[str, Any], target: Mapping[str, Any]
) -> Iterator[Finding]:
    """Give what is deployed otherwise than deploy.yml says now."""
    for name in _DEPLOYED:
        if name in target and actual.get(name) != target[name]:
            reason = f"{name} is {actual.get(name)}, and deploy.yml makes it {target[name]}"
            fix = _DEPLOY if actual.get(name) or name != _POLLERS else _IN_TWO_STEPS
            yield Finding("mapping settings", topic, "warning", reason, fix)
    if actual.get(_POLLERS) and _POLLERS not in target:
        reason = "it has provisioned pollers, and deploy.yml has it on demand"
        yield Finding("mapping settings", topic, "warning", reason, _IN_TWO_STEPS)
    if actual.get("StartingPosition") == "LATEST":
        reason = "LATEST can miss records that come while a mapping is made or updated"
        fix = "Use trim_horizon for the next one: a mapping keeps its own."
        yield Finding("starting position", topic, "warning", reason, fix)
    yield from _made_anew(topic, actual, target)


def _made_anew(
    topic: str, actual: Mapping[str, Any], target: Mapping[str, Any]
) -> Iterator[Finding]:
    """Give what only another mapping can have ('AWS::Lambda::EventSourceMapping': replacement)."""
    for check, value in (
        ("starting position", _position),
        ("cluster", _cluster),
        ("consumer group", _group),
    ):
        # What the API leaves out is not known to be another.
        if value(actual) not in (None, value(target)):
            reason = f"the mapping's is {value(actual)}, and deploy.yml has {value(target)}"
            yield Finding(check, topic, "warning", reason, _MADE_ANEW)


def _position(mapping: Mapping[str, Any]) -> str | None:
    at = mapping.get("StartingPositionTimestamp")
    seconds = at.timestamp() if isinstance(at, dt.datetime) else at
    position: str | None = mapping.get("StartingPosition")
    return position if seconds is None else f"{position} {int(seconds)}"


def _cluster(mapping: Mapping[str, Any]) -> str | None:
    return mapping.get("EventSourceArn") or ", ".join(sorted(_servers(mapping))) or None


def _group(mapping: Mapping[str, Any]) -> str | None:
    for key in ("AmazonManagedKafkaEventSourceConfig", "SelfManagedKafkaEventSourceConfig"):
        if mapping.get(key):
            group: str | None = mapping[key].get("ConsumerGroupId")
            return group
    return None


def of_others(
    topic: str, own_function: str, own: Mapping[str, Any], mappings: list[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Give the other mappings that read this topic from its cluster."""
    servers = _servers(own)
    for actual in mappings:
        function = str(actual.get("FunctionArn", "")).split(":function:")[-1].split(":")[0]
        reads = topic in (actual.get("Topics") or []) and function != own_function
        # Mappings of a cluster of one's own are distinguished by their brokers alone.
        if reads and (not servers or servers & _servers(actual)):
            reason = f"{function} reads it too, as {_group(actual)}"
            fix = "Fine, unless it writes to the same table: then every record is looked up."
            yield Finding("other mappings", topic, "warning", reason, fix)


def _servers(actual: Mapping[str, Any]) -> set[str]:
    endpoints = (actual.get("SelfManagedEventSource") or {}).get("Endpoints") or {}
    # Its key in the API is another one than in a template.
    return {server for servers in endpoints.values() for server in servers}
