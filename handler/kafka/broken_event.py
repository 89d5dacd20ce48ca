"""What is wrong with an event that is not as AWS sends it, and where."""

from typing import Any

import msgspec

from handler.errors import EventError


def explain_event(event: Any) -> None:
    """Raise EventError for the first thing that is wrong with an event, if it is found."""
    if not isinstance(event, dict):
        raise EventError(f"The event is {type(event).__name__}, not an object. Nothing was read.")
    if event.get("eventSource") not in ("aws:kafka", "SelfManagedKafka"):
        raise EventError(
            f"eventSource is {short(event.get('eventSource'))}. Expected aws:kafka or "
            "SelfManagedKafka: is the function behind an event source mapping for Kafka? Nothing "
            "was read."
        )
    groups = event.get("records")
    if not isinstance(groups, dict):
        raise EventError(
            "records must be an object that maps each topic-partition to a list of records."
        )
    for key, records in groups.items():
        if not isinstance(records, list):
            raise EventError(f"records[{short(key)}] is not a list.")
        for i, record in enumerate(records):
            _explain_record(record, f"records[{short(key)}][{i}]")


def _explain_record(record: Any, where: str) -> None:
    if not isinstance(record, dict):
        raise EventError(f"{where} is not an object.")
    for name in ("topic", "partition", "offset", "timestamp"):
        kind, noun = (str, "a string") if name == "topic" else (int, "an integer")
        if type(record.get(name)) is not kind:
            raise EventError(f"{where}.{name} is missing or not {noun}.")
    if not 0 <= record["offset"] < 1 << 63:
        raise EventError(f"{where}.offset is not a 64-bit offset.")
    if not 0 <= record["partition"] < 1 << 31:
        raise EventError(f"{where}.partition is not a 32-bit number.")
    place = f"{short(record['topic'])}-{record['partition']} offset {record['offset']}"
    for name in ("key", "value"):
        text = record.get(name)
        if text is None:
            continue
        if not isinstance(text, str):
            raise EventError(f"{where}.{name} is neither base64 text nor null.")
        try:
            msgspec.convert(text, bytes)  # as in an event: binascii accepts more texts
        except ValueError as error:  # also for a lone surrogate
            raise EventError(f"{place}: its {name} is not valid base64.") from error
    if not isinstance(record.get("timestampType"), str | None):
        raise EventError(f"{place}: its timestampType is not text.")
    if (problem := _header_problem(record.get("headers"))) is not None:
        raise EventError(f"{place}: its headers are not as AWS sends them: {problem}")


def _header_problem(headers: Any) -> str | None:
    if headers is None:
        return None
    if not isinstance(headers, list) or not all(isinstance(entry, dict) for entry in headers):
        return "expected a list of objects"
    for entry in headers:
        for name, value in entry.items():
            if not isinstance(name, str):
                return f"{short(name)} is not a name"
            try:
                name.encode()
            except UnicodeEncodeError as error:
                return str(error)
            if value is not None and not _are_bytes(value):
                return f"{short(name)} is not a list of numbers from -128 to 255"
    return None


def _are_bytes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(byte) is int and -128 <= byte <= 255 for byte in value
    )


def short(value: Any) -> str:
    """Return a name of the event for a message, cut: an event may hold anything."""
    text = str(value)
    return text if len(text) <= 100 else text[:100] + "..."
