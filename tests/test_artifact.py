"""What ships, alone: built, weighed, read, and run with nothing else installed."""

import json
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from handler import __version__
from silt.command_errors import PackagingError
from silt.local.s3 import LocalS3
from silt.packaging.artifact import (
    FUNCTIONS,
    LIMITS_MIB,
    MIB,
    Artifact,
    Function,
    build_of,
    make,
    read,
    up_to_date,
)
from silt.packaging.elf import strip
from silt.packaging.trim import never_runs
from silt.packaging.wheels import ARCHES, Platform, install
from tests.builders import ROOT
from tests.isolated import ARCH, Runtime, host_target, peak_memory_mb, unpack

GOLDEN = ("msk", "odd", "self-managed", "schema-registry")
SCHEMAS = ROOT / "schemas"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[Function, Artifact]:
    """Return both artifacts for this machine."""
    out = tmp_path_factory.mktemp("dist")
    return {function: make(function, host_target(), SCHEMAS, out) for function in FUNCTIONS}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    return Runtime(host_target(), tmp_path_factory.mktemp("client") / "runtime")


def names_in(artifact: Artifact) -> list[str]:
    with zipfile.ZipFile(artifact.path) as archive:
        return archive.namelist()


def weigh(artifact: Artifact) -> None:
    with zipfile.ZipFile(artifact.path) as archive:
        unzipped = sum(info.file_size for info in archive.infolist())
    assert artifact.unzipped == unzipped
    assert unzipped <= {"ingest": 130, "maintenance": 250}[artifact.function] * MIB
    assert ("deltalake" in artifact.sizes) == (artifact.function == "maintenance")


@pytest.mark.parametrize(
    "function", ["ingest", pytest.param("maintenance", marks=pytest.mark.nightly)]
)
def test_artifact_of_each_architecture_stays_below_its_limit(
    function: Function, made: dict[Function, Artifact], tmp_path: Path
) -> None:
    weigh(made[function])
    (other,) = (arch for arch in ARCHES if arch != ARCH)
    weigh(make(function, Platform(other, "3.13"), SCHEMAS, tmp_path))


