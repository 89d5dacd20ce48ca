"""Programs from a Maven repository, where Java and Maven are."""

import shutil
import subprocess
from pathlib import Path


def available() -> bool:
    """Return whether this machine has Java and Maven."""
    return shutil.which("java") is not None and shutil.which("mvn") is not None


def classpath(folder: Path, pom: Path) -> str:
    """Return the class path of a POM's dependencies; Maven fetches what it does not have."""
    file = folder / f"{pom.parent.name}.classpath"
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:build-classpath"]
    subprocess.run(
        [*command, f"-Dmdep.outputFile={file}"],
        check=True,
        timeout=400,
        stdout=subprocess.DEVNULL,
    )
    return file.read_text().strip()
