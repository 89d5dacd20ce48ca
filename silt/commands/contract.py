"""silt contract: a contract in the format of others."""

import argparse
from pathlib import Path

from handler.contract.contract import Contract
from handler.contract.load import load_contracts
from silt import output
from silt.command_errors import UsageError
from silt.deployment.deploy_yml import CONTRACTS
from silt.infer.odcs_export import odcs_of

EXAMPLE = """examples:
  silt contract export orders --odcs
  silt contract export sales/orders --contracts schemas --odcs -o orders.odcs.yaml

An ODCS contract (Open Data Contract Standard, version 3) names the table, its columns, types and
rules, for catalogs and other tools. silt infer reads one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("action", choices=["export"], help="write it in another format")
    parser.add_argument("name", help="the topic or the table of the contract")
    parser.add_argument("--odcs", action="store_true", help="as an ODCS contract, in YAML")
    parser.add_argument(
        "--contracts", default=CONTRACTS, metavar="FOLDER", help=f"default: {CONTRACTS}"
    )
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="a new file; default: standard output"
    )


def run(options: argparse.Namespace) -> int:
    """Print the contract in another format, or write it."""
    if not options.odcs:
        raise UsageError("In which format? Expected --odcs.")
    if options.out is not None and options.out.exists():
        raise UsageError(f"{options.out} exists. Nothing was written; name a new file.")
    text = odcs_of(_find(options.contracts, options.name))
    if options.out is None:
        output.as_it_is(text.rstrip("\n"))
    else:
        output.write_new(options.out, text)
        output.say(f"{options.out} is written.", "green")
    return 0


def _find(folder: str, name: str) -> Contract:
    contracts = load_contracts(folder)
    found = [c for c in contracts if c.table == name] or [c for c in contracts if c.topic == name]
    if len(found) == 1:
        return found[0]
    tables = ", ".join(sorted(contract.table for contract in found or contracts))
    what = f"{len(found)} contracts of {folder} have" if found else f"no contract of {folder} has"
    raise UsageError(f"{what} the topic {name!r}. Expected one of the tables {tables}.")
