"""The format of a contract file as pydantic models; `schemas/contract.schema.json` is made from
them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

_TYPE_PATTERN = (
    r"^(string|long|integer|short|byte|double|float|boolean|binary|date|timestamp|timestamp_ntz"
    r"|json|struct|array|map|decimal\( *[0-9]{1,2} *, *[0-9]{1,2} *\))$"
)
BOUNDS = ("minimum", "maximum", "exclusive_minimum", "exclusive_maximum")
"""The keys of a column that bound its values."""
Bound = int | float | str
Accepted = Literal["string", "integral", "integer", "number", "boolean", "float", "timestamp"]
"""Kinds of JSON that a column may take besides the usual one."""
Length = Annotated[int, Field(ge=0, le=(1 << 31) - 1)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)


class ColumnModel(_Model):
    """A column of the table, a field of a struct, or what an array or a map holds."""

    type: Annotated[str, Field(json_schema_extra={"pattern": _TYPE_PATTERN})] = Field(
        description="A Delta type: string, long, integer, short, byte, double, float, boolean, "
        "binary, date, timestamp, timestamp_ntz, decimal(p,s), struct, array or map; or json, the "
        "text of any value as it was sent.",
    )
    description: str | None = Field(None, description="Becomes the column's comment.")
    required: bool = Field(False, description="Refuse a record in which it is missing or null.")
    default: Any = Field(None, description="Used for a missing or null value; scalars only.")
    source: str | Annotated[list[str], Field(min_length=1)] | None = Field(
        None,
        description="Where the value is in the JSON, if not in the field of the column's name: "
        "another name, a path such as payload.after.id, or a list of names, which may have dots.",
    )
    from_: str | None = Field(
        None,
        alias="from",
        description="Derive the column: a column, a path such as customer.country, a Kafka column "
        "such as _kafka_timestamp, or date(x), year(x), month(x), day(x), hour(x) of one. Or read "
        "it from the message: _kafka_headers.name, _kafka_key, _kafka_key.field.",
    )
    minimum: Bound | None = Field(None, description="The smallest value that is allowed.")
    maximum: Bound | None = Field(None, description="The largest value that is allowed.")
    exclusive_minimum: Bound | None = Field(None, description="Values must be greater.")
    exclusive_maximum: Bound | None = Field(None, description="Values must be less.")
    min_length: Length | None = Field(
        None,
        description="Characters of a string, bytes of a binary, elements of an array or a map.",
    )
    max_length: Length | None = Field(None, description="As min_length.")
    pattern: str | None = Field(
        None,
        description="An RE2 regular expression that must match somewhere; anchor it with ^ and "
        "\\z.",
    )
    enum: Annotated[list[Any], Field(min_length=1)] | None = Field(
        None, description="The values that are allowed."
    )
    unit: Literal["s", "ms", "us", "ns", "days"] | None = Field(
        None,
        description="Timestamps are integers of this unit since 1970: s, ms, us or ns. A date is a "
        "number of days.",
    )
    accept: Annotated[list[Accepted], Field(min_length=1)] | None = Field(
        None, description="Kinds of JSON that are taken besides the usual one of the type."
    )
    format: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="Timestamps and dates as text: iso8601, or a pattern in strptime's words such "
        'as "%d/%m/%Y %H:%M".',
    )
    zone: str | None = Field(
        None, description="The time zone of timestamps without an offset, such as Europe/Berlin."
    )
    fold: Literal["earlier", "later"] | None = Field(
        None, description="Which moment is meant where the clocks of the zone show a time twice."
    )
    fraction: Literal["truncate"] | None = Field(
        None, description="Drop the digits of timestamps beyond microseconds."
    )
    fields: Annotated[dict[str, "ColumnModel"], Field(min_length=1)] | None = Field(
        None, description="The fields of a struct."
    )
    items: "ColumnModel | None" = Field(None, description="What an array holds.")
    values: "ColumnModel | None" = Field(
        None, description="What a map holds; its keys are strings."
    )


Value = bool | int | float | str


class ConditionModel(_Model):
    """What a value of the JSON must be: all that is said here."""

    equals: Value | None = Field(None, description="The value.")
    in_: Annotated[list[Value], Field(min_length=1)] | None = Field(
        None, alias="in", description="One of these values."
    )
    prefix: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="A string that begins with this."
    )
    exists: bool | None = Field(
        None, description="true: the field is there and not null; false: it is missing or null."
    )
    minimum: int | float | str | None = Field(
        None, description="A number of at least this; or a string, by its characters."
    )
    maximum: int | float | str | None = Field(
        None, description="A number of at most this; or a string, by its characters."
    )


Conditions = Annotated[
    Annotated[ConditionModel, Tag("one")]
    | Annotated[list[dict[str, ConditionModel]], Tag("alternatives"), Field(min_length=1)],
    Discriminator(lambda value: "alternatives" if isinstance(value, list) else "one"),
]


class CircuitBreakerModel(_Model):
    """When a batch says that the producer or the contract is broken."""

    ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Stop the batch when more than this share of its new records are rejects."
    )
    min_records: Annotated[int, Field(ge=1)] = Field(
        100, description="Batches with fewer new records never stop."
    )


_TIME = r"^[0-9]{1,6}[mhd]$"
_SIZE = r"^[0-9]{1,6} ?[KMG]iB$"


class RetentionModel(_Model):
    """How long what is no longer part of a table is kept; a day at least."""

    retain: Annotated[str, Field(pattern=_TIME)] | None = Field(
        None,
        description="How long a data file is kept after it was removed from the table. Default: "
        "what the table's properties say, else 7d.",
    )
    log_retain: Annotated[str, Field(pattern=_TIME)] | None = Field(
        None,
        description="How long commits are kept, which is how far back time travel goes. Default: "
        "what the table's properties say, else 30d.",
    )


class DeadLetterModel(RetentionModel):
    """How the dead letters are kept, where that differs from the table."""

    expire: Annotated[str, Field(pattern=_TIME)] | None = Field(
        None,
        description="Dead letters that were redriven longer ago are removed; a day at least. "
        "Default: never. One that is open is never removed.",
    )


class MaintenanceModel(RetentionModel):
    """How the table and its dead letters are kept in shape."""

    enabled: bool = Field(True, description="Whether maintenance works on the two tables.")
    target_file_size: Annotated[str, Field(pattern=_SIZE)] = Field(
        "128 MiB", description="How large compacted files become."
    )
    sort_by: list[str] = Field(
        [],
        description="Columns by which the rows of each compacted file are sorted, so that a query "
        "on the first of them reads only some row groups of a file.",
    )
    checkpoint_commits: Annotated[int, Field(ge=1, le=1000)] = Field(
        20, description="Write a checkpoint when more commits than this follow the last one."
    )
    quiet_for: Annotated[str, Field(pattern=_TIME)] = Field(
        "1h", description="A partition is compacted when nothing was appended to it for so long."
    )
    dead_letters: DeadLetterModel | None = Field(
        None,
        description="expire, retain and log_retain of the dead letters. Default: as the table's.",
    )


class ContractModel(_Model):
    """One Kafka topic, the Delta table that it becomes, and the rules between them."""

    topic: str = Field(
        description="The Kafka topic. Several contracts may share one: each has a table of its own."
    )
    table: str = Field(description="A path under SILT_TABLE_ROOT, or an absolute URI.")
    version: str | None = Field(
        None, description="A label of your own, stored with each dead letter."
    )
    description: str | None = Field(None, description="Becomes the table's description.")
    columns: Annotated[dict[str, ColumnModel], Field(min_length=1)] = Field(
        description="The columns of the table, by name."
    )
    where: dict[str, Conditions] | None = Field(
        None,
        description="Which records of the topic belong in the table: conditions by the path of a "
        "field, which must all hold, and below `any` a list of alternatives. The others are "
        "dropped by this rule.",
    )
    partition_by: list[str] = Field([], description="Columns that the table is partitioned by.")
    kafka_columns: list[Literal["topic", "timestamp_type", "key", "headers"]] = Field(
        [],
        description="Kafka columns besides partition, offset and timestamp, which are always in.",
    )
    unknown_fields: Literal["ignore", "reject", "rescue", "add"] = Field(
        "ignore",
        description="Fields that are not in the contract: drop them, refuse the record, keep "
        "them as JSON in _rescued, or add columns for them.",
    )
    max_values: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        4_000_000,
        description="A record that becomes more values than this in its columns is rejected: an "
        "array of structs counts all their fields for each item.",
    )
    max_columns: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1_000,
        description="With `unknown_fields: add`, data adds no column to a table that already has "
        "this many; what it would add is rescued. Columns of the contract may be more.",
    )
    on_invalid: Literal["dead_letter", "fail", "rescue"] = Field(
        "dead_letter",
        description="What happens with a reject: a dead letter, or its stream stops there. With "
        "rescue, a value that is not of its column's type becomes null and is kept in _rescued; "
        "the record is a row, unless the value is required or breaks another rule.",
    )
    circuit_breaker: CircuitBreakerModel = Field(CircuitBreakerModel(ratio=0.5, min_records=100))
    redelivered: Literal["look_up", "skip"] = Field(
        "look_up",
        description="At or below the watermark: look records up, or trust the watermark (for "
        "tables whose rows people delete).",
    )
    on_tombstone: Literal["skip", "dead_letter", "row"] = Field(
        "skip", description="What a record without a value becomes."
    )
    evolution: Literal["none", "add_columns", "widen"] = Field(
        "add_columns",
        description="How the table may follow the contract. After `widen` has widened an integer "
        "or a float, Spark 3 cannot read the column until maintenance has rewritten older files.",
    )
    retired: list[str] = Field(
        [], description="Columns that the table keeps and that are no longer filled."
    )
    maintenance: MaintenanceModel = Field(
        MaintenanceModel.model_validate({}), description="How the two tables are maintained."
    )
