"""silt doctor: what is wrong with a deployment, and how to fix it."""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from handler.contract.contract import by_topic
from handler.contract.load import load_contracts
from handler.errors import ContractError, counted
from handler.health import Finding, healthy
from silt import output
from silt.command_errors import DeploymentError, UsageError
from silt.deployment.deploy_yml import CONTRACTS
from silt.deployment.plan import Deployment, TopicDeployment
from silt.deployment.read import DEPLOYMENT, read_deployment
from silt.doctor.checks import Broker, of_broker, of_deployment, of_next_deployment, of_tables
from silt.kafka_options import add_broker_arguments, client_of

EXAMPLE = """example:
  silt doctor
  silt doctor deploy.prod.yml --topic orders --json
  silt doctor --before-deploy
  silt doctor --bootstrap-servers kafka-1:9096 --kafka security.protocol=SSL
  silt doctor --table-root .silt/tables

It reads, tries what an append needs of the store (one empty object, _silt_probe, stays in a table's
folder), and asks the functions to do the same with their own roles. It changes nothing else. It
ends with 1 where something is wrong; a warning, or what it may not look at, is not that."""
MARKS = {"ok": "ok", "warning": "!", "wrong": "WRONG", "unknown": "?"}
COLORS = {"ok": "green", "warning": "yellow", "wrong": "red", "unknown": "yellow"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("deployment", nargs="?", type=Path, help="default: deploy.yml")
    parser.add_argument("--topic", action="append", default=[], help="only this one; may repeat")
    parser.add_argument(
        "--table-root", help="look at tables here alone, without a deployment or AWS's services"
    )
    parser.add_argument(
        "--contracts", default=CONTRACTS, help="with --table-root: the folder of contracts"
    )
    add_broker_arguments(parser, "look at the broker too, from this machine")
    parser.add_argument(
        "--no-invoke", action="store_true", help="do not ask the functions for their own health"
    )
    parser.add_argument(
        "--before-deploy",
        action="store_true",
        help="only check what the deployment would lose or break compared with what is deployed "
        "now",
    )
    parser.add_argument(
        "--account", metavar="NUMBER", help="with --before-deploy: the account that is deployed to"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Look at everything and print each finding. Returns 1 if anything is wrong."""
    findings: list[Finding] = []
    for finding in _look(options):
        if finding in findings:
            continue  # topics share a broker, a role's bucket, that of failed batches
        findings.append(finding)
        if not options.json:
            _print(finding)
    if options.json:
        output.as_json(
            {"healthy": healthy(findings), "findings": [each.as_json() for each in findings]}
        )
    else:
        counts = {state: sum(f.state == state for f in findings) for state in MARKS}
        output.say(
            f"{counts['ok']} ok, {counted(counts['warning'], 'warning')}, {counts['wrong']} wrong, "
            f"{counts['unknown']} unknown."
        )
    return int(not healthy(findings))


def _look(options: argparse.Namespace) -> Iterator[Finding]:
    if options.table_root is not None:
        given = (options.deployment, options.bootstrap_servers)
        if options.before_deploy or any(each is not None for each in given):
            raise UsageError("Give either --table-root alone, or a deployment.")
        yield from _look_at_tables(options)
        return
    client = client_of(options.kafka, options.bootstrap_servers)
    file = options.deployment or DEPLOYMENT
    try:
        deployment = read_deployment(file)
    except (DeploymentError, ContractError) as error:
        for problem in error.problems:
            yield Finding("deployment", str(file), "wrong", problem, "Fix the file: silt check")
        return
    topics = _choose(deployment, options.topic)
    if options.before_deploy:
        yield from of_next_deployment(deployment, topics, options.account)
        return
    invoke = not options.no_invoke
    yield from of_deployment(deployment, topics, invoke=invoke)
    if options.bootstrap_servers is None:
        reason, fix = "not checked from this machine", "Give --bootstrap-servers."
        if deployment.model.msk is not None and deployment.model.msk.authentication == "iam":
            reason += ", whose client cannot sign for IAM"
            fix = "What the pollers say is above: mapping result, and lag."
        yield Finding("kafka", str(file), "unknown", reason, fix)
    else:
        yield from of_broker(topics, Broker(options.bootstrap_servers, client))


def _look_at_tables(options: argparse.Namespace) -> Iterator[Finding]:
    try:
        contracts = by_topic(load_contracts(options.contracts))
    except ContractError as error:
        for problem in error.problems:
            fix = "Fix the contract: silt check"
            yield Finding("contract", options.contracts, "wrong", problem, fix)
        return
    if unknown := [topic for topic in options.topic if topic not in contracts]:
        raise UsageError(f"There is no contract for {', '.join(unknown)}.")
    topics = options.topic or sorted(contracts)
    chosen = chain.from_iterable(contracts[topic] for topic in topics)
    yield from of_tables(list(chosen), options.table_root)


def _choose(deployment: Deployment, names: list[str]) -> list[TopicDeployment]:
    by_name = {topic.topic: topic for topic in deployment.topics}
    if unknown := [name for name in names if name not in by_name]:
        raise UsageError(
            f"{deployment.file} has no topic {', '.join(unknown)}, only {', '.join(by_name)}."
        )
    return [by_name[name] for name in names] if names else list(deployment.topics)


def _print(finding: Finding) -> None:
    mark = MARKS[finding.state]
    lines = finding.reason.splitlines() or [""]
    output.say(f"{mark:>5}  {finding.check}, {finding.subject}: {lines[0]}", COLORS[finding.state])
    for line in lines[1:]:
        output.say(f"       {line}")
    if finding.fix and finding.state != "ok":
        output.say(f"       -> {finding.fix}")
