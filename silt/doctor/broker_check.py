"""The broker as this machine reaches it: the topic, the consumer group, and how far it is."""

from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from handler.errors import counted
from handler.health import Finding
from silt.local.broker import METADATA_LIMIT_S, QUIET, committed_offsets

_REACH = (
    "Run it where the brokers are reachable (in the VPC), and pass the client's settings with "
    "--kafka: security.protocol, sasl.mechanism, sasl.username and others of librdkafka."
)


def of_topic(
    servers: str, topic: str, group: str, lag_limit: int, client: Mapping[str, Any]
) -> Iterator[Finding]:
    """Give what is found of a topic and of the group that reads it. It joins no group."""
    settings = {"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False}
    try:
        consumer = Consumer({**settings, **QUIET, **client})
    except KafkaException as error:
        yield Finding("kafka", servers, "wrong", f"{error.args[0]}", _REACH)
        return
    try:
        yield from _looked(consumer, servers, topic, group, lag_limit)
    except KafkaException as error:
        yield Finding("kafka", servers, "wrong", f"{error.args[0]}", _REACH)
    finally:
        consumer.close()


def _looked(
    consumer: Any, servers: str, topic: str, group: str, lag_limit: int
) -> Iterator[Finding]:
    result = consumer.list_topics(topic, timeout=METADATA_LIMIT_S)
    yield Finding("kafka", servers, "ok", counted(len(result.brokers), "broker"))
    metadata = result.topics[topic]
    if metadata.error is not None:
        fix = (
            "Create the topic, or fix its name in the contract and deploy.yml. May the user "
            "describe it?"
        )
        yield Finding("topic", topic, "wrong", str(metadata.error), fix)
        return
    partitions = sorted(metadata.partitions)
    yield Finding("topic", topic, "ok", counted(len(partitions), "partition"))
    places = [TopicPartition(topic, partition) for partition in partitions]
    lag, started = 0, 0
    for place in committed_offsets(consumer, places):
        ends = consumer.get_watermark_offsets(
            TopicPartition(topic, place.partition), timeout=METADATA_LIMIT_S
        )
        if ends is None:
            reason = f"partition {place.partition} does not say where it begins and ends"
            yield Finding("topic", topic, "unknown", reason, "Is its leader there? Look again.")
            continue
        first, end = ends
        started += place.offset >= 0
        lag += end - (place.offset if place.offset >= 0 else first)
        if 0 <= place.offset < first:
            yield Finding(
                "retention",
                topic,
                "wrong",
                f"partition {place.partition}: the group is at {place.offset}, and the oldest "
                f"record that is left is {first}: {first - place.offset} were deleted unread",
                "Raise the topic's retention. What is gone may be in the on-failure bucket.",
            )
    if not started:
        reason = f"{group} has committed nothing yet; {counted(lag, 'record')} waiting"
        yield Finding("group", topic, "warning", reason, "Is the mapping enabled, and since when?")
    elif lag > lag_limit:
        reason = f"{group} is {counted(lag, 'record')} behind"
        fix = "More pollers, or a larger batch: docs/sizing.md. Is a partition stuck?"
        yield Finding("group", topic, "warning", reason, fix)
    else:
        of_all = f"{started} of {len(partitions)} partitions"
        reason = f"{group} is {counted(lag, 'record')} behind, in {of_all}"
        yield Finding("group", topic, "ok", reason)
