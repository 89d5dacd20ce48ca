"""The Delta engine's work on one table, in a process of its own: the only module that imports it.

    echo '{"table": "s3://lake/sales/orders", "do": "look", "targets": [134217728]}' |
        python -m handler.upkeep.worker

A process of its own, because it may have to be ended: the engine cannot be interrupted, takes
memory that it keeps, and holds Python's lock while it waits for a store. To kill it is safe at any
moment: what it had committed stands, and what it had not is files that no snapshot names, which a
vacuum removes. It prints a line of JSON for each thing that is done.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

Job = Mapping[str, Any]

VACUUM_HOURS_MIN = 24
"""The last of several guards: no job, whoever sends it, vacuums younger files."""
_ROW_GROUP_BYTES = 16 << 20
"""Memory is bounded by a row group, not by the file: 128 MiB files took 190 MB of memory."""
_ROW_GROUP_ROWS = (8_192, 1 << 20)
_SORT_MEMORY = 128 << 20
_COMMIT_EVERY = timedelta(seconds=20)
_SORTED_NAME = re.compile(r"(?:.*/)?part-\d+-[0-9a-f-]+-c\d+\.zstd\.parquet")
"""How the engine names what it wrote: the codec is part of the name, and so it is the mark of what
was sorted. Nothing else of an `add` that the engine writes is ours to choose."""
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def look(table: DeltaTable, job: Job) -> Iterator[Job]:
    """Say what each partition holds, and what compacting it to each of `targets` would merge.

    `newest_us` is the latest time that statistics name in the column `newest`, if that is asked.
    """
    columns = table.metadata().partition_columns
    adds = pa.table(table.get_add_actions(flatten=True))
    fixed = ("size_bytes", "modification_time", "num_records")
    sizes, modified, rows = [_values(adds, name) for name in fixed]
    names = [_values(adds, f"partition.{column}") for column in columns]
    keys = zip(*names, strict=True) if names else iter([()] * adds.num_rows)
    parts: dict[tuple[Any, ...], _Part] = {}
    paths = _values(adds, "path")
    for key, path, size, moment, count in zip(keys, paths, sizes, modified, rows, strict=True):
        part = parts.get(key) or parts.setdefault(key, _Part(job["targets"]))
        part.add(size, moment, count, is_sorted=_SORTED_NAME.fullmatch(path) is not None)
    yield {
        "version": table.version(),
        "newest_us": _newest_us(adds, job.get("newest")),
        "partitions": [
            {"values": _texts(columns, key), **part.figures()} for key, part in parts.items()
        ],
    }


def _values(adds: pa.Table, name: str) -> list[Any]:
    if name not in adds.column_names:  # statistics, where no file has any
        return [None] * adds.num_rows
    column = adds[name]
    if name == "modification_time":
        column = column.cast(pa.int64())
    return list(column.to_pylist())


def _newest_us(adds: pa.Table, column: str | None) -> int | None:
    name = f"max.{column}"
    if name not in adds.column_names:
        return None
    newest = pc.max(adds[name].cast(pa.timestamp("us")).cast(pa.int64())).as_py()
    return int(newest) if newest is not None else None


def _texts(columns: Sequence[str], key: Sequence[Any]) -> dict[str, str | None]:
    return {c: str(v) if v is not None else None for c, v in zip(columns, key, strict=True)}


class _Bins:
    """What the engine would merge at one target size.

    Its planner packs files that stand beside each other in the log into bins of at most the target;
    larger files part the row, and a bin of one file is left alone. The test beside this one
    compares it with what the engine does.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._size = self._count = 0
        self.saved_files = self.merged_bytes = 0

    def add(self, size: int) -> None:
        """Take in the next file."""
        if size > self._target:
            self.close()
        elif self._count and self._size + size <= self._target:
            self._size += size
            self._count += 1
        else:
            self.close()
            self._size, self._count = size, 1

    def close(self) -> None:
        """End the bin that is being filled."""
        if self._count > 1:
            self.saved_files += self._count - 1
            self.merged_bytes += self._size
        self._size = self._count = 0


