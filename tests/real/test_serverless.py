"""serverless.yml in the real framework: every example is packaged, offline, and compared."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from silt.deployment.read import read_deployment
from silt.deployment.template import cloudformation
from silt.packaging.artifact import FUNCTIONS, artifact_name, build_of
from silt.packaging.wheels import Target
from tests.builders import ROOT
from tests.lambda_api import LambdaApi, served

EXAMPLES = [ROOT / "deploy.yml", *sorted((ROOT / "docs/deployments").glob("*.yml"))]
FRAMEWORK = ("serverless.yml", "serverless.cjs", "package.json", "docs", "schemas")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with what the framework reads, so that tests do not meet in its output."""
    for name in (*FRAMEWORK, "deploy.yml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    return tmp_path


def osls(checkout: Path, *arguments: str, **account: str) -> "subprocess.CompletedProcess[str]":
    """Run the framework without a network, its proxy being nowhere; `account` are variables that
    name one on this machine.
    """
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Of this machine, so that the command finds the same interpreters as the test.
        "HOME": os.environ["HOME"],
        "AWS_CONFIG_FILE": str(checkout / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(checkout / "none"),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        **account,
    }
    return subprocess.run(
        [ROOT / "node_modules/.bin/osls", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def place_artifacts(checkout: Path, example: Path) -> None:
    """Put stand-ins that are up to date where `silt package` would put the artifacts.

    That it makes the real ones is the matter of tests/test_artifact.py and of CI's `make package`.
    """
    model = read_deployment(example).model
    target = Target(model.architecture, model.python)
    (checkout / "dist").mkdir()
    for function in FUNCTIONS:
        build = build_of(function, target, example.parent / model.contracts)
        with zipfile.ZipFile(checkout / "dist" / artifact_name(function, target), "w") as archive:
            told = {"function": function, "build": build, **asdict(target), "byte_code": True}
            archive.writestr("silt.json", json.dumps(told))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_framework_packages_each_example_as_silt_template_prints_it(
    example: Path, checkout: Path
) -> None:
    inside = checkout / example.relative_to(ROOT)
    place_artifacts(checkout, example)
    done = osls(checkout, "package", f"--param=deployment={inside.relative_to(checkout)}")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(
        (checkout / ".serverless/cloudformation-template-update-stack.json").read_text()
    )
    wanted = cloudformation(read_deployment(example))
    own = {"ServerlessDeploymentBucket", "ServerlessDeploymentBucketPolicy"}
    assert set(made["Resources"]) - own == set(wanted["Resources"])
    for key, resource in wanted["Resources"].items():
        assert comparable(made["Resources"][key]) == comparable(resource), key
    model = read_deployment(example).model
    keys = {
        resource["Properties"]["Code"]["S3Key"].rsplit("/", 1)[1]
        for resource in made["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    target = Target(model.architecture, model.python)
    assert artifact_name("ingest", target) in keys


def comparable(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource without what the framework says of its order and where its code is."""
    if resource["Type"] != "AWS::Lambda::Function":
        return resource
    properties = {key: v for key, v in resource["Properties"].items() if key != "Code"}
    return {"Type": resource["Type"], "Properties": properties}


def test_deployment_that_would_lose_records_is_refused_by_the_framework(checkout: Path) -> None:
    file = checkout / "deploy.yml"
    file.write_text(
        file.read_text() + "mapping: {pollers: on_demand, partial_batch_response: true}\n"
    )
    done = osls(checkout, "package")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "deploy.yml:" in said
    assert "AWS ignores partial batch responses without provisioned pollers" in said
    assert not (checkout / ".serverless").exists()


def test_deployment_that_would_lose_records_on_its_way_is_stopped(checkout: Path) -> None:
    """From on demand to provisioned pollers in one step: stopped before anything is uploaded."""
    example = checkout / "docs/deployments/msk-iam.yml"
    place_artifacts(checkout, example)
    api = LambdaApi(read_deployment(example))
    for key in ("FunctionResponseTypes", "ProvisionedPollerConfig"):
        del api.mappings[0][key]
    variables = api.functions["silt-orders"]["Environment"]["Variables"]
    variables["SILT_PARTIAL_BATCH_RESPONSE"] = "false"
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    try:
        with served(api) as endpoint:
            done = osls(
                checkout,
                "deploy",
                "--param=deployment=docs/deployments/msk-iam.yml",
                AWS_ACCESS_KEY_ID="test",
                AWS_SECRET_ACCESS_KEY="test",
                AWS_ENDPOINT_URL="http://{}:{}".format(*moto.get_host_and_port()),
                AWS_ENDPOINT_URL_LAMBDA=endpoint,
            )
    finally:
        moto.stop()
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "In two deployments: docs/deploy.md#between-pollers-and-on-demand" in said
    assert "--before-deploy failed: see above" in said
