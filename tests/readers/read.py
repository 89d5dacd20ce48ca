"""One reader at work, in the readers' own environment: tables in, values and answers out.

    .venv-readers/bin/python -m tests.readers.read polars jobs.json answers.json

A job is a table, a version of it or the newest, and predicates. The answer has every row, the type
of every column, and for each predicate the ids of the rows that pass it.
"""

import json
import operator
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from tests.readers.values import from_text, to_text

OPERATORS = {"=": operator.eq, "<=": operator.le, ">=": operator.ge}
Job = dict[str, Any]
Predicate = dict[str, Any]


class Reader(ABC):
    """What every reader can do with one table. Subclasses open it."""

    def __init__(self, job: Job) -> None:
        self.uri, self.version, self.id = job["uri"], job["version"], job["id"]

    @abstractmethod
    def rows(self) -> Any:
        """Return all rows as an Arrow table."""

    @abstractmethod
    def ids(self, predicate: Predicate) -> list[Any]:
        """Return the ids of the rows that pass."""


def quoted(text: str, quote: str = "'") -> str:
    return quote + text.replace(quote, quote * 2) + quote


class Deltalake(Reader):
    def __init__(self, job: Job) -> None:
        import deltalake

        super().__init__(job)
        self.table = deltalake.DeltaTable(self.uri, version=self.version)
        self.query = deltalake.QueryBuilder().register("t", self.table)

    def rows(self) -> Any:
        return self._sql("select * from t")

    def _sql(self, sql: str) -> Any:
        import pyarrow as pa

        return pa.table(self.query.execute(sql).read_all())

    def ids(self, predicate: Predicate) -> list[Any]:
        first, *rest = predicate["path"]
        column = quoted(first, '"') + "".join(f"[{quoted(name)}]" for name in rest)
        condition = where(predicate, column, arrow_literal)
        found = self._sql(f"select {quoted(self.id, chr(34))} as id from t where {condition}")
        return found["id"].to_pylist()


def where(predicate: Predicate, column: str, literal: Callable[[Any, str], str]) -> str:
    if predicate["op"] not in OPERATORS:
        return f"{column} {predicate['op']}"
    return f"{column} {predicate['op']} {literal(predicate['value'], predicate['type'])}"


def arrow_literal(text: Any, type_: str) -> str:
    if type_ == "string":
        return quoted(text)
    if type_ == "boolean":
        return str(text).lower()
    if type_ == "binary":
        return f"X'{text}'"
    names = {
        "byte": "Int8",
        "short": "Int16",
        "integer": "Int32",
        "long": "Int64",
        "double": "Float64",
        "float": "Float32",
        "date": "Date32",
        "timestamp": 'Timestamp(Microsecond, Some("UTC"))',
        "timestamp_ntz": "Timestamp(Microsecond, None)",
    }
    name = names.get(type_) or type_.replace("decimal", "Decimal128")
    return f"arrow_cast({quoted(text)}, {quoted(name)})"


class Dataset(Reader):
    """The pyarrow dataset that deltalake makes of a table."""

    def __init__(self, job: Job) -> None:
        import deltalake

        super().__init__(job)
        self.dataset = deltalake.DeltaTable(self.uri, version=self.version).to_pyarrow_dataset()

    def rows(self) -> Any:
        return self.dataset.to_table()

    def ids(self, predicate: Predicate) -> list[Any]:
        import pyarrow.dataset as ds

        field = ds.field(*predicate["path"])
        condition: Any
        if predicate["op"] == "is null":
            condition = field.is_null()
        elif predicate["op"] == "is not null":
            condition = ~field.is_null()
        else:
            value = arrow_scalar(predicate["value"], predicate["type"])
            condition = OPERATORS[predicate["op"]](field, value)
        return self.dataset.to_table(filter=condition, columns=[self.id])[self.id].to_pylist()


