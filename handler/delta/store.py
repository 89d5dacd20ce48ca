"""The object store behind a table: get, list, put and put-if-absent, on S3 and on a local disk.

The only module that knows `obstore`. Its errors become ours here, with their cause.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import obstore
from obstore.exceptions import (
    BaseError,
)

from handler.delta.store_errors import first_line, translated
from handler.errors import (
    BadStore,
    NotFound,
)

T = TypeVar("T")

REQUEST_TIMEOUT_S = 10.0
"""A request that took longer has failed: its outcome is unknown."""
CONNECT_TIMEOUT_S = 3.0
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 2
_DIRECTORY_BUCKET = "--x-s3"
"""How the name of one ends ('Directory bucket naming rules' of S3), and no other may."""
_REFUSED_OPTIONS = {
    "AWS_CONDITIONAL_PUT": "without conditional puts two writers overwrite each other",
    "AWS_S3_ALLOW_UNSAFE_RENAME": "Silt never renames; the option would hide a lack of safety",
}


class Object(msgspec.Struct, frozen=True):
    """What a get brought. `e_tag` tells this content from any other under the same key."""

    data: bytes
    e_tag: str | None


class Entry(msgspec.Struct, frozen=True):
    """One key of a listing, below the table's folder, with its size in bytes.

    `modified_ms` is when it was written, in milliseconds since 1970.
    """

    key: str
    size: int
    e_tag: str | None = None
    modified_ms: int = 0


class Store(Protocol):
    """The folder of one table. Keys are relative to it; errors are `StoreError`s."""

    def get(self, key: str) -> Object:
        """Return an object. Raises NotFound."""
        ...

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object: start and end (exclusive) in bytes."""
        ...

    def head(self, key: str) -> str | None:
        """Return an object's ETag. Raises NotFound."""
        ...

    def list(self, prefix: str, after: str) -> list[Entry]:
        """Return the keys under a prefix that sort after `after`, sorted."""
        ...

    def scan(self, prefix: str, before: str | None = None) -> Iterator[Entry]:
        """Yield the keys under a prefix that sort before `before`; they are never held as a whole.

        They come in order from S3, and in no order from a disk.
        """
        ...

    def put(self, key: str, data: Any) -> None:
        """Write an object, whatever was there: bytes, or a local file by its Path."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """Write an object where there is none and return its ETag. Raises AlreadyExists."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object, if it is there. Only maintenance may: the role of appends may not."""
        ...

    def delete_all(self, keys: Sequence[str]) -> None:
        """Delete objects, those that are there, in as few requests as the store allows."""
        ...