def test_artifact_that_is_too_large_is_refused_with_what_takes_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS_MIB, "ingest", 20)
    with pytest.raises(PackagingError, match=r"at most 20 are allowed.* pyarrow \d\d\.\d"):
        make("ingest", host_target(), SCHEMAS, tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_contract_makes_another_build(tmp_path: Path) -> None:
    build = build_of("ingest", host_target(), SCHEMAS)
    other = tmp_path / "contracts"
    other.mkdir()
    (other / "orders.yaml").write_text((SCHEMAS / "orders.yaml").read_text() + "\n# changed\n")
    changed = build_of("ingest", host_target(), other)
    assert changed != build
    assert changed.startswith(f"{__version__}+")


def test_artifact_is_fresh_only_if_it_is_complete_and_of_these_inputs(
    made: dict[Function, Artifact], tmp_path: Path
) -> None:
    target, path = host_target(), made["ingest"].path
    assert up_to_date("ingest", target, SCHEMAS, path.parent)
    assert read(path) == made["ingest"]
    assert not up_to_date("ingest", target, ROOT / "tests", path.parent)  # other contracts
    assert not up_to_date("ingest", target, SCHEMAS, tmp_path)
    good = path.read_bytes()
    other = tmp_path / path.name
    middle = len(good) // 2
    damaged = good[:middle] + bytes(64) + good[middle + 64 :]
    for content in (damaged, good[: len(good) // 2], b"", b"no zip"):
        other.write_bytes(content)
        assert not up_to_date("ingest", target, SCHEMAS, tmp_path)
    for manifest in ("{}", "[]", "null", "no JSON"):
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr("silt.json", manifest)
        assert not up_to_date("ingest", target, SCHEMAS, tmp_path)


@pytest.mark.nightly
def test_environment_of_who_packages_does_not_change_the_artifact(
    made: dict[Function, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    monkeypatch.setenv("UV_COMPILE_BYTECODE", "1")
    again = make("ingest", host_target(), SCHEMAS, tmp_path / "again")
    assert (again.build, again.sha256) == (made["ingest"].build, made["ingest"].sha256)


@pytest.mark.parametrize("place", ["a file", "/proc/nowhere"])
def test_place_that_cannot_be_written_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(PackagingError, match=r"could not be built in .* is the folder writable"):
        make("ingest", host_target(), SCHEMAS, tmp_path / place)


def test_artifact_holds_what_runs_and_nothing_else(made: dict[Function, Artifact]) -> None:
    ingest, maintenance = (set(names_in(made[function])) for function in FUNCTIONS)
    assert {"handler/app.py", "schemas/orders.yaml", "silt.json", "sbom.cdx.json"} <= ingest
    assert "schemas/compiled.pickle" in ingest & maintenance
    assert "schemas/contract.schema.json" not in ingest
    assert not [name for name in ingest if name.startswith(("handler/upkeep", "deltalake"))]
    assert "handler/maintenance.py" not in ingest
    assert {"handler/maintenance.py", "handler/upkeep/worker.py"} <= maintenance
    for name in ingest | maintenance:
        first = name.split("/")[0]
        assert first not in ("boto3", "botocore", "silt", "tests", "numpy"), name
        assert not never_runs(name), name
    licences = [name for name in ingest if "licens" in name.lower()]
    assert [name for name in licences if name.startswith("pyarrow-")], licences


def test_byte_code_is_the_targets_and_names_the_task_root(
    made: dict[Function, Artifact],
) -> None:
    artifact = made["ingest"]
    assert artifact.byte_code
    tag = "cpython-" + artifact.target.python.replace(".", "")
    with zipfile.ZipFile(artifact.path) as archive:
        code = archive.read(f"handler/__pycache__/app.{tag}.pyc")
        uncompiled = {
            name
            for name in archive.namelist()
            if name.endswith(".py")
            and name.replace(Path(name).name, f"__pycache__/{Path(name).stem}.{tag}.pyc")
            not in archive.namelist()
        }
    assert struct.unpack_from("<I", code, 4) == (1,)  # hashed, and unchecked: PEP 552
    assert b"/var/task/handler/app.py" in code
    assert not uncompiled


def test_bill_of_materials_is_valid_and_names_what_is_there(
    made: dict[Function, Artifact],
) -> None:
    artifact = made["maintenance"]
    with zipfile.ZipFile(artifact.path) as archive:
        text = archive.read("sbom.cdx.json").decode()
        manifest = json.loads(archive.read("silt.json"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    locked = {
        line.split(" ")[0]
        for line in (ROOT / "requirements/maintenance.txt").read_text().splitlines()
        if "==" in line and not line.startswith("deprecated")
    }
    listed = {f"{c['name']}=={c['version']}" for c in bill["components"]}
    assert {name for name in listed if not name.startswith("deprecated")} == locked
    assert all(c["licenses"] and c["purl"].startswith("pkg:pypi/") for c in bill["components"])
    assert bill["metadata"]["component"]["version"] == artifact.build == manifest["build"]
    assert manifest["arch"] == artifact.target.arch


def test_stripped_library_keeps_every_byte_that_a_loader_maps(tmp_path: Path) -> None:
    """Goal: what is shipped for a machine that is not here loads there. Method: each segment of
    each library of the wheels is compared before and after."""
    install(ROOT / "requirements/ship.txt", Platform("arm64", "3.13"), tmp_path)
    saved = 0
    libraries = [path for path in tmp_path.rglob("*") if ".so" in path.suffixes]
    assert len(libraries) > 20
    for path in libraries:
        before = path.read_bytes()
        after = strip(before)
        offset, size, count = struct.unpack_from("<Q", before, 32)[0], 56, before[56]
        table = slice(offset, offset + size * count)
        assert before[table] == after[table], path
        for i in range(count):
            start, length = (
                struct.unpack_from("<Q", before, offset + size * i + at)[0] for at in (8, 32)
            )
            whole = slice(max(start, 64), start + length)  # 64: the header itself
            assert before[whole] == after[whole], path
        assert before[:40] == after[:40]
        assert strip(after) == after
        saved += len(before) - len(after)
    assert saved > 20 * MIB


def test_what_is_no_library_is_left_as_it_is() -> None:
    for data in (b"", b"\x7fELF", b"\x7fELF\x01\x01" + bytes(60), b"#!/bin/sh\n"):
        assert strip(data) == data


def lines(log: Path) -> list[dict[str, Any]]:
    found = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in found]


def test_isolated_artifact_settles_golden_events_once_and_maintains_their_tables(
    made: dict[Function, Artifact], runtime: Runtime, s3: LocalS3, tmp_path: Path
) -> None:
    prefix, log = "artifact", tmp_path / "ingest.log"
    root = unpack(made["ingest"].path, tmp_path / "ingest")
    for name in GOLDEN:
        golden = json.loads((ROOT / f"events/golden/{name}.json").read_text())
        # A cluster of its own each, so tables of its own.
        place = {**s3.environment, "SILT_TABLE_ROOT": f"s3://{s3.bucket}/{prefix}/{name}"}
        sandbox = runtime.sandbox(root, place, "handler.app.lambda_handler", log)
        try:
            for _ in range(2):
                outcome = sandbox.invoke(golden)
                assert outcome.payload == {"batchItemFailures": []}, (name, log.read_text())
            assert sandbox.starts == 1
            assert 50 < peak_memory_mb(sandbox) < 200
        finally:
            sandbox.close()
    answer = [line for line in lines(log) if line.get("message") == "invocation"]
    assert [line["cold_start"] for line in answer] == [True, False] * len(GOLDEN)
    assert {line["build"] for line in lines(log) if "build" in line} == {made["ingest"].build}
    assert [line.get("message") for line in lines(log)].count("start") == len(GOLDEN)
    for first, again in zip(answer[::2], answer[1::2], strict=True):
        kept = first["appended"] + first["dead_lettered"] + first["skipped_by_rule"]
        assert kept == first["delivered"] == again["delivered"]
        assert again["duplicates"] + again["skipped_by_rule"] == again["delivered"]
    client = s3.client()

    def fetch(key: str) -> bytes:
        return bytes(client.get_object(Bucket=s3.bucket, Key=key)["Body"].read())

    listed = client.list_objects_v2(Bucket=s3.bucket, Prefix=prefix)["Contents"]
    commits = [o["Key"] for o in listed if re.search(r"/_delta_log/\d{20}\.json$", o["Key"])]
    heads = [json.loads(fetch(key).splitlines()[0])["commitInfo"] for key in commits]
    assert {head["engineInfo"] for head in heads} == {f"silt/{made['ingest'].build}"}

    root = unpack(made["maintenance"].path, tmp_path / "maintenance")
    place = {**s3.environment, "SILT_TABLE_ROOT": f"s3://{s3.bucket}/{prefix}/msk"}
    log = tmp_path / "maintenance.log"
    sandbox = runtime.sandbox(root, place, "handler.maintenance.lambda_handler", log)
    try:
        outcome = sandbox.invoke({"silt": "maintain", "tables": ["sales/orders"]})
    finally:
        sandbox.close()
    assert outcome.kind == "response", (outcome, log.read_text())
    (report,) = outcome.payload["tables"]
    assert report["table"] == "sales/orders"


@pytest.mark.parametrize(
    ("function", "name"),
    [("ingest", "handler.app"), ("maintenance", "handler.maintenance, handler.upkeep.worker")],
)
def test_isolated_artifact_loads_nothing_from_elsewhere(
    function: Function,
    name: str,
    made: dict[Function, Artifact],
    runtime: Runtime,
    tmp_path: Path,
) -> None:
    root = unpack(made[function].path, tmp_path / "task")
    loaded = runtime.modules(root, name)
    foreign = {
        module: file
        for module, file in loaded.items()
        if not file.startswith(str(root)) and ("site-packages" in file or str(ROOT) in file)
    }
    assert not foreign
    assert loaded["pyarrow"].startswith(str(root))
    assert "boto3" not in loaded


def test_isolated_artifact_starts_without_parsing_its_contracts(
    made: dict[Function, Artifact], runtime: Runtime, tmp_path: Path
) -> None:
    """YAML and its models would take a third of the init phase."""
    root = unpack(made["ingest"].path, tmp_path / "task")
    start = "handler.app.Function(handler.app.read_settings({'SILT_TABLE_ROOT': '/tmp/lake'}))"
    loaded = runtime.modules(root, "handler.app", start)
    assert "handler.contract.packaged" in loaded
    assert not {"pydantic", "yaml", "handler.contract.load", "pyarrow.compute"} & set(loaded)
    (root / "schemas" / "orders.yaml").write_text((ROOT / "schemas/orders.yaml").read_text() + "\n")
    assert {"pydantic", "yaml"} <= set(runtime.modules(root, "handler.app", start))
