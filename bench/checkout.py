"""Another commit of this repository, to compare with."""

import subprocess
from pathlib import Path

FOLDER = Path(".silt/bench").absolute()
HERE = Path(__file__).resolve().parent.parent


def checkout(ref: str) -> Path:
    """Return a folder with the files of another commit."""
    command = ["git", "rev-parse", "--short", f"{ref}^{{commit}}"]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    tree = FOLDER / "trees" / name
    if not tree.exists():
        archive = subprocess.run(["git", "archive", name], check=True, capture_output=True)
        tree.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree
