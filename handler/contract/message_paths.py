"""`from: _kafka_headers.traceparent` and `from: _kafka_key.id`: columns of a message's headers and
key.
"""

from handler.contract.model import ColumnModel
from handler.contract.reporting import Path, Report
from handler.contract.reserved import HEADERS, KEY, NESTED
from handler.contract.source_paths import parse_source
from handler.delta.types import INTEGER_BITS

_OF_TEXT = (*INTEGER_BITS, "double", "float", "boolean")
"""Types that a text is only where the column accepts strings."""


def is_message_path(type_name: str, text: str) -> bool:
    """Return whether a column reads the key or a header. (The key's bytes are a Kafka column.)"""
    return text.startswith((f"{HEADERS}.", f"{KEY}.")) or (text == KEY and type_name != "binary")


def parse_message_path(
    type_name: str, model: ColumnModel, here: Path, report: Report
) -> tuple[str, ...] | None:
    """Return the keys that lead to a column's value from a message, None if it is derived.

    Whatever follows `_kafka_headers.` is the name of the header. Reports types that a text cannot
    be.
    """
    text = model.from_ or ""
    if not is_message_path(type_name, text):
        return None
    if model.source is not None:
        report((*here, "source"), "`source` is not allowed beside `from`, which says the place")
    root, dot, rest = text.partition(".")
    if root == KEY and dot:
        return (root, *parse_source(rest, (*here, "from"), report))
    names = check_header(rest, (*here, "from"), report) if dot else ()
    what = "a header" if rest else "the key"
    if type_name in (*NESTED, "json", "binary"):
        instead = (
            "_kafka_key.field for JSON in the key" if root == KEY else "kafka_columns: [headers]"
        )
        report(
            (*here, "type"),
            f"{what} is read as text, which is not a {type_name}. Use string, or {instead}",
        )
    elif type_name == "date" and model.unit is not None:
        report((*here, "unit"), f"{what} is read as text: a date as text has no unit")
    elif "string" not in (model.accept or ()) and (type_name in _OF_TEXT or model.unit is not None):
        report((*here, "type"), f"{what} is read as text: a {type_name} needs `accept: [string]`")
    return (root, *names)


def check_header(name: str, here: Path, report: Report) -> tuple[str, ...]:
    """Return the name of a header as the last part of a path, and report one that is missing or
    that no column can read.
    """
    if not name:
        report(here, "the name of the header is missing: _kafka_headers.traceparent")
    return parse_source([name], here, report)
