"""The names and bounds of the SILT_ variables, read once at the start."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from handler.errors import SettingsError

PREFIX = "SILT_"
_END = "The function did not start; nothing was read."
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("false", "0", "no", "off", "f", "n"), False),
}
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,18}\s*")

_NAME = r"^[A-Za-z0-9._-]{1,100}\Z"
_NAME_IN_WORDS = "1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'"

TopicName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}\Z")]


def _about(description: str, expected: str) -> Meta:
    return Meta(description=description, extra={"expected": expected})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The environment of the function. Field `x` is the variable SILT_X."""

    table_root: Annotated[
        str,
        Meta(pattern=r"^\S+\Z"),
        _about(
            "Where the tables are: s3://bucket/prefix, or a local path",
            "a place such as s3://bucket/prefix",
        ),
    ]
    contracts: Annotated[
        str, Meta(min_length=1), _about("The folder of the contracts", "a folder")
    ] = "schemas"
    topics: Annotated[
        tuple[TopicName, ...] | None,
        _about(
            "The topics whose contracts are used, separated by commas: those that the role may "
            "write. Default: all of the folder",
            "names of topics, such as orders,clicks",
        ),
    ] = None
    name: Annotated[
        str,
        Meta(pattern=_NAME),
        _about(
            "Names the deployment in log lines and metrics (service), so that two in one account "
            "can be distinguished",
            _NAME_IN_WORDS,
        ),
    ] = "silt"
    source: Annotated[
        Annotated[str, Meta(pattern=_NAME)] | None,
        _about(
            "Names the source cluster in stream ids. Default: the cluster's unique id in the "
            "event's ARN, or a digest of the sorted bootstrap servers",
            _NAME_IN_WORDS,
        ),
    ] = None
    generation: Annotated[
        int,
        Meta(ge=0, le=1_000_000),
        _about(
            "Raise it after a topic was recreated or moved, to start its streams again",
            "a whole number from 0, such as 1",
        ),
    ] = 0
    partial_batch_response: Annotated[
        bool,
        _about(
            "false where the mapping reports no batch item failures: the function raises",
            "true or false",
        ),
    ] = True
    dry_run: Annotated[
        bool,
        _about(
            "Do everything except commit, and report every record as unsettled. Maintenance: say "
            "what is due, do nothing",
            "true or false",
        ),
    ] = False
    deadline_margin_ms: Annotated[
        int,
        Meta(ge=0, le=600_000),
        _about(
            "Milliseconds that are kept of the Lambda deadline",
            "a whole number of milliseconds, such as 3000",
        ),
    ] = 3000
    runtime_limit_s: Annotated[
        int,
        Meta(ge=1, le=900),
        _about(
            "Seconds an invocation may take outside Lambda, and a cap inside",
            "a whole number of seconds from 1 to 900, such as 840",
        ),
    ] = 840
    health_check: Annotated[
        bool,
        _about(
            "Check table and contract of each topic at cold start, and log what is found",
            "true or false",
        ),
    ] = False
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"],
        _about("The lowest level that is logged", "DEBUG, INFO, WARNING or ERROR"),
    ] = "INFO"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the SILT_ variables.

    Raises SettingsError that names each variable that is unknown or bad.
    """
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    problems = [_unknown(name, fields) for name in given if name not in fields]
    values = {}
    for name, field in fields.items():
        if name in given:
            try:
                values[name] = _read(given[name], name, field.type)
            except msgspec.ValidationError:
                shown = repr(given[name][:100])
                problems.append(f"{_variable(name)} is {shown}. Expected {_expected(field.type)}.")
        elif field.required:
            problems.append(f"{_variable(name)} is not set. Expected {_expected(field.type)}.")
    if problems:
        raise SettingsError(" ".join([*problems, _END]))
    return Settings(**values)


def describe_settings() -> list[tuple[str, str | None, str]]:
    """Return name, default and meaning of each variable. The default is None where it must be set,
    and JSON otherwise.
    """
    found = []
    for field in msgspec.structs.fields(Settings):
        default = None if field.required else msgspec.json.encode(field.default).decode()
        found.append((_variable(field.name), default, str(_meta(field.type).description)))
    return found


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _meta(type_: Any) -> Meta:
    """Return what is said about a field: the last of its annotations."""
    meta = type_.__metadata__[-1]
    assert isinstance(meta, Meta)
    return meta


def _expected(type_: Any) -> str:
    return str((_meta(type_).extra or {})["expected"])


def _read(text: str, name: str, type_: Any) -> Any:
    value: Any = text
    if type_.__origin__ is bool:
        value = _BOOLEANS.get(text.strip().lower(), text)
    elif type_.__origin__ is int:
        value = int(text) if _INTEGER.fullmatch(text) else text
    elif name == "topics":
        value = tuple(topic.strip() for topic in text.split(","))
    return msgspec.convert(value, type_)


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    # Only where something is wrong: it takes 5 ms to import.
    from difflib import get_close_matches

    close = get_close_matches(_variable(name), map(_variable, known), n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"There is no variable {_variable(name)}.{hint}"


def limit_s(settings: Settings, context: Any) -> float:
    """Return the seconds that an invocation has: Lambda's less the margin, capped by the limit.

    Outside Lambda `context` has no `get_remaining_time_in_millis`, and the limit alone holds.
    """
    seconds = float(settings.runtime_limit_s)
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return seconds
    return min(seconds, float(remaining() - settings.deadline_margin_ms) / 1000)
