"""An artifact as Lambda runs it: unzipped in an empty folder, with an interpreter that sees nothing
else.
"""

import json
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from silt.local.runtime import Sandbox
from silt.packaging.wheels import PYTHONS, Arch, Platform, install, interpreter
from tests.builders import ROOT

CLIENT_PACKAGES = ("awslambdaric", "simplejson", "snapshot-restore-py")
ARCH: Arch = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
BOOT = """
import os
import sys
runtime, handler = sys.argv[1:]
sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], runtime]
from awslambdaric.__main__ import main
main(["bootstrap", handler])
"""
"""As Lambda does: the task's folder first, then the runtime's, then the standard library."""


def host_target() -> Platform:
    """Return a target that runs on this machine, the default Python of artifacts if it is here."""
    preferred = sorted(PYTHONS, key=lambda python: python != "3.13")
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = [python for python in preferred if interpreter(python) is not None]
    return Platform(ARCH, (found or [running])[0])


def unpack(artifact: Path, folder: Path) -> Path:
    """Unzip an artifact into an empty folder and return it."""
    folder.mkdir(parents=True)
    with zipfile.ZipFile(artifact) as archive:
        archive.extractall(folder)
    return folder


class Runtime:
    """The Lambda runtime client in a folder of its own, started by an isolated interpreter."""

    def __init__(self, target: Platform, folder: Path) -> None:
        lock = folder.with_suffix(".txt")
        entries = re.split(r"\n(?=\S)", (ROOT / "requirements/dev.txt").read_text())
        names = tuple(f"{name}==" for name in CLIENT_PACKAGES)
        lock.write_text("\n".join(entry for entry in entries if entry.startswith(names)))
        install(lock, target, folder)
        found = interpreter(target.python)
        assert found is not None
        # Not the one of .venv, which would bring its packages.
        self._python = subprocess.run(
            [found, "-c", "import sys; print(getattr(sys, '_base_executable', sys.executable))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        self._folder = folder

    @property
    def _isolated(self) -> list[str]:
        # -I: no environment, no folder of the user; -S: no site-packages; -B: it writes nothing, as
        # in Lambda, where the folder of the task cannot be written.
        return [self._python, "-I", "-S", "-B", "-c"]

    def sandbox(
        self, task_root: Path, environment: dict[str, str], handler: str, log: Path
    ) -> Sandbox:
        """Return a sandbox that runs the artifact that was unpacked in `task_root`."""
        return Sandbox(
            environment,
            handler=handler,
            log=log,
            client=[*self._isolated, BOOT, str(self._folder)],
            task_root=task_root,
        )

    def modules(self, task_root: Path, name: str, then: str = "") -> dict[str, str]:
        """Import a module as the client does, and run some code; return where each loaded module's
        code is from.
        """
        code = (
            f"import sys, json; sys.path.insert(0, {str(task_root)!r}); import {name}\n{then}\n"
            "found = {n: getattr(m, '__file__', None) for n, m in sys.modules.items()}\n"
            "print(json.dumps({n: f for n, f in found.items() if f}))"
        )
        done = subprocess.run(
            [*self._isolated, code], cwd=task_root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


def peak_memory_mb(sandbox: Sandbox) -> float:
    """Return the most memory that a sandbox's process has had, in MB.

    Of the kernel, not of getrusage: there a child begins with the peak of its parent.
    """
    assert sandbox.process is not None
    status = Path(f"/proc/{sandbox.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
