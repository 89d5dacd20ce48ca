"""What is due: which partitions of a table are to be compacted, in which order. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from handler.contract_upkeep import Upkeep

BAD_FILES = 100
"""A partition with so many files too many is compacted while it is still appended to."""
SAVED_MIN = 4
"""A quiet partition is compacted when it has at least so many files too many (or not sorted) ..."""
SMALL_SHARE = 0.2
"""... or so much of it in such files: a late record does not rewrite a large file."""
SORT_BYTES_MAX = 2 << 30
"""A larger partition is compacted without being sorted: the sort needs its space at once."""
_ACTIVE_SHARE = 4


@dataclass(frozen=True, slots=True)
class Merge:
    """What compacting a partition to one target size would do."""

    saved_files: int
    merged_bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """What one partition holds. A small file is less than half of the target size.

    `rows` is None where a file has no statistics. `unsorted` files were not written by a sort.
    `whole` is a compaction to the target size, `partly` one to a smaller size, for a partition that
    is to be sorted once it is quiet.
    """

    values: Mapping[str, str | None]
    files: int
    bytes: int
    rows: int | None
    small_files: int
    small_bytes: int
    unsorted_files: int
    unsorted_bytes: int
    newest_ms: int
    whole: Merge
    partly: Merge

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Partition":
        """Read a partition as the engine's process tells it."""
        figures = {name: value for name, value in told.items() if name != "merges"}
        whole, partly = (Merge(*merge) for merge in told["merges"])
        return cls(**figures, whole=whole, partly=partly)


@dataclass(frozen=True, slots=True)
class Task:
    """One partition to compact, as the engine's process reads it.

    `interim`: its files will be rewritten by a sort, and are marked as not sorted.
    """

    values: Mapping[str, str | None]
    target: int
    sort_by: tuple[str, ...]
    bytes: int
    rows: int
    interim: bool
    work_bytes: int
    """What has to be read and written again."""

    @property
    def where(self) -> str:
        """Return the partition as its folder names it."""
        return "/".join(f"{k}={v}" for k, v in self.values.items()) or "the whole table"


def targets(upkeep: Upkeep) -> list[int]:
    """Return the sizes that files are compacted to: in quiet partitions, and in active ones.

    An active partition of a table that is sorted is compacted to less: a sort rewrites it anyway.
    """
    whole = upkeep.target_file_size
    return [whole, whole // _ACTIVE_SHARE if upkeep.sort_by else whole]


def due(partitions: Iterable[Partition], upkeep: Upkeep, now_ms: int) -> list[Task]:
    """Return what is to be compacted, the coldest partition first.

    A partition that is appended to is left alone unless it is bad; whatever is compacted in it
    today is compacted again tomorrow.
    """
    tasks = []
    for part in sorted(partitions, key=lambda part: part.newest_ms):
        quiet = part.newest_ms <= now_ms - upkeep.quiet_for_ms
        task = _quiet(part, upkeep) if quiet else _active(part, upkeep)
        tasks += [task] if task is not None else []
    return tasks


def _quiet(part: Partition, upkeep: Upkeep) -> Task | None:
    if upkeep.sort_by and part.bytes <= SORT_BYTES_MAX:
        # What a sort wrote is not sorted again, however large its files became.
        if not _worth_it(part.unsorted_files, part.unsorted_bytes, part):
            return None
        return _task(part, upkeep.target_file_size, upkeep.sort_by, part.bytes)
    if not _worth_it(part.whole.saved_files, part.small_bytes, part):
        return None
    return _task(part, upkeep.target_file_size, (), part.whole.merged_bytes)


def _active(part: Partition, upkeep: Upkeep) -> Task | None:
    if part.partly.saved_files < BAD_FILES:
        return None
    _, target = targets(upkeep)
    return _task(part, target, (), part.partly.merged_bytes, interim=bool(upkeep.sort_by))


def _worth_it(files: int, size: int, part: Partition) -> bool:
    return files >= SAVED_MIN or (files > 0 and size >= SMALL_SHARE * part.bytes)


def _task(
    part: Partition,
    target: int,
    sort_by: Sequence[str],
    work_bytes: int,
    *,
    interim: bool = False,
) -> Task:
    rows = part.rows or 0
    return Task(part.values, target, tuple(sort_by), part.bytes, rows, interim, work_bytes)
