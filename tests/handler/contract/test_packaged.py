"""Compiled contracts of an artifact are used only if they are of these files and this build."""

import sys
from pathlib import Path

import pytest

from handler import __version__
from handler.contract import packaged
from handler.contract.contract import Contract
from handler.contract.load import load_contracts
from handler.contract.packaged import COMPILED, compile_contracts, open_contracts, read_compiled
from tests.builders import EVERY_STEP, ROOT, SMALL

WHERE = """
topic: orders
table: sales/refunds
columns: {id: {type: long}}
where:
  type: {in: [refund, chargeback]}
  amount: {minimum: 10}
  _kafka_headers.kind: {exists: true}
  any: [{a: {equals: 1}}, {b: {prefix: x}}]
maintenance: {sort_by: [id], dead_letters: {expire: 90d}}
circuit_breaker: {ratio: 0.1, min_records: 5}
"""


def folder_of(tmp_path: Path, **texts: str) -> Path:
    folder = tmp_path / "schemas"
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


BUILD = "0.1.0+0123456789ab"


@pytest.fixture(autouse=True)
def artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the build be that of an artifact."""
    monkeypatch.setattr(packaged, "__build__", BUILD)


def compiled_in(folder: Path, build: str = BUILD) -> None:
    (folder / COMPILED).write_bytes(compile_contracts(folder, build))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the folders whose YAML is parsed."""
    seen: list[str] = []

    def load(folder: str | Path) -> list[Contract]:
        seen.append(str(folder))
        return load_contracts(folder)

    monkeypatch.setattr("handler.contract.load.load_contracts", load)
    return seen


def test_compiled_contracts_are_those_of_the_files(tmp_path: Path, parsed: list[str]) -> None:
    texts = {path.stem: path.read_text() for path in (ROOT / "schemas").glob("*.yaml")}
    folder = folder_of(tmp_path, **texts, every=EVERY_STEP.replace("sales/", "x/"), where=WHERE)
    written = load_contracts(folder)
    compiled_in(folder)
    parsed.clear()
    assert open_contracts(folder) == written
    assert [c.file for c in open_contracts(folder)] == [c.file for c in written]
    assert not parsed


def test_bytes_do_not_depend_on_the_order_of_sets(tmp_path: Path) -> None:
    """Artifacts of the same inputs are the same bytes."""
    import subprocess

    folder = folder_of(tmp_path, every=EVERY_STEP.replace("[a, b]", "[a, b, c, d, e, f, g]"))
    code = f"""
from hashlib import sha256
from handler.contract.packaged import compile_contracts
print(sha256(compile_contracts({str(folder)!r}, "b")).hexdigest())
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(digests) == 1


def test_bytes_do_not_depend_on_the_folder(tmp_path: Path) -> None:
    """Each artifact is made in a new one."""
    folders = [folder_of(tmp_path / name, small=SMALL, where=WHERE) for name in ("a", "b")]
    assert len({compile_contracts(folder, BUILD) for folder in folders}) == 1


def test_outside_of_an_artifact_nothing_is_unpickled(
    tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of contracts that somebody else wrote must not run code."""
    folder = folder_of(tmp_path, small=SMALL)
    compiled_in(folder, __version__)
    parsed.clear()
    monkeypatch.setattr(packaged, "__build__", __version__)
    monkeypatch.setattr(packaged.pickle, "loads", lambda _data: pytest.fail("it was unpickled"))
    assert [c.table for c in open_contracts(folder)] == ["sales/orders"]
    assert parsed == [str(folder)]


def test_a_file_that_was_edited_is_parsed(tmp_path: Path, parsed: list[str]) -> None:
    folder = folder_of(tmp_path, small=SMALL)
    compiled_in(folder)
    parsed.clear()
    (folder / "small.yaml").write_text(SMALL + "on_tombstone: skip\n")
    assert open_contracts(folder)[0].on_tombstone == "skip"
    assert parsed == [str(folder)]


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_other_files_are_parsed(change: str, tmp_path: Path, parsed: list[str]) -> None:
    folder = folder_of(tmp_path, small=SMALL, where=WHERE)
    compiled_in(folder)
    parsed.clear()
    if change == "added":
        (folder / "more.yml").write_text(SMALL.replace("sales/orders", "sales/more"))
    elif change == "removed":
        (folder / "where.yaml").unlink()
    else:
        (folder / "where.yaml").rename(folder / "other.yaml")
    assert open_contracts(folder) == load_contracts(folder)
    assert parsed == [str(folder)]


def test_contracts_of_another_build_are_not_even_unpickled(
    tmp_path: Path, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, small=SMALL)
    compiled_in(folder, "0.0.9+0123456789ab")
    parsed.clear()
    monkeypatch.setattr(packaged.pickle, "loads", lambda _data: pytest.fail("it was unpickled"))
    assert read_compiled(folder, BUILD) is None
    assert [c.table for c in open_contracts(folder)] == ["sales/orders"]
    assert parsed


def test_folder_that_was_moved_names_its_own_files(tmp_path: Path, parsed: list[str]) -> None:
    folder = folder_of(tmp_path, small=SMALL)
    compiled_in(folder)
    parsed.clear()
    moved = folder.rename(tmp_path / "elsewhere")
    assert [c.file for c in open_contracts(moved)] == [str(moved / "small.yaml")]
    assert not parsed
