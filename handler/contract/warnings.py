"""What a valid contract may mean otherwise than its author thinks. For `silt check`."""

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from handler.contract import yaml_file
from handler.contract.patterns import differences, slow_repetitions
from handler.contract.reporting import Path


def warnings_of(file: str) -> list[str]:
    """Return a line for each warning of a contract file that is valid, with its place."""
    document = yaml_file.parse(FilePath(file).read_text("utf-8"))
    found = [
        (path, warning)
        for path, pattern in _strings(document.data, "pattern", ())
        for warning in _warnings(pattern)
    ]
    paths = [
        (path, source) for path, source in _strings(document.data, "source", ()) if "." in source
    ]
    if paths:
        path, source = paths[0]
        more = f" ({len(paths) - 1} more like it)" if len(paths) > 1 else ""
        keys = source.replace(".", ", ")
        warning = (
            f"{source!r} is a path to a field inside others{more}. For one field of that name "
            f'write ["{source}"]. As a list of its parts, [{keys}], it needs no warning'
        )
        found.append((path, warning))
    return [
        f"{file}:{document.line(path)}: {'.'.join(map(str, path))}: {warning}"
        for path, warning in found
    ]


def _warnings(pattern: str) -> Iterator[str]:
    yield from map(str, differences(pattern))
    if (counted := slow_repetitions(pattern)) is not None:
        yield (
            f"the pattern counts up to {counted} characters one by one, and may take as many times "
            "as long as a plain one on texts made for it. Use min_length and max_length for lengths"
        )


def _strings(value: Any, name: str, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the strings that columns and their parts have for a key, each with its path."""
    if not isinstance(value, dict):
        return
    if path[:1] == ("columns",) and isinstance(text := value.get(name), str):
        yield (*path, name), text
    for key, inner in value.items():
        yield from _strings(inner, name, (*path, key))
