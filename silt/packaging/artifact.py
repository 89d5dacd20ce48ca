"""The zip that runs in Lambda: locked packages, the function, its contracts, byte code, a bill."""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

from handler import __version__
from handler.contract.contract import contract_files
from handler.contract.load import load_contracts
from handler.contract.packaged import COMPILED, compile_contracts, read_compiled
from silt.command_errors import PackagingError
from silt.packaging import sbom
from silt.packaging.trim import files, trim
from silt.packaging.wheels import Platform, install, interpreter, without_python
from silt.shipped_files import shipped_file

Function = Literal["ingest", "maintenance"]

ROOT = Path(__file__).resolve().parents[2]
DIST = Path("dist")
"""Where artifacts are put, unless a command names another folder; templates name them there."""
MIB = 1 << 20
LIMITS_MIB = {"ingest": 130, "maintenance": 250}
"""Unzipped. Lambda's own limit is 250 ('Lambda quotas')."""
LOCKS = {"ingest": "ship.txt", "maintenance": "maintenance.txt"}
FUNCTIONS: tuple[Function, ...] = ("ingest", "maintenance")
TASK_ROOT = "/var/task"
"""Where Lambda unpacks an artifact: the paths in tracebacks."""
MANIFEST, SBOM = "silt.json", "sbom.cdx.json"
_OF_MAINTENANCE = re.compile(r"handler/(maintenance\.py|upkeep/)")
"""What the function of appends has no use for: tests/test_layers.py holds that."""
STALE_S = 3600.0
_TIME = (1980, 1, 1, 0, 0, 0)
"""The oldest time that a zip can tell: no file is newer, whenever it was made."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact that is there, with what it weighs.

    `sizes` is in bytes, unzipped, by package; `byte_code` is whether it carries any.
    """

    function: Function
    target: Platform
    build: str
    path: Path
    sha256: str
    sizes: dict[str, int]
    byte_code: bool

    @property
    def unzipped(self) -> int:
        """Return its size unzipped, in bytes."""
        return sum(self.sizes.values())


def artifact_name(function: Function, target: Platform) -> str:
    """Return the file name of an artifact: it tells what it is for."""
    return f"silt-{function}-{target.arch}-py{target.python}.zip"


def build_of(function: Function, target: Platform, contracts: Path) -> str:
    """Return the version with a digest of all that an artifact is made from, as it is now."""
    whole = hashlib.sha256()
    inputs = {
        **_sources(function, contracts),
        "lock": _lock(function).read_bytes(),
        # What makes it, and cuts it.
        **{path.name: path.read_bytes() for path in Path(__file__).parent.glob("*.py")},
    }
    for name, content in sorted(inputs.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    compiled = interpreter(target.python) is not None
    whole.update(f"{function} {target} {'byte code' if compiled else 'sources'}".encode())
    return f"{__version__}+{whole.hexdigest()[:12]}"


def up_to_date(function: Function, target: Platform, contracts: Path, out: Path) -> Artifact | None:
    """Return the artifact that lies in `out`, if it is made of the inputs as they are now."""
    path = out / artifact_name(function, target)
    build = build_of(function, target, contracts)
    try:
        with zipfile.ZipFile(path) as archive:
            # The manifest first: what is old need not be read through.
            is_new = json.loads(archive.read(MANIFEST))["build"] == build
            return read(path) if is_new and archive.testzip() is None else None
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, zlib.error, BadZipFile):
        return None  # there is none, it is damaged, or it is none of ours


def make(function: Function, target: Platform, contracts: Path, out: Path) -> Artifact:
    """Make an artifact in the folder `out`. Raises ContractError, PackagingError, UsageError."""
    try:
        return _make(function, target, contracts, out)
    except OSError as error:
        raise PackagingError(
            f"The artifact of {function} could not be built in {out}: {error}. Is there room, and "
            "is the folder writable?"
        ) from error


