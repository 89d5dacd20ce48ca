"""What the mapping and the commands ask of a broker."""

from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from silt.local import broker as broker_module
from silt.local.broker import TopicRecords, committed_offsets


def test_coordinator_that_is_being_found_is_waited_for() -> None:
    """A group's first look-up makes a broker find, or make, its coordinator."""

    class Waiting:
        def __init__(self, *answers: int | None) -> None:
            self.answers = list(answers)

        def committed(self, places: list[Any], timeout: float) -> list[Any]:
            code = self.answers.pop(0)
            if code is not None:
                raise KafkaException(KafkaError(code))
            return places

    places = [TopicPartition("orders", 0, 3)]
    late = Waiting(KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR, None)
    assert committed_offsets(late, places) == places
    with pytest.raises(KafkaException):
        committed_offsets(Waiting(KafkaError.GROUP_AUTHORIZATION_FAILED), places)


def test_mapping_waits_for_the_coordinator_of_its_group(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first question of a mapping, and each commit, may come while there is none."""
    answers = [KafkaError.NOT_COORDINATOR, None, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, None]
    left = list(answers)

    class Late(Consumer):
        def _late(self) -> None:
            code = left.pop(0)
            if code is not None:
                raise KafkaException(KafkaError(code))

        def committed(self, *given: Any, **named: Any) -> Any:
            self._late()
            return super().committed(*given, **named)

        def commit(self, *given: Any, **named: Any) -> Any:
            self._late()
            return super().commit(*given, **named)

    monkeypatch.setattr(broker_module, "Consumer", Late)
    records = TopicRecords(servers, "orders", [0], "late")
    records.commit(0, 3)
    records.close()
    assert left == []
    monkeypatch.undo()
    again = Consumer({"bootstrap.servers": servers, "group.id": "late"})
    (place,) = committed_offsets(again, [TopicPartition("orders", 0)])
    assert place.offset == 3
    again.close()
