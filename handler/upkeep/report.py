"""What was found of a table, and what was done to it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from handler.upkeep.plan import Partition, Task


@dataclass(slots=True)
class Figures:
    """What was found of a table. What is None was not looked at.

    `oldest_unreferenced_hours` is the age of the oldest file that the newest snapshot does not
    name, `files_to_vacuum` how many of these were older than `retain_hours`.
    """

    table: str
    version: int = -1
    commits_since_checkpoint: int | None = None
    partitions: int | None = None
    files: int | None = None
    small_files: int | None = None
    data_bytes: int | None = None
    rows: int | None = None
    partitions_due: int | None = None
    due_bytes: int | None = None
    retain_hours: int | None = None
    files_to_vacuum: int | None = None
    oldest_unreferenced_hours: float | None = None

    @property
    def exists(self) -> bool:
        """Return whether there is a table."""
        return self.version >= 0

    def take_in(self, partitions: Sequence[Partition], tasks: Sequence[Task]) -> None:
        """Sum the partitions up, and what is due of them."""
        self.partitions = len(partitions)
        self.files = sum(part.files for part in partitions)
        self.small_files = sum(part.small_files for part in partitions)
        self.data_bytes = sum(part.bytes for part in partitions)
        rows = [part.rows for part in partitions]
        self.rows = None if None in rows else sum(row for row in rows if row is not None)
        self.partitions_due = len(tasks)
        self.due_bytes = sum(task.work_bytes for task in tasks)


@dataclass(slots=True)
class Report:
    """What was found of a table, and what was done to it.

    `repaired`: broken checkpoints or a wrong hint were set aside. `stopped` says why
    not everything that was due was done.
    """

    figures: Figures
    repaired: bool = False
    checkpoint_written: bool = False
    partitions_compacted: int = 0
    partitions_failed: int = 0
    partitions_delegated: int = 0
    conflicts: int = 0
    files_removed: int = 0
    files_added: int = 0
    files_vacuumed: int = 0
    log_files_cleaned: int = 0
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None

    @property
    def table(self) -> str:
        """Return the name of the table."""
        return self.figures.table

    def as_json(self) -> dict[str, Any]:
        """Return figures and deeds on one level, without what was not looked at."""
        deeds = asdict(self)
        return known({**deeds.pop("figures"), **deeds})


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without those that are not known."""
    return {name: value for name, value in values.items() if value is not None}
