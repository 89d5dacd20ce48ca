"""The `silt` command: its parser and its exit codes. A command's module is imported when it is
called.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from handler import __version__
from handler.contract.reporting import nearest
from handler.errors import SiltError
from silt.command_errors import UsageError
from silt.help_format import HelpFormatter

COMMANDS = {
    "init": "begin a project of your own",
    "infer": "make a contract from records, a topic, a table or a schema",
    "contract": "write a contract in the format of other tools",
    "check": "validate the contracts and the deployment",
    "replay": "give saved events, or what the topic still has, to the function again",
    "redrive": "give dead letters to the contract again: what passes becomes rows",
    "audit": "prove that a table contains each record exactly once",
    "gaps": "list the offsets that a table lacks, and why",
    "status": "show the health of tables",
    "query": "ask the tables in SQL",
    "report": "write a page about tables: what came, what was rejected, what is due",
    "maintain": "checkpoint, compact and clean tables now",
    "dev": "run the local event source mapping on a Kafka topic",
    "capture": "save records of a topic, or a batch that failed, as an event file",
    "package": "build the artifacts that run in Lambda",
    "doctor": "find what is wrong with a deployment, and how to fix it",
    "template": "print the deployment as a CloudFormation template",
    "completion": "print a script that completes words in your shell",
}
"""Each command with what it does, in a few words."""

FINE, FOUND_SOMETHING, USED_WRONGLY, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code: 0 fine, 1 something is wrong, 2 used wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        if sys.stdout is not None:  # it may be closed
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads what is printed has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FOUND_SOMETHING


def _run(given: Sequence[str]) -> int:
    name = next((word for word in given if word in COMMANDS), None)
    options = parser(name).parse_args(given)
    if options.command is None:
        parser(None).print_help()
        return USED_WRONGLY
    from silt import output

    module = importlib.import_module(f"silt.commands.{options.command}")
    try:
        return int(module.run(options))
    except UsageError as error:
        output.complain(f"silt {options.command}: {error}")
        return USED_WRONGLY
    except SiltError as error:
        output.complain(f"silt {options.command}: {error}")
        return FOUND_SOMETHING


class _Parser(argparse.ArgumentParser):
    """A parser that names the likely word for one that it does not know."""

    def parse_known_args(  # type: ignore[override]
        self, args: Any = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse what is left over by the parser that knows the options."""
        result, rest = super().parse_known_args(args, namespace)
        if rest:
            words = [word.partition("=")[0] for word in rest if word.startswith("-")]
            near = nearest(words[0], self._option_string_actions) if words else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{near}")
        return result, rest

    def error(self, message: str) -> NoReturn:
        """Print a line on what is wrong, after the usage, and end with 2."""
        unknown = re.search(r"invalid choice: '([^']*)'", message)
        if unknown is not None:
            words = re.findall(r"[\w.-]+", message[unknown.end() :])
            near = nearest(unknown[1], [word for word in words if word not in ("choose", "from")])
            message += near
        super().error(message)


def whole_parser() -> argparse.ArgumentParser:
    """Return the parser with the options of every command."""
    return _parser(COMMANDS)


def parser(name: str | None) -> argparse.ArgumentParser:
    """Return the parser, with the options of one command: the others are only named."""
    return _parser([name] if name is not None else [])


def _parser(names: Collection[str]) -> argparse.ArgumentParser:
    whole = _Parser(
        prog="silt", description="Write Kafka topics to Delta tables, each record exactly once."
    )
    whole.add_argument("--version", action="version", version=f"silt {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")
    for each, what in COMMANDS.items():
        one = commands.add_parser(
            each,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            formatter_class=HelpFormatter,
        )
        if each in names:
            module = importlib.import_module(f"silt.commands.{each}")
            examples, _, text = module.EXAMPLE.partition("\n\n")
            one.description = f"{one.description} {text}".strip()
            one.epilog = examples
            module.add_arguments(one)
    return whole


if __name__ == "__main__":
    sys.exit(main())
