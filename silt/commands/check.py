"""silt check: validate the contracts and the deployment."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from handler.contract import yaml_file
from handler.contract.contract import Contract
from handler.contract.load import load_contracts
from handler.contract.readers import unreadable_partitions
from handler.contract.warnings import warnings_of
from handler.errors import ContractError, counted
from handler.validate.batch import Checker
from silt import output
from silt.command_errors import DeploymentError, UsageError
from silt.contract_change import ContractChange, change_of_table, changes_since
from silt.credentials import use_credentials_for
from silt.deployment.cloudformation import cloudformation
from silt.deployment.deploy_yml import CONTRACTS
from silt.deployment.read import deployment_file, read_deployment
from silt.samples.checked_samples import check_samples
from silt.table_places import contract_at, is_place

EXAMPLE = """examples:
  silt check schemas
  silt check schemas --deployment deploy.prod.yml
  silt check schemas --sample events/orders.json
  silt check schemas --topic payments --sample payments.ndjson --json
  silt check schemas --against origin/main
  silt check schemas --against s3://lake/tables/sales/orders

Samples show what a contract makes of real records: rows, rejects with their reasons, or dropped by
a rule; columns that no sample fills are warned of. --against names the columns that are added or
widened, and every difference for which the function would refuse a table. It ends with 1 for a
problem, a reject or a refusal. Where there is a deploy.yml it is checked too: combinations that
would lose records, or that AWS would refuse, are named with their lines."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "folder", nargs="?", help="folder of contracts; default: the deployment's, else schemas"
    )
    parser.add_argument("--deployment", type=Path, help="default: deploy.yml, if there is one")
    samples = parser.add_argument_group("what becomes of samples, without a table")
    samples.add_argument(
        "--sample",
        nargs="+",
        default=[],
        metavar="FILE",
        help="saved events, or values as JSON: one a file, one a line, or in an array",
    )
    samples.add_argument(
        "--topic", help="the topic of samples that are bare values, if there are several contracts"
    )
    parser.add_argument(
        "--against",
        metavar="TABLE|REF",
        help="what the contracts do to a table (its URI or path), or to the tables of what they "
        "were at a commit, branch or tag of git",
    )
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
    compiled = [_compile(contract) for contract in contracts]
    problems = [problem for problem in compiled if problem is not None]
    problems += [
        f"{contract.file}: {reason}"
        for contract in contracts
        for reason in unreadable_partitions(contract)
    ]
    problems += [problem for problem in of_deployment if problem not in problems]
    warnings = [line for contract in contracts for line in warnings_of(contract.file)]
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
        for contract in contracts
    ]
    checked_samples = None
    if options.sample and not problems:
        checked_samples = check_samples(contracts, options.sample, options.topic)
        warnings += checked_samples.warnings
    changes = list[ContractChange]()
    if options.against is not None and not problems:
        changes = _changes(Path(folder), contracts, options.against)
    failed = bool(problems) or any(change.refused for change in changes)
    failed |= checked_samples is not None and checked_samples.rejected > 0
    if options.json:
        more: dict[str, Any] = {}
        if checked_samples is not None:
            more["samples"] = checked_samples.as_json()
        if options.against is not None:
            more["changes"] = [asdict(change) for change in changes]
        output.as_json({"contracts": result, "problems": problems, "warnings": warnings, **more})
        return int(failed)
    for warning in warnings:
        output.warn(f"warning: {warning}")
    rows = [[c["topic"], c["table"], c["columns"], c["version"], c["file"]] for c in result]
    output.table("Contracts", ["topic", "table", "columns", "version", "file"], rows)
    checked = counted(len(result), "contract") + (f" and {deployment}" if deployment else "")
    warned = f", {counted(len(warnings), 'warning')}" if warnings else ""
    output.say(
        f"{checked}, {counted(len(problems), 'problem') if problems else 'no problems'}{warned}."
    )
    if checked_samples is not None:
        checked_samples.show()
    if options.against is not None and not problems:
        _show_changes(changes, options.against)
    return int(failed)


def _changes(folder: Path, contracts: Sequence[Contract], against: str) -> list[ContractChange]:
    """Return what contracts do to a table, or to those of what they were. Raises UsageError."""
    if not is_place(against):
        return changes_since(folder, contracts, against)
    contract = contract_at(against, {each.table: each for each in contracts})
    if contract is None:
        raise UsageError(
            f"--against {against}: no contract of {folder} has this table. Its place ends with the "
            f"name of one: {', '.join(sorted(each.table for each in contracts))}."
        )
    use_credentials_for(against)
    return [change_of_table(contract, against.rstrip("/"))]


def _show_changes(changes: Sequence[ContractChange], against: str) -> None:
    rows = [[change.table, kind, text] for change in changes for kind, text in change.lines]
    if rows:
        output.table(f"Against {against}", ["table", "change", "what"], rows)
    refused = sum(bool(change.refused) for change in changes)
    if refused:
        output.complain(
            f"{counted(refused, 'table')} would be refused by the function: nothing would be "
            "written until the contract fits."
        )
    elif not rows:
        output.say(f"No table changes against {against}.", "green")


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
