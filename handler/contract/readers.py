"""What a contract may not ask for, because a common reader could not read the table.

Said by `silt check`, and before a table is made. A table that is so already goes on.
"""

import re
from collections.abc import Iterator

from handler.contract.contract import Contract
from handler.delta.types import parse_decimal

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def unreadable_partitions(contract: Contract) -> Iterator[str]:
    """Give a line for each partition column that a reader cannot read."""
    types = {column.name: column.type for column in contract.columns}
    for name in contract.partition_by:
        if not _PLAIN_NAME.fullmatch(name):
            yield (
                f"partition_by: {name!r} is a name that polars cannot read: it takes names from "
                "folders as they are, where every character but A-Z, a-z, 0-9, '_', '-' and '.' is "
                "percent-encoded. Give the column a plain name, and its JSON field as `source`"
            )
        decimal = parse_decimal(types[name])
        if decimal is not None and decimal[1] > 0:
            yield (
                f"partition_by: {name!r} is a {types[name]}: deltalake cannot open a table with a "
                "negative fraction as partition value (it reads -1.50 as '-1.-50'). Partition by a "
                "column with a scale of 0, a long or a string"
            )
