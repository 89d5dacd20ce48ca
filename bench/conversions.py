"""What a conversion of the contract costs: the check of a batch whose values need it, against the
same batch in the usual form of a column without it. CPU, in turns, in one process.
"""

import gc
import statistics
import time
from typing import Any, NamedTuple

from handler.contract.load import parse_contract
from handler.validate.batch import Checker
from silt import output

RECORDS = 10_000
ROUNDS = 5
BATCHES = 5
MOMENT = "2026-05-01T10:{:02}:{:02}"


class Conversion(NamedTuple):
    """A column and its values, and the same in the usual form."""

    name: str
    column: str
    literals: list[str]
    usual_column: str
    usual_literals: list[str]


def _conversions() -> list[Conversion]:
    numbers = range(RECORDS)
    ints = [str(i) for i in numbers]
    floats = [f"{i}.5" for i in numbers]
    moments = [MOMENT.format(i // 60 % 60, i % 60) + f".{i % 1000:03}" for i in numbers]
    utc = [f'"{moment}Z"' for moment in moments]
    seconds = [str(1_764_000_000 + i) for i in numbers]
    days = [f'"2026-05-{1 + i % 28:02}"' for i in numbers]

    def quoted(values: list[str]) -> list[str]:
        return [f'"{value}"' for value in values]

    objects = [f'{{"k":[{i},{i}.5,"x"]}}' for i in numbers]
    struct = "{type: struct, fields: {k: {type: array, items: {type: string}}}}"
    texts = [f'{{"k":["{i}","{i}.5","x"]}}' for i in numbers]
    time_ = "{type: timestamp}"
    return [
        Conversion("json, against a struct", "{type: json}", objects, struct, texts),
        Conversion(
            "long, string", "{type: long, accept: [string]}", quoted(ints), "{type: long}", ints
        ),
        Conversion(
            "long, integral",
            "{type: long, accept: [integral]}",
            [f"{i}.0" for i in ints],
            "{type: long}",
            ints,
        ),
        Conversion(
            "double, string",
            "{type: double, accept: [string]}",
            quoted(floats),
            "{type: double}",
            floats,
        ),
        Conversion(
            "boolean, string",
            "{type: boolean, accept: [string]}",
            ['"True"'] * RECORDS,
            "{type: boolean}",
            ["true"] * RECORDS,
        ),
        Conversion(
            "string, number",
            "{type: string, accept: [number]}",
            floats,
            "{type: string}",
            quoted(floats),
        ),
        Conversion(
            "iso8601",
            "{type: timestamp, format: iso8601}",
            [f'"{m.replace("T", " ")}+0000"' for m in moments],
            time_,
            utc,
        ),
        Conversion(
            "a pattern",
            "{type: timestamp, format: '%d/%m/%Y %H:%M:%S.%f', zone: UTC}",
            [f'"01/05/2026 {m[11:]}"' for m in moments],
            time_,
            utc,
        ),
        Conversion("a zone", "{type: timestamp, zone: Europe/Berlin}", quoted(moments), time_, utc),
        Conversion(
            "truncate",
            "{type: timestamp, fraction: truncate}",
            [f'"{m}456789Z"' for m in moments],
            time_,
            utc,
        ),
        Conversion(
            "epoch, float",
            "{type: timestamp, unit: s, accept: [float]}",
            [f"{s}.5" for s in seconds],
            "{type: timestamp, unit: s}",
            seconds,
        ),
        Conversion(
            "epoch, ns",
            "{type: timestamp, unit: ns}",
            [f"{s}000000000" for s in seconds],
            "{type: timestamp, unit: s}",
            seconds,
        ),
        Conversion(
            "date of a timestamp",
            "{type: date, accept: [timestamp]}",
            utc,
            "{type: date}",
            days,
        ),
        Conversion(
            "a nested path",
            "{type: long, source: p.q.r}",
            ints,
            "{type: struct, fields: {q: {type: struct, fields: {r: {type: long}}}}}",
            ints,
        ),
    ]


def _checker(column: str) -> Checker:
    problems: list[str] = []
    text = f"topic: t\ntable: t\ncolumns:\n  a: {column}\n  id: {{type: string}}\n"
    contract, _ = parse_contract(text, "bench.yaml", problems)
    assert contract is not None, problems
    return Checker(contract)


def _payloads(literals: list[str], *, path: bool, struct: bool) -> list[bytes]:
    field = '"p":{"q":{"r":%s}}' if path else '"a":{"q":{"r":%s}}' if struct else '"a":%s'
    return [
        ("{" + field % literal + f',"id":"record-{i:08}"}}').encode()
        for i, literal in enumerate(literals)
    ]


def _cpu(checker: Checker, payloads: list[bytes]) -> float:
    begun = time.process_time()
    result = checker.check(payloads)
    took = time.process_time() - begun
    assert len(result.positions) == RECORDS, next(iter(result.rejects.values()))
    return took


def measure_all() -> list[dict[str, Any]]:
    """Measure each conversion beside the usual form, and print the ratios."""
    found = []
    with output.progress("conversions", "columns") as advance:
        for one in _conversions():
            nested = one.name == "a nested path"
            pair = [
                (_checker(one.column), _payloads(one.literals, path=nested, struct=False)),
                (
                    _checker(one.usual_column),
                    _payloads(one.usual_literals, path=False, struct=nested),
                ),
            ]
            spent: list[list[float]] = [[], []]
            for round_ in range(ROUNDS * BATCHES + 1):
                for side, (checker, payloads) in zip(spent, pair, strict=True):
                    gc.collect()
                    took = _cpu(checker, payloads)
                    if round_:
                        side.append(took)
            ratio = statistics.median(a / b for a, b in zip(*spent, strict=True))
            more_us = (statistics.median(spent[0]) - statistics.median(spent[1])) / RECORDS * 1e6
            found.append({"name": one.name, "ratio": round(ratio, 2), "more_us": round(more_us, 2)})
            advance(1)
    rows = [[c["name"], f"{c['ratio']:.2f}", f"{c['more_us']:+.2f}"] for c in found]
    columns = ["column", "check of the usual form", "us a value more"]
    output.table(f"{RECORDS:,} records of one column and an id", columns, rows)
    return found


if __name__ == "__main__":
    measure_all()
