"""silt package: build the artifacts that run in Lambda."""

import argparse
from pathlib import Path

from silt import output
from silt.deployment.deploy_yml import CONTRACTS
from silt.deployment.read import deployment_file, read_deployment
from silt.packaging.artifact import (
    DIST,
    FUNCTIONS,
    LIMITS_MIB,
    MIB,
    Artifact,
    make,
    up_to_date,
)
from silt.packaging.wheels import ARCHES, DEFAULT_ARCH, DEFAULT_PYTHON, PYTHONS, Platform

EXAMPLE = """example:
  silt package
  silt package --deployment deploy.prod.yml
  silt package --arch x86_64 --python 3.12 --function ingest --out dist --force

deploy.yml says for what they are, and is checked first. The same inputs make the same bytes, so an
artifact that is there and up to date is left alone. It holds the locked packages for the target,
without what never runs; the function; the contracts; byte code, where the target's Python is on
this machine; and its bill of materials (sbom.cdx.json)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--deployment", type=Path, help="default: deploy.yml, if there is one")
    parser.add_argument("--arch", choices=ARCHES, help="in place of the deployment's")
    parser.add_argument("--python", choices=PYTHONS, help="in place of the deployment's")
    parser.add_argument("--contracts", type=Path, help="in place of the deployment's")
    parser.add_argument("--function", choices=FUNCTIONS, help="default: both")
    parser.add_argument("--out", type=Path, default=DIST, help=f"default: {DIST}")
    parser.add_argument("--force", action="store_true", help="build even what is up to date")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Make the artifacts that are missing or old, and print what all weigh."""
    target, contracts = _asked(options)
    made = []
    for function in [options.function] if options.function else FUNCTIONS:
        with output.progress(f"packaging {function}", "") as _advance:
            asked = (function, target, contracts, options.out)
            artifact = (None if options.force else up_to_date(*asked)) or make(*asked)
        made.append(artifact)
        if not options.json:
            _print(artifact)
    if options.json:
        output.as_json([_as_json(artifact) for artifact in made])
    return 0


def _asked(options: argparse.Namespace) -> tuple[Platform, Path]:
    """Return target and contracts: as given, as the deployment says, or the defaults."""
    target, contracts = Platform(DEFAULT_ARCH, DEFAULT_PYTHON), Path(CONTRACTS)
    file = deployment_file(options.deployment)
    if file is not None:
        deployment = read_deployment(file)
        target, contracts = deployment.target, deployment.contracts
    chosen = Platform(options.arch or target.arch, options.python or target.python)
    return chosen, options.contracts or contracts


def _print(artifact: Artifact) -> None:
    whole = artifact.unzipped
    limit = LIMITS_MIB[artifact.function]
    rows = [
        [name, f"{size / MIB:.2f}", f"{size / whole:.0%}"] for name, size in artifact.sizes.items()
    ]
    rows.append(["all", f"{whole / MIB:.2f}", f"of {limit} allowed"])
    title = f"silt-{artifact.function} {artifact.build}, unzipped"
    output.table(title, ["package", "MiB", "share"], rows)
    output.say(f"{artifact.path}  {artifact.path.stat().st_size / MIB:.1f} MiB")
    output.say(f"sha256 {artifact.sha256}")
    if not artifact.byte_code:
        output.say(
            f"No Python {artifact.target.python} is on this machine, so there is no byte code in "
            "it, and each cold start compiles it again: docs/performance.md#cold-start. Install "
            f"that Python (uv python install {artifact.target.python}), or choose "
            "another with --python.",
            "yellow",
        )


def _as_json(artifact: Artifact) -> dict[str, object]:
    return {
        "function": artifact.function,
        "arch": artifact.target.arch,
        "python": artifact.target.python,
        "build": artifact.build,
        "path": str(artifact.path),
        "sha256": artifact.sha256,
        "zipped_bytes": artifact.path.stat().st_size,
        "unzipped_bytes": artifact.unzipped,
        "byte_code": artifact.byte_code,
        "sizes": artifact.sizes,
    }
