"""The contracts of an artifact, compiled as it was packaged: a cold start parses no YAML."""

import hashlib
import pickle
from collections.abc import Iterator
from pathlib import Path as FilePath

from msgspec.structs import replace

from handler import __build__, __version__
from handler.contract.contract import Contract, contract_files

COMPILED = "compiled.pickle"
"""The file beside the contracts: a line that says what it is of, and the contracts.

It is as much a part of the artifact as its byte code, and as much to be trusted.
"""


def open_contracts(folder: str | FilePath) -> list[Contract]:
    """Return the contracts of a folder: those that are compiled, if they are of these very files
    and of this build, otherwise from the files.

    Raises ContractError.
    """
    # Only in an artifact, whose build has a digest: a folder of contracts that somebody else wrote
    # must not run code on a person's machine, and a pickle could.
    if __build__ != __version__ and (compiled := read_compiled(folder, __build__)) is not None:
        return compiled
    # Only here: YAML, pydantic and the models would take a third of the init phase (decision 0022).
    from handler.contract.load import load_contracts

    return load_contracts(folder)


def compile_contracts(folder: str | FilePath, build: str) -> bytes:
    """Return what COMPILED holds for the contracts of a folder, read by a build.

    Raises ContractError.
    """
    from handler.contract.load import load_contracts

    # Without the folder, which is another one each time an artifact is made.
    contracts = [replace(c, file=FilePath(c.file).name) for c in load_contracts(folder)]
    return _heading(FilePath(folder), build) + pickle.dumps(contracts, protocol=5)


def read_compiled(folder: str | FilePath, build: str) -> list[Contract] | None:
    """Return the compiled contracts of a folder. Returns None if the file is missing, or if it was
    made from other contract files or by another build.
    """
    root = FilePath(folder)
    try:
        content = (root / COMPILED).read_bytes()
        heading = _heading(root, build)
    except OSError:
        return None
    if not content.startswith(heading):
        return None
    contracts: list[Contract] = pickle.loads(content[len(heading) :])
    return [replace(c, file=str(root / FilePath(c.file).name)) for c in contracts]


def _heading(root: FilePath, build: str) -> bytes:
    """Return the line that says which build and which files contracts are of."""

    def parts() -> Iterator[bytes]:
        for file in contract_files(root):
            content = file.read_bytes()
            yield f"{file.name}\0{len(content)}\0".encode() + content

    digest = hashlib.sha256(b"".join(parts())).hexdigest()
    return f"silt contracts {build} {digest}\n".encode()
