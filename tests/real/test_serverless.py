"""serverless.yml in the real framework: every example is packaged, offline, and compared."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto.cloudformation.models as moto_cloudformation
import pytest

from silt.deployment.cloudformation import cloudformation
from silt.deployment.read import read_deployment
from silt.packaging.artifact import artifact_name
from tests.artifacts import place_artifacts
from tests.builders import ROOT
from tests.lambda_api import LambdaApi, served
from tests.moto_account import moto_account

EXAMPLES = [ROOT / "deploy.yml", *sorted((ROOT / "docs/deployments").glob("*.yml"))]
FRAMEWORK = (
    *("serverless.yml", "serverless.cjs", "before-deploy.cjs", "package.json", "docs", "schemas"),
)


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
    """Run the framework without credentials and, its proxy being nowhere, without a network; or
    with `account`: variables that name one on this machine.
    """
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Of this machine, so that the command finds the same interpreters as the test.
        "HOME": os.environ["HOME"],
        "AWS_CONFIG_FILE": str(checkout / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(checkout / "none"),
        **(account or nowhere),
    }
    return subprocess.run(
        [ROOT / "node_modules/.bin/osls", *arguments],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.nightly
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
    keys = {
        resource["Properties"]["Code"]["S3Key"].rsplit("/", 1)[1]
        for resource in made["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    assert artifact_name("ingest", read_deployment(example).target) in keys


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


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Yield the variables of an account that moto plays; it checks templates by cfn-lint."""
    lint = moto_cloudformation.validate_template_cfn_lint
    # The framework names a role in DependsOn too, which is one time too many.
    monkeypatch.setattr(
        moto_cloudformation,
        "validate_template_cfn_lint",
        lambda template: [match for match in lint(template) if match.rule.id != "W3005"],
    )
    with moto_account() as variables, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Tried to parse", category=UserWarning)
        yield variables


@pytest.mark.nightly
def test_framework_deploys_deploys_again_and_removes(
    checkout: Path, account: dict[str, str]
) -> None:
    """All but the mapping and the alarms, which moto's CloudFormation cannot make."""
    example = checkout / "docs/deployments/msk-iam.yml"
    example.write_text(example.read_text() + "mapping: {create: false}\n")
    place_artifacts(checkout, example)
    param = "--param=deployment=docs/deployments/msk-iam.yml"
    client = boto3.Session("test", "test", region_name="eu-central-1").client(
        "lambda", endpoint_url=account["AWS_ENDPOINT_URL"]
    )
    for memory_mb in (512, 2048):
        if memory_mb != 512:
            example.write_text(example.read_text() + f"function: {{memory_mb: {memory_mb}}}\n")
        done = osls(checkout, "deploy", param, **account)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "ok  credentials, 123456789012" in done.stdout + done.stderr
        answer = {f["FunctionName"]: f for f in client.list_functions()["Functions"]}
        assert set(answer) == {"silt-orders", "silt--maintenance"}
        assert answer["silt-orders"]["MemorySize"] == memory_mb
    done = osls(checkout, "remove", param, **account)
    assert done.returncode == 0, done.stdout + done.stderr
    assert client.list_functions()["Functions"] == []


def test_deployment_that_would_lose_records_on_its_way_is_stopped(
    checkout: Path, account: dict[str, str]
) -> None:
    """From on demand to provisioned pollers in one step: stopped before anything is uploaded."""
    example = checkout / "docs/deployments/msk-iam.yml"
    place_artifacts(checkout, example)
    api = LambdaApi(read_deployment(example))
    for key in ("FunctionResponseTypes", "ProvisionedPollerConfig"):
        del api.mappings[0][key]
    variables = api.functions["silt-orders"]["Environment"]["Variables"]
    variables["SILT_PARTIAL_BATCH_RESPONSE"] = "false"
    param = "--param=deployment=docs/deployments/msk-iam.yml"
    with served(api) as endpoint:
        done = osls(checkout, "deploy", param, **account, AWS_ENDPOINT_URL_LAMBDA=endpoint)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "In two deployments: docs/deploy.md#between-pollers-and-on-demand" in said
    assert "--account 123456789012 failed: see above" in said


def test_deployment_into_another_region_than_its_file_says_is_stopped(
    checkout: Path, account: dict[str, str]
) -> None:
    place_artifacts(checkout, checkout / "deploy.yml")
    done = osls(checkout, "deploy", "--region", "us-west-2", **account)
    assert done.returncode != 0
    assert "--region is us-west-2, and deploy.yml deploys to" in done.stdout + done.stderr
