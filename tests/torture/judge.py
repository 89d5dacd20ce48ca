"""What stands in both tables, by two readers, against what the broker has."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa
from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, TopicPartition
from deltalake import DeltaTable, QueryBuilder

from silt.local.s3 import LocalS3
from tests.reader import State, read_log, read_parquet
from tests.verifier import Place, verify

Rows = list[tuple[Place, Any]]
OPEN = "redriven_at is null"


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as an independent consumer of the broker reads it."""

    place: Place
    value: bytes | None
    timestamp_ms: int


def on_the_broker(servers: str, topic: str, partitions: int) -> list[Sent]:
    """Read a topic to the end that it has now; what aborted transactions wrote is not there.

    A consumer is informed of the end only by an empty fetch, which never comes while producers go
    on.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "torture-judge",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    places = [TopicPartition(topic, p, 0) for p in range(partitions)]
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=15)[1] for p in places}
    consumer.assign(places)
    found, ended = [], set[int]()
    try:
        while len(ended) < partitions:
            message = consumer.poll(30)
            assert message is not None, "the broker sends nothing"
            if message.error() is not None:
                assert message.error().name() == "_PARTITION_EOF", message.error()
                ended.add(message.partition())
                continue
            place = message.partition(), message.offset()
            if message.offset() + 1 >= ends[message.partition()]:
                ended.add(message.partition())
            kind, timestamp_ms = message.timestamp()
            assert kind == TIMESTAMP_CREATE_TIME
            found.append(Sent(place, message.value(), timestamp_ms))
    finally:
        consumer.close()
    return found


@dataclass
class Tables:
    """Both tables of one root on the S3 server, read from the server itself, not by the proxy."""

    s3: LocalS3
    root: str
    name: str = "sales/orders"

    def rows(self) -> Rows:
        """Return the rows, as the Delta engine reads them."""
        return self._engine(self.name, ("_kafka_partition", "_kafka_offset", "id"))

    def dead_letters(self) -> Rows:
        """Return the open dead letters, as the Delta engine reads them."""
        columns = ("partition", "offset", "value")
        return self._engine(f"{self.name}__dead_letters", columns, OPEN)

    def _engine(self, name: str, columns: tuple[str, str, str], where: str = "true") -> Rows:
        uri = f"{self.root}/{name}"
        options = self.s3.environment
        if not DeltaTable.is_deltatable(uri, storage_options=options):
            return []
        listed = ", ".join(f'"{column}"' for column in columns)
        table = DeltaTable(uri, storage_options=options)
        sql = f"select {listed} from t where {where}"
        read = QueryBuilder().register("t", table).execute(sql).read_all()
        columns_read = [pa.chunked_array(c).to_pylist() for c in pa.table(read).columns]
        return [((p, o), v) for p, o, v in zip(*columns_read, strict=True)]

    def disagreement(self, rows: Rows, dead_letters: Rows) -> list[str]:
        """Return where the tests' own reader sees other offsets than the engine."""
        problems = []
        for name, columns, where, read in (
            (self.name, ("_kafka_partition", "_kafka_offset"), "true", rows),
            (f"{self.name}__dead_letters", ("partition", "offset"), OPEN, dead_letters),
        ):
            own = self._own(name, columns, where)
            if own != sorted(place for place, _ in read):
                problems.append(f"two readers of {name} differ: {len(own)} and {len(read)} rows")
        return problems

    def state(self, name: str | None = None) -> State:
        """Return what the log of a table says, by the tests' own reader."""
        bucket, prefix = self._place(name or self.name)
        pages = self._client.get_paginator("list_objects_v2")
        listed = pages.paginate(Bucket=bucket, Prefix=f"{prefix}_delta_log/")
        keys = [e["Key"].removeprefix(prefix) for page in listed for e in page.get("Contents", [])]
        return read_log(keys, lambda key: self._get(bucket, prefix + key))

    @cached_property
    def _client(self) -> Any:
        return self.s3.client()

    def _place(self, name: str) -> tuple[str, str]:
        bucket, _, prefix = f"{self.root}/{name}/".removeprefix("s3://").partition("/")
        return bucket, prefix

    def _get(self, bucket: str, key: str) -> bytes:
        return self._client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def _own(self, name: str, columns: tuple[str, str], where: str) -> list[Place]:
        bucket, prefix = self._place(name)
        found: list[Place] = []
        for path in self.state(name).adds:
            with duckdb.connect() as database:
                database.register("f", read_parquet(self._get(bucket, prefix + path)))
                sql = f'select "{columns[0]}", "{columns[1]}" from f where {where}'
                found += database.execute(sql).fetchall()
        return sorted(found)


def judge(sent: list[Sent], rows: Rows, dead_letters: Rows, done: dict[int, int]) -> list[str]:
    """Return what is wrong: `done` are the committed offsets, below which nothing may be missing.

    A record is a row with the id of its JSON, or a dead letter with its bytes; a tombstone is
    neither. One with a long name may be either: that is for the version of the contract to say.
    """
    as_rows = {place for place, _ in rows}
    delivered: dict[Place, Any] = {}
    waiting: set[Place] = set()
    for record in sent:
        if record.value is None:
            continue
        value = parsed(record.value)
        is_row = value is not None and (len(value["name"]) < 9 or record.place in as_rows)
        delivered[record.place] = value["id"] if is_row and value is not None else record.value
        if record.place[1] >= done.get(record.place[0], 0):
            waiting.add(record.place)
    return verify(delivered, rows, dead_letters, waiting)


def parsed(value: bytes) -> Any:
    """Return the record if it is one that a contract may take, else None."""
    try:
        return json.loads(value)
    except ValueError:
        return None
