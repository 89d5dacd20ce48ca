"""Which deployments would lose records, or could not work: refused before anything is made."""

import json
from collections.abc import Iterator

from handler.delta.store import unsupported
from silt.deployment.mapping_section import Msk, SelfManaged
from silt.deployment.names import bucket_and_prefix, function_key, function_name, maintenance_name
from silt.deployment.plan import Deployment, TopicDeployment

Problem = tuple[tuple[str | int, ...], str]
AGE_MIN_S = 60
GROUP_POLLERS_MAX = 2000
"""'ProvisionedPollerConfig' of the Lambda API: the sum of the maxima of a group."""
_SPECIAL = "*?$"
"""Of a policy's resources, and of Fn::Sub."""


def problems_of(deployment: Deployment) -> list[Problem]:
    """Return what is wrong with a deployment that is well-formed, by its path in deploy.yml."""
    problems = [*_source(deployment), *_regions(deployment)]
    for topic in deployment.topics:
        problems += [(_place(deployment, topic, path), text) for path, text in _mapping(topic)]
    problems += [*_together(deployment), *_of_stack(deployment), *_tables(deployment)]
    return list(dict.fromkeys(problems))


def _place(
    deployment: Deployment, topic: TopicDeployment, path: tuple[str | int, ...]
) -> tuple[str | int, ...]:
    """Return where a value of a topic's mapping is written: at the topic, or for all."""
    own = deployment.model.topics[int(topic.path[1])].mapping
    return (*topic.path, *path) if own is not None and path[1] in own.model_fields_set else path


def _source(deployment: Deployment) -> Iterator[Problem]:
    model = deployment.model
    if (model.msk is None) == (model.self_managed is None):
        yield (), "expected either msk or self_managed: the cluster that the topics are in"
        return
    if model.msk is not None:
        yield from _msk(model.msk, model.region)
    if model.self_managed is not None:
        yield from _self_managed(model.self_managed)


def _regions(deployment: Deployment) -> Iterator[Problem]:
    """Give what is in another region, where CloudFormation would fail half-way."""
    model = deployment.model
    given: list[tuple[tuple[str | int, ...], str | None]] = [(("kms_key_arn",), model.kms_key_arn)]
    given.append((("on_failure", "kms_key_arn"), model.on_failure.kms_key_arn))
    for key in ("secret_arn", "secret_key_arn", "root_ca_secret_arn"):
        given += [
            ((name, key), getattr(cluster, key, None))
            for name, cluster in (("msk", model.msk), ("self_managed", model.self_managed))
        ]
    given += [(("alarms", "notify", i), arn) for i, arn in enumerate(model.alarms.notify)]
    for topic in deployment.topics:
        own = [*topic.path, "alarms", "notify"]
        given += [((*own, i), arn) for i, arn in enumerate(topic.alarms.notify)]
    for path, arn in given:
        if arn is not None and (region := arn.split(":")[3]) != model.region:
            yield path, f"{arn} is in {region}, and everything else in {model.region}"


def _msk(msk: Msk, region: str) -> Iterator[Problem]:
    result = msk.cluster_arn.split(":")[3]
    if result != region:
        yield (
            ("region",),
            f"{region} is not the cluster's region, {result}. A mapping must be in its cluster's",
        )
    scram = msk.authentication == "scram"
    if scram and msk.secret_key_arn is None:
        text = "MSK takes only secrets that are encrypted with a key of yours: give its ARN"
        yield ("msk",), f"authentication scram needs a secret_key_arn. {text}"
    if scram and msk.secret_arn is not None and ":secret:AmazonMSK_" not in msk.secret_arn:
        yield ("msk", "secret_arn"), "MSK takes only secrets whose name begins with AmazonMSK_"
    needs = msk.authentication in ("scram", "mtls")
    if needs and msk.secret_arn is None:
        yield ("msk",), f"authentication {msk.authentication} needs a secret_arn"
    if not needs and msk.secret_arn is not None:
        yield ("msk", "secret_arn"), f"authentication {msk.authentication} uses no secret"


def _self_managed(cluster: SelfManaged) -> Iterator[Problem]:
    needs = cluster.authentication != "none"
    if needs and cluster.secret_arn is None:
        yield ("self_managed",), f"authentication {cluster.authentication} needs a secret_arn"
    if not needs and cluster.secret_arn is not None:
        yield ("self_managed", "secret_arn"), "authentication none uses no secret"
    if not needs and cluster.vpc is None:
        yield (
            ("self_managed",),
            "authentication none is for a private network: give a vpc, or authenticate",
        )


def _mapping(topic: TopicDeployment) -> Iterator[Problem]:
    mapping = topic.mapping
    if mapping.consumption_mode == "queue":
        yield (
            ("mapping", "consumption_mode"),
            (
                "queue gives up the order within a partition: watermarks would answer nothing, and "
                "each record would be looked up. Expected stream"
            ),
        )
    if mapping.bisect:
        yield (
            ("mapping", "bisect"),
            (
                "bisect must stay off: Silt finds the bad records itself, and the halves of a "
                "batch that the circuit breaker stopped would stay below its limit"
            ),
        )
    for i, pattern in enumerate(mapping.filters):
        if not _is_pattern(pattern):
            text = 'is not a filter over `value`. Expected JSON such as {"value": {"kind": ["a"]}}'
            yield ("mapping", "filters", i), f"{pattern!r} {text}"
    if mapping.pollers is not None:
        if mapping.pollers.minimum > mapping.pollers.maximum:
            yield (
                ("mapping", "pollers"),
                f"minimum {mapping.pollers.minimum} is more than maximum {mapping.pollers.maximum}",
            )
    else:
        yield from _on_demand(topic)
    yield from _bounds(topic)
    if (mapping.starting_position == "at_timestamp") != (mapping.starting_timestamp is not None):
        given = "position" if mapping.starting_timestamp is None else "timestamp"
        yield (
            ("mapping", f"starting_{given}"),
            "at_timestamp and starting_timestamp belong together: give both or neither",
        )