def _make(function: Function, target: Platform, contracts: Path, out: Path) -> Artifact:
    lock = _lock(function)
    load_contracts(str(contracts))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="silt-package-") as name:
        tree = Path(name)
        install(lock, target, tree)
        bill = tree / SBOM
        sources = _sources(function, contracts)
        build = build_of(function, target, contracts)
        bill.write_text(sbom.bill(tree, f"silt-{function}", build))
        trim(tree)
        for path, content in sources.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(_stamped(content, build) if path == _STAMPED else content)
        _compile_contracts(tree / "schemas", build)
        byte_code = _compile(tree, target)
        manifest = {"function": function, "build": build, **asdict(target), "byte_code": byte_code}
        (tree / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        result = ((p.relative_to(tree).as_posix(), p.stat().st_size) for p in files(tree))
        _refuse_what_is_too_large(function, _sizes(result))
        made = out / artifact_name(function, target)
        _zip(tree, made)
    return read(made)


def read(path: Path) -> Artifact:
    """Return what an artifact says of itself, and what it weighs."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read(MANIFEST))
        sizes = _sizes((info.filename, info.file_size) for info in archive.infolist())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    target = Platform(manifest["arch"], manifest["python"])
    return Artifact(
        manifest["function"], target, manifest["build"], path, digest, sizes, manifest["byte_code"]
    )


def _lock(function: Function) -> Path:
    return shipped_file(f"requirements/{LOCKS[function]}")


_STAMPED = "handler/__init__.py"


def _sources(function: Function, contracts: Path) -> dict[str, bytes]:
    """Return what of Silt goes in, by path: the function and its contracts."""
    result = {}
    for path in files(ROOT / "handler"):
        name = path.relative_to(ROOT).as_posix()
        is_needed = function == "maintenance" or not _OF_MAINTENANCE.match(name)
        if path.suffix == ".py" and is_needed:
            result[name] = path.read_bytes()
    for path in contract_files(contracts):
        result[f"schemas/{path.name}"] = path.read_bytes()
    return result


def _compile_contracts(folder: Path, build: str) -> None:
    """Put the compiled contracts beside their files, and check that they are read as what they
    are.
    """
    (folder / COMPILED).write_bytes(compile_contracts(folder, build))
    if read_compiled(folder, build) != load_contracts(folder):
        raise PackagingError(
            f"The compiled contracts of {folder} differ from their files. This is an error of "
            "Silt's: please report it, with the contracts."
        )


def _stamped(source: bytes, build: str) -> bytes:
    stamped, count = re.subn(
        rb"^__build__ = .*$", f'__build__ = "{build}"'.encode(), source, flags=re.M
    )
    if count != 1:
        raise PackagingError(f"{_STAMPED} has {count} lines that set __build__. Expected one.")
    return stamped


def _compile(tree: Path, target: Platform) -> bool:
    """Make byte code for the target. Returns False where its Python is not on this machine."""
    python = interpreter(target.python)
    if python is None:
        return False
    # Unchecked: /var/task cannot be written, and a check costs a stat a module. The seed: sets in
    # byte code have an order.
    command = [
        python,
        "-s",
        "-P",
        "-m",
        "compileall",
        "-q",
        "--invalidation-mode",
        "unchecked-hash",
    ]
    done = subprocess.run(
        [*command, "-s", str(tree), "-p", TASK_ROOT, str(tree)],
        env={**without_python(os.environ), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PackagingError(f"Byte code could not be compiled by {python}: {done.stdout[-2000:]}")
    return any(tree.rglob("*.pyc"))


def _sizes(result: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the bytes of each package, the largest first, from paths and sizes of files."""
    sizes: Counter[str] = Counter()
    for path, size in result:
        package, slash, _rest = path.partition("/")
        package = package if slash else "single files"
        sizes["licenses, metadata" if package.endswith(".dist-info") else package] += size
    return dict(sizes.most_common())


def _refuse_what_is_too_large(function: Function, sizes: dict[str, int]) -> None:
    whole = sum(sizes.values())
    if whole > LIMITS_MIB[function] * MIB:
        largest = ", ".join(f"{name} {size / MIB:.1f}" for name, size in list(sizes.items())[:5])
        raise PackagingError(
            f"The artifact of {function} has {whole / MIB:.1f} MiB unzipped; at most "
            f"{LIMITS_MIB[function]} are allowed. The largest, in MiB: {largest}."
        )


def _zip(tree: Path, made: Path) -> None:
    """Write a zip of a folder that is the same each time, and put it in its place at once."""
    for left in made.parent.glob(f".{made.name}.*"):
        if time.time() - left.stat().st_mtime > STALE_S:  # of a run that was killed
            left.unlink(missing_ok=True)
    part = made.with_name(f".{made.name}.{os.getpid()}")  # two at once do not meet
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files(tree):
                info = zipfile.ZipInfo(path.relative_to(tree).as_posix(), _TIME)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o100644 << 16  # readable by the user that Lambda runs as
                info.create_system = 3
                archive.writestr(info, path.read_bytes())
        part.replace(made)
    finally:
        part.unlink(missing_ok=True)
