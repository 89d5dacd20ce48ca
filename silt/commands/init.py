"""silt init: a project of one's own."""

import argparse
from pathlib import Path

from handler.errors import counted
from silt import output
from silt.command_errors import UsageError
from silt.project_files import project_files

EXAMPLE = """examples:
  silt init lake
  silt init .

The project has a first contract with samples and a test, a deployment, and what osls needs. It is
right as it is: silt check passes. A file that is there already is never changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", type=Path, help="where the project is; it is made if missing")


def run(options: argparse.Namespace) -> int:
    """Write the files that are missing, and say which are there already."""
    folder: Path = options.folder
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file. Expected a folder.")
    written, kept, differ = list[str](), list[str](), list[str]()
    for file in project_files(folder.resolve().name):
        path = folder / file.path
        if path.exists():
            same = path.is_file() and path.read_bytes() == file.content
            (kept if same else differ).append(file.path)
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from error
        written.append(file.path)
    for name in written:
        output.item(name)
    if differ:
        output.say(f"Kept as they are, and not those of this version: {', '.join(differ)}.")
    if not written:
        output.say(f"Nothing was written: {folder} has {counted(len(kept) + len(differ), 'file')}.")
        return 0
    output.say(f"{counted(len(written), 'file')} written to {folder}.", "green")
    output.say(f"Next: cd {folder} and read README.md.")
    return 0
