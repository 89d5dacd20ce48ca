"""The `silt` command: its parser and its exit codes. A command's module is imported when it is
called.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from handler import __version__
from handler.errors import SiltError
from silt.command_errors import UsageError

COMMANDS = {
    "check": "validate the contracts and the deployment",
    "replay": "replay saved events through the function",
    "redrive": "give dead letters to the contract again: what passes becomes rows",
    "audit": "prove that a table contains each record exactly once",
    "status": "show the health of tables",
    "maintain": "checkpoint, compact and clean tables now",
    "dev": "run the local event source mapping on a Kafka topic",
    "package": "build the artifacts that run in Lambda",
    "doctor": "find what is wrong with a deployment, and how to fix it",
    "template": "print the deployment as a CloudFormation template",
}
"""Each command with what it does, in a few words."""

FINE, FOUND_SOMETHING, USED_WRONGLY = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns its exit code: 0 fine, 1 something is wrong, 2 used wrongly."""
    given = list(sys.argv[1:] if arguments is None else arguments)
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
    except KeyboardInterrupt:
        return 130


def parser(name: str | None) -> argparse.ArgumentParser:
    """Return the parser, with the options of one command: the others are only named."""
    whole = argparse.ArgumentParser(
        prog="silt", description="Write Kafka topics to Delta tables, each record exactly once."
    )
    whole.add_argument("--version", action="version", version=f"silt {__version__}")
    commands = whole.add_subparsers(dest="command", metavar="COMMAND")
    for each, what in COMMANDS.items():
        one = commands.add_parser(
            each,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if each == name:
            module = importlib.import_module(f"silt.commands.{each}")
            one.epilog = module.EXAMPLE
            module.add_arguments(one)
    return whole


if __name__ == "__main__":
    sys.exit(main())
