"""What a table lacks and the topic still has."""

from collections.abc import Callable

from handler.contract.contract import Contract
from handler.errors import counted
from silt import output
from silt.audit.gaps import GONE, MISSING, gaps_of
from silt.audit.offset_sets import ranges_of
from silt.local.topic_reader import RecordRange, TopicReader


def find_holes(
    uri: str,
    reader: TopicReader,
    contract: Contract,
    group: str | None,
    progress: Callable[[int], None],
) -> list[RecordRange]:
    """Return the ranges of records that a table and its dead letters lack, and the broker has.

    A rule of the contract drops none of them. With `group`, that of the reader, it is looked up to
    its committed offset. Raises SiltError.
    """
    holes = list[RecordRange]()
    found, notes = gaps_of(uri, reader, contract, group=group, progress=progress)
    for note in notes:
        output.warn(f"Note: {note}.")
    for gaps in found:
        for first, last in ranges_of(gaps.offsets(MISSING)):
            holes.append(RecordRange(reader.topic, gaps.partition, first, last))
        if gone := gaps.counts().get(GONE):
            are = "is" if gone == 1 else "are"
            output.warn(
                f"{reader.topic}-{gaps.partition}: {counted(gone, 'offset')} that the table lacks "
                f"{are} no longer on the broker. silt gaps lists them."
            )
    return holes
