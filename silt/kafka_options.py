"""How a command reaches a broker: options of librdkafka, and what a failure means."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from handler.errors import SiltError
from silt.command_errors import UsageError

MSK_IAM = "AWS_MSK_IAM"
_MECHANISM, _MECHANISMS = "sasl.mechanism", "sasl.mechanisms"
"""librdkafka has two names for the same."""
_WRONG_OPTIONS = (KafkaError._INVALID_ARG, KafkaError._CRIT_SYS_RESOURCE, KafkaError._SSL)
_MSK_REGION = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")


def add_broker_arguments(
    parser: argparse.ArgumentParser, what: str, **more: Any
) -> "argparse._ArgumentGroup":
    """Add the options that name a broker and how it is reached; `what` says what it is for.

    Returns their group, for more of the kind.
    """
    group = parser.add_argument_group("broker")
    group.add_argument(
        "--bootstrap-servers", metavar="SERVERS", help=f"{what}: host:port, comma-separated", **more
    )
    group.add_argument(
        "--kafka",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option of librdkafka, such as security.protocol=SASL_SSL; may be given again. For "
        f"IAM of MSK: {_MECHANISM}={MSK_IAM}",
    )
    return group


def client_of(given: Sequence[str], servers: str | None = None) -> dict[str, Any]:
    """Return options of librdkafka. Raises UsageError for one that it does not know.

    `sasl.mechanism=AWS_MSK_IAM`, as Java clients say it, signs in to MSK with the credentials of
    AWS; the region is that in the names of `servers`, else AWS_REGION.
    """
    pairs = [option.partition("=") for option in given]
    if any(not name or not equals for name, equals, _ in pairs):
        raise UsageError("--kafka takes NAME=VALUE, such as security.protocol=SASL_SSL.")
    options: dict[str, Any] = {name: value for name, _, value in pairs}
    if (same := options.pop(_MECHANISMS, None)) is not None:
        options.setdefault(_MECHANISM, same)
    if options.get(_MECHANISM) == MSK_IAM:
        options |= {_MECHANISM: "OAUTHBEARER", "oauth_cb": _signer(servers or "")}
        options.setdefault("security.protocol", "SASL_SSL")
    for name, value in options.items():
        if callable(value):
            continue
        try:
            Consumer({"group.id": "silt-options", "log_level": 0, name: value}).close()
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


def _signer(servers: str) -> Callable[[str], tuple[str, float]]:
    """Return what makes a token of MSK for librdkafka, with its end in seconds since 1970."""
    named = _MSK_REGION.search(servers)
    region = named[1] if named is not None else os.environ.get("AWS_REGION")
    if region is None:
        raise UsageError(f"--kafka {_MECHANISM}={MSK_IAM} needs a region: set AWS_REGION.")

    def sign(_config: str) -> tuple[str, float]:
        from aws_msk_iam_sasl_signer.MSKAuthTokenProvider import generate_auth_token

        token, expires_ms = generate_auth_token(region)
        return token, expires_ms / 1000

    try:
        sign("")
    except Exception as error:  # it raises what botocore does, and errors of its own
        raise SiltError(
            f"There are no AWS credentials that sign in to MSK: {error}. Set AWS_PROFILE or "
            "AWS_ACCESS_KEY_ID, or log in (aws sso login)."
        ) from error
    return sign


def explain_failure(servers: str, topic: str, error: KafkaException) -> SiltError:
    """Return what a failure of a broker means for who asked for a topic."""
    cause = error.args[0]
    if isinstance(cause, KafkaError) and cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        return SiltError(
            f"There is no topic {topic!r} on Kafka at {servers}, or these credentials may not see "
            "it. Check the name, or create the topic."
        )
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    if isinstance(cause, KafkaError) and cause.code() in _WRONG_OPTIONS:
        return UsageError(f"The options of --kafka do not fit each other, or name no file: {text}")
    return SiltError(f"Kafka at {servers} does not answer for {topic}: {text}")
