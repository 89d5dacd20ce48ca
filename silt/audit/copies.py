"""Records that are stored twice, rows beside open dead letters, redriven rows that are missing."""

from collections.abc import Sequence

from pyroaring import BitMap64

from handler.errors import counted
from silt.audit.findings import LISTED_MAX, Audit
from silt.audit.offset_sets import ranges_of
from silt.audit.opened import OpenedTable, query


def check_copies(opened: Sequence[OpenedTable], result: Audit) -> None:
    """Find records that are there more than once, or closed as a row that is not there."""
    several = len({stream.generation for stream in result.streams}) > 1
    rows, letters = opened[0], opened[1] if len(opened) > 1 else None
    for part in list(result.partitions.values()):
        number = part.partition
        checks = [("doubled_rows", part.rows.twice, "twice in the table", _twice(rows, number))]
        if letters is not None:
            checks += [
                (
                    "doubled_dead_letters",
                    part.dead_letters.twice,
                    "twice as dead letters",
                    _twice(letters, number),
                ),
                (
                    "unfinished_redrive",
                    part.rows.seen & part.open_letters,
                    (
                        "in the table and among the open dead letters: a redrive is "
                        "unfinished; run silt redrive to close them"
                    ),
                    (
                        f"{_records(letters, number, letters.is_open)} intersect "
                        f"{_records(rows, number)}"
                    ),
                ),
                (
                    "redriven_row_missing",
                    part.without_row,
                    "missing, whose dead letters were closed as rows",
                    (
                        f"{_records(letters, number, letters.became_row)} except "
                        f"{_records(rows, number)}"
                    ),
                ),
            ]
        for code, offsets, where, sql in checks:
            # In several generations an offset may hold several records, which their timestamps
            # tell apart.
            results = _offsets_of(sql, opened) if offsets and several else offsets
            if results:
                message = f"{counted(len(results), 'record')} {where}"
                ranges = list(ranges_of(results, LISTED_MAX))
                result.find(code, message, partition=number, ranges=ranges)
    if several:
        result.doubt(
            "the topic has several generations, whose offsets overlap: duplicates are recognized "
            "by their timestamps, but a row of another generation may hide a loss"
        )


def _records(table: OpenedTable, partition: int, condition: str = "true") -> str:
    keys = table.keys
    return (
        f'(select "{keys.offset}" as o, "{keys.timestamp}" as at from {table.sql_name} '
        f'where "{keys.partition}" = {partition} and {condition})'
    )


def _twice(table: OpenedTable, partition: int) -> str:
    return f"select o, at from {_records(table, partition)} group by 1, 2 having count(*) > 1"


def _offsets_of(sql: str, opened: Sequence[OpenedTable]) -> BitMap64:
    results = BitMap64()
    for batch in query(sql, **{table.sql_name: table.table for table in opened}):
        results |= BitMap64(batch.column(0).to_pylist())
    return results
