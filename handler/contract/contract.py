"""Contracts: YAML files in, frozen `Contract`s and the schemas of both their tables out."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from handler.contract.compiled import Column
from handler.contract.reserved import KAFKA_COLUMNS, RESCUED
from handler.contract.upkeep import Upkeep
from handler.contract.where import Where
from handler.delta.types import Field, Primitive
from handler.errors import SettingsError

DEAD_LETTERS_SUFFIX = "__dead_letters"


DEAD_LETTER_FIELDS = (
    Field("topic", Primitive("string")),
    Field("partition", Primitive("integer")),
    Field("offset", Primitive("long")),
    Field("timestamp", Primitive("timestamp")),
    Field("timestamp_type", Primitive("string")),
    Field("key", Primitive("binary")),
    Field("value", Primitive("binary")),
    Field("headers", KAFKA_COLUMNS["_kafka_headers"]),
    Field("error_code", Primitive("string")),
    Field("error_path", Primitive("string")),
    Field("error_message", Primitive("string")),
    Field("contract_version", Primitive("string")),
    Field("failed_at", Primitive("timestamp")),
)
REDRIVEN_AT, REDRIVEN_AS = "redriven_at", "redriven_as"
ROW = "row"
"""What `redriven_as` says of a dead letter that became a row."""
REDRIVE_FIELDS = (
    Field(REDRIVEN_AT, Primitive("timestamp")),
    Field(REDRIVEN_AS, Primitive("string")),
)
"""When a dead letter was given to the contract again with success, and as what: null until then.

They are not marked as the contract's, so a release without them goes on after a rollback.
"""


class CircuitBreaker(msgspec.Struct, frozen=True):
    """A batch is stopped where more than this share of its new records are rejects, unless it has
    fewer of them than `min_records`.
    """

    ratio: float
    min_records: int


class Contract(msgspec.Struct, frozen=True):
    """One contract, checked and compiled.

    `version` is the user's label and the format's fingerprint.
    """

    file: str
    topic: str
    table: str
    version: str
    description: str | None
    columns: tuple[Column, ...]
    where: Where | None
    partition_by: tuple[str, ...]
    kafka_columns: tuple[str, ...]
    unknown_fields: str
    max_values: int
    max_columns: int
    on_invalid: str
    circuit_breaker: CircuitBreaker
    redelivered: str
    on_tombstone: str
    evolution: str
    retired: tuple[str, ...]
    upkeep: Upkeep
    dead_letter_upkeep: Upkeep

    @property
    def fields(self) -> tuple[Field, ...]:
        """Return the table's schema:

        Kafka's three first, because engines keep statistics of the first 32.
        """
        kafka = [Field(name, KAFKA_COLUMNS[name]) for name in self.kafka_column_names]
        own = [column.as_field() for column in self.columns]
        rescued = [Field(RESCUED, Primitive("string"))] if self.keeps_unknown else []
        return (*kafka[:3], *own, *kafka[3:], *rescued)

    @property
    def kafka_column_names(self) -> tuple[str, ...]:
        """Return the Kafka columns of the table, the three that are always there first."""
        always = ("_kafka_partition", "_kafka_offset", "_kafka_timestamp")
        return always + tuple(f"_kafka_{name}" for name in self.kafka_columns)

    @property
    def dead_letters(self) -> str:
        """Return the name of the table of dead letters."""
        return self.table + DEAD_LETTERS_SUFFIX

    def uri(self, root: str) -> str:
        """Return where the table is: under the root, or where an absolute URI says."""
        table = self.table.rstrip("/")
        absolute = "://" in table or table.startswith("/")
        return table if absolute else f"{root.rstrip('/')}/{table}"

    def places(self, root: str) -> tuple[tuple[str, str], tuple[str, str]]:
        """Return name and place of the table, then of its dead letters."""
        uri = self.uri(root)
        return (self.table, uri), (self.dead_letters, uri + DEAD_LETTERS_SUFFIX)

    @property
    def keeps_unknown(self) -> bool:
        """Return whether the table has the column `_rescued`."""
        return self.unknown_fields in ("rescue", "add") or self.on_invalid == "rescue"


def by_topic(contracts: Iterable[Contract]) -> dict[str, tuple[Contract, ...]]:
    """Return contracts by their topic: a topic may have several, each with its own table."""
    result: dict[str, tuple[Contract, ...]] = {}
    for contract in contracts:
        result[contract.topic] = (*result.get(contract.topic, ()), contract)
    return result


def choose_contracts(
    contracts: Sequence[Contract], topics: Sequence[str] | None
) -> Sequence[Contract]:
    """Return the contracts of some topics, all for None. Raises SettingsError for an unknown
    one.
    """
    if topics is None:
        return contracts
    known = {contract.topic for contract in contracts}
    if missing := [topic for topic in topics if topic not in known]:
        raise SettingsError(
            f"SILT_TOPICS names {', '.join(map(repr, missing))}, and there are contracts for "
            f"{', '.join(sorted(known))} alone. The function did not start; nothing was read."
        )
    return [contract for contract in contracts if contract.topic in topics]


def contract_files(root: Path) -> list[Path]:
    """Return the contract files of a folder, in the order of their names."""
    return sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
