"""Fault 9: a disk without room."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Context, event, function_for, rows
from tests.reader import rows_of_folder

OK = {"batchItemFailures": []}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this machine lets us mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.logs_errors
def test_full_disk_leaves_records_unsettled_until_there_is_room(small_disk: Path) -> None:
    function = function_for(small_disk)
    assert function.handle(event(rows(0, 3)), None) == OK
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    answer = function.handle(event(rows(3, 6)), Context(20_000))
    assert [f["itemIdentifier"]["offset"] for f in answer["batchItemFailures"]] == [3, 4, 5]
    filler.unlink()
    assert function.handle(event(rows(2, 8)), None) == OK
    table = small_disk / "tables" / "sales" / "orders"
    assert [o for (o,) in rows_of_folder(table)] == list(range(8))
