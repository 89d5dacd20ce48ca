"""Saved events: what Lambda was given, or what an on-failure destination kept of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handler.errors import SiltError


class SavedEventError(SiltError):
    """A file holds no event."""


def read_events(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the events of a file, each with a name for messages.

    A file holds one JSON document, or one a line. A document is an event, or what an S3 on-failure
    destination keeps: an object whose `payload` is the event as JSON text. Raises SavedEventError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SavedEventError(f"{path} cannot be read: {error}") from error
    try:
        yield str(path), _event(_parse(text, str(path)), str(path))
        return
    except SavedEventError:
        lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].rstrip().endswith("}"):
            raise
    for number, line in lines:
        where = f"{path}:{number}"
        yield where, _event(_parse(line, where), where)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = "" if ":" in where else f":{error.lineno}"
        message = f"{where}{line}: this is not valid JSON: {error.msg}. Expected a saved event"
        raise SavedEventError(message) from error
    except (RecursionError, ValueError) as error:  # too deep, or a number of thousands of digits
        raise SavedEventError(f"{where}: this is not an event: {error}") from error


def _event(document: Any, where: str) -> Any:
    if isinstance(document, dict) and isinstance(document.get("payload"), str):
        return _parse(document["payload"], f"{where}: payload")
    return document
