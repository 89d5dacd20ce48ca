"""Stand-ins for the artifacts that `silt package` makes."""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

from silt.deployment.read import read_deployment
from silt.packaging.artifact import FUNCTIONS, artifact_name, build_of


def place_artifacts(checkout: Path, example: Path) -> None:
    """Put stand-ins that are up to date where `silt package` would put the artifacts.

    That it makes the real ones is the matter of tests/test_artifact.py and of CI's `make package`.
    """
    deployment = read_deployment(example)
    target = deployment.target
    (checkout / "dist").mkdir()
    for function in FUNCTIONS:
        build = build_of(function, target, deployment.contracts)
        with zipfile.ZipFile(checkout / "dist" / artifact_name(function, target), "w") as archive:
            answer = {"function": function, "build": build, **asdict(target), "byte_code": True}
            archive.writestr("silt.json", json.dumps(answer))
