"""How a dead letter is closed: the two columns that say when, and as what. Pure."""

import pyarrow as pa
import pyarrow.compute as pc

from handler.contract.contract import REDRIVEN_AS, REDRIVEN_AT, ROW
from handler.contract.where import RULE as WHERE
from handler.sink.outcomes import TOMBSTONE_RULE

_LABELS = (None, ROW, TOMBSTONE_RULE, WHERE)


class Closings:
    """What each letter of a file is closed as, a byte a letter, in the order of the file."""

    def __init__(self) -> None:
        self._numbers = bytearray()
        self._position = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def __bool__(self) -> bool:
        """Return whether any letter is closed."""
        return any(self._numbers)

    def extend(self, letters: int) -> None:
        """Take in letters that stay as they are so far."""
        self._numbers.extend(bytes(letters))

    def close(self, position: int, label: str) -> None:
        """Close the letter at a position as ROW, or as the rule that drops it."""
        self._numbers[position] = _LABELS.index(label)

    def edit(self, rows: pa.Table, at_us: int) -> pa.Table:
        """Return the next rows of the file, closed where they are; at a time in microseconds."""
        numbers = self._numbers[self._position : self._position + rows.num_rows]
        # A file that was read no further than a limit has letters after the last of these.
        numbers.extend(bytes(rows.num_rows - len(numbers)))
        self._position += rows.num_rows
        closed = pa.array([number > 0 for number in numbers], pa.bool_())
        labels = pa.array([_LABELS[number] for number in numbers], pa.string())
        moment = pa.scalar(at_us, pa.timestamp("us", "UTC"))
        for name, values in ((REDRIVEN_AT, moment), (REDRIVEN_AS, labels)):
            index = rows.schema.get_field_index(name)
            column = pc.if_else(closed, values, rows[name])
            rows = rows.set_column(index, rows.schema.field(index), column)
        return rows
