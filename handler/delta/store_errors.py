"""Errors of the object store's library become ours here, with their cause: the only place."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    NotFoundError,
    NotSupportedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
    UnknownConfigurationKeyError,
)

from handler.errors import (
    AccessDenied,
    AlreadyExists,
    BadStore,
    NotFound,
    StoreError,
    Unavailable,
)

_STATUS = re.compile(r"status code: (\d{3})")
_MAY_PASS = (408, 409, 412, 425, 429)
"""Client errors that are no verdict on a plain request: AWS says 409 when operations meet."""
_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_TAG = r"<%s>([^<]{1,300})<"


@contextmanager
def translated(what: str, *, conditional: bool = False) -> Iterator[None]:
    """Turn the library's errors into ours, with what was being done."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise translate(error, what, conditional=conditional) from error


def translate(error: BaseException, what: str, *, conditional: bool = False) -> StoreError:
    """Return our error for one of obstore's. What is not known to be final may pass.

    `conditional`: the request set a condition. A 409 or 412 to one that set none is not an answer
    to it: AWS says so when operations on one key meet.
    """
    message = f"Cannot {what}: {first_line(error)}"
    if isinstance(error, AlreadyExistsError | FileExistsError | PreconditionError):
        return AlreadyExists(message) if conditional else Unavailable(message)
    if isinstance(error, NotFoundError | FileNotFoundError):
        return NotFound(message)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError):
        return AccessDenied(f"{message} See troubleshooting.md#access-denied")
    if isinstance(error, InvalidPathError | NotSupportedError | UnknownConfigurationKeyError):
        return BadStore(message)
    return _by_status(error, message)


def _by_status(error: BaseException, message: str) -> StoreError:
    """Return our error for what obstore has no name for: its text holds the answer's status."""
    text = str(error)
    if "builder error" in text:  # the request was never sent: the URL cannot be
        return BadStore(f"{message} Is the endpoint plain HTTP? Then AWS_ALLOW_HTTP must be true.")
    if "configured region" in text:
        return BadStore(f"{message} Is AWS_REGION the bucket's region?")
    match = _STATUS.search(text)
    status = int(match[1]) if match is not None else None
    if status in (401, 403):
        return AccessDenied(f"{message} See troubleshooting.md#access-denied")
    if status == 404:
        return NotFound(message)
    if status is not None and 300 <= status < 500 and status not in _MAY_PASS:
        return BadStore(message)
    return Unavailable(message)


def first_line(error: BaseException) -> str:
    """Return the error in a line, with what S3 says in its answer."""
    text = str(error)
    line = (text.strip().splitlines() or [type(error).__name__])[0].removesuffix(_XML)[:500]
    details = [match[1] for tag in ("Code", "Message") if (match := re.search(_TAG % tag, text))]
    return f"{line.rstrip(' :')} ({': '.join(details)})" if details else line
