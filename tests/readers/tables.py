"""Tables that Silt makes for the readers: every type, nesting, partition and evolution.

A table is written some rows at a time, so that it has several files with narrow bounds, and then
grows old: a checkpoint, a compaction, a reader of an earlier version.
"""

import base64
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from handler.delta.retry import SystemClock
from handler.maintenance import Maintenance
from handler.settings import Settings
from tests.builders import event, function_for, record
from tests.reader import read_folder

OK = {"batchItemFailures": []}
MICROSECOND, DAY = dt.timedelta(microseconds=1), dt.timedelta(days=1)
TIMES = (
    "0001-01-01T00:00:00.000000",
    "1582-10-14T23:59:59.999999",
    "1899-12-30T00:00:00.000000",
    "1969-12-31T23:59:59.999999",
    "2026-05-01T10:00:00.123456",
    "9999-12-31T23:59:59.999999",
)
STRINGS = (
    "",
    "a" * 40,
    "a" * 32 + "\U0010ffff" * 3,
    "\U0010ffff" * 33,
    'it\'s "quoted" \\ % _ \n\t',
    "東京" * 20,
    "zz",
)
NASTY = (
    "New York",
    "New_York",
    "東京",
    "北京",
    "a/b=c%20d",
    "%",
    "it's",
    '"',
    "..",
    " lead and trail ",
    "a" * 300,
    "\\",
    "#?&+",
    "null",
    "__HIVE_DEFAULT_PARTITION__x",
)
PRIMITIVES: dict[str, tuple[Any, ...]] = {
    "long": (-(2**63), -1, 0, 9_007_199_254_740_993, 2**63 - 1),
    "integer": (-(2**31), -1, 0, 7, 2**31 - 1),
    "short": (-(2**15), -1, 0, 7, 2**15 - 1),
    "byte": (-128, -1, 0, 7, 127),
    "double": (-1.7976931348623157e308, -0.5, 0.1, 5e-324, 1e17),
    "float": (-0.5, 0.25, 1.5, 16_777_216.0, -3.4028234663852886e38),
    "boolean": (True, False),
    "string": STRINGS,
    "binary": (b"", b"\x00\xff", b"\xff" * 40, b"plain"),
    "date": tuple(dt.date.fromisoformat(time[:10]) for time in TIMES),
    "timestamp": tuple(dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC) for time in TIMES),
    "timestamp_ntz": tuple(dt.datetime.fromisoformat(time) for time in TIMES),
    "decimal(38,10)": tuple(
        map(
            Decimal,
            (
                "-9999999999999999999999999999.9999999999",
                "0.0000000001",
                "1234567890123456.7890123456",
                "9999999999999999999999999999.9999999999",
            ),
        )
    ),
    "decimal(18,4)": tuple(
        map(
            Decimal,
            ("-99999999999999.9999", "12345678901234.5678", "0.0000", "99999999999999.9999"),
        )
    ),
    "decimal(5,2)": tuple(map(Decimal, ("-999.99", "-1.50", "0.00", "999.99"))),
}


