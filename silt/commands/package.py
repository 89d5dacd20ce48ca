"""silt package: make the artifacts that run in Lambda."""

import argparse
from pathlib import Path

from silt import output
from silt.packaging.artifact import FUNCTIONS, LIMITS_MIB, MIB, Artifact, make
from silt.packaging.wheels import ARCHES, PYTHONS, Target

EXAMPLE = """example:
  silt package
  silt package --arch x86_64 --python 3.12 --function ingest --out dist

The same inputs make the same bytes. An artifact holds the locked packages for the target, without
what never runs; the function; the contracts; byte code, where the target's Python is on this
machine; and its bill of materials (sbom.cdx.json)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--arch", choices=ARCHES, default="arm64", help="default: arm64")
    parser.add_argument("--python", choices=PYTHONS, default="3.13", help="default: 3.13")
    parser.add_argument("--function", choices=FUNCTIONS, help="default: both")
    parser.add_argument("--contracts", default="schemas", help="folder of contracts")
    parser.add_argument("--out", default="dist", help="where to put them; default: dist")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Make the artifacts and print what they weigh."""
    target = Target(options.arch, options.python)
    made = []
    for function in [options.function] if options.function else FUNCTIONS:
        with output.progress(f"packaging {function}", "") as _advance:
            artifact = make(function, target, Path(options.contracts), Path(options.out))
        made.append(artifact)
        if not options.json:
            _print(artifact)
    if options.json:
        output.as_json([_as_json(artifact) for artifact in made])
    return 0


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
            "it, and each cold start compiles anew: docs/performance.md#cold-start. Install that "
            "Python, or choose another with --python.",
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
