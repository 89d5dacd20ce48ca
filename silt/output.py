"""What the command prints: the only module that does."""

import contextlib
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from silt.command_errors import UsageError

console = Console(highlight=False, soft_wrap=True, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_FOLDING: Any = {"break_long_words": False, "break_on_hyphens": False}


def say(text: str = "", style: str | None = None) -> None:
    """Print a line for a person."""
    console.print(escape(text), style=style)


def item(text: str, style: str | None = None) -> None:
    """Print a line of a list, folded to the terminal's width."""
    for number, line in enumerate(textwrap.wrap(text, max(20, console.width - 4), **_FOLDING)):
        say(f"  {'- ' if not number else '  '}{line}", style)


def complain(text: str) -> None:
    """Print what is wrong, to standard error."""
    errors.print(escape(text), style="red")


def warn(text: str) -> None:
    """Print what a person should know although nothing is wrong, to standard error."""
    errors.print(escape(text), style="yellow")


def hint(text: str) -> None:
    """Print what may help a person to read the rest, to standard error."""
    errors.print(escape(text), style="dim")


def ask(question: str) -> bool:
    """Ask a person for a yes; without a terminal the answer is no."""
    if not sys.stdin.isatty():
        return False
    errors.print(escape(f"{question} [y/N] "), end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def as_it_is(text: str) -> None:
    """Print a text for a script or a file."""
    sys.stdout.write(text + "\n")


def write_new(path: Path, text: str) -> None:
    """Write a file, with the folders above it. Raises UsageError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def as_json(value: Any) -> None:
    """Print a value for a script."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


def as_yaml(value: Any) -> None:
    """Print a value as YAML, for a script or a file, without aliases, which few tools take."""
    sys.stdout.write(yaml.dump(value, Dumper=_WithoutAliases, sort_keys=False, width=100))


class _WithoutAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@contextlib.contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far long work has come, on a terminal; the block calls what it is given."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,}"))
    quiet = not errors.is_terminal
    bar = Progress(*columns, TextColumn(unit), console=errors, transient=True, disable=quiet)
    with bar:
        task = bar.add_task(escape(what), total=None)
        yield lambda count: bar.advance(task, count)


def record(width: int) -> None:
    """Keep what is printed from now on for `save_picture`, as on a terminal of this width."""
    console.record = True
    console.width = width


def save_picture(path: Path, title: str) -> None:
    """Write what was recorded as an SVG that loads nothing: the fonts are those of the reader."""
    svg = console.export_svg(title=title)
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under headings, numbers aligned to the right."""
    rows = [list(row) for row in rows]
    made = Table(title=title, title_justify="left", title_style="bold")
    for i, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        made.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(_cell(value)) for value in row))
    console.print(made)


def rows(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    """Print rows under headings, or where they are too wide for the terminal, one field a line."""
    widths = [
        max(len(name), *(len(row[i] or "") for row in rows)) if rows else len(name)
        for i, name in enumerate(columns)
    ]
    if sum(widths) + 3 * len(widths) + 1 <= console.width:
        table("", columns, rows)
        return
    margin = max(map(len, columns))
    for number, row in enumerate(rows, 1):
        say(f"row {number}", "bold")
        for name, value in zip(columns, row, strict=True):
            say(f"  {name:{margin}}  {'' if value is None else printable(value)}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def printable(text: str) -> str:
    """Return a text that says nothing to a terminal: control characters as `\\x1b`."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def size(count: int) -> str:
    """Return a number of bytes as a person reads it."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def age(seconds: float) -> str:
    """Return a time span as a person reads it, in its largest unit."""
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
