"""How the CPU of an invocation grows with the batch: its records, columns, depth, partitions and
streams. How the CPU of a look-up grows with the files of the table.
"""

import statistics
from collections.abc import Callable, Sequence

import orjson

from bench.checkout import FOLDER
from bench.measured import start_function
from bench.work import ORDERS, Payloads, event_at, orders
from silt import output
from tests.builders import SMALL, event, files_of_a_large_table, function_for, rows

WHERE = FOLDER / "growth"
ROUNDS, WARM_UP = 7, 2
RECORDS = 5_000


def _columns(count: int) -> tuple[str, Payloads]:
    types = ("long", "string", "double", "boolean")
    values = (7, "text", 1.5, True)
    listed = "".join(f"  c{i}: {{type: {types[i % 4]}}}\n" for i in range(count))
    record = orjson.dumps({f"c{i}": values[i % 4] for i in range(count)})
    return f"topic: orders\ntable: t\ncolumns:\n{listed}", [record] * RECORDS


def _depth(count: int) -> tuple[str, Payloads]:
    column, value = "{type: long}", "7"
    for _ in range(count):
        column, value = f"{{type: struct, fields: {{a: {column}}}}}", f'{{"a":{value}}}'
    record = f'{{"a":{value}}}'.encode()
    return f"topic: orders\ntable: t\ncolumns:\n  a: {column}\n", [record] * RECORDS


def _partitions(count: int) -> tuple[str, Payloads]:
    contract = f"{ORDERS}  site: {{type: string}}\npartition_by: [site]\n"
    payloads = [
        payload[:-1] + f',"site":"s{i % count}"}}'.encode()
        for i, payload in enumerate(orders(RECORDS))
    ]
    return contract, payloads


SERIES: dict[str, tuple[Sequence[int], Callable[[int], tuple[str, Payloads]]]] = {
    "records of a batch": ((1, 10, 100, 1_000, 10_000), lambda n: (ORDERS, orders(n))),
    "columns": ((4, 20, 50, 100, 200), _columns),
    "depth of structs": ((0, 2, 4, 8, 16), _depth),
    "partition values of a batch": ((1, 5, 20, 50, 200), _partitions),
    "streams of a batch": ((1, 5, 20, 100, 500), lambda _n: (ORDERS, orders(RECORDS))),
}
FILES = (1_000, 10_000, 100_000, 300_000)
LOOKED_UP = "files of the table, at a look-up"


def measure_all() -> dict[str, list[dict[str, float]]]:
    """Measure each series: at `x`, the least and the median CPU in milliseconds."""
    found: dict[str, list[dict[str, float]]] = {}
    with output.progress("growth", "points") as advance:
        for name, (points, make) in SERIES.items():
            for point in points:
                streams = point if name == "streams of a batch" else 1
                cpu_s = _measure(*make(point), streams)
                found.setdefault(name, []).append(_point(point, cpu_s))
                advance(1)
        for count in FILES:
            found.setdefault(LOOKED_UP, []).append(_point(count, _measure_look_up(count)))
            advance(1)
    for name, series in found.items():
        listed = [[f"{p['x']:,}", f"{p['median_ms']:.1f}", f"{p['least_ms']:.1f}"] for p in series]
        output.table(f"Growth by {name}", [name, "median, ms", "least, ms"], listed)
    return found


def _point(x: int, cpu_s: Sequence[float]) -> dict[str, float]:
    median, least = statistics.median(cpu_s), min(cpu_s)
    return {"x": x, "median_ms": round(median * 1e3, 2), "least_ms": round(least * 1e3, 2)}


def _measure(contract: str, payloads: Payloads, streams: int) -> list[float]:
    function = start_function(contract, WHERE)
    try:
        spent = [
            function.invoke(event_at(number * len(payloads), payloads, streams))
            for number in range(WARM_UP + ROUNDS)
        ]
    finally:
        function.close()
    return spent[WARM_UP:]


def _measure_look_up(files: int) -> list[float]:
    """Let new sandboxes, which know the table, look up a batch that was delivered before."""
    spent = []
    for _ in range(ROUNDS):
        function = start_function(SMALL, WHERE)
        function_for(WHERE).handle(event(rows(0, 10)), None)
        files_of_a_large_table(WHERE / "tables" / "sales" / "orders", files)
        try:
            function.open_tables()
            spent.append(function.invoke(event(rows(5, 10))))
        finally:
            function.close()
    return spent


if __name__ == "__main__":
    measure_all()
