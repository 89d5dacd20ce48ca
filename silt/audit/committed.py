"""How far a consumer group has come."""

from handler.errors import SiltError
from silt.local.topic_reader import TopicReader


def committed_by(reader: TopicReader, group: str) -> dict[int, int]:
    """Return the committed offsets of a group. Raises SiltError where it has none."""
    ends = reader.committed()
    if not ends:
        raise SiltError(
            f"The consumer group {group!r} has no committed offset of {reader.topic}. Expected the "
            "group of the mapping (ConsumerGroupId). Nothing was compared."
        )
    return ends
