"""silt completion: a script that completes commands, options and files in a shell."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from silt import output

SHELLS = ("bash", "zsh", "fish")
EXAMPLE = """examples:
  silt completion bash > ~/.local/share/bash-completion/completions/silt
  silt completion zsh > ~/.zfunc/_silt
  silt completion fish > ~/.config/fish/completions/silt.fish

Write it where your shell looks for such scripts, and open a new shell."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that the script is for")


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from silt.cli import whole_parser

    whole = whole_parser()
    for action in _actions_of(whole):
        if action.type is Path or action.dest in ("table_root", "contracts", "sources", "folder"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    output.as_it_is(shtab.complete(whole, options.shell))
    return 0


def _actions_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions_of(each)
