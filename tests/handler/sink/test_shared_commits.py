"""Several functions that append to one table at once and take each other's batches along."""

import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable

from handler.delta import turn
from handler.delta.retry import SystemClock
from silt.audit.proof import audit
from tests.builders import event, function_for, record, rows
from tests.reader import read_folder

SANDBOXES, BATCHES = 6, 10


def test_batches_that_others_take_along_are_in_both_tables_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "_BUSY", 1e6)  # a local disk is so fast that nobody else is busy
    monkeypatch.setattr(turn, "_ALONE", 10**9)
    monkeypatch.setattr(turn, "_MANY", 1)
    first = function_for(tmp_path, clock=SystemClock())
    for partition in range(SANDBOXES):
        batch = [*rows(0, 1, partition=partition), record(1, b"x", partition=partition)]
        assert first.handle(event(batch), None) == {"batchItemFailures": []}
    sandboxes = [function_for(tmp_path, clock=SystemClock()) for _ in range(SANDBOXES)]
    answers = []

    def run(partition: int) -> None:
        function = sandboxes[partition]
        for number in range(1, BATCHES + 1):
            start = 10 * number
            batch = [record(start, b"x", partition=partition)]
            batch += rows(start + 1, start + 4, partition=partition)
            answers.append(function.handle(event(batch), None))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(SANDBOXES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [{"batchItemFailures": []}] * (SANDBOXES * BATCHES)
    uri = str(tmp_path / "tables" / "sales" / "orders")
    result = audit(uri)
    assert [finding for finding in result.findings if finding.code != "gap"] == []
    for place, each in ((uri, 3), (f"{uri}__dead_letters", 1)):
        table = DeltaTable(place)
        assert table.to_pyarrow_table().num_rows == SANDBOXES * (1 + BATCHES * each)
        infos = read_folder(Path(place)).infos
        batches = [info["silt"].get("batches", 1) for info in infos if "silt" in info]
        assert sum(batches) == SANDBOXES * (1 + BATCHES)
        assert max(batches) > 1
