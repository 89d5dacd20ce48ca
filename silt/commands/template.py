"""silt template: the deployment as a template of CloudFormation, without Node.js."""

import argparse
from pathlib import Path

from silt import output
from silt.deployment.read import DEPLOYMENT, read_deployment
from silt.deployment.template import cloudformation, serverless

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
    """Print the template of a deployment."""
    deployment = read_deployment(options.deployment)
    if options.serverless:
        output.as_json(serverless(deployment))
    elif options.json:
        output.as_json(cloudformation(deployment))
    else:
        output.as_yaml(cloudformation(deployment))
    return 0
