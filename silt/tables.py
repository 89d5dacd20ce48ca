"""Which tables a command is about: names of the contracts' tables, or places."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.contract import Contract, load_contracts
from silt.errors import UsageError


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table that was asked for: how it was named, where it is, its contract if one is known."""

    name: str
    uri: str
    contract: Contract | None


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name tables, as `named_tables` takes them."""
    parser.add_argument(
        "tables", nargs="*", help="tables of the contracts, or URIs; default: all of the contracts"
    )
    parser.add_argument("--table-root", help="where the tables of the contracts are")
    parser.add_argument("--contracts", default="schemas", help="folder of contracts")


def named_tables(
    names: Sequence[str], folder: str, root: str | None, *, contracts_needed: bool = False
) -> list[NamedTable]:
    """Return the tables of these names, all of the contracts for none. Raises UsageError.

    The contracts are read where a name needs them, or where `contracts_needed`.
    """
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
        if not root:
            raise UsageError(f"Where is {name}? Give --table-root, or the table's URI.")
        tables.append(NamedTable(name, contract.uri(root), contract))
    return tables


def is_place(name: str) -> bool:
    """Return whether a name is a URI or a path of a table, not a name of a contract's."""
    return "://" in name or name.startswith("/") or (Path(name) / "_delta_log").is_dir()


def _by_place(place: str, contracts: dict[str, Contract]) -> Contract | None:
    found = [c for name, c in contracts.items() if place.rstrip("/").endswith(f"/{name}")]
    return found[0] if len(found) == 1 else None
