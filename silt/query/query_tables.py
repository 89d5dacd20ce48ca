"""Our tables as DuckDB sees them: read-only, by their names, opened when a question names them."""

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as fs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from handler.contract.contract import DEAD_LETTERS_SUFFIX
from handler.contract.reporting import nearest
from handler.errors import SiltError
from silt.command_errors import UsageError
from silt.table_places import NamedTable


@dataclass(frozen=True, slots=True)
class QueryTable:
    """A table that questions can name: by the last part of its path, if that is the only one such,
    and by the whole.
    """

    names: tuple[str, ...]
    uri: str


def list_tables(tables: Sequence[NamedTable]) -> list[QueryTable]:
    """Return the tables and their dead letters, with the names that questions use for them."""
    named = [
        (name + suffix, table.uri + suffix)
        for table in tables
        for suffix in ("", DEAD_LETTERS_SUFFIX)
        for name in [table.name.rstrip("/")]
    ]
    lasts = [name.rpartition("/")[2] for name, _ in named]
    # DuckDB does not distinguish upper and lower case.
    folded = [last.casefold() for last in lasts]
    return [
        QueryTable(
            (last, name) if folded.count(last.casefold()) == 1 and last != name else (name,), uri
        )
        for last, (name, uri) in zip(lasts, named, strict=True)
    ]


def ask(sql: str, tables: Sequence[QueryTable]) -> pa.RecordBatchReader:
    """Return the answer to a question, read as it is asked for.

    Raises UsageError for a question that is not understood, or is none; SiltError for a table that
    cannot be read.
    """
    connection = duckdb.connect()
    try:
        connection.execute("set TimeZone = 'UTC'")
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(_explain(error, tables)) from error
    # EXPLAIN ANALYZE would execute whatever it explains.
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError("Expected one SELECT: silt query only reads.")
    asked = sql.casefold()
    missing = list[str]()
    for table in tables:
        if not any(name.casefold() in asked for name in table.names):
            continue
        dataset = open_dataset(table.uri)
        if dataset is None:
            missing.append(table.uri)
            continue
        for name in table.names:
            connection.register(name, dataset)
    try:
        return connection.sql(sql).to_arrow_reader()
    except duckdb.CatalogException as error:
        if missing:
            raise SiltError(f"There is no table at {' or '.join(missing)} yet.") from error
        raise UsageError(_explain(error, tables)) from error
    except duckdb.Error as error:
        raise UsageError(_explain(error, tables)) from error


def name_columns(reader: pa.RecordBatchReader) -> list[str]:
    """Return the names of the columns of an answer; one that occurs again gets a number."""
    names = list[str]()
    for name in reader.schema.names:
        again = (f"{name}_{number}" for number in itertools.count(2))
        names.append(name if name not in names else next(n for n in again if n not in names))
    return names


def read_answer(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    """Yield the values of each row of an answer; maps are dictionaries. Raises SiltError."""
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise SiltError(f"The tables cannot be read: {error}") from error
        try:
            columns = [column.to_pylist(maps_as_pydicts="lossy") for column in batch.columns]
        except (OverflowError, ValueError) as error:
            raise UsageError(
                f"A value cannot be shown ({error}): a time beyond the years 1 to 9999? Cast it to "
                "text in the question, as in placed_at::varchar."
            ) from error
        yield from zip(*columns, strict=True)


def open_dataset(uri: str) -> ds.Dataset | None:
    """Return a table as a dataset of Arrow, None where there is no table. Raises SiltError.

    Files are skipped by partition values, and by the bounds of whole numbers and dates without
    nulls. deltalake's own dataset takes a null count that a file does not have for 0, so it misses
    nulls (docs/query.md, note 1).
    """
    try:
        table = DeltaTable(uri)
        dataset = table.to_pyarrow_dataset(filesystem=_filesystem(uri))
        actions = pa.table(table.get_add_actions(flatten=True))
    except TableNotFoundError:
        return None
    except (DeltaError, OSError, ValueError) as error:
        raise SiltError(f"{uri} cannot be read: {error}") from error
    by_path = {unquote(row["path"]): row for row in actions.to_pylist()}
    fragments = [
        dataset.format.make_fragment(
            fragment.path,
            filesystem=dataset.filesystem,
            partition_expression=_promise(dataset.schema, by_path[fragment.path]),
        )
        for fragment in dataset.get_fragments()
    ]
    return ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)


def _filesystem(uri: str) -> fs.FileSystem:
    """Return Arrow's own file system: that of deltalake calls Python from threads that read ahead
    when the process ends, which aborts it.
    """
    if not uri.startswith("s3://"):
        return fs.SubTreeFileSystem(
            str(Path(uri.removeprefix("file://")).absolute()), fs.LocalFileSystem()
        )
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    place = (
        {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint.netloc else {}
    )
    s3 = fs.S3FileSystem(region=os.environ.get("AWS_REGION"), **place)
    return fs.SubTreeFileSystem(uri.removeprefix("s3://"), s3)


def _promise(schema: pa.Schema, action: dict[str, Any]) -> ds.Expression:
    """Return what holds for each row of a file, as its log entry says."""
    promise = ds.scalar(True)
    for field in schema:
        name, column = field.name, ds.field(field.name)
        if (key := f"partition.{name}") in action:
            value = pa.scalar(action[key], field.type)
            promise &= column.is_null() if action[key] is None else column == value
            continue
        low, high = action.get(f"min.{name}"), action.get(f"max.{name}")
        is_exact = pa.types.is_integer(field.type) or pa.types.is_date(field.type)
        is_whole = action.get(f"null_count.{name}") == 0 and low is not None and high is not None
        if is_exact and is_whole:
            promise &= column >= pa.scalar(low, field.type)
            promise &= column <= pa.scalar(high, field.type)
    return promise


def _explain(error: duckdb.Error, tables: Sequence[QueryTable]) -> str:
    """Return DuckDB's message, with the names that there are where a table is unknown."""
    text = str(error)
    if not isinstance(error, duckdb.CatalogException) or "Table with name" not in text:
        return text
    wrong = text.partition("Table with name ")[2].partition(" does not exist")[0].strip('"')
    known = [name for table in tables for name in table.names[:1]]
    near = nearest(wrong, known) or "."
    return (
        f"There is no table {wrong}{near} Expected one of {', '.join(known)}; a name with a slash "
        'needs quotes: "sales/orders".'
    )
