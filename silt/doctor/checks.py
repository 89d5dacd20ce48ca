"""The order of the checks: what rests on what, and what cannot be asked when something failed."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError
from msgspec.structs import replace

from handler import health
from handler.contract.contract import Contract
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.errors import SiltError, counted
from handler.health import Finding
from handler.sink.writer import Writer
from silt.credentials import use_credentials_for, use_region
from silt.deployment.functions import LambdaFunction, functions_of
from silt.deployment.mappings import event_source_mapping
from silt.deployment.names import bucket_and_prefix, function_key
from silt.deployment.plan import Deployment, TopicDeployment
from silt.doctor import aws, broker_check, mapping_check
from silt.doctor.aws import FAILED, Account, no_credentials
from silt.partition_cost import warn_of_files

STORE_LIMIT_S = 60.0
_UNSEEN = "To deploy unseen: --param=look=false."


@dataclass(frozen=True, slots=True)
class Broker:
    """How the broker is reached from this machine."""

    servers: str
    client: Mapping[str, Any] = field(default_factory=dict)


def of_tables(
    contracts: Sequence[Contract], root: str, region: str | None = None
) -> Iterator[Finding]:
    """Give what is found of tables, from this machine and with its credentials.

    `region` is that of the bucket, where another than the environment's is known.
    """
    if region is not None:
        use_region(region)
    pool, clock = Pool(), SystemClock()
    for contract in contracts:
        uri = contract.uri(root)
        deadline = Deadline(clock, clock.monotonic() + STORE_LIMIT_S)
        try:
            use_credentials_for(uri)
        except SiltError as error:
            cause = error.__cause__
            yield no_credentials(uri, cause if isinstance(cause, BotoCoreError) else error)
            continue
        writer = Writer(contract, uri, open_store, pool, generation=0)
        yield health.of_table(contract.table, partial(_describe, writer, deadline))
        for table in writer.tables:
            yield from health.of_log(table.name, table)
        yield from warn_of_files(writer.rows, deadline)
        for name, place in contract.places(root):
            yield from health.of_store(name, open_store(place), pool, deadline)


def _describe(writer: Writer, deadline: Deadline) -> str:
    return health.describe(writer.check_table(deadline))


def of_deployment(
    deployment: Deployment, topics: Sequence[TopicDeployment], *, invoke: bool
) -> Iterator[Finding]:
    """Give what is found of a deployment in AWS; without credentials nothing else is asked."""
    model = deployment.model
    yield Finding("deployment", deployment.file, "ok", counted(len(topics), "topic"))
    account = yield from _account(model.region)
    if account is None:
        return
    buckets = dict.fromkeys(
        bucket_and_prefix(contract.uri(model.table_root))[0]
        for topic in topics
        for contract in topic.contracts
    )
    for bucket in buckets:
        yield account.bucket(bucket)
    functions = {function.key: function for function in functions_of(deployment)}
    for topic in topics:
        yield from _of_topic(
            deployment, topic, functions[function_key(topic.topic)], account, invoke
        )
    if "Maintenance" in functions:
        yield from _of_maintenance(deployment, functions["Maintenance"], account, invoke)


def of_next_deployment(
    deployment: Deployment, topics: Sequence[TopicDeployment], number: str | None = None
) -> Iterator[Finding]:
    """Give what a deployment would lose, or fail at half-way, over what is deployed now.

    `number` is the account that is deployed to. What cannot be looked at is wrong: this is asked
    to be sure.
    """
    for finding in _of_next(deployment, topics, number):
        if finding.state == "unknown":
            yield replace(finding, state="wrong", fix=f"{finding.fix} {_UNSEEN}".strip())
        elif finding.check != "clock":
            yield finding


def _of_next(
    deployment: Deployment, topics: Sequence[TopicDeployment], number: str | None
) -> Iterator[Finding]:
    account = yield from _account(deployment.model.region)
    if account is None:
        return
    if number not in (None, account.number):
        reason = f"they are of {account.number}, and what deploys uses {number}"
        yield Finding("credentials", deployment.file, "wrong", reason, "Set AWS_PROFILE for both.")
        return
    functions = {function.key: function for function in functions_of(deployment)}
    for topic in topics:
        if not topic.mapping.create:
            continue
        function = functions[function_key(topic.topic)]
        answer = account.configuration(function.name)
        if isinstance(answer, Finding):
            if answer.state == "unknown":  # else it is not deployed yet
                yield answer
            continue
        mappings = account.mappings(FunctionName=function.name)
        if isinstance(mappings, Finding):
            yield mappings
            continue
        target = event_source_mapping(deployment, topic)["Properties"]
        before = (answer.get("Environment") or {}).get("Variables")
        for each in _of_one_topic(mappings, topic):
            yield from mapping_check.of_change(
                topic.topic, each, target, before, function.environment
            )


def _account(region: str) -> Generator[Finding, None, Account | None]:
    """Give who we are; return the account, or None where nothing more can be asked."""
    try:
        account = Account(region)
        identity = list(account.identity())
    except FAILED as error:
        yield no_credentials(region, error)
        return None
    yield from identity
    return None if not health.healthy(identity) and account.number is None else account


def _of_one_topic(
    mappings: Sequence[Mapping[str, Any]], topic: TopicDeployment
) -> list[Mapping[str, Any]]:
    return [m for m in mappings if topic.topic in (m.get("Topics") or [])]


def _of_topic(
    deployment: Deployment,
    topic: TopicDeployment,
    function: LambdaFunction,
    account: Account,
    invoke: bool,
) -> Iterator[Finding]:
    answer = account.configuration(function.name)
    if isinstance(answer, Finding) or not invoke:
        # The function cannot say how it is with its own role, so this machine tries with ours.
        yield from of_tables(topic.contracts, deployment.model.table_root, account.region)
    if isinstance(answer, Finding):
        yield answer
        return
    yield from aws.of_function(deployment.model, function, answer)
    result = account.mappings(FunctionName=function.name)
    if isinstance(result, Finding):
        yield result
        return
    own = _of_one_topic(result, topic)
    destination = None
    expected = "one" if topic.mapping.create else "none"
    if len(own) != int(topic.mapping.create):
        mappings = counted(len(own), "mapping")
        reason = f"{mappings} from this topic to {function.name}; expected {expected}"
        fix = "Deploy again; delete what was created by hand."
        yield Finding("mapping", topic.topic, "wrong", reason, fix)
    for each in own:
        target = event_source_mapping(deployment, topic)["Properties"]
        environment = answer.get("Environment") or {}
        # Where the variables may not be read, those of deploy.yml are used: said above.
        variables = environment.get("Variables") or function.environment
        yield from mapping_check.of_mapping(topic.topic, each, target, variables)
        destination = mapping_check.destination_of(each)
        if destination is not None and ":s3:::" in destination:
            yield account.bucket(destination.split(":::")[1])
        yield account.lag(topic, function.name, each["UUID"])
        arn = each.get("EventSourceArn")
        others = account.mappings(EventSourceArn=arn) if arn else account.mappings()
        if not isinstance(others, Finding):
            yield from mapping_check.of_others(topic.topic, function.name, each, others)
    yield from account.permissions(function.name, answer["Role"], function.statements, destination)
    if invoke:
        yield from account.health(function.name)


def _of_maintenance(
    deployment: Deployment, function: LambdaFunction, account: Account, invoke: bool
) -> Iterator[Finding]:
    answer = account.configuration(function.name)
    if isinstance(answer, Finding):
        yield answer
        return
    yield from aws.of_function(deployment.model, function, answer)
    yield from account.permissions(function.name, answer["Role"], function.statements, None)
    if invoke:
        yield from account.health(function.name)


def of_broker(topics: Sequence[TopicDeployment], broker: Broker) -> Iterator[Finding]:
    """Give what is found of each topic and its group, from this machine."""
    for topic in topics:
        yield from broker_check.of_topic(
            broker.servers, topic.topic, topic.group, topic.alarms.lag_records, broker.client
        )
