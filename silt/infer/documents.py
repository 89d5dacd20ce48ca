"""The values of records in files, or of a topic: in batches, again from the first each time."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from handler.errors import counted
from silt.local.topic_reader import TopicReader
from silt.replay.saved import SavedEventError, SavedFile
from silt.samples.read_samples import samples_in

BATCH_RECORDS = 5_000
BATCH_BYTES = 8 << 20
_MARK = b"\xef\xbb\xbf"
"""The byte order mark: of a file, and no part of its first record."""
_GZIP = b"\x1f\x8b"


def batches_of_files(files: Sequence[SavedFile]) -> Iterator[list[bytes]]:
    """Yield the values of saved events, of NDJSON, and of JSON files. Lines are not all held.

    Raises SavedEventError for a file that cannot be read.
    """
    return _in_batches(value for file in files for value in _values(file))


def _values(file: SavedFile) -> Iterator[bytes]:
    path = Path(file.name)
    try:
        if path.is_file() and _has_lines(path):
            with _open(path) as lines:
                for number, line in enumerate(lines, 1):
                    text = line.removeprefix(_MARK) if number == 1 else line
                    yield from _of_line(text.strip(), f"{file.name}:{number}")
            return
        data = file.read()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        data = data.removeprefix(_MARK)
    except OSError as error:
        raise SavedEventError(f"{file.name} cannot be read: {error}") from error
    yield from _of_samples(data, file.name)


def _open(path: Path) -> BinaryIO:
    """Open a file, also one that gzip has compressed."""
    with path.open("rb") as file:
        compressed = file.read(2) == _GZIP
    return cast(BinaryIO, gzip.open(path)) if compressed else path.open("rb")


def _has_lines(path: Path) -> bool:
    """Return whether the first line of a file is a JSON document of its own."""
    with _open(path) as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        return isinstance(orjson.loads(first.removeprefix(_MARK)), dict)
    except orjson.JSONDecodeError:
        return False


def _of_line(line: bytes, name: str) -> Iterator[bytes]:
    if b'"eventSource"' in line or b'"payload"' in line:
        yield from _of_samples(line, name)
    elif line:
        yield line


def _of_samples(data: bytes, name: str) -> Iterator[bytes]:
    for sample in samples_in(data, name):
        if sample.record.value is not None:
            yield sample.record.value


def batches_of_topic(reader: TopicReader, count: int) -> Iterator[list[bytes]]:
    """Yield the values of at most so many records of a topic, the oldest of each partition, of all
    alike.
    """
    return _in_batches(_of_topic(reader, count))


def _of_topic(reader: TopicReader, count: int) -> Iterator[bytes]:
    bounds = {partition: reader.bounds(partition) for partition in reader.partitions}
    # What a short partition leaves goes to longer ones.
    by_size = sorted(bounds.items(), key=lambda pair: pair[1][1] - pair[1][0])
    left = count
    for number, (partition, (low, high)) in enumerate(by_size):
        share = -(-left // (len(by_size) - number))
        last = min(high, low + share) - 1
        if last < low:
            continue
        for record in reader.read(partition, low, last):
            left -= 1
            if record.value is not None:
                yield record.value


def _in_batches(values: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch, size = list[bytes](), 0
    for value in values:
        batch.append(value)
        size += len(value)
        if len(batch) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def name_of_files(files: Sequence[SavedFile]) -> str:
    """Return the files in a few words."""
    return files[0].name if len(files) == 1 else counted(len(files), "file")
