"""What a table lacks and the topic still has."""

from collections.abc import Callable

from handler.contract.contract import Contract
from handler.errors import counted
from silt import output
from silt.audit.gaps import GONE, MISSING, cause_of, explain_gaps
from silt.audit.offset_sets import ranges_of
from silt.audit.proof import audit
from silt.local.topic_reader import RecordRange, TopicReader


def find_holes(
    uri: str, reader: TopicReader, contract: Contract, progress: Callable[[int], None]
) -> list[RecordRange]:
    """Return the ranges of records that a table and its dead letters lack, and the broker has.

    A rule of the contract drops none of them. Raises SiltError.
    """
    result = audit(uri, gaps_allowed=True, progress=progress)
    holes = list[RecordRange]()
    for partition in reader.partitions:
        gaps = explain_gaps(result.of(partition), reader, cause_of(contract), progress=progress)
        for first, last in ranges_of(gaps.offsets(MISSING)):
            holes.append(RecordRange(reader.topic, partition, first, last))
        if gone := gaps.counts().get(GONE):
            output.warn(
                f"{reader.topic}-{partition}: {counted(gone, 'offset')} that the table lacks "
                "are no longer on the broker. silt gaps lists them."
            )
    return holes
