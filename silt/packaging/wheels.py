"""The locked packages, as wheels of the platform that Lambda runs."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from silt.command_errors import PackagingError, UsageError

Arch = Literal["arm64", "x86_64"]
Python = Literal["3.12", "3.13", "3.14"]

ARCHES: tuple[Arch, ...] = get_args(Arch)
PYTHONS: tuple[Python, ...] = get_args(Python)
"""The runtimes of Lambda ('Lambda runtimes' in its guide) that Silt supports."""
DEFAULT_ARCH: Arch = "arm64"
DEFAULT_PYTHON: Python = "3.13"
_PLATFORM = "manylinux_2_28"
"""These runtimes are of Amazon Linux 2023, with glibc 2.34; the one of 3.11 has 2.26, which is too
old for pyarrow's wheels."""
_MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What an artifact is for: the architecture and the Python of the function."""

    arch: Arch
    python: str

    @property
    def platform(self) -> str:
        """Return the platform as uv names it."""
        return f"{_MACHINES[self.arch]}-{_PLATFORM}"


def install(lock: Path, target: Platform, folder: Path) -> None:
    """Install what a lock names into a folder, for a target, each file with its locked hash.

    Raises PackagingError with what the installer said.
    """
    command = [_uv(), "pip", "install", "--quiet", "--target", str(folder)]
    command += ["--python-platform", target.platform, "--python-version", target.python]
    # Copies: the files are cut afterwards, and a link would cut those in uv's cache.
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--link-mode", "copy"]
    done = subprocess.run(
        [*command, "-r", str(lock)],
        # Byte code of this machine's Python is none of the target's.
        env={name: v for name, v in os.environ.items() if name != "UV_COMPILE_BYTECODE"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PackagingError(
            f"The packages of {lock} could not be installed for {target.python} on {target.arch}: "
            f"{done.stderr.strip()[-2000:]}"
        )


def without_python(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what makes a Python behave otherwise than by itself."""
    return {k: v for k, v in environment.items() if not k.startswith("PYTHON")}


@functools.cache
def interpreter(python: str) -> str | None:
    """Return an interpreter of a version on this machine, None if there is none."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python:
        return sys.executable
    done = subprocess.run(
        [_uv(), "python", "find", "--no-python-downloads", "--no-project", python],
        env={**os.environ, **_pyenv()},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _pyenv() -> dict[str, str]:
    """Return what makes all of pyenv's versions be found: else its shims fail for all but one."""
    if shutil.which("pyenv") is None:
        return {}
    answer = subprocess.run(
        ["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False
    )
    return {"PYENV_VERSION": ":".join(answer.stdout.split())}


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    result = str(beside) if beside.exists() else shutil.which("uv")
    if result is None:
        raise UsageError("uv is not installed; it is among the packages of silt-delta[cli].")
    return result
