"""Any redelivery, in any order, with any boundaries, through lost answers and zombies: each record
once.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.errors import Unavailable
from tests.builders import SMALL, FakeClock, event, function_for, record
from tests.fakes import Memory
from tests.reader import rows_of_memory, state_of_memory
from tests.verifier import verify

COUNT = 12
PARTITIONS = 2


def content(partition: int, offset: int) -> dict[str, Any]:
    return {"id": 1000 * partition + offset, "name": f"n{offset}"}


def is_bad(partition: int, offset: int) -> bool:
    return (partition + offset) % 5 == 3


def one(partition: int, offset: int) -> dict[str, Any]:
    value: Any = content(partition, offset)
    if is_bad(partition, offset):
        value = b"bad %d" % offset
    return record(offset, value, partition=partition)


def expected(place: tuple[int, int]) -> Any:
    partition, offset = place
    return b"bad %d" % offset if is_bad(partition, offset) else content(partition, offset)["id"]


spans = st.tuples(st.integers(0, COUNT - 1), st.integers(1, 6))
batches = st.dictionaries(st.integers(0, PARTITIONS - 1), spans, min_size=1, max_size=PARTITIONS)
faults = st.lists(
    st.sampled_from(
        ["", "", "", "before put", "after put", "before commit", "after commit", "before get"]
    ),
    max_size=6,
)
steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # which sandbox
        batches,
        faults,
        st.booleans(),  # whether another sandbox commits the same batch just before ours
    ),
    min_size=1,
    max_size=8,
)

KINDS = {"put": "put", "commit": "put_if_absent", "get": "get"}


class World:
    """Three sandboxes over the same tables, each with a network of its own."""

    def __init__(self, folder: Path, contract: str) -> None:
        self.shared = Memory()
        self.views = [Memory(stores=self.shared.stores) for _ in range(4)]
        self.uri = str(folder / "tables" / "sales" / "orders")
        self.sandboxes = [
            function_for(folder, contract, open_store=view.open, clock=FakeClock())
            for view in self.views
        ]
        self.delivered: dict[tuple[int, int], Any] = {}

    def deliver(
        self, which: int, batch: dict[int, tuple[int, int]], script: list[str], rival: bool
    ) -> None:
        records = [
            one(partition, offset)
            for partition, (start, length) in batch.items()
            for offset in range(start, min(COUNT, start + length))
        ]
        for item in records:
            place = (item["partition"], item["offset"])
            self.delivered[place] = expected(place)
        view = self.views[which]
        pending = list(script)
        done = [not rival]

        def hook(moment: str) -> Any:
            def at(verb: str, key: str) -> None:
                if moment == "before" and verb == "put_if_absent" and not done[0]:
                    done[0] = True
                    assert self.sandboxes[3].handle(event(records), None) == {
                        "batchItemFailures": []
                    }
                if pending and pending[0] == "":
                    pending.pop(0)
                elif (
                    pending
                    and verb == KINDS[pending[0].split()[1]]
                    and pending[0].startswith(moment)
                ):
                    pending.pop(0)
                    raise Unavailable("a fault")

            return at

        view.before, view.after = hook("before"), hook("after")
        answer = self.sandboxes[which].handle(event(records), None)
        assert answer == {"batchItemFailures": []}

    def problems(self) -> list[str]:
        rows = rows_of_memory(self.shared, self.uri, ["_kafka_partition", "_kafka_offset", "id"])
        dead = rows_of_memory(
            self.shared, f"{self.uri}__dead_letters", ["partition", "offset", "value"]
        )
        return verify(
            self.delivered,
            [((p, o), value) for p, o, value in rows],
            [((p, o), value) for p, o, value in dead],
        )


@pytest.mark.parametrize("mode", ["look_up"])
@settings(max_examples=120)
@given(schedule=steps)
def test_any_schedule_ends_with_each_record_once(
    tmp_path_factory: pytest.TempPathFactory, mode: str, schedule: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("world")
    contract = SMALL + "circuit_breaker: {ratio: 1.0}\n"
    world = World(folder, contract)
    for which, batch, script, rival in schedule:
        world.deliver(which, batch, script, rival)
        assert world.problems() == []
    for uri in world.shared.stores:
        if not world.shared.stores[uri].list("_delta_log", "_delta_log/"):
            continue
        state = state_of_memory(world.shared, uri)
        for info in state.infos:
            if "silt" not in info:
                assert info["operation"] in ("CREATE TABLE", "SET TBLPROPERTIES")
                continue
            counts = info["silt"]
            parts = ("appended", "dead_lettered", "skipped_by_rule", "duplicates", "unsettled")
            assert counts["delivered"] == sum(counts[name] for name in parts), json.dumps(info)


@settings(max_examples=60)
@given(
    order=st.permutations(range(6)),
    again=st.lists(st.integers(0, 5), max_size=6),
)
def test_batches_in_any_order_and_again_end_in_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], again: list[int]
) -> None:
    world = World(tmp_path_factory.mktemp("order"), SMALL)
    for i in [*order, *again]:
        world.deliver(i % 3, {0: (2 * i, 2)}, [], False)
    assert world.problems() == []
    assert len(world.delivered) == COUNT
