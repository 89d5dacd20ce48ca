"""A table's snapshot, read cold or brought up to date, and its records looked up."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import unquote

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from handler.delta.log import (
    LOG,
    Snapshot,
    Txn,
    apply,
    commit_key,
    parse_commit,
    parse_metadata,
    parse_protocol,
)
from handler.delta.parquet_ranges import fetch_all, read_columns
from handler.delta.patience import Patience
from handler.delta.store import Entry, Object, Pool, Store
from handler.errors import BrokenLog, NotFound

_HINT = f"{LOG}/_last_checkpoint"
_COMMIT = re.compile(rf"{LOG}/(\d{{20}})\.json")
_CHECKPOINT = re.compile(rf"{LOG}/(\d{{20}})\.checkpoint(?:\.(\d{{10}})\.(\d{{10}}))?\.parquet")
_AHEAD = 3

Actions = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit that was read."""

    version: int
    actions: Actions
    e_tag: str | None


@dataclass(frozen=True, slots=True)
class Keys:
    """The columns of a table by which a record is known: partition, offset and timestamp."""

    partition: str
    offset: str
    timestamp: str


@dataclass(slots=True)
class Found:
    """What a look-up found: for each (partition, offset) the timestamps (microseconds) of its rows,
    and for each partition that was asked for the newest timestamp that the statistics of its files
    name.
    """

    rows: dict[tuple[int, int], set[int | None]] = field(default_factory=dict)
    newest_ms: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Checkpoint:
    version: int
    parts: list[Entry]


