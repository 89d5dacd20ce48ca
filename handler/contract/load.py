"""Contract files in, `Contract`s out: every problem with its file and line."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError

from handler.contract import yaml_file
from handler.contract.compile import compile_columns
from handler.contract.compile_upkeep import compile_upkeep
from handler.contract.compile_where import compile_where
from handler.contract.contract import DEAD_LETTERS_SUFFIX, CircuitBreaker, Contract, contract_files
from handler.contract.model import BOUNDS, ContractModel
from handler.contract.reporting import Path
from handler.contract.reserved import KAFKA_COLUMNS
from handler.contract.yaml_errors import explain
from handler.contract.yaml_file import Document
from handler.delta.types import Primitive
from handler.errors import ContractError

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_TABLE = re.compile(r"(?:[a-z][a-z0-9+.-]*://[^/?#%\s]+/|file:///|/)?[^/?#%\s]+(?:/[^/?#%\s]+)*/?")


def load_contracts(folder: str | FilePath) -> list[Contract]:
    """Read every `*.yaml` and `*.yml` of a folder, in the order of the names.

    Raises ContractError with all problems of all files.
    """
    root = FilePath(folder)
    try:
        files = contract_files(root) if root.is_dir() else []
    except OSError as error:
        raise ContractError([f"{root}: the folder cannot be read: {error.strerror}"]) from error
    if not files:
        raise ContractError(
            [f"{root}: there is no contract here. Expected a folder with files such as orders.yaml"]
        )
    problems: list[str] = []
    contracts: list[Contract] = []
    tables: dict[str, Contract] = {}
    for file in files:
        contract, document = parse_contract(_read(file, problems), str(file), problems)
        if contract is None:
            continue
        contracts.append(contract)
        table = contract.table.strip("/")
        names = (
            (table, "a table can have only one contract"),
            (f"{table}{DEAD_LETTERS_SUFFIX}", "they are its dead letters"),
        )
        for name, rule in names:
            if (other := tables.setdefault(name, contract)) is not contract:
                line = document.line(("table",))
                problems.append(
                    f"{file}:{line}: table: {name!r} is the table of {other.file} too, and {rule}"
                )
                break
        problems += _nested(contract, document, tables)
    if problems:
        raise ContractError(problems)
    return contracts


def _nested(contract: Contract, document: Document, tables: Mapping[str, Contract]) -> list[str]:
    """Return what is wrong with a table that lies within another, or has one within."""
    own = contract.table.strip("/")
    return [
        f"{contract.file}:{document.line(('table',))}: table: {contract.table!r} and {name!r} of "
        f"{other.file} are nested: a vacuum of one would delete the other"
        for name, other in tables.items()
        if own.startswith(f"{name}/") or name.startswith(f"{own}/")
    ]


def _read(file: FilePath, problems: list[str]) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{file}: the file cannot be read as UTF-8: {error}")
        return "{}"


def parse_contract(text: str, file: str, problems: list[str]) -> tuple[Contract | None, Document]:
    """Parse one contract and add a line to `problems` for each thing that is wrong with it."""
    document = yaml_file.parse(text)
    result = list(document.problems)

    def report(path: Path, message: str) -> None:
        result.append((path, document.line(path), message))

    contract = None
    if document.data is not None:
        contract = _compile(document, file, report)
    problems += yaml_file.describe(file, result)
    return (None if result else contract), document


def _compile(document: Document, file: str, report: Any) -> Contract | None:
    if not isinstance(document.data, dict):
        report((), "expected a mapping with topic, table and columns")
        return None
    model, broken = _validate(document, report)
    if model is None:
        return None

    def report_unless_broken(path: Path, message: str) -> None:
        if not any(path[: len(bad)] == bad for bad in broken):
            report(path, message)

    def report_unless_near(path: Path, message: str) -> None:
        """Report, but not of a mapping that was broken below and seems to be empty."""
        if not any(bad[: len(path)] == path for bad in broken):
            report_unless_broken(path, message)

    if _TOPIC.fullmatch(model.topic) is None or model.topic in (".", ".."):
        report_unless_broken(("topic",), f"{model.topic!r} is not a valid Kafka topic name")
    segments = model.table.split("/")
    if _TABLE.fullmatch(model.table) is None or "." in segments or ".." in segments:
        report_unless_broken(
            ("table",),
            f"{model.table!r} is not a valid table. Expected a path such as sales/orders, or "
            "s3://bucket/path",
        )
    columns = compile_columns(model, report_unless_broken)
    where = None
    if model.where is None and "where" in model.model_fields_set:
        report_unless_broken(("where",), "there is no condition: leave `where` out")
    if model.where is not None:
        where = compile_where(model.where, ("where",), report_unless_near)
    types = {column.name: column.type for column in columns}
    types |= {name: f.name for name, f in KAFKA_COLUMNS.items() if isinstance(f, Primitive)}
    rows, dead_letters = compile_upkeep(
        model.maintenance, model.partition_by, types, report_unless_broken
    )
    breaker = model.circuit_breaker
    # How a table is maintained decides about no record: it makes no new version. Nor does a
    # release of Silt with new keys.
    content = model.model_dump(
        mode="json", by_alias=True, exclude={"maintenance"}, exclude_defaults=True
    )
    fingerprint = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    return Contract(
        file=file,
        topic=model.topic,
        table=model.table,
        version=f"{model.version}+{fingerprint}" if model.version else fingerprint,
        description=model.description,
        columns=columns,
        where=where,
        partition_by=tuple(model.partition_by),
        kafka_columns=tuple(model.kafka_columns),
        unknown_fields=model.unknown_fields,
        max_values=model.max_values,
        max_columns=model.max_columns,
        on_invalid=model.on_invalid,
        circuit_breaker=CircuitBreaker(breaker.ratio, breaker.min_records),
        redelivered=model.redelivered,
        on_tombstone=model.on_tombstone,
        evolution=model.evolution,
        retired=tuple(model.retired),
        upkeep=rows,
        dead_letter_upkeep=dead_letters,
    )


def _validate(document: Document, report: Any) -> tuple[ContractModel | None, list[Path]]:
    """Validate against the models; fix what is broken so that the rest is checked too."""
    data = deepcopy(document.data)
    broken: list[Path] = []
    trapped = {path for path, _line, _message in document.problems}
    for _round in range(20):  # each round fixes what the one before uncovered
        try:
            return ContractModel.model_validate(data), broken
        except ValidationError as error:
            details = error.errors(include_url=False)
            paths = [yaml_file.written_path(data, detail["loc"]) for detail in details]
            for path, detail in zip(paths, details, strict=True):
                if any(path[: len(bad)] == bad for bad in broken):
                    continue
                broken.append(path)
                if path not in trapped:
                    report(path, _explain(document, path, dict(detail)))
                _fix(data, path, detail["type"])
    return None, broken


def _fix(data: Any, path: Path, kind: str) -> None:
    if not path:
        return
    try:
        for step in path[:-1]:
            data = data[step]
    except (KeyError, IndexError, TypeError):  # what it was in was fixed already
        return
    last = path[-1]
    filler: Any = None
    if last in ("topic", "table"):
        filler = "x"
    elif last == "type":
        filler = "string"
    elif last == "columns" and len(path) == 1:
        filler = {"x": {"type": "string"}}
    elif kind in ("model_type", "model_attributes_type") and path[:1] == ("columns",):
        filler = {"type": "string"}
    if filler is not None:
        data[last] = filler
    elif isinstance(data, dict):
        data.pop(last, None)
    else:
        data[last] = "topic" if path[0] == "kafka_columns" else "x"


def _explain(document: Document, path: Path, detail: Mapping[str, Any]) -> str:
    kind, given = detail["type"], detail["input"]
    last = str(path[-1]) if path else ""
    sized = path[:1] == ("maintenance",) and last not in ("sort_by", "dead_letters")
    if sized and kind in ("string_pattern_mismatch", "string_type"):
        is_size = last == "target_file_size"
        expected = "size, such as 128 MiB" if is_size else "time, such as 12h or 7d"
        return f"{given!r} is not a valid {expected}"
    value_of_where = path[:1] == ("where",) and kind not in ("extra_forbidden", "model_type")
    if value_of_where and last == "in":
        return "expected a list of values, such as [order, refund]"
    if value_of_where and {"equals", "in", *BOUNDS}.intersection(path[2:]) and given != []:
        return "expected a string, a number, true or false"
    if last in BOUNDS and kind not in ("missing", "extra_forbidden"):
        return "expected a number, or a string that the column's type accepts"
    if "source" in path and path[:1] == ("columns",) and kind not in ("missing", "extra_forbidden"):
        return "expected the name of a field, a path such as payload.id, or a list of names"
    return explain(ContractModel, document, path, detail)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a contract file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ContractModel.model_json_schema(by_alias=True),
    }