def as_json(value: Any) -> Any:
    """Return a value as a producer sends it."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dt.datetime():
            text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
            return text + ("Z" if value.tzinfo is not None else "")
        case dt.date():
            return value.isoformat()
        case Decimal():
            return f"{value:f}"
        case dict():
            return {name: as_json(item) for name, item in value.items()}
        case list():
            return [as_json(item) for item in value]
    return value


def neighbors(value: Any, type_: str) -> list[Any]:
    """Return the values beside a value, those that its type has."""
    match value:
        case bool() | bytes() | float():
            return []
        case int():
            bits = {"byte": 8, "short": 16, "integer": 32, "long": 64}[type_]
            near = (value - 1, value + 1)
            return [n for n in near if -(2 ** (bits - 1)) <= n < 2 ** (bits - 1)]
        case str():
            return [value + "a", value[:-1]] if value else [value + "a"]
        case Decimal():
            step = Decimal((0, (1,), int(value.as_tuple().exponent)))
            return [value - step, value + step] if set(value.as_tuple().digits) != {9} else []
        case _:
            near = (
                _shifted(value, MICROSECOND if isinstance(value, dt.datetime) else DAY, sign)
                for sign in (-1, 1)
            )
            return [each for each in near if each is not None]


def _shifted(value: Any, step: dt.timedelta, sign: int) -> Any:
    try:
        return value + sign * step
    except OverflowError:
        return None


@dataclass
class Table:
    """One table: where it is, its columns with their Delta types, and the rows of each version."""

    kind: str
    folder: Path
    name: str = "orders"
    id: str = "id"
    columns: list[tuple[str, Any]] = field(default_factory=list)
    paths: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    versions: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def uri(self) -> Path:
        return self.folder / "tables" / "sales" / self.name

    def note(self, rows: Sequence[dict[str, Any]]) -> None:
        """Note what was sent so far, as the newest version."""
        state = read_folder(self.uri)
        self.columns = [(f["name"], f["type"]) for f in state.fields]
        self.versions[state.version] = [dict(row) for row in rows]

    def maintain(self) -> None:
        """Let the table grow old: a checkpoint, a compaction, exact statistics."""
        settings = Settings(
            table_root=str(self.folder / "tables"), contracts=str(self.folder / "contracts")
        )
        run = Maintenance(settings, clock=SystemClock())
        run.handle({"tables": [f"sales/{self.name}"]}, None)
        version = read_folder(self.uri).version
        self.versions[version] = self.versions[max(self.versions)]


def contract_of(columns: dict[str, Any], more: str = "") -> str:
    """Return a contract whose tables are compacted at once."""
    return (
        "topic: orders\ntable: sales/orders\n"
        f"columns: {json.dumps({'id': {'type': 'long', 'required': True}, **columns})}\n"
        "circuit_breaker: {ratio: 1.0}\nevolution: widen\n"
        "maintenance: {quiet_for: 0m, target_file_size: 1 MiB, checkpoint_commits: 1}\n" + more
    )


def write(table: Table, contract: str, rows: Sequence[dict[str, Any]], *, each: int = 2) -> None:
    """Send rows, some at a time, and note the version after the last."""
    function = function_for(table.folder, contract, clock=SystemClock())
    before = table.versions[max(table.versions)] if table.versions else []
    for start in range(0, len(rows), each):
        batch = [
            record(row["id"], orjson.dumps(as_json(row))) for row in rows[start : start + each]
        ]
        assert function.handle(event(batch), None) == OK
    table.note([*before, *rows])
    assert not read_folder(table.uri.with_name("orders__dead_letters")).adds


def spread(values: dict[str, Sequence[Any]], count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return rows that have each value of each column, and nulls between them."""
    return [
        {"id": i}
        | {name: [*column, None][i % (len(column) + 1)] for name, column in values.items()}
        for i in range(start, start + count)
    ]


def primitive_types(folder: Path) -> Table:
    """Make a table with a column of every type, at its extremes."""
    table = Table("types", folder)
    names = {f"c{i}": type_ for i, type_ in enumerate(PRIMITIVES)}
    contract = contract_of({name: {"type": type_} for name, type_ in names.items()})
    rows = spread({name: PRIMITIVES[type_] for name, type_ in names.items()}, 16)
    write(table, contract, rows)
    table.paths = [((name,), type_) for name, type_ in names.items()]
    return table


