"""How a command signs in to a broker: IAM of MSK, by the library of AWS."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from confluent_kafka import Consumer, KafkaException

from handler.errors import SiltError
from silt.command_errors import UsageError
from silt.kafka_options import client_of
from silt.local.topic_reader import TopicReader

IAM = ["sasl.mechanism=AWS_MSK_IAM"]
NAMES = "b-1.demo.abc1.c2.kafka.eu-west-1.amazonaws.com:9098,b-2.demo:9098"


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


@pytest.mark.parametrize(
    ("servers", "region"),
    [
        (NAMES, "eu-west-1"),
        ("boot-x.c1.kafka-serverless.us-east-2.amazonaws.com:9098", "us-east-2"),
        ("10.0.0.1:9098", "ap-south-1"),
    ],
)
def test_token_is_signed_for_the_region_of_the_brokers(
    credentials: None, monkeypatch: pytest.MonkeyPatch, servers: str, region: str
) -> None:
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    client = client_of(IAM, servers)
    token, expires_s = client["oauth_cb"]("")
    url = urlsplit(base64.urlsafe_b64decode(token + "==").decode())
    signed = parse_qs(url.query)
    assert url.hostname == f"kafka.{region}.amazonaws.com"
    assert signed["Action"] == ["kafka-cluster:Connect"]
    assert f"/{region}/kafka-cluster/" in signed["X-Amz-Credential"][0]
    assert 0 < expires_s - time.time() <= 900
    assert (client["sasl.mechanism"], client["security.protocol"]) == ("OAUTHBEARER", "SASL_SSL")


def test_what_is_missing_to_sign_in_is_named(
    credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="needs a region: set AWS_REGION"):
        client_of(IAM, "10.0.0.1:9098")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SiltError, match="no AWS credentials that sign in to MSK"):
        client_of(IAM, NAMES)


@pytest.mark.parametrize(
    "given",
    [
        ["security.protocol=SSL", "ssl.ca.location=/nowhere.pem"],
        ["security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN"],
    ],
)
def test_options_that_do_not_work_are_no_traceback(given: list[str]) -> None:
    with pytest.raises(UsageError, match="The options of --kafka"):
        TopicReader("127.0.0.1:9", "orders", client_of(given))


def test_both_names_of_the_mechanism_are_known(credentials: None) -> None:
    client = client_of(["sasl.mechanisms=AWS_MSK_IAM"], NAMES)
    assert client["sasl.mechanism"] == "OAUTHBEARER"


@pytest.fixture
def listener() -> Iterator[int]:
    """Yield the port of something that accepts connections and hangs up."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_client_asks_for_the_token_when_it_connects(credentials: None, listener: int) -> None:
    client: dict[str, Any] = client_of([*IAM, "security.protocol=SASL_PLAINTEXT"], NAMES)
    sign, asked = client["oauth_cb"], list[str]()

    def note(config: str) -> Any:
        asked.append(config)
        return sign(config)

    settings = {**client, "oauth_cb": note, "log_level": 0, "group.id": "x"}
    consumer = Consumer({**settings, "bootstrap.servers": f"127.0.0.1:{listener}"})
    with pytest.raises(KafkaException):
        consumer.list_topics("orders", timeout=2)
    consumer.close()
    assert asked