class _Part:
    """The figures of one partition, gathered file by file."""

    def __init__(self, targets: Sequence[int]) -> None:
        self._small = max(targets) // 2
        self._bins = [_Bins(target) for target in targets]
        self._files = self._bytes = self._small_files = self._small_bytes = 0
        self._unsorted_files = self._unsorted_bytes = self._newest_ms = 0
        self._rows: int | None = 0

    def add(self, size: int, modified_ms: int, rows: int | None, *, is_sorted: bool) -> None:
        """Take in one file."""
        self._files += 1
        self._bytes += size
        self._rows = None if rows is None or self._rows is None else self._rows + rows
        if not is_sorted:
            self._unsorted_files += 1
            self._unsorted_bytes += size
        self._newest_ms = max(self._newest_ms, modified_ms)
        if size < self._small:
            self._small_files += 1
            self._small_bytes += size
        for bins in self._bins:
            bins.add(size)

    def figures(self) -> dict[str, Any]:
        """Return what was gathered."""
        for bins in self._bins:
            bins.close()
        return {
            "files": self._files,
            "bytes": self._bytes,
            "rows": self._rows,
            "small_files": self._small_files,
            "small_bytes": self._small_bytes,
            "unsorted_files": self._unsorted_files,
            "unsorted_bytes": self._unsorted_bytes,
            "newest_ms": self._newest_ms,
            "merges": [[bins.saved_files, bins.merged_bytes] for bins in self._bins],
        }


def checkpoint(table: DeltaTable, _job: Job) -> Iterator[Job]:
    """Write a checkpoint of the newest version."""
    table.create_checkpoint()
    yield {"version": table.version()}


def compact(table: DeltaTable, job: Job) -> Iterator[Job]:
    """Compact partitions, one after the other; a line for each, with its error if it has one.

    A partition is committed every 20 seconds, so that little is lost when the time is up.
    """
    for task in job["tasks"]:
        # An empty text stands for null: an empty partition value cannot be in a Delta table.
        filters = [(column, "=", value or "") for column, value in task["values"].items()]
        options: dict[str, Any] = {
            "partition_filters": filters or None,
            "target_size": task["target"],
            "max_concurrent_tasks": 1,
            "min_commit_interval": _COMMIT_EVERY,
            "writer_properties": _writer(task),
            "post_commithook_properties": _NO_HOOKS,
        }
        try:
            table.update_incremental()
            if task["sort_by"]:
                metrics = table.optimize.z_order(
                    task["sort_by"], max_spill_size=_SORT_MEMORY, **options
                )
            else:
                metrics = table.optimize.compact(**options)
        except (DeltaError, OSError) as error:
            yield _failure(error)
        else:
            yield {"added": metrics["numFilesAdded"], "removed": metrics["numFilesRemoved"]}


def _writer(task: Job) -> WriterProperties:
    rows = _row_group_rows(task["bytes"], task["rows"])
    if task["interim"]:
        return WriterProperties(compression="SNAPPY", max_row_group_size=rows)
    return WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=rows)


def _row_group_rows(size: int, rows: int) -> int:
    least, most = _ROW_GROUP_ROWS
    return max(least, min(most, _ROW_GROUP_BYTES * rows // max(1, size)))


def vacuum(table: DeltaTable, job: Job) -> Iterator[Job]:
    """Delete what no snapshot of the last `hours` names, or only count it on `dry_run`.

    Then name every file of the newest snapshot: what else is there is not referenced.
    """
    if job["hours"] < VACUUM_HOURS_MIN:
        raise ValueError(f"a vacuum of files younger than {VACUUM_HOURS_MIN} hours was asked for")
    # The engine's full vacuum takes the files of live deletion vectors for unreferenced ones; the
    # other kind deletes only what the log names as removed.
    full = "deletionVectors" not in (table.protocol().reader_features or ())
    removed = table.vacuum(
        job["hours"],
        dry_run=job["dry_run"],
        # Whoever only counts may do so before the table has the contract's retention.
        enforce_retention_duration=not job["dry_run"],
        full=full,
        post_commithook_properties=_NO_HOOKS,
    )
    yield {"files": len(removed)}
    table.update_incremental()
    paths = pa.table(table.get_add_actions())["path"].to_pylist()
    yield {"active": [unquote(path) for path in paths]}


def clean(table: DeltaTable, _job: Job) -> Iterator[Job]:
    """Delete commits older than the table's `delta.logRetentionDuration`, behind a checkpoint."""
    table.cleanup_metadata()
    yield {}


JOBS: Mapping[str, Callable[[DeltaTable, Job], Iterator[Job]]] = {
    "look": look,
    "checkpoint": checkpoint,
    "compact": compact,
    "vacuum": vacuum,
    "clean": clean,
}


def _failure(error: BaseException) -> dict[str, Any]:
    text = " ".join(str(error).split())[:1000]
    kind = "conflict" if isinstance(error, CommitFailedError) else type(error).__name__
    return {"error": kind, "message": text}


def main() -> int:
    """Do the job that standard input names. Returns 1 if it could not be done."""
    job = json.load(sys.stdin)
    try:
        for line in JOBS[job["do"]](DeltaTable(job["table"]), job):
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except Exception as error:
        sys.stdout.write(json.dumps({"failed": True, **_failure(error)}) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