class ObjectStore:
    """A `Store` over obstore.

    `prefix` is the table's folder, with its slash, where the store has none.
    """

    def __init__(self, store: Any, prefix: str = "") -> None:
        self._store = store
        self._prefix = prefix

    def get(self, key: str) -> Object:
        """Return an object. Raises NotFound."""
        with translated(f"get {key}"):
            result = obstore.get(self._store, self._prefix + key)
            return Object(bytes(result.bytes()), result.meta["e_tag"])

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return parts of an object: start and end (exclusive) in bytes."""
        with translated(f"get parts of {key}"):
            starts, ends = [r[0] for r in ranges], [r[1] for r in ranges]
            path = self._prefix + key
            parts = obstore.get_ranges(self._store, path, starts=starts, ends=ends)
            return [bytes(part) for part in parts]

    def head(self, key: str) -> str | None:
        """Return an object's ETag. Raises NotFound."""
        with translated(f"head {key}"):
            return obstore.head(self._store, self._prefix + key)["e_tag"]

    def list(self, prefix: str, after: str) -> list[Entry]:
        """Return the keys under a prefix that sort after `after`, sorted."""
        return sorted(self._entries(prefix, after), key=lambda entry: entry.key)

    def scan(self, prefix: str, before: str | None = None) -> Iterator[Entry]:
        """Yield the keys under a prefix that sort before `before`; they are never held as a whole.

        They come in order from S3, and in no order from a disk.
        """
        in_order = not isinstance(self._store, obstore.store.LocalStore)
        for entry in self._entries(prefix, None):
            if before is None or entry.key < before:
                yield entry
            elif in_order:
                return

    def _entries(self, prefix: str, after: str | None) -> Iterator[Entry]:
        cut = len(self._prefix)
        offset = self._prefix + after if after is not None else None
        with translated(f"list {prefix}"):
            for page in obstore.list(
                self._store, self._prefix + prefix, offset=offset, chunk_size=1000
            ):
                for meta in page:
                    modified_ms = round(meta["last_modified"].timestamp() * 1000)
                    yield Entry(meta["path"][cut:], meta["size"], meta["e_tag"], modified_ms)

    def put(self, key: str, data: Any) -> None:
        """Write an object, whatever was there: bytes, or a local file by its Path."""
        with translated(f"put {key}"):
            # A request has ten seconds: a large file goes in parts.
            large = isinstance(data, Path) and data.stat().st_size > PART_BYTES
            obstore.put(
                self._store,
                self._prefix + key,
                data,
                use_multipart=large,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    def put_if_absent(self, key: str, data: bytes) -> str | None:
        """Write an object where there is none and return its ETag. Raises AlreadyExists."""
        with translated(f"put {key} if absent", conditional=True):
            path = self._prefix + key
            result = obstore.put(self._store, path, data, mode="create", use_multipart=False)
            return result["e_tag"]

    def delete(self, key: str) -> None:
        """Delete an object, if it is there. Only maintenance may: the role of appends may not."""
        try:
            with translated(f"delete {key}"):
                obstore.delete(self._store, self._prefix + key)
        except NotFound:  # S3 does not say; a disk does
            pass

    def delete_all(self, keys: Sequence[str]) -> None:
        """Delete objects, those that are there, in as few requests as the store allows."""
        try:
            with translated(f"delete {len(keys)} objects"):
                obstore.delete(self._store, [self._prefix + key for key in keys])
        except NotFound:  # S3 does not say; a disk does, and leaves out the rest
            for key in keys:
                self.delete(key)


def unsupported(uri: str) -> str | None:
    """Return why no table can be at a place whatever its rights, if so.

    Directory buckets list keys in no order, and know no StartAfter ('ListObjectsV2' of the S3 API):
    the newest commit is found by both. A URL's reader decodes some characters and drops some parts:
    then the table is not at the place that a role was given.
    """
    if "://" not in uri or uri.startswith("file://"):
        return None
    place = urlsplit(uri)
    if place.netloc.endswith(_DIRECTORY_BUCKET):
        return (
            f"{uri} is in a directory bucket (S3 Express One Zone), which lists keys in no "
            "particular order. Expected a general purpose bucket"
        )
    if odd := [character for character in "%?#" if character in uri]:
        return f"{uri} has {odd[0]!r}, which would be read as part of a URL. Rename it"
    folders = place.path.removeprefix("/").removesuffix("/").split("/")
    if folders != [""] and {"", ".", ".."} & {*folders}:
        return f"{uri} has an empty folder, '.' or '..'. Give the full path"
    return None


def open_store(uri: str) -> ObjectStore:
    """Open the folder of a table: `s3://bucket/path` or a local path. Raises BadStore.

    Requests are not repeated by the library: only the caller knows which may be, and until when.
    """
    for name, why in _REFUSED_OPTIONS.items():
        if name in os.environ:
            raise BadStore(f"{name} is set. {why}. Unset it.")
    if (reason := unsupported(uri)) is not None:
        raise BadStore(f"{reason}.")
    try:
        if "://" not in uri or uri.startswith("file://"):
            # From the root of the file system: a folder is made by the first put, not by a look.
            path = os.path.abspath(uri.removeprefix("file://"))
            return ObjectStore(obstore.store.LocalStore(), path.lstrip("/") + "/")
        options = {
            "timeout": f"{REQUEST_TIMEOUT_S:g}s",
            "connect_timeout": f"{CONNECT_TIMEOUT_S:g}s",
            # Options given here replace those of the environment, which may name a local server.
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "false"),
        }
        store = obstore.store.from_url(  # type: ignore[call-overload] # its overloads want literal keys
            uri,
            client_options=options,
            retry_config={"max_retries": 0},
        )
        return ObjectStore(store)
    except (BaseError, OSError, ValueError) as error:
        raise BadStore(
            f"The table's location {uri} cannot be opened: {first_line(error)}"
        ) from error
