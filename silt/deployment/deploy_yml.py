"""The format of deploy.yml as pydantic models: `schemas/deployment.schema.json` is made of them."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from silt.deployment.mapping_section import (
    Arn,
    KeyArn,
    Mapping,
    Msk,
    Section,
    SelfManaged,
    TopicArn,
    Vpc,
)
from silt.packaging.wheels import DEFAULT_ARCH, DEFAULT_PYTHON, Arch, Python

CONTRACTS = "schemas"
"""The folder of contracts, unless a command or a deployment names another."""
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.:/=+@-]{1,128}$")]
TagValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9 _.:/=+@-]{0,256}$")]
LogDays = Literal[1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 3653]


class FunctionSection(Section):
    """The function of a topic."""

    memory_mb: Annotated[int, Field(ge=256, le=10_240)] = Field(
        512,
        description="CPU grows with it: 1,769 MB is one vCPU. 512 MB costs half as much, because "
        "an invocation waits for S3 in any case: docs/sizing.md.",
    )
    timeout_s: Annotated[int, Field(ge=30, le=900)] = Field(
        300,
        description="An append that lost some races takes seconds; an invocation that runs out "
        "of time is retried.",
    )
    reserved_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None,
        description="Reserves this much concurrency for the function, and limits it to that. A "
        "poller invokes once a partition at a time; docs/sizing.md.",
    )
    vpc: Vpc | None = Field(
        None, description="The function needs only S3; in a VPC, through a gateway endpoint."
    )
    health_check: bool = Field(
        True, description="SILT_HEALTH_CHECK: look at table and contract at cold start."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="SILT_LOG_LEVEL."
    )
    generation: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0, description="SILT_GENERATION: raise it after the topic was recreated or moved."
    )


class MaintenanceSection(Section):
    """The function that keeps tables in shape."""

    enabled: bool = Field(True, description="Deploy the function and its schedule.")
    every_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        5, description="How often it runs; a run that finds nothing due writes nothing."
    )
    memory_mb: Annotated[int, Field(ge=512, le=10_240)] = Field(
        1769, description="1,769 MB is one vCPU; memory is bounded by far less."
    )
    timeout_s: Annotated[int, Field(ge=120, le=900)] = Field(
        900, description="What one run does not finish, the next one does."
    )
    storage_mb: Annotated[int, Field(ge=512, le=10_240)] | None = Field(
        None,
        description="/tmp, where files are written before upload, and where rows are sorted that "
        "do not fit in memory. Default: 10,240 where a contract has sort_by, else 512.",
    )
    vpc: Vpc | None = Field(None, description="As for the functions of topics.")


class OnFailure(Section):
    """The bucket of batches that AWS gave up on."""

    bucket: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        description="Your own bucket. Default: a private, encrypted bucket is created.",
    )
    kms_key_arn: KeyArn | None = Field(
        None, description="The key of your bucket, if it is not kms_key_arn of all."
    )
    expire_days: Annotated[int, Field(ge=7, le=3650)] = Field(
        90, description="Replay them before: then they are deleted, unless the bucket is your own."
    )


class Alarms(Section):
    """When alarms go off, by topic."""

    enabled: bool = Field(True, description="Create alarms and the dashboard.")
    notify: Annotated[list[TopicArn], Field(max_length=5)] = Field(
        [], description="SNS topics to notify, at most 5. Without one, alarms are only shown."
    )
    guide: Annotated[str, Field(max_length=500)] = Field(
        "docs/deploy.md", description="Begins the link in each alarm: where your team reads it."
    )
    lag_records: Annotated[int, Field(ge=1)] = Field(
        100_000, description="More records behind than this, and growing for 15 minutes."
    )
    freshness_s: Annotated[int, Field(ge=10)] = Field(
        600, description="The oldest record of a batch was older when it was settled."
    )
    dead_letter_percent: Annotated[float | int, Field(gt=0, le=100)] = Field(
        5, description="Of the records of 15 minutes."
    )
    no_data_minutes: Annotated[int, Field(ge=5, le=1440, multiple_of=5)] | None = Field(
        60, description="No record for this long; null if a topic may be quiet."
    )


def _topic(value: Any) -> Any:
    return {"topic": value} if isinstance(value, str) else value


class Topic(Section):
    """One topic: a function, a role and a mapping of its own."""

    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = Field(
        description="Its name; its contract is found by it."
    )
    mapping: Mapping | None = Field(None, description="What differs from `mapping` of all.")
    function: FunctionSection | None = Field(
        None, description="What differs from `function` of all."
    )
    alarms: Alarms | None = Field(None, description="What differs from `alarms` of all.")


class DeploymentModel(Section):
    """deploy.yml."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")] = Field(
        description="The prefix of every name that is created; use another one for each stage."
    )
    region: Annotated[str, Field(pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")] = Field(
        description="The region of everything: that of the cluster, and preferably of the bucket."
    )
    architecture: Arch = Field(DEFAULT_ARCH, description="arm64 is cheaper.")
    python: Python = Field(DEFAULT_PYTHON, description="The runtime.")
    contracts: str = Field(CONTRACTS, description="The folder of the contracts.")
    table_root: Annotated[
        str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#*$\s]+)?$")
    ] = Field(description="Where the tables are: s3://bucket/prefix, in a general purpose bucket.")
    create_bucket: bool = Field(
        False, description="Create the bucket of table_root; it outlives the stack."
    )
    kms_key_arn: KeyArn | None = Field(
        None,
        description="A key for logs, environment, the buckets that are made, and what the tables' "
        "bucket is encrypted with.",
    )
    msk: Msk | None = Field(None, description="Either msk or self_managed.")
    self_managed: SelfManaged | None = Field(None, description="Either msk or self_managed.")
    topics: Annotated[
        list[Annotated[Topic, BeforeValidator(_topic)]], Field(min_length=1, max_length=100)
    ] = Field(description="Names, or a mapping with what differs for one.")
    mapping: Mapping = Field(Mapping.model_validate({}), description="Of all topics.")
    function: FunctionSection = Field(
        FunctionSection.model_validate({}), description="Of all topics."
    )
    maintenance: MaintenanceSection = Field(
        MaintenanceSection.model_validate({}), description="One for all tables."
    )
    on_failure: OnFailure = Field(OnFailure.model_validate({}), description="One for all topics.")
    alarms: Alarms = Field(Alarms.model_validate({}), description="Of all topics.")
    log_days: LogDays = Field(30, description="How long logs are kept.")
    permissions_boundary: Arn | None = Field(None, description="Of the roles that are made.")
    tags: Annotated[dict[TagKey, TagValue], Field(max_length=40)] = Field(
        {}, description="Of everything that can have tags."
    )


def deployment_schema() -> dict[str, Any]:
    """Return the JSON Schema of deploy.yml, for editors."""
    schema = DeploymentModel.model_json_schema()
    # What runs before the validation is not in pydantic's schema: names alone, and on_demand.
    items = schema["properties"]["topics"]["items"]
    schema["properties"]["topics"]["items"] = {"anyOf": [{"type": "string"}, items]}
    pollers = schema["$defs"]["Mapping"]["properties"]["pollers"]["anyOf"]
    pollers[:] = [each for each in pollers if each != {"type": "null"}] + [{"const": "on_demand"}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
