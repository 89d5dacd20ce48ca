"""docs/recover.md, followed word by word: each kind of trouble is made on real parts, and the
commands of the page lead to a clean audit, printing what the page says.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from silt.local.s3 import LocalS3
from tests.builders import ROOT
from tests.real.brokers import Broker
from tests.recovery.lab import CONTRACT, GROUP, TOPIC, Lab, matches

PAGE = ROOT / "docs/recover.md"
SECTION = re.compile(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)")
BLOCK = re.compile(r"(?ms)^```console\n(.*?)^```")


def sections() -> dict[str, list[str]]:
    """Return the blocks of commands of the page, by the title of their section."""
    found = SECTION.findall(PAGE.read_text())
    return {title: BLOCK.findall(text) for title, text in found}


@pytest.fixture
def lab(tmp_path: Path, broker: Broker, s3: LocalS3) -> Lab:
    return Lab(tmp_path / "lab", broker, s3)


def deploy_strict_contract(lab: Lab) -> None:
    lab.send(range(6))
    lab.settle()
    lab.contract.write_text(CONTRACT.replace("amount: {type: double}", STRICT))
    lab.save("a strict contract")
    lab.send(range(6, 12))
    lab.settle()
    lab.send(range(12, 14))


STRICT = "amount: {type: double, maximum: 4}"


def send_garbage(lab: Lab) -> None:
    lab.send(range(4))
    lab.send(range(4, 8), status="PAID")
    lab.send(range(8, 9), status=7)
    lab.settle()
    lab.send(range(9, 10))
    lab.edits["orders.yaml"] = lambda text: text.replace("[new, paid]", "[new, paid, PAID]")


def give_up_a_batch(lab: Lab) -> None:
    lab.send(range(3))
    lab.settle()
    lab.send(range(3, 9))
    failing = ("--timeout", "0.01", "--retries", "0", "--on-failure", lab.given_up)
    assert "given up (RetryAttemptsExhausted)" in lab.run_function(*failing, expected=1)
    lab.send(range(9, 12))
    lab.settle()


def lose_offsets(lab: Lab) -> None:
    lab.send(range(4))
    lab.settle()
    lab.send(range(4, 9))
    consumer = Consumer({"bootstrap.servers": lab.servers, "group.id": GROUP, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(TOPIC, 0, 8)], asynchronous=False)
    consumer.close()
    lab.send(range(9, 11))
    lab.settle()


def drop_the_table(lab: Lab) -> None:
    lab.send(range(6))
    lab.send(range(6, 7), status="lost")
    lab.settle()
    lab.drop(lab.uri)
    lab.send(range(7, 9))
    lab.settle()


def recreate_the_topic(lab: Lab) -> None:
    lab.send(range(6))
    lab.settle()
    lab.recreate_topic()
    lab.send(range(100, 104))
    lab.edits["deploy.yml"] = lambda text: text + "function: {generation: 1}\n"
    assert "TopicRecreated" in lab.run_function(expected=1) or not lab.broker.whole


def deploy_a_wrong_generation(lab: Lab) -> None:
    lab.send(range(3))
    lab.settle()
    right = lab.deployment.read_text()
    lab.deployment.write_text(right + "function: {generation: 3}\n")
    lab.send(range(3, 5))
    lab.settle()
    lab.deployment.write_text(right)
    lab.send(range(5, 7))
    said = lab.run_function(expected=1)
    assert "holds streams of generation 3, and SILT_GENERATION is 0" in said
    lab.edits["deploy.yml"] = lambda text: text + "function: {generation: 3}\n"


def delete_rows(lab: Lab) -> None:
    lab.send(range(10))
    lab.settle()
    lab.table().delete("_kafka_offset between 3 and 5")


def delete_a_data_file(lab: Lab) -> None:
    for numbers in (range(5), range(5, 10)):
        lab.send(numbers)
        lab.settle()
    actions = lab.table().get_add_actions(flatten=True)
    path = next(p for p in actions.column("path").to_pylist())
    lab.drop(f"{lab.uri}/{path}")


TROUBLES: dict[str, Callable[[Lab], None]] = {
    "A contract that was too strict was deployed": deploy_strict_contract,
    "A producer sent garbage": send_garbage,
    "AWS gave up on a batch": give_up_a_batch,
    "Offsets were lost": lose_offsets,
    "A table was dropped": drop_the_table,
    "A topic was deleted and created again": recreate_the_topic,
    "The generation is wrong": deploy_a_wrong_generation,
    "Another engine deleted rows": delete_rows,
    "A data file is gone": delete_a_data_file,
}
OUTAGE = "S3 was unavailable"


def test_each_section_of_the_page_is_followed() -> None:
    assert set(sections()) == {*TROUBLES, OUTAGE}


@pytest.mark.timeout(300)
@pytest.mark.nightly
@pytest.mark.parametrize("title", TROUBLES)
def test_page_leads_from_trouble_to_a_clean_audit(lab: Lab, title: str) -> None:
    TROUBLES[title](lab)
    blocks = sections()[title]
    assert blocks
    for block in blocks:
        lab.follow(block)
    line, code, text = lab.printed[-1]
    assert ".venv/bin/silt audit sales/orders" in line
    assert (code, ", each once" in text) == (0, True)
    # And by the broker's own count, where the page did not ask it.
    lab.follow(
        "$ .venv/bin/silt audit sales/orders --deployment deploy.yml "
        f"--bootstrap-servers localhost:9092 --group {GROUP}\n..., each once; ...\n"
    )
    assert lab.printed[-1][1] == 0


@pytest.fixture
def own_s3(tmp_path: Path) -> Iterator[LocalS3]:
    with LocalS3(tmp_path / "s3", "lake") as server:
        yield server


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_outage_of_the_store_heals_by_itself(
    tmp_path: Path, broker: Broker, own_s3: LocalS3
) -> None:
    """The store stops answering for ten seconds, while batches arrive."""
    lab = Lab(tmp_path / "lab", broker, own_s3)
    lab.send(range(4))
    lab.settle()
    live = subprocess.Popen(
        lab.live("--keep-going", "--until-idle", "15"),
        cwd=lab.folder,
        env={**lab.environment, "SILT_RUNTIME_LIMIT_S": "5", "SILT_DEADLINE_MARGIN_MS": "1000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(3)
    own_s3.pause()
    lab.send(range(4, 10))
    time.sleep(12)
    own_s3.resume()
    said, _ = live.communicate(timeout=100)
    assert live.returncode == 0, said
    assert "will be retried" in said
    assert lab.ids() == [f"o-{i}" for i in range(10)]
    for block in sections()[OUTAGE]:
        lab.follow(block)
    assert lab.printed[-1][1] == 0


@pytest.mark.parametrize(
    ("expected", "text", "same"),
    [
        ("a ... z", "a b c\nz", True),
        ("...\nend", "begin\nend\n", True),
        ("...", "", True),
        ("a b", "a  b\n", True),
        ("", "", True),
        ("a b", "a c", False),
        ("", "said", False),
        ("... b", "a c", False),
        ("a.c", "abc", False),
    ],
)
def test_output_is_compared_as_the_page_shows_it(expected: str, text: str, same: bool) -> None:
    assert matches(expected, text) is same
