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
        yield str(path), _event(json.loads(text), str(path))
        return
    except json.JSONDecodeError as error:
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2:
            raise SavedEventError(
                f"{path}:{error.lineno}: this is no JSON: {error.msg}. Expected a saved event"
            ) from error
    for number, line in lines:
        try:
            yield f"{path}:{number}", _event(json.loads(line), f"{path}:{number}")
        except json.JSONDecodeError as error:
            raise SavedEventError(
                f"{path}:{number}: this is no JSON: {error.msg}. Expected one event a line"
            ) from error


def _event(document: Any, where: str) -> Any:
    if isinstance(document, dict) and isinstance(document.get("payload"), str):
        try:
            return json.loads(document["payload"])
        except json.JSONDecodeError as error:
            raise SavedEventError(f"{where}: its payload is no JSON: {error.msg}") from error
    return document