def _on_demand(topic: TopicDeployment) -> Iterator[tuple[tuple[str, ...], str]]:
    mapping = topic.mapping
    if topic.partial_batch_response:
        yield (
            ("mapping", "partial_batch_response"),
            (
                "AWS ignores partial batch responses without provisioned pollers, so every answer "
                "would be a success and unsettled records would be lost. Give pollers, or drop the "
                "key"
            ),
        )
    for key, default in (("retry_attempts", None), ("record_age_s", -1)):
        if getattr(mapping, key) != default:
            yield ("mapping", key), f"{key} needs provisioned pollers. Give pollers, or drop it"


def _bounds(topic: TopicDeployment) -> Iterator[tuple[tuple[str, ...], str]]:
    mapping = topic.mapping
    attempts = mapping.retry_attempts
    bounded = (attempts is not None and attempts != -1) or mapping.record_age_s != -1
    if bounded and not topic.on_failure:
        yield (
            ("mapping", "on_failure"),
            (
                "retry_attempts and record_age_s end in a batch that is dropped, unless it is kept "
                "in the on-failure bucket. Set on_failure: true, or drop the bounds"
            ),
        )
    if 0 <= mapping.record_age_s < AGE_MIN_S:
        yield ("mapping", "record_age_s"), f"expected -1, or at least {AGE_MIN_S}"
    if attempts == -1 and topic.on_failure:
        yield (
            ("mapping", "retry_attempts"),
            (
                "AWS caps endless retries at 10 where there is an on-failure destination. Give a "
                "number, or set on_failure: false for endless ones"
            ),
        )


def _together(deployment: Deployment) -> Iterator[Problem]:
    """Give what is wrong with topics beside each other."""
    topics: dict[str, TopicDeployment] = {}
    names: dict[str, TopicDeployment] = {}
    of_all = maintenance_name(deployment.model.name)
    keys: dict[str, TopicDeployment] = {}
    groups: dict[str, TopicDeployment] = {}
    for topic in deployment.topics:
        if topics.setdefault(topic.topic, topic) is not topic:
            yield (
                topic.path,
                (
                    f"{topic.topic!r} is listed twice. Two mappings of one topic into one "
                    f"table would "
                    "each deliver every record, under consumer groups of their own: all would be "
                    "looked up"
                ),
            )
            continue
        name = function_name(deployment.model.name, topic.topic)
        if name == of_all:
            yield topic.path, f"{topic.topic!r} would become the function {name}, which maintains"
        key = function_key(topic.topic)
        for known, result in ((names, name), (keys, key.lower())):
            other = known.setdefault(result, topic)
            if other is not topic:
                yield (
                    topic.path,
                    f"{topic.topic!r} and {other.topic!r} would both become the function {name}",
                )
                break
        other = groups.setdefault(topic.group, topic)
        if other is not topic:
            yield (
                topic.path,
                (
                    f"the consumer group {topic.group!r} is also that of {other.topic!r}, and each "
                    "mapping needs one of its own"
                ),
            )


def _of_stack(deployment: Deployment) -> Iterator[Problem]:
    """Give what is wrong with what the topics share."""
    for name, maximum in _shared(deployment).items():
        if maximum > GROUP_POLLERS_MAX:
            text = f"the pollers of {name!r} are {maximum} at most, and a group has"
            yield (
                ("mapping", "pollers"),
                f"{text} {GROUP_POLLERS_MAX}. Lower maximum, or split the group",
            )
    for key in deployment.model.tags:
        if key.lower().startswith("aws:"):
            yield ("tags", key), "tags that begin with aws: are reserved for AWS"


def _tables(deployment: Deployment) -> Iterator[Problem]:
    """Give what is wrong with the places of the tables."""
    own = deployment.model.on_failure.bucket
    contracts = [(topic, contract) for topic in deployment.topics for contract in topic.contracts]
    for topic, contract in contracts:
        table = contract.uri(deployment.model.table_root)
        if not table.startswith("s3://"):
            yield (
                topic.path,
                f"its table {table} is not on S3, the only place where the function can write",
            )
        if (reason := unsupported(table)) is not None:
            yield topic.path, f"its table {reason}"
        elif special := [character for character in table if character in _SPECIAL]:
            text = "which IAM reads as a wildcard, or CloudFormation as the beginning of a variable"
            yield topic.path, f"its table {table} has {special[0]!r}, {text}. Give it another name"
        if own is not None and own == bucket_and_prefix(table)[0]:
            text = f"the bucket of {table} cannot be the one of failed batches, which expire"
            yield ("on_failure", "bucket"), text


def _is_pattern(text: str) -> bool:
    """Return whether a filter is JSON over the record's value. AWS checks what is inside."""
    try:
        pattern = json.loads(text)
    except ValueError:
        return False
    return isinstance(pattern, dict) and list(pattern) == ["value"]


def _shared(deployment: Deployment) -> dict[str, int]:
    """Return the pollers of each group, as many as there may be."""
    result: dict[str, int] = {}
    for topic in deployment.topics:
        pollers = topic.mapping.pollers
        if pollers is not None and pollers.group is not None:
            result[pollers.group] = result.get(pollers.group, 0) + pollers.maximum
    return result