def nested_types(folder: Path) -> Table:
    """Make a table with structs, arrays and maps in each other, with nulls at every level."""
    table = Table("nested", folder)
    inner = {f"f{i}": type_ for i, type_ in enumerate(PRIMITIVES) if type_ != "binary"}
    fields = {name: {"type": type_} for name, type_ in inner.items()}
    two = {"a": {"type": "integer"}, "b": {"type": "string"}}
    struct = {"type": "struct", "fields": two}
    columns = {
        "s": {"type": "struct", "fields": {**fields, "deep": {"type": "struct", "fields": two}}},
        "b": {
            "type": "struct",
            "fields": {"x": {"type": "binary"}, "n": {"type": "long"}},
        },
        **{
            f"l{i}": {"type": "array", "items": {"type": type_}}
            for i, type_ in enumerate(PRIMITIVES)
        },
        **{
            f"m{i}": {"type": "map", "values": {"type": type_}}
            for i, type_ in enumerate(PRIMITIVES)
        },
        "ls": {"type": "array", "items": struct},
        "ll": {"type": "array", "items": {"type": "array", "items": {"type": "long"}}},
        "m": {"type": "map", "values": {"type": "timestamp"}},
        "ml": {"type": "map", "values": {"type": "array", "items": struct}},
        "lm": {"type": "array", "items": {"type": "map", "values": {"type": "long"}}},
    }
    one, none = {"a": 1, "b": "x"}, {"a": None, "b": None}
    values: dict[str, Sequence[Any]] = {
        "b": ({"x": b"\x00", "n": 5}, {"x": None, "n": None}, {"x": b"", "n": -5}),
        **{f"l{i}": ([], [None], [*PRIMITIVES[type_], None]) for i, type_ in enumerate(PRIMITIVES)},
        **{
            f"m{i}": ({}, {"": None}, {f"k{k}": v for k, v in enumerate(PRIMITIVES[type_])})
            for i, type_ in enumerate(PRIMITIVES)
        },
        "ls": ([], [None], [one, None, none]),
        "ll": ([], [[]], [None], [[1, None], None, [-(2**63)]]),
        "m": ({}, {"k": PRIMITIVES["timestamp"][0], "é": None}),
        "ml": ({}, {"k": None}, {"k": [one, None], "l": []}),
        "lm": ([], [{}], [None, {"k": None, "l": 5}]),
    }
    rows = spread(values, 16)
    structs = spread({name: PRIMITIVES[type_] for name, type_ in inner.items()}, 16)
    for row, parts in zip(rows, structs, strict=True):
        deep = [one, none, None][row["id"] % 3]
        del parts["id"]
        row["s"] = {**parts, "deep": deep} if row["id"] % 5 else None
    write(table, contract_of(columns), rows)
    table.paths = [(("s", name), type_) for name, type_ in inner.items()]
    table.paths += [(("s", "deep", "a"), "integer"), (("s", "deep", "b"), "string")]
    table.paths += [(("b", "x"), "binary"), (("b", "n"), "long")]
    return table


PARTITIONS: dict[str, tuple[Any, ...]] = {
    "string": NASTY,
    **{name: PRIMITIVES[name] for name in ("long", "integer", "short", "byte", "boolean", "date")},
    **{name: PRIMITIVES[name] for name in ("timestamp", "timestamp_ntz")},
    "decimal(20,0)": (
        Decimal("-12345678901234567890"),
        Decimal(0),
        Decimal("98765432109876543210"),
    ),
}