@dataclass(slots=True)
class Table:
    """One table, and what this sandbox knows of it.

    `keys` are needed to look records up. `confirmed`: the snapshot was read in this invocation.
    `checkpoint`: the version of the checkpoint that it was last read from, -1 for none.
    """

    name: str
    store: Store
    pool: Pool
    keys: Keys | None = None
    snapshot: Snapshot | None = None
    confirmed: bool = False
    checkpoint: int = -1

    def known(self, patience: Patience) -> Snapshot:
        """Return the snapshot that is kept, or read it cold."""
        if self.snapshot is None:
            self.read(patience)
        assert self.snapshot is not None
        return self.snapshot

    def read(self, patience: Patience) -> Snapshot:
        """Read the newest snapshot cold, keep it and return it: at most 6 requests in sequence."""
        snapshot = self._load(patience, None)
        return self._keep(snapshot)

    def _keep(self, snapshot: Snapshot) -> Snapshot:
        self.snapshot = snapshot
        self.confirmed = True
        return snapshot

    def look_up(self, wanted: Mapping[int, Sequence[int]], patience: Patience) -> Found:
        """Read the newest snapshot with its files, and find records: offsets by partition.

        The answer is for that snapshot, which is kept: whoever decides by it must decide from it.
        """
        assert self.keys is not None
        files = _Files(self.keys, wanted)
        snapshot = self._load(patience, files)
        found = Found(newest_ms=files.newest_ms)
        if files.active:
            self._find(self.keys, files, wanted, found, patience)
        self._keep(snapshot)
        return found

    def _find(
        self,
        keys: Keys,
        files: "_Files",
        wanted: Mapping[int, Sequence[int]],
        found: Found,
        patience: Patience,
    ) -> None:
        names = (keys.partition, keys.offset, keys.timestamp)
        partitions = pa.array(sorted(wanted), pa.int32())
        offsets = pa.array(sorted({o for part in wanted.values() for o in part}), pa.int64())
        low, high = offsets[0].as_py(), offsets[-1].as_py()

        def keep(group: Any) -> bool:
            for i in range(group.num_columns):
                chunk = group.column(i)
                stats = chunk.statistics
                if chunk.path_in_schema == names[1] and stats is not None and stats.has_min_max:
                    return bool(stats.min <= high and stats.max >= low)
            return True

        entries = list(files.active.values())
        for table in read_columns(self.store, entries, names, keep, self.pool, patience):
            hit = pc.and_(
                pc.is_in(table[names[0]], value_set=partitions),
                pc.is_in(table[names[1]], value_set=offsets),
            )
            rows = table.filter(hit)
            times = rows[names[2]].cast(pa.timestamp("us")).cast(pa.int64())
            for partition, offset, time in zip(
                rows[names[0]].to_pylist(),
                rows[names[1]].to_pylist(),
                times.to_pylist(),
                strict=True,
            ):
                found.rows.setdefault((partition, offset), set()).add(time)

    def commits_after(self, version: int, patience: Patience) -> list[Commit] | None:
        """Return the commits after a version, in order; None where the log has a gap behind it.

        It ends with a commit that is not there, never with a listing: that may lag behind.
        """
        commits = list[Commit]()
        while True:
            ahead = [version + 1 + i for i in range(_AHEAD)]
            for number, answer in zip(ahead, self._get_commits(ahead, patience), strict=True):
                if answer is None:
                    return commits
                commits.append(answer)
                version = number
            entries = self._list(commit_key(version), patience)
            numbers = sorted(int(m[1]) for e in entries if (m := _COMMIT.fullmatch(e.key)))
            if numbers != list(range(version + 1, version + 1 + len(numbers))):
                return None
            for number, answer in zip(numbers, self._get_commits(numbers, patience), strict=True):
                if answer is None:
                    return None
                commits.append(answer)
                version = number

    def _get_commits(self, versions: Iterable[int], patience: Patience) -> list[Commit | None]:
        def call(version: int) -> Callable[[], Commit | None]:
            def get() -> Commit | None:
                try:
                    entry = self.store.get(commit_key(version))
                except NotFound:
                    return None
                actions = parse_commit(entry.data, f"{self.name}/{commit_key(version)}")
                return Commit(version, actions, entry.e_tag)

            return get

        return fetch_all([call(v) for v in versions], self.pool, patience, "read the log")

    def _list(self, after: str, patience: Patience) -> list[Entry]:
        call = partial(self.store.list, LOG, after)
        return list(fetch_all([call], self.pool, patience, "list the log")[0])

    def _load(self, patience: Patience, files: "_Files | None") -> Snapshot:
        """Read the newest snapshot: hint, listing, then checkpoint and commits at once.

        The commit after the last one of the listing is asked for with the others: a listing that
        lags behind, as those of some stores do, is made up for.
        """
        hint = self._hint(patience)
        after = f"{LOG}/{hint:020}." if hint is not None else f"{LOG}/"
        entries = self._list(after, patience)
        checkpoint = _newest_checkpoint(entries)
        if hint is not None and checkpoint is None:
            # The hint names a checkpoint that is not there: it costs a listing of everything.
            entries = self._list(f"{LOG}/", patience)
            checkpoint = _newest_checkpoint(entries)
        first = checkpoint.version + 1 if checkpoint is not None else 0
        versions = sorted(
            version
            for entry in entries
            if (match := _COMMIT.fullmatch(entry.key)) and (version := int(match[1])) >= first
        )
        if checkpoint is None and not versions:
            if any(entry.key.endswith((".parquet", ".json")) for entry in entries):
                raise BrokenLog(f"The log of {self.name} has no checkpoint that Silt can read.")
            if hint is not None:
                raise BrokenLog(
                    f"{self.name}/{_HINT} names a checkpoint of version {hint}, and the listing of "
                    "the log is empty. If the table was deleted, delete this object too. Nothing "
                    "was written."
                )
        if versions != list(range(first, first + len(versions))):
            raise BrokenLog(
                f"The log of {self.name} has a gap: after version {first - 1} come "
                f"{_some(versions)}. Somebody removed commits, or its checkpoint is of a kind that "
                "Silt does not read (v2). Nothing was written."
            )
        snapshot = Snapshot()
        if checkpoint is not None:
            last = {entry.key: entry.e_tag for entry in entries}.get(commit_key(first - 1))
            snapshot = replace(self._read_checkpoint(checkpoint, files, patience), e_tag=last)
        self.checkpoint = snapshot.version
        for commit in self._commits(versions, first, patience):
            snapshot = apply(snapshot, commit.version, commit.actions, commit.e_tag)
            if files is not None:
                files.apply(commit.actions)
        return snapshot

    def _commits(self, versions: Sequence[int], first: int, patience: Patience) -> list[Commit]:
        """Return these commits and those that have come since: `first` is next if there is none."""
        following = versions[-1] + 1 if versions else first
        *found, beyond = self._get_commits([*versions, following], patience)
        commits = []
        for version, commit in zip(versions, found, strict=True):
            if commit is None:
                raise BrokenLog(f"{self.name}/{commit_key(version)} vanished while it was read.")
            commits.append(commit)
        if beyond is None:
            return commits
        rest = self.commits_after(following, patience)
        if rest is None:
            raise BrokenLog(f"The log of {self.name} has a gap after version {following}.")
        return [*commits, beyond, *rest]

    def _hint(self, patience: Patience) -> int | None:
        def get() -> Object | None:
            try:
                return self.store.get(_HINT)
            except NotFound:
                return None

        entry = fetch_all([get], self.pool, patience, "read the log")[0]
        try:
            version = orjson.loads(entry.data)["version"] if entry is not None else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return version if isinstance(version, int) and version >= 0 else None

    def _read_checkpoint(
        self, checkpoint: _Checkpoint, files: "_Files | None", patience: Patience
    ) -> Snapshot:
        protocol = metadata = None
        txns: dict[str, Txn] = {}
        columns = ["protocol", "metaData", "txn"] + (["add"] if files is not None else [])

        def keep(group: Any) -> bool:
            return _says_something(group, columns)

        tables = read_columns(self.store, checkpoint.parts, columns, keep, self.pool, patience)
        for table in tables:
            for row in _present(table, "protocol"):
                protocol = parse_protocol(row)
            for row in _present(table, "metaData"):
                metadata = parse_metadata(_plain(row))
            for row in _present(table, "txn"):
                txns[row["appId"]] = Txn(int(row["version"]), row.get("lastUpdated"))
            if files is not None:
                for row in _present(table, "add"):
                    files.add(row)
        return Snapshot(checkpoint.version, None, protocol, metadata, txns)

    def is_current(self) -> bool:
        """Return whether the kept snapshot's last commit is still there and the same: one request.

        A log that was cleaned behind a long-idle sandbox, or a table made anew, shows here. Where
        the snapshot says that there is no table, there must be no log.
        """
        assert self.snapshot is not None
        if not self.snapshot.exists:
            return not self.store.list(LOG, f"{LOG}/")
        try:
            return self.store.head(commit_key(self.snapshot.version)) == self.snapshot.e_tag
        except NotFound:
            return False

    def confirm(self, patience: Patience) -> bool:
        """Make sure that the kept snapshot is of the log that is there; read it cold if it is not.

        Returns whether the snapshot stayed.
        """
        if self.snapshot is None or self.confirmed:
            return True
        same = bool(fetch_all([self.is_current], self.pool, patience, "read the log")[0])
        if not same:
            self.read(patience)
        self.confirmed = True
        return same


