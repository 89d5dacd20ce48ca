"""silt template: the deployment as a template of CloudFormation, without Node.js."""

import argparse
from pathlib import Path

from silt import output
from silt.deployment.cloudformation import cloudformation, serverless
from silt.deployment.plan import Deployment
from silt.deployment.read import DEPLOYMENT, read_deployment
from silt.packaging.artifact import DIST, FUNCTIONS, artifact_name, up_to_date

EXAMPLE = """example:
  silt template > template.yml
  silt template deploy.prod.yml --json

The same resources as serverless.yml makes, from the same deploy.yml. The artifacts are named by
their paths: docs/deploy.md#without-nodejs has the commands that upload and deploy them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "deployment", nargs="?", type=Path, default=DEPLOYMENT, help="default: deploy.yml"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--serverless", action="store_true", help="print what serverless.yml includes, as JSON"
    )


def run(options: argparse.Namespace) -> int:
    """Print the template of a deployment, and on standard error what it names that is not there."""
    deployment = read_deployment(options.deployment)
    if options.serverless:
        output.as_json(serverless(deployment))
        return 0
    if options.json:
        output.as_json(cloudformation(deployment))
    else:
        output.as_yaml(cloudformation(deployment))
    for path in _not_made(deployment):
        output.complain(
            f"{path} does not exist, or was built from other contracts or another release. Before "
            f"you upload it, run: silt package --deployment {options.deployment}"
        )
    return 0


def _not_made(deployment: Deployment) -> list[Path]:
    """Return the artifacts that the template names and that are not made of what is here now."""
    with_maintenance = deployment.model.maintenance.enabled
    return [
        DIST / artifact_name(function, deployment.target)
        for function in FUNCTIONS
        if (function != "maintenance" or with_maintenance)
        and up_to_date(function, deployment.target, deployment.contracts, DIST) is None
    ]
