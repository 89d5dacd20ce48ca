"""A command that reads several tables: one that cannot be read is named, and holds up no other."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.errors import SiltError
from silt import output
from silt.credentials import use_credentials_for
from silt.table_places import NamedTable

LIMIT_S = 900.0
Result = TypeVar("Result")
Progress = Callable[[int], None]


def read_each(
    tables: Sequence[NamedTable],
    unit: str,
    read: Callable[[NamedTable, Pool, Deadline, Progress], Result],
) -> tuple[list[Result], bool]:
    """Return what `read` makes of each table, and whether one could not be read. `unit` is what
    its progress counts.
    """
    clock, pool = SystemClock(), Pool()
    results, failed = list[Result](), False
    for table in tables:
        try:
            use_credentials_for(table.uri)
            with output.progress(f"reading {table.name}", unit) as advance:
                deadline = Deadline(clock, clock.monotonic() + LIMIT_S)
                results.append(read(table, pool, deadline, advance))
        except SiltError as error:
            failed = True
            output.complain(f"{table.name}: {error}")
    return results, failed