def arrow_scalar(text: Any, type_: str) -> Any:
    import pyarrow as pa

    names = {
        "byte": pa.int8(),
        "short": pa.int16(),
        "integer": pa.int32(),
        "long": pa.int64(),
        "double": pa.float64(),
        "float": pa.float32(),
        "boolean": pa.bool_(),
        "string": pa.string(),
        "binary": pa.binary(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us", "UTC"),
        "timestamp_ntz": pa.timestamp("us"),
    }
    arrow = names.get(type_)
    if arrow is None:
        arrow = pa.decimal128(*map(int, type_[8:-1].split(",")))
    return pa.scalar(from_text(text, type_), arrow)


class Polars(Reader):
    def scan(self) -> Any:
        import polars as pl

        return pl.scan_delta(self.uri, version=self.version)

    def rows(self) -> Any:
        return self.scan().collect().to_arrow()

    def ids(self, predicate: Predicate) -> list[Any]:
        import polars as pl

        first, *rest = predicate["path"]
        column = pl.col(first)
        for name in rest:
            column = column.struct.field(name)
        if predicate["op"] == "is null":
            condition = column.is_null()
        elif predicate["op"] == "is not null":
            condition = column.is_not_null()
        else:
            scalar = arrow_scalar(predicate["value"], predicate["type"])
            value = pl.lit(pl.from_arrow(_one(scalar))[0], dtype=pl.from_arrow(_one(scalar)).dtype)
            condition = OPERATORS[predicate["op"]](column, value)
        return self.scan().filter(condition).select(self.id).collect()[self.id].to_list()


def _one(scalar: Any) -> Any:
    import pyarrow as pa

    return pa.array([scalar.as_py()], scalar.type)


class DuckDB(Reader):
    def __init__(self, job: Job) -> None:
        import duckdb
        import duckdb_extensions

        super().__init__(job)
        self.connection = duckdb.connect()
        duckdb_extensions.import_extension("delta", con=self.connection)
        self.connection.execute("set TimeZone = 'UTC'")
        version = f", version = {self.version}" if self.version is not None else ""
        self.table = f"delta_scan({quoted(self.uri)}{version})"

    def rows(self) -> Any:
        return self.connection.execute(f"select * from {self.table}").to_arrow_table()

    def ids(self, predicate: Predicate) -> list[Any]:
        column = ".".join(quoted(name, '"') for name in predicate["path"])
        condition = where(predicate, column, duck_literal)
        sql = f"select {quoted(self.id, chr(34))} from {self.table} as t where {condition}"
        return [row[0] for row in self.connection.execute(sql).fetchall()]


def duck_literal(text: Any, type_: str) -> str:
    if type_ == "string":
        return quoted(text)
    if type_ == "binary":
        return "'" + "".join(f"\\x{text[i : i + 2]}" for i in range(0, len(text), 2)) + "'::BLOB"
    names = {
        "byte": "TINYINT",
        "short": "SMALLINT",
        "integer": "INTEGER",
        "long": "BIGINT",
        "double": "DOUBLE",
        "float": "FLOAT",
        "date": "DATE",
        "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMPTZ",
        "timestamp_ntz": "TIMESTAMP",
    }
    if type_ == "timestamp":
        text += "Z"
    return f"CAST({quoted(str(text))} AS {names.get(type_) or type_})"


class Daft(Reader):
    def frame(self) -> Any:
        import daft

        return daft.read_deltalake(self.uri, version=self.version)

    def rows(self) -> Any:
        return self.frame().to_arrow()

    def ids(self, predicate: Predicate) -> list[Any]:
        import daft

        first, *rest = predicate["path"]
        column = daft.col(first)
        for name in rest:
            column = column.get(name)
        if predicate["op"] == "is null":
            condition = column.is_null()
        elif predicate["op"] == "is not null":
            condition = column.not_null()
        else:
            value = daft.lit(arrow_scalar(predicate["value"], predicate["type"]).as_py())
            condition = OPERATORS[predicate["op"]](column, value)
        return self.frame().where(condition).select(self.id).to_pydict()[self.id]


READERS: dict[str, type[Reader]] = {
    "deltalake": Deltalake,
    "pyarrow dataset": Dataset,
    "polars": Polars,
    "DuckDB": DuckDB,
    "daft": Daft,
}


def type_of(arrow: Any) -> str:
    """Return a type of Arrow in the words of a Delta schema, whatever its layout is."""
    import pyarrow.types as of

    if of.is_dictionary(arrow):
        return type_of(arrow.value_type)
    if of.is_timestamp(arrow):
        return "timestamp" if arrow.tz is not None else "timestamp_ntz"
    if of.is_decimal(arrow):
        return f"decimal({arrow.precision},{arrow.scale})"
    if of.is_map(arrow):
        return f"map<{type_of(arrow.key_type)}, {type_of(arrow.item_type)}>"
    if of.is_struct(arrow):
        fields = [arrow.field(i) for i in range(arrow.num_fields)]
        return "struct<" + ", ".join(f"{f.name}: {type_of(f.type)}" for f in fields) + ">"
    if of.is_list(arrow) or of.is_large_list(arrow) or of.is_fixed_size_list(arrow):
        return f"array<{type_of(arrow.value_type)}>"
    names = {
        "int8": "byte",
        "int16": "short",
        "int32": "integer",
        "int64": "long",
        "double": "double",
        "float": "float",
        "bool": "boolean",
        "string": "string",
        "large_string": "string",
        "string_view": "string",
        "binary": "binary",
        "large_binary": "binary",
        "binary_view": "binary",
        "date32[day]": "date",
    }
    return names.get(str(arrow), str(arrow))


def answer(reader: type[Reader], job: Job) -> dict[str, Any]:
    """Do one job; an error is an answer."""
    try:
        opened = reader(job)
        table = opened.rows()
        types = {field.name: type_of(field.type) for field in table.schema}
        rows = texts(table, job["columns"])
    except BaseException as error:  # some panic
        return {"error": f"{type(error).__name__}: {error!s:.300}"}
    found = []
    for predicate in job["predicates"]:
        try:
            found.append(sorted(opened.ids(predicate)))
        except BaseException as error:
            found.append(f"{type(error).__name__}: {error!s:.200}")
    return {"types": types, "rows": rows, "answers": found}


def texts(table: Any, columns: Sequence[dict[str, Any]]) -> list[Any]:
    lists = [
        [to_text(value, column["type"]) for value in table[column["name"]].to_pylist()]
        for column in columns
    ]
    return sorted(map(list, zip(*lists, strict=True)), key=lambda row: int(row[0]))


def main() -> None:
    name, jobs, answers = sys.argv[1:]
    with open(jobs) as file:
        asked = json.load(file)
    done = [answer(READERS[name], job) for job in asked]
    with open(answers, "w") as file:
        json.dump(done, file)
    # At once: threads that an engine leaves running may abort the process while it is taken apart.
    os._exit(0)


if __name__ == "__main__":
    main()
