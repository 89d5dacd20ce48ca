"""Tables of many small commits, and the maintenance of them."""

import os
import time
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from handler.delta.retry import Deadline, SystemClock
from handler.maintenance import Maintenance
from handler.settings import Settings
from tests.builders import SMALL, FakeClock, event, function_for, record
from tests.reader import read_folder, rows_of_folder

QUIET = (
    SMALL + "circuit_breaker: {ratio: 1.0}\nmaintenance: {quiet_for: 0m, target_file_size: 1 MiB}\n"
)
PARTED = QUIET.replace("  name:", "  day: {type: integer}\n  name:") + "partition_by: [day]\n"


def maintenance_of(folder: Path, *, clock: Any = None, **settings: Any) -> Any:
    values = {"table_root": str(folder / "tables"), "contracts": str(folder / "contracts")}
    return Maintenance(Settings(**values, **settings), clock=clock or FakeClock())


def table(folder: Path, name: str = "orders") -> Path:
    return folder / "tables" / "sales" / name


def aged(folder: Path, commits: int, contract: str = QUIET) -> Any:
    """Make a table of small commits, each with a row in two partitions and a dead letter."""
    function = function_for(folder, contract)
    for i in range(commits):
        batch = [
            record(3 * i, {"id": 3 * i, "name": "n", "day": 0}),
            record(3 * i + 1, {"id": 3 * i + 1, "name": "n", "day": 1}),
            record(3 * i + 2, b"bad"),
        ]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}
    return function


def expected(commits: int) -> tuple[list[tuple[int]], list[tuple[int]]]:
    offsets = range(3 * commits)
    return [(o,) for o in offsets if o % 3 != 2], [(o,) for o in offsets if o % 3 == 2]


def check(folder: Path, commits: int) -> None:
    """Compare both tables with what was delivered, by two readers."""
    good, bad = expected(commits)
    for name, column, want in (
        ("orders", "_kafka_offset", good),
        ("orders__dead_letters", '"offset"', bad),
    ):
        assert rows_of_folder(table(folder, name), column) == want
        assert DeltaTable(table(folder, name)).version() == read_folder(table(folder, name)).version


def by_table(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {report["table"]: report for report in answer["tables"]}


def a_minute() -> Deadline:
    """Return a minute of deadline by the real clock."""
    return Deadline(SystemClock(), time.monotonic() + 60)


def set_age(path: Path, days: float) -> None:
    moment = time.time() - days * 86_400
    os.utime(path, (moment, moment))


class OwnContext:
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:silt-maintenance:7"

    def get_remaining_time_in_millis(self) -> int:
        return 600_000
