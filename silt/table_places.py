"""Which tables a command is about, and where they are: said by options, or by a deployment."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.contract.contract import Contract
from handler.contract.load import load_contracts
from silt import output
from silt.command_errors import UsageError
from silt.credentials import use_region
from silt.deployment.deploy_yml import CONTRACTS
from silt.deployment.plan import Deployment
from silt.deployment.read import read_deployment

TABLE_ROOT = ".silt/tables"
"""Where tables are, unless something names another place."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where tables and contracts are. `origin` is what the root was taken from."""

    root: str
    origin: str
    contracts: str | None
    deployment: Deployment | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Return the same as settings of the function."""
        answer = {"SILT_TABLE_ROOT": self.root, "SILT_CONTRACTS": self.contracts}
        return {name: value for name, value in answer.items() if value is not None}

    def announce(self) -> None:
        """Say where the tables are, if no option said it."""
        if not self.origin.startswith("--"):
            output.hint(f"Tables in {self.root} ({self.origin}).")


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table that was asked for: how it was named, where it is, its contract if one is known."""

    name: str
    uri: str
    contract: Contract | None


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `place_of` reads."""
    group = parser.add_argument_group("where the tables are")
    group.add_argument(
        "--deployment",
        type=Path,
        help="take the location of tables and contracts from a deploy.yml",
    )
    group.add_argument(
        "--table-root",
        help=f"where the tables are (default: --deployment, SILT_TABLE_ROOT, {TABLE_ROOT})",
    )
    group.add_argument(
        "--contracts", help=f"folder of contracts (or SILT_CONTRACTS; default: {CONTRACTS})"
    )


def place_of(options: argparse.Namespace) -> Location:
    """Return where tables and contracts are: by the options, what they leave open by the
    deployment, and without one by the environment.

    The store then uses the region of the deployment. Raises DeploymentError, ContractError and
    UsageError, as `read_deployment`.
    """
    contracts = options.contracts or os.environ.get("SILT_CONTRACTS")
    deployment = None
    if options.deployment is not None:
        deployment = read_deployment(options.deployment)
        use_region(deployment.model.region)
        contracts = options.contracts or str(deployment.contracts)
    root, origin = table_root_of(options.table_root, deployment)
    return Location(root, origin, contracts, deployment)


def table_root_of(given: str | None, deployment: Deployment | None = None) -> tuple[str, str]:
    """Return where the tables are, and what says so."""
    if given:
        return given, "--table-root"
    if deployment is not None:
        return deployment.model.table_root, "--deployment"
    if root := os.environ.get("SILT_TABLE_ROOT"):
        return root, "SILT_TABLE_ROOT"
    return TABLE_ROOT, "the default"


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
        contracts = {c.table: c for c in load_contracts(folder)}
    tables = []
    if not names or not all(map(is_place, names)):
        place.announce()
    for name in names or sorted(contracts):
        contract = contracts.get(name) or contract_at(name, contracts)
        if is_place(name):
            tables.append(NamedTable(name, name.rstrip("/"), contract))
            continue
        if contract is None:
            raise UsageError(
                f"No contract of {folder} has the table {name!r}, only "
                f"{', '.join(sorted(contracts))}. Expected one of these, or a URI or path."
            )
        tables.append(NamedTable(name, contract.uri(place.root), contract))
    return tables


def tables_of_topic(
    names: Sequence[str], place: Location, topic: str | None, *, asks_broker: bool
) -> list[NamedTable]:
    """Return the tables of these names, whose contracts judge what a broker has of `topic`.

    The topic is needed only where no contract names it. Raises UsageError, also for a topic that is
    not that of a table's contract.
    """
    needed = asks_broker and (topic is None or place.contracts is not None)
    tables = named_tables(names, place, contracts_needed=needed)
    for table in tables:
        if topic is not None and table.contract is not None and table.contract.topic != topic:
            raise UsageError(
                f"--topic {topic}: the contract of {table.name} names {table.contract.topic}."
            )
    return tables


def is_place(name: str) -> bool:
    """Return whether a name is a URI or a path of a table, not a name of a contract's."""
    return "://" in name or name.startswith("/") or (Path(name) / "_delta_log").is_dir()


def contract_at(place: str, contracts: dict[str, Contract]) -> Contract | None:
    """Return the contract, of those by table, whose table a place is; None if there is not one.

    Of `orders` and `sales/orders`, /lake/sales/orders is the longer.
    """
    fitting = [name for name in contracts if place.rstrip("/").endswith(f"/{name}")]
    return contracts[max(fitting, key=len)] if fitting else None