def partitioned_by(type_: str) -> Callable[[Path], Table]:
    """Return what makes a table that is partitioned by a column of a type."""

    def make(folder: Path) -> Table:
        table = Table(f"partitioned by {type_}", folder)
        contract = contract_of(
            {"p": {"type": type_}, "v": {"type": "string"}}, "partition_by: [p]\n"
        )
        rows = spread(
            {"p": PARTITIONS[type_], "v": ("a", "b", "c")}, 2 * len(PARTITIONS[type_]) + 2
        )
        write(table, contract, rows, each=len(rows) // 2)
        table.paths = [(("p",), type_), (("v",), "string")]
        return table

    return make


def partitioned_by_two(folder: Path) -> Table:
    """Make a table with two partition columns, one of them with values like URIs."""
    table = Table("partitioned by two columns", folder)
    columns = {"kind": {"type": "string"}, "day": {"type": "date"}, "v": {"type": "long"}}
    contract = contract_of(columns, "partition_by: [kind, day]\n")
    values = {
        "kind": ("s3://a/b", "click"),
        "day": (dt.date(1, 1, 1), dt.date(2026, 5, 1), dt.date(9999, 12, 31)),
        "v": (1, 2),
    }
    write(table, contract, spread(values, 14), each=7)
    table.paths = [(("kind",), "string"), (("day",), "date"), (("v",), "long")]
    return table


def evolved(folder: Path) -> Table:
    """Make a table that gained columns and parts, and whose types were widened."""
    table = Table("evolved and widened", folder)
    part = {"a": {"type": "integer"}}
    more = {"a": {"type": "long"}, "b": {"type": "string"}}

    def columns(fields: Any, *, wide: bool) -> dict[str, Any]:
        struct = {"type": "struct", "fields": fields}
        return {
            "n": {"type": "long" if wide else "integer"},
            "f": {"type": "double" if wide else "float"},
            "d": {"type": "decimal(20,2)" if wide else "decimal(7,2)"},
            "s": {"type": "struct", "fields": {"t": struct}},
            "ls": {"type": "array", "items": struct},
            "m": {"type": "map", "values": {"type": "long" if wide else "integer"}},
        }

    first = spread(
        {
            "n": (-(2**31), 5, 2**31 - 1),
            "f": (0.5, -1.25),
            "d": (Decimal("-99999.99"), Decimal("1.50")),
            "s": ({"t": {"a": 1}}, {"t": None}),
            "ls": ([{"a": 1}, None], []),
            "m": ({"k": 1}, {}),
        },
        8,
    )
    write(table, contract_of(columns(part, wide=False)), first)
    for row in first:  # what a reader sees of them from now on
        if row["s"] is not None and row["s"]["t"] is not None:
            row["s"] = {"t": {**row["s"]["t"], "b": None}}
        if row["ls"]:
            row["ls"] = [{**item, "b": None} if item is not None else None for item in row["ls"]]
    second = spread(
        {
            "n": (-(2**63), 2**31, 2**63 - 1),
            "f": (0.1, 1e300),
            "d": (Decimal("123456789012345678.90"), Decimal("-0.01")),
            "s": ({"t": {"a": 2**40, "b": "x"}}, None),
            "ls": ([{"a": 2**40, "b": "x"}, None],),
            "m": ({"k": 2**40},),
            "new": ("x", "y"),
        },
        8,
        start=8,
    )
    seen = [{**row, "new": None} for row in first]
    table.versions[max(table.versions)] = seen
    write(
        table,
        contract_of({**columns(more, wide=True), "new": {"type": "string"}}),
        second,
    )
    table.versions = {max(table.versions): table.versions[max(table.versions)]}
    table.paths = [
        *((("n",), "long"), (("f",), "double"), (("d",), "decimal(20,2)"), (("new",), "string")),
        *((("s", "t", "a"), "long"), (("s", "t", "b"), "string")),
    ]
    return table


def dead_letters(folder: Path) -> Table:
    """Make dead letters of any bytes, with keys and headers."""
    table = Table("dead letters", folder, "orders__dead_letters", "offset")
    contract = contract_of({"n": {"type": "integer"}})
    values = [b"not JSON", b"\x00\xff\xfe", b'{"id":"x"}', b'{"id":1,"n":2.5}', b"[]", b" ", b"{}"]
    function = function_for(folder, contract, clock=SystemClock())
    headers = [{"h": list(b"one")}, {"h": [-1, 0, 127]}, {"é": []}]
    rows = []
    for i, value in enumerate(values):
        key = bytes([i, 255]) if i % 2 else None
        timestamp = (i + 1) * 1_000_000_000_000 // 3
        sent = record(i, value, key=key, headers=headers if i % 3 else (), timestamp=timestamp)
        assert function.handle(event([sent]), None) == OK
        time = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=timestamp)
        pairs = [("h", b"one"), ("h", b"\xff\x00\x7f"), ("é", b"")] if i % 3 else []
        rows.append(
            {
                "topic": "orders",
                "partition": 0,
                "offset": i,
                "timestamp": time,
                "timestamp_type": "CREATE_TIME",
                "key": key,
                "value": value,
                "headers": [{"name": name, "value": data} for name, data in pairs],
                "redriven_at": None,
                "redriven_as": None,
            }
        )
    table.note(rows)
    names = {"error_code", "error_path", "error_message", "contract_version", "failed_at"}
    table.columns = [(name, type_) for name, type_ in table.columns if name not in names]
    table.paths = [
        *((("offset",), "long"), (("timestamp",), "timestamp"), (("key",), "binary")),
        *((("value",), "binary"), (("redriven_at",), "timestamp"), (("redriven_as",), "string")),
    ]
    return table


def wide(folder: Path) -> Table:
    """Make a table of 2,000 columns."""
    table = Table("wide", folder)
    columns = {f"c{i}": {"type": "long"} for i in range(2_000)}
    rows = [
        {"id": i} | {f"c{k}": i * k if (i + k) % 7 else None for k in range(2_000)}
        for i in range(6)
    ]
    write(table, contract_of(columns), rows)
    table.paths = [(("c5",), "long"), (("c1999",), "long")]
    return table


SHORT: dict[str, Callable[[Path], Table]] = {
    "types": primitive_types,
    "nested": nested_types,
    **{
        f"partitioned by {type_}": partitioned_by(type_)
        for type_ in ("string", "date", "timestamp", "decimal(20,0)")
    },
    "partitioned by two columns": partitioned_by_two,
    "evolved and widened": evolved,
    "dead letters": dead_letters,
}
LONG: dict[str, Callable[[Path], Table]] = {
    **SHORT,
    **{f"partitioned by {type_}": partitioned_by(type_) for type_ in PARTITIONS},
    "wide": wide,
}
