"""deploy.yml in, a checked deployment out: every problem with its line."""

from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from handler.contract import reporting, yaml_file
from handler.contract.contract import by_topic
from handler.contract.load import load_contracts
from handler.contract.reporting import nearest
from handler.contract.yaml_errors import explain
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
            message = explain(DeploymentModel, document, path, detail)
            result.append((path, document.line(path), message))
        _raise(file, result)
    if result:
        _raise(file, result)
    contracts = by_topic(load_contracts(file.parent / model.contracts))
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


def _raise(file: Path, result: list[tuple[reporting.Path, int, str]]) -> NoReturn:
    raise DeploymentError(yaml_file.describe(str(file), result))