def _some(versions: Sequence[int]) -> str:
    shown = ", ".join(map(str, versions[:5]))
    return f"versions {shown}{', ...' if len(versions) > 5 else ''}" if versions else "none"


def _newest_checkpoint(entries: Iterable[Entry]) -> _Checkpoint | None:
    """Return the newest checkpoint of which all parts are there."""
    found: dict[tuple[int, int], list[Entry]] = {}
    for entry in entries:
        if match := _CHECKPOINT.fullmatch(entry.key):
            found.setdefault((int(match[1]), int(match[3] or 1)), []).append(entry)
    whole = [(version, parts) for (version, n), parts in found.items() if len(parts) == n]
    if not whole:
        return None
    version, parts = max(whole, key=lambda pair: pair[0])
    return _Checkpoint(version, parts)


def _says_something(group: Any, columns: Sequence[str]) -> bool:
    """Return whether a row group of a checkpoint may hold an action of these kinds."""
    for i in range(group.num_columns):
        chunk = group.column(i)
        if chunk.path_in_schema.split(".", 1)[0] in columns:
            stats = chunk.statistics
            if stats is None or not stats.has_null_count or stats.null_count < chunk.num_values:
                return True
    return False


def _present(table: pa.Table, name: str) -> list[dict[str, Any]]:
    if name not in table.column_names:
        return []
    return list(table[name].drop_null().to_pylist())


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metaData row of a checkpoint as the JSON action that it was:

    Parquet's maps are pairs.
    """
    form = metadata.get("format") or {}
    return {
        **metadata,
        "configuration": dict(metadata.get("configuration") or []),
        "format": {**form, "options": dict(form.get("options") or [])},
    }


class _Files:
    """The files that may hold wanted records, as the log names them."""

    def __init__(self, keys: Keys, wanted: Mapping[int, Sequence[int]]) -> None:
        self._keys = keys
        self._wanted = {p: (min(o), max(o)) for p, o in wanted.items()}
        self.active: dict[tuple[str, str | None], Entry] = {}
        self.newest_ms: dict[int, int] = {}

    def apply(self, actions: Actions) -> None:
        """Take in a commit; a file and its deletion vector are one thing."""
        for action in actions:
            if (removed := action.get("remove")) is not None:
                self.active.pop(_file_id(removed), None)
        for action in actions:
            if (added := action.get("add")) is not None:
                self.add(added)

    def add(self, action: Mapping[str, Any]) -> None:
        """Take in a file, unless its statistics say that it holds nothing that is wanted."""
        if self._may_hold(action.get("stats")):
            path = unquote(action["path"])
            if "://" in path or path.startswith("/"):
                raise BrokenLog(f"The file {path} is outside of the table, where Silt cannot look.")
            self.active[_file_id(action)] = Entry(path, int(action["size"]))

    def _may_hold(self, text: str | None) -> bool:
        try:
            stats = orjson.loads(text or "")
            low, high = stats["minValues"], stats["maxValues"]
            first, last = low[self._keys.partition], high[self._keys.partition]
            least, most = low[self._keys.offset], high[self._keys.offset]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return True
        if not all(isinstance(bound, int) for bound in (first, last, least, most)):
            return True
        hit = False
        newest = _milliseconds(high.get(self._keys.timestamp))
        for partition, (lowest, highest) in self._wanted.items():
            if first <= partition <= last:
                hit = hit or (least <= highest and most >= lowest)
                if newest is not None:
                    self.newest_ms[partition] = max(newest, self.newest_ms.get(partition, newest))
        return hit


def _file_id(action: Mapping[str, Any]) -> tuple[str, str | None]:
    vector = action.get("deletionVector")
    if not vector:
        return unquote(action["path"]), None
    identity = f"{vector.get('storageType')}{vector.get('pathOrInlineDv')}@{vector.get('offset')}"
    return unquote(action["path"]), identity


def _milliseconds(text: Any) -> int | None:
    """Return a timestamp of the statistics as milliseconds since 1970, None where it is none."""
    if not isinstance(text, str):
        return None
    try:
        moment = pa.scalar(text).cast(pa.timestamp("ms", "UTC"))
    except pa.ArrowException:
        return None
    return int(moment.cast(pa.int64()).as_py())
