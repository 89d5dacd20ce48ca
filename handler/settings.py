"""The names and bounds of the SILT_ variables, read once at the start."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from handler.errors import SettingsError

PREFIX = "SILT_"
_END = "The function did not start; nothing was read."


def _boolean(text: Any) -> Any:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return words.get(text.lower(), text) if isinstance(text, str) else text


Boolean = Annotated[bool, BeforeValidator(_boolean)]


def _names(text: Any) -> Any:
    return tuple(name.strip() for name in text.split(",")) if isinstance(text, str) else text


TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Topics = Annotated[tuple[TopicName, ...], BeforeValidator(_names)]


class Settings(BaseModel):
    """The environment of the function. Field `x` is the variable SILT_X."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table_root: Annotated[str, Field(min_length=1, pattern=r"^\S+$")] = Field(
        description="Where the tables are: s3://bucket/prefix, or a local path",
        json_schema_extra={"expected": "a place such as s3://bucket/prefix"},
    )
    contracts: Annotated[str, Field(min_length=1)] = Field(
        "schemas",
        description="The folder of the contracts",
        json_schema_extra={"expected": "a folder"},
    )
    topics: Topics | None = Field(
        None,
        description="The topics whose contracts are used, separated by commas: those that the "
        "role may write. Default: all of the folder",
        json_schema_extra={"expected": "names of topics, such as orders,clicks"},
    )
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = Field(
        "silt",
        description="Names the deployment in log lines and metrics (service), so that two in one "
        "account can be distinguished",
        json_schema_extra={"expected": "1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'"},
    )
    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = Field(
        None,
        description="Names the source cluster in stream ids. Default: the cluster's unique id in "
        "the event's ARN, or a digest of the sorted bootstrap servers",
        json_schema_extra={"expected": "1 to 100 of A-Z, a-z, 0-9, '.', '_' and '-'"},
    )
    generation: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        0,
        description="Raise it after a topic was recreated or moved, to start its streams again",
        json_schema_extra={"expected": "a whole number from 0, such as 1"},
    )
    partial_batch_response: Boolean = Field(
        True,
        description="false where the mapping reports no batch item failures: the function raises",
        json_schema_extra={"expected": "true or false"},
    )
    dry_run: Boolean = Field(
        False,
        description="Do everything except commit, and report every record as unsettled. "
        "Maintenance: say what is due, do nothing",
        json_schema_extra={"expected": "true or false"},
    )
    deadline_margin_ms: Annotated[int, Field(ge=0, le=600_000)] = Field(
        3000,
        description="Milliseconds that are kept of the Lambda deadline",
        json_schema_extra={"expected": "a whole number of milliseconds, such as 3000"},
    )
    runtime_limit_s: Annotated[int, Field(ge=1, le=900)] = Field(
        840,
        description="Seconds an invocation may take outside Lambda, and a cap inside",
        json_schema_extra={"expected": "a whole number of seconds from 1 to 900, such as 840"},
    )
    health_check: Boolean = Field(
        False,
        description="Check table and contract of each topic at cold start, and log what is found",
        json_schema_extra={"expected": "true or false"},
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="The lowest level that is logged",
        json_schema_extra={"expected": "DEBUG, INFO, WARNING or ERROR"},
    )


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the SILT_ variables.

    Raises SettingsError that names each variable that is unknown or bad.
    """
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX)
    }
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problems = [_explain(str(d["loc"][0]), d["type"], given) for d in error.errors()]
        raise SettingsError(" ".join([*dict.fromkeys(problems), _END])) from None


def _explain(field: str, kind: str, given: Mapping[str, str]) -> str:
    name = PREFIX + field.upper()
    if kind == "extra_forbidden":
        names = [PREFIX + known.upper() for known in Settings.model_fields]
        close = get_close_matches(name, names, n=1)
        return f"There is no variable {name}." + (f" Did you mean {close[0]}?" if close else "")
    extra = Settings.model_fields[field].json_schema_extra
    assert isinstance(extra, dict)
    if kind == "missing":
        return f"{name} is not set. Expected {extra['expected']}."
    return f"{name} is {given[field][:100]!r}. Expected {extra['expected']}."


def limit_s(settings: Settings, context: Any) -> float:
    """Return the seconds that an invocation has: Lambda's less the margin, capped by the limit.

    Outside Lambda `context` has no `get_remaining_time_in_millis`, and the limit alone holds.
    """
    seconds = float(settings.runtime_limit_s)
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return seconds
    return min(seconds, float(remaining() - settings.deadline_margin_ms) / 1000)
