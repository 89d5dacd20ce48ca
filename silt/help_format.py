"""How `--help` is laid out: text, then options, then examples, all folded to the terminal."""

import argparse
import textwrap
from collections.abc import Iterator

_INDENT = "  "


class HelpFormatter(argparse.HelpFormatter):
    """Folds paragraphs, and commands of an example where the shell lets them continue."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in fold(text, width - len(indent)))


def fold(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text that is at most so wide. An indented line is a command."""
    for number, block in enumerate(text.strip().split("\n\n")):
        if number:
            yield ""
        paragraph = list[str]()
        for line in block.split("\n"):
            if not line.startswith(_INDENT):
                paragraph.append(line)
                continue
            yield from textwrap.wrap(" ".join(paragraph), width)
            paragraph.clear()
            yield from fold_command(line.strip(), width)
        yield from textwrap.wrap(" ".join(paragraph), width)


def fold_command(command: str, width: int) -> Iterator[str]:
    """Yield the lines of a command, folded before options, with a backslash as the shell wants."""
    line = _INDENT
    for part in _parts(command):
        longer = f"{line}{part}" if line.strip() == "" else f"{line} {part}"
        if len(longer) > width - len(" \\") and line.strip():
            yield f"{line} \\"
            longer = f"{_INDENT * 2}{part}"
        line = longer
    yield line


def _parts(command: str) -> Iterator[str]:
    """Yield what must stay in one line: words in quotes together, an option with its value."""
    held = ""
    for word in command.split(" "):
        is_open = held.count('"') % 2 or held.count("'") % 2
        if held and not is_open and word.startswith("-"):
            yield held
            held = word
        else:
            held = f"{held} {word}" if held else word
    yield held
