"""What a reader sees after the demo, against what was sent."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from silt.local.orders import BUCKET, Produced
from silt.local.s3 import LocalS3


def read_table(s3: LocalS3, name: str) -> pa.Table:
    """Read a table with the Delta engine, which shares no code with the function."""
    table = DeltaTable(f"s3://{BUCKET}/demo/{name}", storage_options=s3.environment)
    query = QueryBuilder().register("t", table).execute("select * from t")
    return pa.table(query.read_all())


VERDICT = """
with expected as (select * from produced where fate = ?),
     found as (select * from {table}),
     twice as (select 1 from found group by partition, "offset" having count(*) > 1)
select
  (select count(*) from expected) as expected,
  (select count(*) from found) as found,
  (select count(*) from expected anti join found using (partition, "offset")) as lost,
  (select count(*) from twice) as doubled,
  (select count(*) from found anti join expected using (partition, "offset")) as invented,
  (select count(*) from expected e join found f using (partition, "offset")
     where (e.content, e.code) is distinct from (f.content, f.code)) as altered
"""


def judge(produced: Produced, rows: pa.Table, dead_letters: pa.Table) -> list[tuple[Any, ...]]:
    """Compare both tables with the producer's list, in SQL. Returns a line for rows and one for
    dead letters.

    A line has the counts of expected, found, lost, doubled, invented and altered records.
    """
    database = duckdb.connect()
    database.execute("set TimeZone='UTC'")
    listed = [
        {
            "partition": partition,
            "offset": offset,
            "fate": made.fate,
            "code": made.code,
            "value": made.value if made.fate == "dead_letter" else None,
            **(made.row or {}),
        }
        for partition, offset, made in produced.records
    ]
    database.register("listed", pa.Table.from_pylist(_with_all_names(listed)))
    database.register("rows_read", rows)
    database.register("dead_read", dead_letters)
    order = (
        "(order_id, cast(amount as decimal(12,2)), cast(quantity as integer), status, "
        "cast(placed_at as timestamptz), cast({customer} as bigint), {skus})"
    )
    sent = order.format(customer="customer_id", skus="skus")
    results = order.format(customer="customer.id", skus="[item.sku for item in items]")
    database.execute(f"""
        create table produced as select partition, "offset", fate, code,
          case when fate = 'row'
            then cast({sent} as varchar)
            else hex(value) end as content
        from listed;
        create table rows_found as select _kafka_partition as partition, _kafka_offset as "offset",
          cast(null as varchar) as code,
          cast({results} as varchar) as content
        from rows_read;
        create table dead_found as select partition, "offset", error_code as code,
          hex(value) as content
        from dead_read;
    """)
    result = []
    for fate, table in (("row", "rows_found"), ("dead_letter", "dead_found")):
        line = database.execute(VERDICT.format(table=table), [fate]).fetchone()
        assert line is not None
        result.append(line)
    return result


def _with_all_names(listed: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(name for entry in listed for name in entry))
    return [{name: entry.get(name) for name in names} for entry in listed]


def accounting(log: Path) -> dict[str, int]:
    """Add up what the invocations said of themselves; the killed one said nothing."""
    totals: dict[str, int] = {}
    for line in log.read_text().splitlines():
        if '"message":"invocation"' in line and line.startswith("{"):
            entry = json.loads(line)
            for name in (
                "delivered",
                "appended",
                "dead_lettered",
                "skipped_by_rule",
                "duplicates",
                "unsettled",
            ):
                totals[name] = totals.get(name, 0) + entry[name]
    return totals
