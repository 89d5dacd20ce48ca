"""The part of deploy.yml that says where records come from, and how they are read."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Arn = Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:.+$")]
ClusterArn = Annotated[
    str,
    Field(
        pattern=r"^arn:aws[a-z-]*:kafka:[a-z0-9-]+:[0-9]{12}:cluster/[A-Za-z0-9._-]+/[A-Za-z0-9-]+$"
    ),
]
SecretArn = Annotated[
    str,
    # No star, which IAM would read as a wildcard ('CreateSecret' has the characters of names).
    Field(
        pattern=r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+$"
    ),
]
KeyArn = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$")
]
TopicArn = Annotated[
    str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9._-]+$")
]
Subnet = Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")]
SecurityGroup = Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Vpc(Section):
    """Where in a VPC something runs."""

    subnets: Annotated[list[Subnet], Field(min_length=1, max_length=16)] = Field(
        description="Private subnets, one for each zone."
    )
    security_groups: Annotated[list[SecurityGroup], Field(min_length=1, max_length=5)] = Field(
        description="Security groups; only outgoing traffic is needed."
    )


class Msk(Section):
    """A cluster of Amazon MSK."""

    cluster_arn: ClusterArn = Field(
        description="The ARN of the cluster, provisioned or serverless."
    )
    authentication: Literal["iam", "scram", "mtls", "none"] = Field(
        "iam", description="How the mapping's pollers authenticate."
    )
    secret_arn: SecretArn | None = Field(
        None,
        description="scram: user and password, a secret that is associated with the cluster; mtls: "
        "certificate, privateKey and privateKeyPassword.",
    )
    secret_key_arn: KeyArn | None = Field(
        None, description="The KMS key of the secret, if it is not the default one."
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="SILT_SOURCE: the cluster's name in stream ids. Default: its unique id.",
    )


class SelfManaged(Section):
    """A cluster of Apache Kafka that is not Amazon MSK."""

    bootstrap_servers: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$")]],
        Field(min_length=1, max_length=10),
    ] = Field(description="host:port of up to 10 brokers.")
    authentication: Literal["plain", "scram_256", "scram_512", "mtls", "none"] = Field(
        description="How the mapping's pollers authenticate."
    )
    secret_arn: SecretArn | None = Field(
        None,
        description="plain and scram: username and password; mtls: certificate, privateKey and "
        "privateKeyPassword.",
    )
    secret_key_arn: KeyArn | None = Field(
        None, description="The KMS key of the secrets, if it is not the default one."
    )
    root_ca_secret_arn: SecretArn | None = Field(
        None, description="A secret with the certificate of a private authority, as `certificate`."
    )
    vpc: Vpc | None = Field(
        None, description="From where the cluster is reached, if not from the internet."
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="SILT_SOURCE: the cluster's name in stream ids. Default: a digest of the "
        "sorted servers, which changes with them: give a name before the first deployment.",
    )


class Pollers(Section):
    """Provisioned mode: pollers that are kept ready, at most 5 MB/s each."""

    minimum: Annotated[int, Field(ge=1, le=200)] = Field(1, description="Pollers that always run.")
    maximum: Annotated[int, Field(ge=1, le=2000)] = Field(
        4, description="The most pollers there can be; docs/sizing.md says how many to use."
    )
    group: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,128}$",
        description="Mappings of one group in one VPC share pollers: cheaper for small topics.",
    )


def _pollers(value: Any) -> Any:
    """Return None, which no one can write, for on_demand."""
    if value == "on_demand":
        return None
    if isinstance(value, (dict, Pollers)):
        return value
    raise ValueError("expected on_demand, or minimum and maximum")


class Mapping(Section):
    """The event source mapping of a topic."""

    create: bool = Field(
        True,
        description="false: the function alone. For one deployment, where a mapping has to be "
        "created again: AWS accepts no second mapping of the same function and topic.",
    )
    enabled: bool = Field(
        True, description="false: deploy without reading, to try the function first."
    )
    pollers: Annotated[Pollers | None, BeforeValidator(_pollers)] = Field(
        Pollers.model_validate({}),
        description="Provisioned pollers, or on_demand: no partial batch responses, no bounds on "
        "retries; the function then fails whole batches, and redelivery does no harm.",
    )
    partial_batch_response: bool | None = Field(
        None,
        description="Report single records; false: fail the whole batch. Default: true with "
        "provisioned pollers. false is also the first step from or to on_demand: "
        "docs/deploy.md#between-pollers-and-on-demand.",
    )
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = Field(
        10_000, description="Records of a batch at most; 6 MB or the window end it sooner."
    )
    window_s: Annotated[int, Field(ge=0, le=300)] = Field(
        5,
        description="Seconds to gather a batch: a longer window gives fewer and larger files, "
        "and later rows.",
    )
    starting_position: Literal["trim_horizon", "latest", "at_timestamp"] = Field(
        "trim_horizon",
        description="Where a new consumer group begins. latest may miss records while the mapping "
        "is created.",
    )
    starting_timestamp: Annotated[int, Field(ge=0, lt=10**10)] | None = Field(
        None, description="With at_timestamp: seconds since 1970, not milliseconds."
    )
    consumer_group: str | None = Field(
        None,
        pattern=r"^[a-zA-Z0-9/:_+=.@-]{1,200}$",
        description="Default: `<name>-<topic>`. Only a new mapping can change it.",
    )
    retry_attempts: Annotated[int, Field(ge=-1, le=10_000)] | None = Field(
        None,
        description="Attempts before a batch goes to the on-failure bucket; -1: endless. Default: "
        "100 with provisioned pollers. A bad record never needs a retry: it becomes a dead letter.",
    )
    record_age_s: Annotated[int, Field(ge=-1, le=604_800)] = Field(
        -1,
        description="A record older than this goes to the on-failure bucket unread; -1: never. Set "
        "it below the topic's retention if at all.",
    )
    on_failure: bool | None = Field(
        None,
        description="Keep batches that AWS gives up on, whole, in the on-failure bucket. Default: "
        "true with provisioned pollers. On demand there are no bounds, and AWS gives up after 10 "
        "attempts where there is a bucket, and never where there is none.",
    )
    filters: Annotated[list[str], Field(max_length=10)] = Field(
        [],
        description="Discouraged. FilterCriteria over `value`, as JSON: AWS drops other records "
        "before the function, so they are neither rows nor dead letters nor counted, and an audit "
        "reports them as lost. `where` in the contract counts what it drops.",
    )
    consumption_mode: Literal["stream", "queue"] = Field(
        "stream", description="queue (share groups) gives up the order, and is rejected."
    )
    bisect: bool = Field(
        False, description="Halve failed batches; rejected: Silt finds the bad records itself."
    )
    schema_registry: Literal["off"] = Field(
        "off", description="Silt reads JSON as producers wrote it."
    )
