"""silt check: validate the contracts."""

import argparse

from handler.check import Checker
from handler.contract import Contract, load_contracts
from handler.errors import ContractError
from silt import output

EXAMPLE = "example:\n  silt check schemas"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", nargs="?", default="schemas", help="folder of contracts")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Validate every contract of a folder and print all problems, or what the contracts say."""
    try:
        contracts = load_contracts(options.folder)
    except ContractError as error:
        if options.json:
            output.as_json({"contracts": [], "problems": list(error.problems)})
        else:
            for problem in error.problems:
                output.complain(problem)
        return 1
    compiled = [_compile(contract) for contract in contracts.values()]
    problems = [problem for problem in compiled if problem is not None]
    for problem in problems:
        output.complain(problem)
    found = [
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
        output.as_json({"contracts": found, "problems": problems})
        return int(bool(problems))
    rows = [[c["topic"], c["table"], c["columns"], c["version"], c["file"]] for c in found]
    output.table("Contracts", ["topic", "table", "columns", "version", "file"], rows)
    output.say(f"{len(found)} contracts, {len(problems) or 'no'} problems.")
    return int(bool(problems))


def _compile(contract: Contract) -> str | None:
    """Compile a contract as the function does at its first event; return what stands against it."""
    try:
        Checker(contract)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return f"{contract.file}: the contract cannot be compiled: {error}"
    return None
