"""Which tables a command is about, and where they are: said by options, or by a deployment."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.contract.contract import Contract
from handler.contract.load import load_contracts
from silt.command_errors import UsageError
from silt.credentials import use_region
from silt.deployment.deploy_yml import CONTRACTS
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment


@dataclass(frozen=True, slots=True)
class Location:
    """Where tables and contracts are, as far as a command knows."""

    root: str | None
    contracts: str | None
    deployment: Deployment | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the same as settings of the function."""
        answer = {"SILT_TABLE_ROOT": self.root, "SILT_CONTRACTS": self.contracts}
        return {name: value for name, value in answer.items() if value is not None}


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table that was asked for: how it was named, where it is, its contract if one is known."""

    name: str
    uri: str
    contract: Contract | None


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `place_of` reads."""
    parser.add_argument(
        "--deployment",
        type=Path,
        help="take the location of tables and contracts from a deploy.yml",
    )
    parser.add_argument("--table-root", help="where the tables are (or SILT_TABLE_ROOT)")
    parser.add_argument(
        "--contracts", help=f"folder of contracts (or SILT_CONTRACTS; default: {CONTRACTS})"
    )


def place_of(options: argparse.Namespace) -> Location:
    """Return where tables and contracts are: by the options, what they leave open by the
    deployment, and without one by the environment.

    The store then uses the region of the deployment. Raises DeploymentError, ContractError and
    UsageError, as `read_deployment`.
    """
    root, contracts = options.table_root, options.contracts
    if options.deployment is None:
        return Location(
            root or os.environ.get("SILT_TABLE_ROOT"), contracts or os.environ.get("SILT_CONTRACTS")
        )
    deployment = read_deployment(options.deployment)
    use_region(deployment.model.region)
    contracts = contracts or str(deployment.contracts)
    return Location(root or deployment.model.table_root, contracts, deployment)


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name tables, as `named_tables` takes them."""
    parser.add_argument(
        "tables", nargs="*", help="tables of the contracts, or URIs; default: all of the contracts"
    )
    add_place_arguments(parser)


def named_tables(
    names: Sequence[str], place: Location, *, contracts_needed: bool = False
) -> list[NamedTable]:
    """Return the tables of these names, all of the contracts for none. Raises UsageError.

    The contracts are read where a name needs them, or where `contracts_needed`.
    """
    folder = place.contracts or CONTRACTS
    contracts: dict[str, Contract] = {}
    if contracts_needed or not names or not all(map(is_place, names)):
        contracts = {c.table: c for c in load_contracts(folder).values()}
    tables = []
    for name in names or sorted(contracts):
        contract = contracts.get(name) or _by_place(name, contracts)
        if is_place(name):
            tables.append(NamedTable(name, name.rstrip("/"), contract))
            continue
        if contract is None:
            raise UsageError(
                f"No contract of {folder} has the table {name!r}, only "
                f"{', '.join(sorted(contracts))}. Expected one of these, or a URI or path."
            )
        if not place.root:
            raise UsageError(
                f"Where is {name}? Use --deployment, --table-root, or the table's URI."
            )
        tables.append(NamedTable(name, contract.uri(place.root), contract))
    return tables


def is_place(name: str) -> bool:
    """Return whether a name is a URI or a path of a table, not a name of a contract's."""
    return "://" in name or name.startswith("/") or (Path(name) / "_delta_log").is_dir()


def _by_place(place: str, contracts: dict[str, Contract]) -> Contract | None:
    result = [c for name, c in contracts.items() if place.rstrip("/").endswith(f"/{name}")]
    return result[0] if len(result) == 1 else None
