"""`source`: where in the JSON a column's value is."""

import re
from collections.abc import Iterable, Sequence

from handler.contract.reporting import Path, Report

_KEY = re.compile(r'[^"\\\x00-\x1f]*')
KEYS_MAX = 100
_INDEX = re.compile(r"\[[^\]]*\]")


def parse_source(source: str | Sequence[str], here: Path, report: Report) -> tuple[str, ...]:
    """Return the keys that lead to a value: those of a list, or the parts of `payload.after.id`."""
    keys = tuple(source.split(".")) if isinstance(source, str) else tuple(source)
    if len(keys) > KEYS_MAX:
        report(here, f"a path has at most {KEYS_MAX} parts")
        return keys[:1]
    if any(_KEY.fullmatch(key) is None for key in keys):
        report(here, "a field name may not contain quotes, backslashes or line breaks")
    elif isinstance(source, str) and (reason := _refusal(source, keys)) is not None:
        report(here, reason)
    return keys


def _refusal(source: str, keys: Sequence[str]) -> str | None:
    """Return what is wrong with a path in a string, and the right way to write it."""
    if source.startswith("$"):
        bare = _INDEX.sub("", source.lstrip("$").lstrip("."))
        return (
            f"a path does not begin with $. Write {bare or 'payload.id'!r}, which begins at the "
            f"record itself, or source: [{_quoted(source)}] for one field of that name"
        )
    if _INDEX.search(source):
        return (
            "a path cannot pick an element of an array. Take the array as a column of type array "
            f"or json, or write source: [{_quoted(source)}] for one field of that name"
        )
    if "*" in keys or "" in keys:
        what = "a part that is empty" if "" in keys else "a part that is *"
        return (
            f"{source!r} is not a valid path: it has {what}. Write the names of the fields with "
            f"dots between them, or source: [{_quoted(source)}] for one field of that name"
        )
    return None


def _quoted(source: str) -> str:
    return '"' + source + '"'


def check_sources(paths: Iterable[tuple[str, tuple[str, ...]]], here: Path, report: Report) -> None:
    """Check that no two columns of one level read the same field, nor one a part of another's.

    `paths` are the names of the columns with the keys that lead to their values.
    """
    by_path: dict[tuple[str, ...], str] = {}
    for name, path in paths:
        if (other := by_path.setdefault(path, name)) != name:
            report(
                (*here, name),
                f"{name!r} and {other!r} both read the field {'.'.join(path)!r}. Keep one",
            )
    for path, name in by_path.items():
        for end in range(1, len(path)):
            if (whole := by_path.get(path[:end])) is not None:
                report(
                    (*here, name),
                    f"{name!r} reads a part of {'.'.join(path[:end])!r}, which {whole!r} reads as "
                    f"a whole. List the fields you need in place of {whole!r} (`unknown_fields: "
                    "rescue` keeps the rest). If it is a struct, make it a field, and copy that by "
                    f"`from: {whole}.{path[-1]}`",
                )
                break
