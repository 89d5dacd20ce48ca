"""What a project of one's own begins with, and how it is written."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handler import __version__
from silt.shipped_files import shipped_file

_TEMPLATES = Path(__file__).parent / "project"
_OWN = {
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "requirements.txt": "requirements.txt",
    "deploy.yml": "deploy.yml",
    "schemas/orders.yaml": "schemas/orders.yaml",
    "events/orders.ndjson": "events/orders.ndjson",
    "tests/test_contracts.py": "tests/test_contracts.py",
}
"""Templates with their names in a project."""
_SHARED = (
    "schemas/contract.schema.json",
    "schemas/deployment.schema.json",
    "serverless.yml",
    "serverless.cjs",
    "before-deploy.cjs",
    "package.json",
    "package-lock.json",
)
"""Files that this repository has for itself, too."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file of a project: its path there, and what it begins with."""

    path: str
    content: bytes


def project_files(name: str) -> Iterator[ProjectFile]:
    """Yield the files of a new project. `name` is that of its folder."""
    stack = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    words = {
        "{{ version }}": __version__,
        "{{ project }}": name,
        "{{ name }}": stack if _NAME.fullmatch(stack) else "silt",
    }
    for template, path in _OWN.items():
        text = (_TEMPLATES / template).read_text("utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        yield ProjectFile(path, text.encode())
    for path in _SHARED:
        yield ProjectFile(path, shipped_file(path).read_bytes())
