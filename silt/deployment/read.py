"""deploy.yml in, a checked deployment out: every problem with its line."""

from collections.abc import Mapping as MappingType
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from handler.contract import yaml_file
from handler.contract.load import load_contracts
from handler.contract.reserved import explain_key, nearest
from silt.command_errors import DeploymentError, UsageError
from silt.deployment.deploy_yml import DeploymentModel
from silt.deployment.names import consumer_group
from silt.deployment.plan import Deployment, TopicDeployment
from silt.deployment.rules import problems_of

M = TypeVar("M", bound=BaseModel)


DEPLOYMENT = Path("deploy.yml")
"""Where a deployment is, unless a command names another place."""


def deployment_file(given: Path | None) -> Path | None:
    """Return the file that a command was given, or the one that is here, if there is one."""
    return given or (DEPLOYMENT if DEPLOYMENT.exists() else None)


def read_deployment(file: Path) -> Deployment:
    """Read deploy.yml and its contracts.

    Raises DeploymentError with all problems, ContractError for those of the contracts, UsageError
    where there is no file.
    """
    try:
        text = file.read_bytes().decode()
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}. Expected a deployment."
        ) from error
    except UnicodeDecodeError as error:
        raise DeploymentError([f"{file}:1: this is not valid UTF-8: {error}"]) from error
    document = yaml_file.parse(text)
    result = list(document.problems)
    if document.data is None or not isinstance(document.data, dict):
        _raise(
            file, result or [((), 1, "expected a mapping with name, region, table_root, topics")]
        )
    try:
        model = DeploymentModel.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = yaml_file.written_path(document.data, detail["loc"])
            result.append((path, document.line(path), _explain(path, dict(detail))))
        _raise(file, result)
    if result:
        _raise(file, result)
    contracts = load_contracts(file.parent / model.contracts)
    for i, topic in enumerate(model.topics):
        if topic.topic not in contracts:
            path = ("topics", i)
            message = (
                f"there is no contract for the topic {topic.topic!r} in {model.contracts}"
                f"{nearest(topic.topic, list(contracts))}"
            )
            result.append((path, document.line(path), message))
    if result:
        _raise(file, result)
    deployment = Deployment(
        str(file),
        model,
        tuple(
            TopicDeployment(
                topic.topic,
                mapping.consumer_group or consumer_group(model.name, topic.topic),
                contracts[topic.topic],
                mapping,
                _merged(model.function, topic.function),
                _merged(model.alarms, topic.alarms),
                ("topics", i),
            )
            for i, topic in enumerate(model.topics)
            for mapping in [_merged(model.mapping, topic.mapping)]
        ),
    )
    result += [(path, document.line(path), text) for path, text in problems_of(deployment)]
    if result:
        _raise(file, result)
    return deployment


def _merged(of_all: M, own: M | None) -> M:
    if own is None:
        return of_all
    return of_all.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


def _raise(file: Path, result: list[tuple[yaml_file.Path, int, str]]) -> NoReturn:
    raise DeploymentError(yaml_file.describe(str(file), result))


def _explain(path: tuple[str | int, ...], detail: MappingType[str, Any]) -> str:
    kind, given = detail["type"], detail["input"]
    if (wrong_key := explain_key(kind, detail["loc"][-1], _keys_of(path))) is not None:
        return wrong_key
    if kind == "string_pattern_mismatch":
        pattern = detail["ctx"]["pattern"]
        return f"{given!r} is not valid. Expected {pattern}. {_description(path)}".strip()
    message = str(detail["msg"]).replace("Input should", "it should")
    message = message.removeprefix("Value error, ")
    return f"{message}, got {given!r}"[:300]


def _keys_of(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that may be beside the last one of a path."""
    model = _model_at(path[:-1])
    return list(model.model_fields) if model is not None else []


def _description(path: tuple[str | int, ...]) -> str:
    model = _model_at(path[:-1])
    field = model.model_fields.get(str(path[-1])) if model is not None else None
    return (field.description or "") if field is not None else ""


def _model_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] | None = DeploymentModel
    for step in path:
        if isinstance(step, int):  # an entry of a list: its model is the list's
            continue
        field = model.model_fields.get(step) if model is not None else None
        model = _model_in(field.annotation) if field is not None else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = (_model_in(part) for part in get_args(annotation))
    return next((model for model in models if model is not None), None)
