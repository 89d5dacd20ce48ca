"""Another commit of this repository, to compare with."""

import subprocess
import tempfile
from pathlib import Path

FOLDER = Path(".silt/bench").absolute()
HERE = Path(__file__).resolve().parent.parent


def name_commit(ref: str) -> str:
    """Return the short hash of a commit. Ends the program if there is no such commit."""
    command = ["git", "rev-parse", "--short", "--verify", f"{ref}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"There is no commit {ref!r} in this repository: {done.stderr.strip()}. Name one of "
            "git log, such as HEAD~1."
        )
    return done.stdout.strip()


def checkout(ref: str) -> Path:
    """Return a folder with the files of another commit."""
    name = name_commit(ref)
    tree = FOLDER / "trees" / name
    if not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", name], check=True, capture_output=True)
        half = Path(tempfile.mkdtemp(dir=tree.parent))  # an interrupted run leaves no partial tree
        subprocess.run(["tar", "-x", "-C", str(half)], input=archive.stdout, check=True)
        half.rename(tree)
    return tree
