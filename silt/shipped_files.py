"""Files beside the code that the command needs: in a clone from its root, else from the wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped_file(name: str) -> Path:
    """Return where a file of the repository is, by its path there."""
    inside = _PACKAGE / "shipped" / name
    return inside if inside.exists() else _PACKAGE.parent / name
