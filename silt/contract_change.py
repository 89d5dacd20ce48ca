"""What a contract does to a table that is there: what it adds or widens, and what is refused."""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handler.contract.contract import DEAD_LETTERS_SUFFIX, Contract
from handler.contract.load import load_contracts
from handler.delta.pool import Pool
from handler.delta.retry import Deadline, SystemClock
from handler.delta.store import open_store
from handler.delta.tables import Table
from handler.delta.types import Field, describe
from handler.errors import SiltError, TableMismatch, UnsupportedTable
from handler.sink.evolution import compare, compare_partitions, mark_origin
from handler.sink.table_schema import Schemas
from handler.sink.terms import Governed
from silt.command_errors import UsageError

WITHOUT_ROWS = "the table has no rows: the next batch gives it the columns of the contract"
LIMIT_S = 60.0
GIT_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class ContractChange:
    """What a contract does to a table. `refused` are the differences for which the function would
    refuse the table: nothing is then added or widened.
    """

    topic: str
    table: str
    added: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Return each part of the change with what it is."""
        return [
            *(("refused", text) for text in self.refused),
            *(("added", text) for text in self.added),
            *(("widened", text) for text in self.widened),
            *(("note", text) for text in self.notes),
        ]


def change_of_table(contract: Contract, uri: str) -> ContractChange:
    """Return what a contract does to the table at a place and to its dead letters, by the rules of
    the function. Raises StoreError, OutOfTime or BrokenLog.
    """
    clock, pool = SystemClock(), Pool()
    deadline = Deadline(clock, clock.monotonic() + LIMIT_S)
    rows, letters = (
        Governed(Table(schema.table, open_store(place), pool), schema)
        for schema, place in zip(
            reversed(Schemas.of(contract)), (uri, uri + DEAD_LETTERS_SUFFIX), strict=True
        )
    )
    refused, notes = list[str](), list[str]()
    for governed, prefix in ((rows, ""), (letters, "dead letters: ")):
        try:
            replaced = governed.fit(deadline).replaced
        except TableMismatch as error:
            refused += [prefix + difference for difference in error.differences]
        except UnsupportedTable as error:
            refused.append(prefix + str(error))
        else:
            if replaced:
                notes.append(prefix + WITHOUT_ROWS)
    metadata = rows.table.known(deadline).metadata
    if metadata is None:
        notes.append(f"there is no table at {uri} yet: the first record creates it")
    if metadata is None or refused or notes:
        return ContractChange(
            contract.topic, contract.table, refused=tuple(refused), notes=tuple(notes)
        )
    return _change(contract, metadata.fields, metadata.partition_columns)


def changes_since(folder: Path, contracts: Sequence[Contract], ref: str) -> list[ContractChange]:
    """Return what contracts do to the tables of what they were at a commit, branch or tag of git.

    Raises UsageError where git does not know it, ContractError where the contracts were wrong.
    """
    before = {contract.table: contract for contract in _contracts_at(folder, ref)}
    tables = {contract.table for contract in contracts}
    changes = list[ContractChange]()
    for contract in contracts:
        if (old := before.get(contract.table)) is not None:
            fields = mark_origin(old.fields, "contract")
            changes.append(_change(contract, fields, old.partition_by))
            continue
        left = [c for c in before.values() if c.topic == contract.topic and c.table not in tables]
        note = "the contract is new"
        if left:
            note = (
                f"the table was {left[0].table}: another one is begun, and that one gets no more "
                "rows"
            )
            del before[left[0].table]
        changes.append(ContractChange(contract.topic, contract.table, notes=(note,)))
    fed = {contract.topic for contract in contracts}
    for table, old in sorted(before.items()):
        if table in tables:
            continue
        note = "the contract is gone: a function that still gets the topic fails"
        if old.topic in fed:
            note = "the contract is gone: the table gets no more rows"
        changes.append(ContractChange(old.topic, table, notes=(note,)))
    return changes


def _change(
    contract: Contract, fields: Sequence[Field], partitions: Sequence[str]
) -> ContractChange:
    expected = mark_origin(contract.fields, "contract")
    evolved, differences = compare(
        fields, expected, evolution=contract.evolution, retired=contract.retired
    )
    refused = [*compare_partitions(partitions, contract.partition_by), *differences]
    before = {f.name: f.type for f in fields}
    added = [f"{f.name}: {describe(f.type)}" for f in evolved if f.name not in before]
    changed = [f for f in evolved if f.name in before and before[f.name] != f.type]
    widened = [f"{f.name}: {describe(before[f.name])} becomes {describe(f.type)}" for f in changed]
    return ContractChange(
        contract.topic, contract.table, tuple(added), tuple(widened), tuple(refused)
    )


def _contracts_at(folder: Path, ref: str) -> list[Contract]:
    _git(folder, ref, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    inside = _git(folder, ref, "rev-parse", "--show-prefix").strip()
    tree = _git(folder, ref, "ls-tree", "--full-tree", "--name-only", "-z", ref, inside)
    names = [name.removeprefix(inside) for name in tree.split("\0")]
    files = [name for name in names if name.endswith((".yaml", ".yml"))]
    if not files:
        return []
    with tempfile.TemporaryDirectory() as copy:
        for name in files:
            text = _git(folder, ref, "show", f"{ref}:./{name}")
            (Path(copy) / name).write_text(text, encoding="utf-8")
        return load_contracts(copy)


def _git(folder: Path, ref: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=GIT_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SiltError(f"git cannot be run in {folder}: {error}") from error
    if done.returncode:
        raise UsageError(
            f"--against {ref}: there is no such table, and git does not know it in {folder}: "
            f"{done.stderr.strip()}"
        )
    return done.stdout
