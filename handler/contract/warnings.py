"""What a valid contract may mean otherwise than its author thinks. For `silt check`."""

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from handler.contract import yaml_file
from handler.contract.patterns import differences, slow_repetitions
from handler.contract.yaml_file import Path


def warnings_of(file: str) -> list[str]:
    """Return a line for each warning of a contract file that is valid, with its place."""
    document = yaml_file.parse(FilePath(file).read_text("utf-8"))
    return [
        f"{file}:{document.line(path)}: {'.'.join(map(str, path))}: {warning}"
        for path, pattern in _patterns(document.data, ())
        for warning in _warnings(pattern)
    ]


def _warnings(pattern: str) -> Iterator[str]:
    yield from map(str, differences(pattern))
    if (counted := slow_repetitions(pattern)) is not None:
        yield (
            f"the pattern counts up to {counted} characters one by one, and may take as many times "
            "as long as a plain one on texts made for it. Use min_length and max_length for lengths"
        )


def _patterns(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the patterns of columns and their parts, each with its path."""
    if not isinstance(value, dict):
        return
    if path[:1] == ("columns",) and isinstance(pattern := value.get("pattern"), str):
        yield (*path, "pattern"), pattern
    for key, inner in value.items():
        yield from _patterns(inner, (*path, key))
