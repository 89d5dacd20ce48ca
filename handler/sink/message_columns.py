"""Columns of a message's key and headers: read as if they were fields of a JSON document."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import orjson
import pyarrow as pa
from msgspec.structs import replace

from handler.contract.contract import Contract
from handler.contract.reserved import HEADERS, KEY
from handler.contract.where import KEY_TEXT, Where
from handler.delta import compute
from handler.errors import Problem, RejectCode
from handler.kafka.event import EventRecord, decode_headers
from handler.sink.arrow_tables import Flat
from handler.validate.batch import Checker
from handler.validate.decode import parse_payloads
from handler.validate.diagnose import path_of, problem


class MessageFields:
    """Reads what a contract's `where` asks of keys and headers; what cannot be read is missing."""

    def __init__(self, where: Where | None) -> None:
        paths = where.message_paths if where is not None else frozenset()
        self._headers = frozenset(path[1] for path in paths if path[0] == HEADERS)
        self._key = any(path[0] == KEY for path in paths)
        self._key_text = (KEY_TEXT,) in paths

    def document(self, value: Mapping[str, Any], record: EventRecord) -> Mapping[str, Any]:
        """Return what `where` is tried on: a record's object, with what it asks of the message."""
        if not (self._headers or self._key or self._key_text):
            return value
        document = dict(value)
        if self._headers:
            document[HEADERS] = _texts(record, self._headers)
        if self._key or self._key_text:
            key = record.key
            document[KEY] = _json(key) if self._key else None
            document[KEY_TEXT] = _text(key)
        return document


class MessageColumns:
    """Reads the columns of a contract that come from keys and headers."""

    def __init__(self, contract: Contract) -> None:
        columns = [replace(c, of_message=False) for c in contract.columns if c.of_message]
        self._headers = frozenset(c.path[1] for c in columns if c.source == HEADERS)
        self._key_text = any(c.path == (KEY,) for c in columns)
        self._key_json = any(c.source == KEY for c in columns) and not self._key_text
        self._checker: Checker | None = None
        if columns:
            of_messages = replace(
                contract,
                columns=tuple(columns),
                unknown_fields="ignore",
                # `_rescued` keeps values of the record; what the message has wrong is a reject.
                on_invalid="dead_letter",
            )
            self._checker = Checker(of_messages)

    def read(self, flat: Flat) -> tuple[Mapping[str, pa.Array], Mapping[int, Sequence[Problem]]]:
        """Return the columns with a value for each record of a batch, and the rejects' problems."""
        if self._checker is None:
            return {}, {}
        rejects: dict[int, Sequence[Problem]] = {}
        documents: list[bytes] = []
        positions: list[int] = []
        self._refuse_keys(flat, rejects)
        for i, record in enumerate(flat.records):
            if i in rejects:
                continue
            document: dict[str, Any] = {}
            found = self._header_texts(record, document) or self._key(record, document)
            if found is not None:
                rejects[i] = [found]
                continue
            documents.append(orjson.dumps(document))
            positions.append(i)
        checked = self._checker.check(documents)
        rejects |= {positions[i]: problems for i, problems in checked.rejects.items()}
        row_of = {positions[i]: row for row, i in enumerate(checked.positions)}
        rows = pa.array([row_of.get(i) for i in range(len(flat.records))], pa.int64())
        return {name: compute.take(array, rows) for name, array in checked.columns.items()}, rejects

    def _refuse_keys(self, flat: Flat, rejects: dict[int, Sequence[Problem]]) -> None:
        """Reject the keys that are not JSON, where they have to be."""
        if not self._key_json:
            return
        present = {i: record.key for i, record in enumerate(flat.records) if record.key is not None}
        numbers = list(present)
        for i, bad in parse_payloads(list(present.values())).problems.items():
            message = bad.message.replace("the value", "the key")
            rejects[numbers[i]] = [Problem(bad.code, KEY, message)]

    def _header_texts(self, record: EventRecord, document: dict[str, Any]) -> Problem | None:
        """Put the headers that the contract names into a document; the last of a name counts."""
        if not self._headers:
            return None
        texts = document[HEADERS] = _texts(record, self._headers)
        for name, text in texts.items():
            if isinstance(text, bytes):
                message = "the header is not UTF-8 text"
                return problem(RejectCode.NOT_TEXT, path_of((HEADERS, name)), message)
        return None

    def _key(self, record: EventRecord, document: dict[str, Any]) -> Problem | None:
        if self._key_json and record.key is not None:
            document[KEY] = orjson.Fragment(record.key)
        elif self._key_text:
            text = document[KEY] = _text(record.key)
            if isinstance(text, bytes):
                return Problem(RejectCode.NOT_TEXT, KEY, "the key is not UTF-8 text")
        return None


def _texts(record: EventRecord, names: Set[str]) -> dict[str, str | bytes | None]:
    """Return headers by name, the last of each, as text; as bytes where they are not."""
    return {name: _text(value) for name, value in decode_headers(record) if name in names}


def _text(data: bytes | None) -> str | bytes | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return data


def _json(key: bytes | None) -> Any:
    """Return what a key is as JSON, None if it is not JSON."""
    if key is None:
        return None
    parsed = parse_payloads([key])
    return parsed.objects[0] if parsed.objects else None
