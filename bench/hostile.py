"""What hostile and unlucky events cost, as ratios to clean events of the same contract.

Whole invocations, warm, to local disk: event, check, Parquet, commit. Clean and hostile batches
alternate in one process, so that the machine's mood hits both alike; the median of the ratios
counts. The peak of memory is that of a process which handles this one event.
"""

import contextlib
import gc
import io
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.work import BREAKER, ORDERS, RECORDS, WRONG, Payloads, event_at, orders, with_rejects
from handler.app import Function
from handler.kafka.event import decode_event
from handler.settings import Settings
from silt import output

ROUNDS = 5
EVENT_BYTES = 6_000_000
"""What a mapping sends at most; base64 and the records' other fields count."""
VALUE_BYTES = EVENT_BYTES * 3 // 4 - 10_000
"""What the values of one large record may have."""


@dataclass(frozen=True)
class Case:
    """One hostile event, the clean one that it is compared with, and the aim of the ratio."""

    name: str
    contract: str
    clean: Callable[[], Payloads]
    hostile: Callable[[], Payloads]
    aim: float


def decimals_as_numbers(*, long: bool) -> Callable[[], Payloads]:
    """Return orders whose decimals are numbers, beside long numbers in other columns or not."""

    def make() -> Payloads:
        dice, payloads = random.Random(2), []
        for payload in orders():
            fields = orjson.loads(payload)
            fields["amount"] = float(fields["amount"])
            digits = dice.randrange(10**15, 10**16) if long else dice.randrange(10**8, 10**9)
            fields["tags"]["id"] = f"{digits:016}" if long else f"{digits:09}0000000"[:16]
            price = dice.random() * 100
            for item in fields["items"]:
                item["price"] = price if long else round(price, 2)
            payloads.append(orjson.dumps(fields))
        return payloads

    return make


def one(start: str, item: str, end: str) -> Callable[[], Payloads]:
    """Return one record that repeats an item until the event is full."""

    def make() -> Payloads:
        count = (VALUE_BYTES - len(start) - len(end)) // (len(item) + 1)
        return [(start + ",".join([item] * count) + end).encode()]

    return make


def many(start: str) -> Callable[[], Payloads]:
    """Return as many records as a batch may have, each with a field that fills the event."""

    def make() -> Payloads:
        bytes_each = VALUE_BYTES // RECORDS - 130  # the other fields of a record in the event
        filler = "x" * max(0, bytes_each - len(start))
        return [f'{start},"filler":"{filler}"}}'.encode()] * RECORDS

    return make


FIFTY = ", ".join(f"f{i}: {{type: long}}" for i in range(50))
NESTED = f"""
topic: orders
table: orders
columns:
  id: {{type: long}}
  a: {{type: array, items: {{type: struct, fields: {{{FIFTY}}}}}}}
"""
FULL = "{" + ",".join(f'"f{i}":{i}' for i in range(50)) + "}"


def array(item: str, **keys: str) -> str:
    """Return a contract with an array column."""
    more = "".join(f"{key}: {value}\n" for key, value in keys.items())
    columns = f"columns:\n  id: {{type: long}}\n  a: {{type: array, items: {item}}}\n"
    return f"topic: orders\ntable: orders\n{more}{columns}"


def values(item: str) -> Callable[[], Payloads]:
    """Return one record with an array of one value."""
    return one('{"a":[', item, "]}")


