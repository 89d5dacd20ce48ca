"""Partitions of any text, on a disk and on a real S3 server: written, looked up, read."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from handler.delta.retry import SystemClock
from silt.local.s3 import LocalS3
from tests.builders import SMALL, event, function_for, record
from tests.handler.delta.test_files import NASTY

CONTRACT = SMALL + "partition_by: [name]\n"
VALUES = [*NASTY, None]


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_partitions_of_any_text_are_written_looked_up_and_read(
    where: str, s3: LocalS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "tables")
    if where == "s3":
        root = "s3://lake/partition-folders"
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
    function = function_for(tmp_path, CONTRACT, table_root=root, clock=SystemClock())
    batch = event([record(i, {"id": i, "name": v}) for i, v in enumerate(VALUES)])
    for _ in range(2):  # the second time each file is read by its path
        assert function.handle(batch, None) == {"batchItemFailures": []}
    table = DeltaTable(f"{root}/sales/orders")
    read = table.to_pyarrow_table().sort_by("id")
    assert read["id"].to_pylist() == list(range(len(VALUES)))
    assert read["name"].to_pylist() == VALUES
    for value in VALUES[:5]:
        filtered = table.to_pyarrow_table(filters=[("name", "=", value)])
        assert filtered["id"].to_pylist() == [VALUES.index(value)]
