"""delta-spark, the reference implementation of Delta, in a process that is given commands."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.real import jars

HERE = Path(__file__).parent / "spark"
OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch"),
    *("sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)


class Spark:
    """delta-spark in a process whose knowledge of a table grows old between commands."""

    def __init__(self, folder: Path, pom: Path = HERE / "pom.xml") -> None:
        opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in OPENED]
        classpath = jars.classpath(folder, pom)
        program = ["-cp", classpath, str(HERE / "SparkBeside.java")]
        with (folder / "spark.log").open("wb") as file:
            self._process = subprocess.Popen(
                ["java", "-Xmx1g", *opened, *program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def __call__(self, command: str) -> str:
        """Give it a command and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            kind, _, rest = line.strip().partition(" ")
            assert kind != "ERROR", rest
            if kind == "DONE":
                return rest
        raise AssertionError("delta-spark ended")

    def rows(self, table: Path) -> list[Any]:
        """Return the rows that it reads."""
        return json.loads(self(f"rows {table}"))

    def offsets(self, table: Path, version: int | None = None) -> list[int]:
        """Return the offsets that it reads, of the newest version or another."""
        return json.loads(self(f"offsets {table}" + (f" {version}" if version is not None else "")))

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