TYPE, DECIMAL = {"quantity": "x"}, {"amount": "1.234"}
DECIMALS = array("{type: 'decimal(20,4)'}")
CASES = (
    Case("one type reject", ORDERS, orders, with_rejects(RECORDS, TYPE), 2.5),
    Case("one of each", ORDERS, orders, with_rejects(RECORDS // 2, TYPE, DECIMAL), 2.5),
    Case("5 % rejects of five kinds", ORDERS, orders, with_rejects(20, *WRONG), 2.5),
    Case("all rejects", ORDERS, orders, with_rejects(1, TYPE), 5),
    Case(
        "long numbers beside decimals",
        ORDERS,
        decimals_as_numbers(long=False),
        decimals_as_numbers(long=True),
        1.1,
    ),
    Case("a million {} and an error", NESTED, values(FULL), one('{"id":"x","a":[', "{}", "]}"), 5),
    Case("one field of fifty", NESTED, values(FULL), values('{"f1":123456}'), 5),
    Case("a pattern that backtracks", array("{type: string, pattern: '^(\\w+\\s?)+\\z'}"),
         values('"' + "a" * 40 + '"'), values('"' + "a" * 40 + '!"'), 5),
    Case("doubles with an exponent", array("{type: double}"), values("1.5"), values("1e30"), 5),
    Case("doubles of 21 digits", array("{type: double}"), values("1.5"), values("1" + "0" * 20), 5),
    Case("minus zero for a double", array("{type: double}"), values("1.5"), values("-0"), 5),
    Case("decimals with exponents", DECIMALS, values("1.5"), values("1e1"), 5),
    Case("decimals with signs", DECIMALS, values('"1.5"'), values('"+1.5"'), 5),
    Case("decimals of both forms", DECIMALS, values('"1.5"'), values('"1.5",1.5'), 5),
    Case("timestamps in small letters", array("{type: timestamp}"),
         values('"2026-05-01T10:00:00Z"'), values('"2026-05-01t10:00:00z"'), 5),
    Case("days that do not exist", array("{type: date}"),
         values('"2026-05-01"'), values('"2026-02-30"'), 5),
    Case("an enum that nothing is in", array("{type: string, enum: [a, b]}"),
         values('"a"'), values('"c"'), 5),
    Case("unknown fields, rescued", array("{type: struct, fields: {x: {type: long}}}",
         unknown_fields="rescue"), values('{"x":1}'), values('{"y":1}'), 5),
    Case("small records, all rejects", array("{type: long}"), many('{"id":1'), many('{"id":"x"'),
         5),
)  # fmt: skip


def function_in(folder: Path, contract: str) -> Function:
    """Return a function with one contract and its tables in a folder."""
    (folder / "contracts").mkdir()
    (folder / "contracts" / "c.yaml").write_text(contract + BREAKER)
    root, contracts = str(folder / "tables"), str(folder / "contracts")
    return Function(Settings(table_root=root, contracts=contracts))


def measure(case: Case) -> list[float]:
    """Return the ratio of each round."""
    batches = [make() for make in (case.clean, case.hostile)]
    ratios = []
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        function = function_in(Path(name), case.contract)
        offset = 0
        for number in range(ROUNDS + 1):
            spent = []
            for batch in batches:
                body = orjson.dumps(event_at(offset, batch))
                offset += RECORDS
                gc.collect()
                begun = time.process_time()
                function.handle(decode_event(body), None)
                spent.append(time.process_time() - begun)
            if number:  # the first is a warm-up
                ratios.append(spent[1] / spent[0])
    return ratios


def peak_mb(case: Case, body: bytes) -> int:
    """Handle the hostile event as the runtime brings it; return the peak of this process, in MB."""
    event = decode_event(body)
    del body
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        function_in(Path(name), case.contract).handle(event, None)
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+)", status)
    return int(found[1]) // 1024 if found is not None else 0


def measure_all() -> list[dict[str, Any]]:
    """Measure each case in processes of its own; print the ratios beside their aims."""
    found = []
    with output.progress("hostile events", "cases") as advance:
        for number, case in enumerate(CASES):
            body = orjson.dumps(event_at(0, case.hostile()))
            outputs = [
                subprocess.run(
                    [sys.executable, "-m", "bench.hostile", what, str(number)],
                    input=body,
                    check=True,
                    capture_output=True,
                ).stdout
                for what in ("ratio", "peak")
            ]
            ratio, peak = (float(each.split()[-1]) for each in outputs)
            found.append(
                {
                    "name": case.name,
                    "ratio": round(ratio, 2),
                    "aim": case.aim,
                    "peak_mb": round(peak),
                }
            )
            advance(1)
    rows = [[c["name"], f"{c['ratio']:.2f}", c["aim"], f"{c['peak_mb']:.0f}"] for c in found]
    output.table("Hostile events", ["event", "CPU of the clean one", "aim", "peak, MB"], rows)
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        chosen = CASES[int(sys.argv[2])]
        if sys.argv[1] == "ratio":
            print(statistics.median(measure(chosen)))
        else:
            print(peak_mb(chosen, sys.stdin.buffer.read()))
    else:
        measure_all()
