"""How a command reaches a broker: options of librdkafka, and what a failure means."""

import argparse
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from handler.errors import SiltError
from silt.command_errors import UsageError


def add_kafka_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that `client_of` reads."""
    parser.add_argument(
        "--kafka",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of librdkafka, such as security.protocol=SASL_SSL; may be given again",
    )


def add_broker_arguments(parser: argparse.ArgumentParser, what: str, **more: Any) -> None:
    """Add the options that name a broker and how it is reached; `what` says what it is for."""
    parser.add_argument(
        "--bootstrap-servers", metavar="SERVERS", help=f"{what}: host:port, comma-separated", **more
    )
    add_kafka_argument(parser)


def client_of(given: Sequence[str]) -> dict[str, str]:
    """Return options of librdkafka. Raises UsageError for one that it does not know."""
    pairs = [option.partition("=") for option in given]
    if any(not name or not equals for name, equals, _ in pairs):
        raise UsageError("--kafka takes NAME=VALUE, such as security.protocol=SASL_SSL.")
    options = {name: value for name, _, value in pairs}
    for name, value in options.items():
        try:
            Consumer({"group.id": "silt-options", name: value}).close()
        except KafkaException as error:
            text, quoted = str(error.args[0].str()), f'"{value}"'
            if "configuration property" in text:
                # A value may be a secret.
                raise UsageError(f"--kafka {name}: {text.replace(quoted, '...')}.") from error
            # Alone it makes no sense to the client, and beside the others it may.
        except TypeError as error:
            raise UsageError(
                f"--kafka {name}: it takes no text, so it cannot be set here."
            ) from error
    return options


def explain_failure(servers: str, topic: str, error: KafkaException) -> SiltError:
    """Return what a failure of a broker means for who asked for a topic."""
    cause = error.args[0]
    if isinstance(cause, KafkaError) and cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return SiltError(
            f"There is no topic {topic!r} on Kafka at {servers}, or these credentials may not see "
            "it. Check the name, or create the topic."
        )
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    return SiltError(f"Kafka at {servers} does not answer for {topic}: {text}")
