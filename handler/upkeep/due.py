"""What is due: which files of a table are to be merged into which, and in which order. Pure."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from handler.contract.upkeep import Upkeep
from handler.delta.active import ActiveFile, PartitionValues

BAD_FILES = 100
"""A partition with so many files too many is compacted while it is still appended to."""
SAVED_MIN = 4
"""A quiet partition is compacted when it has at least so many files too many (or not sorted) ..."""
SMALL_SHARE = 0.2
"""... or so much of it in such files: a late record does not rewrite a large file."""
BIN_FILES_MAX = 1_000
"""So many files are merged at once: what a run has read is lost if its time is up before that."""
SORT_TARGETS_MAX = 2
"""A file of more than so many target sizes is not rewritten only to be sorted."""


class Bin(msgspec.Struct, frozen=True):
    """Files of one partition that become one file, or a few of the target size.

    `sort_by` are the columns by which its rows are sorted. `forced`: it is rewritten for the sake
    of its types or its name, however large it is.
    """

    values: PartitionValues
    files: tuple[ActiveFile, ...]
    sort_by: tuple[str, ...] = ()
    forced: bool = False

    @property
    def bytes(self) -> int:
        """Return how much has to be read."""
        return sum(file.size for file in self.files)

    @property
    def rows(self) -> int | None:
        """Return how many rows it holds, None where a file has no statistics."""
        counts = [file.rows for file in self.files]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def where(self) -> str:
        """Return its partition as a folder names it."""
        return where(self.values)


class Partition(msgspec.Struct):
    """The files of one partition."""

    values: PartitionValues
    files: list[ActiveFile] = msgspec.field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Return the size of its files."""
        return sum(file.size for file in self.files)

    @property
    def newest_ms(self) -> int:
        """Return when the last file was written, in milliseconds since 1970."""
        return max(file.modified_ms for file in self.files)


Forced = Callable[[ActiveFile], bool]
"""Whether a file is to be rewritten whatever its size."""


def where(values: PartitionValues) -> str:
    """Return a partition in words."""
    return "/".join(f"{k}={v}" for k, v in values.items()) or "the whole table"


def is_small(file: ActiveFile, upkeep: Upkeep) -> bool:
    """Return whether a file has less than half of the target size."""
    return file.size < upkeep.target_file_size // 2


def partitions_of(files: Iterable[ActiveFile]) -> list[Partition]:
    """Return files by their partitions."""
    result: dict[tuple[tuple[str, str | None], ...], Partition] = {}
    for file in files:
        key = tuple(file.partition_values.items())
        part = result.get(key)
        if part is None:
            part = result[key] = Partition(file.partition_values)
        part.files.append(file)
    return list(result.values())


def due(partitions: Iterable[Partition], upkeep: Upkeep, now_ms: int, forced: Forced) -> list[Bin]:
    """Return what is to be rewritten: what is forced first, then the coldest partition first.

    A partition that is appended to is left alone unless it is bad; whatever is compacted in it
    today is compacted again tomorrow. Files with deletion vectors, and files outside of the table's
    folder, are left to the engine that wrote them.
    """
    bins = list[Bin]()
    for part in sorted(partitions, key=lambda part: part.newest_ms):
        files = [file for file in part.files if file.is_rewritable]
        must = [file for file in files if forced(file)]
        quiet = part.newest_ms <= now_ms - upkeep.quiet_for_ms
        result = _merges(files, must, part, upkeep, quiet=quiet)
        bins += result if result else _pack(must, must, upkeep)
    return sorted(bins, key=lambda each: not each.forced)


def _merges(
    files: Sequence[ActiveFile],
    must: Sequence[ActiveFile],
    part: Partition,
    upkeep: Upkeep,
    *,
    quiet: bool,
) -> list[Bin]:
    """Return the bins of a partition, if they are worth it."""
    small = [file for file in files if is_small(file, upkeep)]
    merged = _pack(_union(must, small), must, upkeep)
    saved = sum(len(each.files) - 1 for each in merged)
    if not quiet:
        return merged if saved >= BAD_FILES else []
    if not upkeep.sort_by:
        return merged if _is_worth_it(saved, small, part) else []
    unsorted = [file for file in files if _is_unsorted(file, upkeep)]
    if not _is_worth_it(len(unsorted), unsorted, part):
        return []
    return _pack(_union(_union(must, unsorted), small), must, upkeep, alone=unsorted)


def _is_worth_it(count: int, files: Sequence[ActiveFile], part: Partition) -> bool:
    size = sum(file.size for file in files)
    return count >= SAVED_MIN or (count > 0 and size >= SMALL_SHARE * part.bytes)


def _is_unsorted(file: ActiveFile, upkeep: Upkeep) -> bool:
    return (
        bool(upkeep.sort_by)
        and file.sorted_by != ",".join(upkeep.sort_by)
        and file.size <= SORT_TARGETS_MAX * upkeep.target_file_size
    )


def _union(first: Sequence[ActiveFile], second: Sequence[ActiveFile]) -> list[ActiveFile]:
    return list({id(file): file for file in (*first, *second)}.values())


def _pack(
    files: Sequence[ActiveFile],
    must: Sequence[ActiveFile],
    upkeep: Upkeep,
    alone: Sequence[ActiveFile] = (),
) -> list[Bin]:
    """Pack files into bins of at most the target size and BIN_FILES_MAX, in the order of writing.

    A bin of one file changes nothing, but for a file of `must` or `alone`.
    """
    musts = {id(file) for file in must}
    loners = musts | {id(file) for file in alone}
    groups, size = list[list[ActiveFile]](), 0
    for file in sorted(files, key=lambda file: (file.modified_ms, file.path)):
        full = groups and len(groups[-1]) == BIN_FILES_MAX
        if not groups or full or size + file.size > upkeep.target_file_size:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return [
        Bin(
            group[0].partition_values,
            tuple(group),
            upkeep.sort_by,
            forced=any(id(file) in musts for file in group),
        )
        for group in groups
        if len(group) > 1 or id(group[0]) in loners
    ]
