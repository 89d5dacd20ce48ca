"""A folder of contracts that is edited while a mapping runs."""

from dataclasses import dataclass, field
from pathlib import Path

from handler.contract.load import load_contracts
from handler.errors import ContractError, counted

_Stamp = tuple[str, int, int]


@dataclass(slots=True)
class ContractWatch:
    """Notices when a contract is written, and checks it before anything works by it."""

    folder: Path
    topic: str
    tables: tuple[str, ...]
    _seen: list[_Stamp] = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self._stamps()

    def _stamps(self) -> list[_Stamp]:
        stamps = list[_Stamp]()
        for path in sorted(self.folder.glob("*.y*ml")):
            try:
                stat = path.stat()
            except FileNotFoundError:  # an editor replaces it
                continue
            stamps.append((path.name, stat.st_mtime_ns, stat.st_size))
        return stamps

    def has_changed(self) -> bool:
        """Return whether a contract was written since the last call."""
        before, self._seen = self._seen, self._stamps()
        return self._seen != before

    def problems(self) -> str | None:
        """Return what is wrong with the contracts, None if they are right."""
        try:
            contracts = load_contracts(self.folder)
        except ContractError as error:
            return f"{counted(len(error.problems), 'problem')}:\n" + "\n".join(error.problems)
        tables = tuple(c.table for c in contracts if c.topic == self.topic)
        if not tables:
            return f"no contract is for {self.topic} any more"
        if tables != self.tables:
            return f"its tables are {', '.join(tables)} now: start the command again"
        return None
