"""silt check: validate the contracts and the deployment."""

import argparse
from pathlib import Path

from handler.contract import yaml_file
from handler.contract.contract import Contract
from handler.contract.load import load_contracts
from handler.contract.readers import unreadable_partitions
from handler.contract.warnings import warnings_of
from handler.errors import ContractError, counted
from handler.validate.batch import Checker
from silt import output
from silt.command_errors import DeploymentError
from silt.deployment.cloudformation import cloudformation
from silt.deployment.deploy_yml import CONTRACTS
from silt.deployment.read import deployment_file, read_deployment

EXAMPLE = """example:
  silt check schemas
  silt check schemas --deployment deploy.prod.yml

Where there is a deploy.yml it is checked too: combinations that would lose records, or that AWS
would refuse, are named with their lines."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder", nargs="?", help="folder of contracts; default: the deployment's, else schemas"
    )
    parser.add_argument("--deployment", type=Path, help="default: deploy.yml, if there is one")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Validate every contract of a folder and print all problems, or what the contracts say."""
    deployment = deployment_file(options.deployment)
    of_deployment = _problems_of(deployment) if deployment is not None else []
    folder = options.folder or _folder_of(deployment)
    if folder is None:
        return _refused(of_deployment, options)
    try:
        contracts = load_contracts(folder)
    except ContractError as error:
        return _refused(list(dict.fromkeys([*error.problems, *of_deployment])), options)
    compiled = [_compile(contract) for contract in contracts.values()]
    problems = [problem for problem in compiled if problem is not None]
    problems += [
        f"{contract.file}: {reason}"
        for contract in contracts.values()
        for reason in unreadable_partitions(contract)
    ]
    problems += [problem for problem in of_deployment if problem not in problems]
    warnings = [line for contract in contracts.values() for line in warnings_of(contract.file)]
    for problem in problems:
        output.complain(problem)
    result = [
        {
            "topic": contract.topic,
            "table": contract.table,
            "columns": len(contract.columns),
            "partition_by": list(contract.partition_by),
            "version": contract.version,
            "file": contract.file,
        }
        for contract in contracts.values()
    ]
    if options.json:
        output.as_json({"contracts": result, "problems": problems, "warnings": warnings})
        return int(bool(problems))
    for warning in warnings:
        output.warn(f"warning: {warning}")
    rows = [[c["topic"], c["table"], c["columns"], c["version"], c["file"]] for c in result]
    output.table("Contracts", ["topic", "table", "columns", "version", "file"], rows)
    checked = counted(len(result), "contract") + (f" and {deployment}" if deployment else "")
    warned = f", {counted(len(warnings), 'warning')}" if warnings else ""
    output.say(
        f"{checked}, {counted(len(problems), 'problem') if problems else 'no problems'}{warned}."
    )
    return int(bool(problems))


def _refused(problems: list[str], options: argparse.Namespace) -> int:
    if options.json:
        output.as_json({"contracts": [], "problems": problems, "warnings": []})
    else:
        for problem in problems:
            output.complain(problem)
    return 1


def _compile(contract: Contract) -> str | None:
    """Compile a contract as the function does at its first event; return what is wrong with it."""
    try:
        Checker(contract)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return f"{contract.file}: the contract cannot be compiled: {error}"
    return None


def _folder_of(deployment: Path | None) -> Path | None:
    """Return the contracts of a deployment, or None where it does not say where they are."""
    if deployment is None:
        return Path(CONTRACTS)
    try:
        said = yaml_file.parse(deployment.read_text("utf-8")).data
    except UnicodeDecodeError:
        return None
    named = said.get("contracts", CONTRACTS) if isinstance(said, dict) else None
    return deployment.parent / named if isinstance(named, str) else None


def _problems_of(deployment: Path) -> list[str]:
    """Read a deployment and render it; return what is wrong with it."""
    try:
        cloudformation(read_deployment(deployment))
    except (DeploymentError, ContractError) as error:  # contracts of another folder, perhaps
        return list(error.problems)
    return []
