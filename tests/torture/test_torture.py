"""The short, fixed part of `make torture`: one round on real parts, and the judge itself."""

from pathlib import Path

import pytest

from silt.local.s3 import LocalS3
from tests.real.brokers import Broker
from tests.torture.judge import Sent, judge
from tests.torture.proxy import FaultProxy
from tests.torture.round import Round
from tests.torture.steps import STEPS, Moment

pytestmark = pytest.mark.timeout(240)
SEED = 3


@pytest.mark.nightly
def test_round_of_everything_at_once_leaves_each_record_once(
    broker: Broker, s3: LocalS3, tmp_path: Path
) -> None:
    with FaultProxy(s3.endpoint, slow_s=2.0) as proxy:
        answer = Round(SEED, broker, s3, proxy, tmp_path).run()
    print(f"broker: {broker.kind}. {answer}")
    assert not answer.problems
    assert answer.records > 50
    assert answer.checks > 0
    assert answer.faults > 0
    assert sum(answer.deeds.values()) > 5


ROW, BAD, LONG = b'{"id": 7, "name": "n"}', b"bad", b'{"id": 8, "name": "nnnnnnnnn"}'
SENT = [Sent((0, 0), ROW, 0), Sent((0, 1), BAD, 0), Sent((0, 2), None, 0), Sent((0, 3), LONG, 0)]


def test_judge_takes_what_is_right() -> None:
    assert not judge(SENT, [((0, 0), 7)], [((0, 1), BAD), ((0, 3), LONG)], {0: 4})
    assert not judge(SENT, [((0, 0), 7), ((0, 3), 8)], [((0, 1), BAD)], {0: 4})
    assert not judge(SENT, [], [], {0: 0})


@pytest.mark.parametrize(
    ("rows", "dead", "what"),
    [
        ([], [((0, 1), BAD), ((0, 3), LONG)], "is lost"),
        ([((0, 0), 7), ((0, 0), 7)], [((0, 1), BAD), ((0, 3), LONG)], "stands 2 times"),
        ([((0, 0), 7), ((0, 3), 8)], [((0, 1), BAD), ((0, 3), LONG)], "stands 2 times"),
        ([((0, 0), 9)], [((0, 1), BAD), ((0, 3), LONG)], "was delivered as"),
        ([((0, 0), 7)], [((0, 1), b"bat"), ((0, 3), LONG)], "was delivered as"),
        ([((0, 0), 7), ((0, 2), 0)], [((0, 1), BAD), ((0, 3), LONG)], "never delivered"),
        ([((0, 0), 7)], [((0, 1), BAD)], "is lost"),
    ],
)
def test_judge_sees_what_is_wrong(rows: list, dead: list, what: str) -> None:
    problems = judge(SENT, rows, dead, {0: 4})
    assert any(what in problem for problem in problems), problems


def test_moment_survives_the_environment() -> None:
    for step in STEPS:
        moment = Moment(step, "after", 3, "STOP")
        assert Moment.of(str(moment)) == moment
