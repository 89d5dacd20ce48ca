"""The active files of a table, as its log names them: what maintenance plans by.

Of a table of a million files only what is needed is kept: a file that Silt wrote or checked needs
neither its statistics nor its offset ranges.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
import pyarrow as pa

from handler.delta import compute
from handler.delta.log import file_id
from handler.delta.statistics import microseconds, parse_statistics
from handler.delta.store import Entry

TYPES_TAG = "silt.types"
"""The tag of a file that Silt wrote, or whose statistics it has checked. Its value is the number
of widenings that the table had seen then: a file of a lower number has a narrower type."""
SORTED_TAG = "silt.sorted_by"
"""The tag of a file whose rows are sorted, with the columns."""
UNCHECKED_MAX = 20_000
"""Of so many unchecked files the statistics are kept; the next run looks at the rest."""

PartitionValues = Mapping[str, str | None]
FileId = tuple[str, str | None]


class ActiveFile(msgspec.Struct):
    """One file of a table.

    `path` is verbatim as in the log, sizes are in bytes. `types` and `sorted_by` are our tags, None
    where a file has none. `stats` and `tags` are kept only of a file that is to be checked.
    `oldest_us` is the least value of the column that the listing was asked to watch, and `nulls`
    how many rows have none in it.
    """

    path: str
    partition_values: PartitionValues
    size: int
    modified_ms: int
    rows: int | None
    types: int | None = None
    sorted_by: str | None = None
    deletion_vector: Mapping[str, Any] | None = None
    stats: str | None = None
    tags: Mapping[str, str] | None = None
    oldest_us: int | None = None
    nulls: int | None = None

    @property
    def id(self) -> FileId:
        """Return what tells it from others of its table."""
        return file_id({"path": self.path, "deletionVector": self.deletion_vector})

    @property
    def key(self) -> str:
        """Return its key below the table."""
        return unquote(self.path)

    @property
    def is_rewritable(self) -> bool:
        """Return whether its rows are those of its Parquet file, in the table's own folder."""
        outside = "://" in self.path or self.path.startswith("/")
        return self.deletion_vector is None and not outside

    @property
    def entry(self) -> Entry:
        """Return what it takes to read it."""
        return Entry(self.key, self.size)


class ActiveFiles:
    """The active files of a table, kept in step with its log.

    `newest` names a column of timestamps: `newest_us` is then the latest that statistics name, in
    microseconds since 1970. `oldest` names one whose least value and nulls each file then has.
    """

    columns = (
        *("add.path", "add.partitionValues", "add.size", "add.modificationTime", "add.stats"),
        *("add.tags", "add.deletionVector"),
    )

    def __init__(self, newest: str | None = None, oldest: str | None = None) -> None:
        self._newest = newest
        self._oldest = oldest
        self._partitions: dict[tuple[tuple[str, str | None], ...], PartitionValues] = {}
        self._files: dict[FileId, ActiveFile] = {}
        self._unchecked = 0
        self.newest_us: int | None = None

    def __iter__(self) -> Iterator[ActiveFile]:
        return iter(self._files.values())

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, file: ActiveFile) -> bool:
        return file.id in self._files

    def apply(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Take in a commit; a file and its deletion vector are one thing."""
        for action in actions:
            if (removed := action.get("remove")) is not None:
                self._files.pop(file_id(removed), None)
        for action in actions:
            if (added := action.get("add")) is not None:
                self._add(added)

    def add_checkpoint(self, adds: pa.StructArray) -> None:
        """Take in a batch of the `add` column of a checkpoint."""
        for row in compute.filter_(adds, compute.is_valid(adds)).to_pylist():
            row["partitionValues"] = dict(row["partitionValues"] or ())
            row["tags"] = dict(row.get("tags") or ())
            self._add(row)

    def _add(self, action: Mapping[str, Any]) -> None:
        tags: Mapping[str, str] = action.get("tags") or {}
        stats = action.get("stats")
        types = tags.get(TYPES_TAG)
        parsed = parse_statistics(stats)
        rows = parsed.get("numRecords")
        file = ActiveFile(
            path=action["path"],
            partition_values=self._shared(action.get("partitionValues") or {}),
            size=int(action["size"]),
            modified_ms=int(action.get("modificationTime") or 0),
            rows=rows if isinstance(rows, int) else None,
            types=int(types) if types is not None and types.isdecimal() else None,
            sorted_by=tags.get(SORTED_TAG),
            deletion_vector=action.get("deletionVector") or None,
        )
        if file.types is None and self._unchecked < UNCHECKED_MAX:
            file.stats, file.tags = stats or "", tags
            self._unchecked += 1
        if self._oldest is not None:
            file.oldest_us = microseconds((parsed.get("minValues") or {}).get(self._oldest))
            nulls = (parsed.get("nullCount") or {}).get(self._oldest)
            file.nulls = nulls if isinstance(nulls, int) else None
        if self._newest is not None:
            self._note_newest((parsed.get("maxValues") or {}).get(self._newest))
        self._files[file_id(action)] = file

    def _shared(self, values: PartitionValues) -> PartitionValues:
        return self._partitions.setdefault(tuple(sorted(values.items())), values)

    def _note_newest(self, text: Any) -> None:
        moment = microseconds(text)
        if moment is not None and (self.newest_us is None or moment > self.newest_us):
            self.newest_us = moment


class FileCount:
    """Tells whether a table may have no active files, without a list of them: only of those that
    commits after the checkpoint added or removed.
    """

    columns = ("add.path",)

    def __init__(self) -> None:
        self._checkpointed = 0
        self._added = set[FileId]()
        self._removed = set[FileId]()

    @property
    def may_be_none(self) -> bool:
        """Return False where a file is active for sure."""
        return not self._added and self._checkpointed <= len(self._removed)

    def apply(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Take in a commit."""
        for action in actions:
            if (removed := action.get("remove")) is not None:
                # One that was added again is in the checkpoint too: too many are only read again.
                self._added.discard(file_id(removed))
                self._removed.add(file_id(removed))
        for action in actions:
            if (added := action.get("add")) is not None:
                self._added.add(file_id(added))

    def add_checkpoint(self, adds: pa.StructArray) -> None:
        """Take in a batch of the `add` column of a checkpoint."""
        self._checkpointed += len(adds) - adds.null_count
