"""What a run found of a table, and what it did to it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from handler.contract.upkeep import Upkeep
from handler.delta.active import ActiveFile
from handler.upkeep.due import Bin, Partition, is_small


class Figures(msgspec.Struct):
    """The figures of a table. What is None was not looked at.

    `narrow_files` have a column of a type that was widened since, `unchecked_files` have statistics
    that Silt has neither written nor checked. `oldest_unreferenced_hours` is the age of the oldest
    file that the newest snapshot does not name, `files_to_vacuum` how many of these were older than
    `retain_hours`.
    """

    table: str
    version: int = -1
    commits_since_checkpoint: int | None = None
    partitions: int | None = None
    files: int | None = None
    small_files: int | None = None
    narrow_files: int | None = None
    unchecked_files: int | None = None
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

    def count(self, partitions: Sequence[Partition], upkeep: Upkeep, types: int) -> None:
        """Sum up files. `types` is how often a column of the table was widened."""
        files = [file for part in partitions for file in part.files]
        self.partitions = len(partitions)
        self.files = len(files)
        self.small_files = sum(is_small(file, upkeep) for file in files)
        self.narrow_files = sum(is_narrow(file, types) for file in files)
        self.unchecked_files = sum(file.types is None for file in files)
        self.data_bytes = sum(file.size for file in files)
        rows = [file.rows for file in files]
        self.rows = None if None in rows else sum(row for row in rows if row is not None)

    def count_due(self, bins: Sequence[Bin]) -> None:
        """Sum up what is due."""
        self.partitions_due = len({each.where for each in bins})
        self.due_bytes = sum(each.bytes for each in bins)


def is_narrow(file: ActiveFile, types: int) -> bool:
    """Return whether a file was written before a column of the table was widened."""
    return file.types is not None and file.types < types


class RunReport(msgspec.Struct):
    """What was found of a table, and what was done to it.

    `repaired`: broken checkpoints or a wrong hint were set aside. `stopped` says why not everything
    that was due was done. `say` is given a line for each step.
    """

    figures: Figures
    say: Callable[[str], None] = lambda _line: None
    repaired: bool = False
    checkpoint_written: bool = False
    partitions_compacted: int = 0
    partitions_failed: int = 0
    conflicts: int = 0
    files_removed: int = 0
    files_added: int = 0
    files_checked: int = 0
    rows_expired: int = 0
    files_vacuumed: int = 0
    log_commits_cleaned: int = 0
    notes: list[str] = msgspec.field(default_factory=list)
    stopped: str | None = None

    @property
    def table(self) -> str:
        """Return the name of the table."""
        return self.figures.table

    def note(self, text: str) -> None:
        """Note something that the operator should know, and say it."""
        self.notes.append(text)
        self.say(text)

    def as_json(self) -> dict[str, Any]:
        """Return both on one level, without what was not looked at."""
        values = msgspec.structs.asdict(self)
        del values["say"], values["figures"]
        return known({**msgspec.structs.asdict(self.figures), **values})


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without those that are not known."""
    return {name: value for name, value in values.items() if value is not None}
