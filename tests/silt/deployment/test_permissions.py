"""The roles' policies against the requests that the functions really make, seen by a proxy."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from handler.maintenance import Maintenance
from handler.settings import Settings
from silt.deployment.functions import functions_of
from silt.deployment.permissions import policy
from silt.deployment.read import read_deployment
from silt.local.s3 import LocalS3
from tests.builders import ROOT, SMALL, event, function_for, record
from tests.deployments import write_example
from tests.policy import Asked, allowed, asked_of, text
from tests.torture.proxy import FaultProxy, Request

EXAMPLES = sorted((ROOT / "docs/deployments").glob("*.yml"))
CONTRACT = SMALL.replace(
    "  name: {type: string}", "  name: {type: string}\n  day: {type: date}"
) + (
    "partition_by: [day]\ncircuit_breaker: {ratio: 1.0}\n"
    "maintenance: {quiet_for: 0m, checkpoint_commits: 2}\n"
)


class Watch:
    """Every request that a proxy sees."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def plan(self, request: Request) -> None:
        self.requests.append(request)

    def asked(self) -> set[Asked]:
        return {asked for request in self.requests for asked in asked_of(request)}

    def take(self) -> set[Asked]:
        asked = self.asked()
        self.requests.clear()
        return asked


@pytest.fixture
def watch(s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    found = Watch()
    with FaultProxy(s3.endpoint, plan=found.plan) as proxy:
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield found


def statements_for(folder: Path, table_root: str) -> tuple[list[Any], list[Any]]:
    """Return the policies of the topic's role and of maintenance, for a deployment of a test."""
    file = write_example(folder, contracts="contracts", table_root=table_root)
    ingest, maintenance = functions_of(read_deployment(file))
    return policy(ingest.statements)["Statement"], policy(maintenance.statements)["Statement"]


def test_policies_allow_what_the_functions_ask_of_s3_and_little_else(
    s3: LocalS3, watch: Watch, tmp_path: Path
) -> None:
    """Goal: least privilege. Method: appends, rejects, evolution, look-ups, conflicts, a cold start
    behind a checkpoint; then compaction, checkpoint, vacuum and cleaning; each request is judged,
    and each action that is allowed on S3 must have been asked for."""
    root = f"s3://{s3.bucket}/{tmp_path.name}"
    first = function_for(tmp_path, CONTRACT, table_root=root, health_check=True)
    ingest, maintenance = statements_for(tmp_path, root)

    def deliver(function: Any, *offsets: int) -> None:
        batch = [
            record(o, b"bad" if o % 5 == 4 else {"id": o, "day": f"2026-05-0{1 + o % 3}"})
            for o in offsets
        ]
        assert function.handle(event(batch), None) == {"batchItemFailures": []}

    for start in range(0, 40, 10):
        deliver(first, *range(start, start + 10))
    deliver(first, *range(35, 45))  # some of them again: look-ups in both tables
    second = function_for(tmp_path, CONTRACT, table_root=root)
    deliver(second, 100, 101)
    deliver(first, 102, 103)  # loses the race once: reads what came
    widened = CONTRACT.replace("  day:", "  more: {type: long}\n  day:")
    deliver(function_for(tmp_path, widened, table_root=root), 110, 111)
    asked = watch.take()
    assert {a.action for a in asked} == {"s3:GetObject", "s3:PutObject", "s3:ListBucket"}
    refused = [a for a in asked if not allowed(ingest, a)]
    assert refused == []

    uri = f"{root}/sales/orders"
    settings = Settings(table_root=root, contracts=str(tmp_path / "contracts"))
    answer = Maintenance(settings).handle({}, None)["tables"]
    assert answer[0]["partitions_compacted"] > 0
    # As the worker vacuums and cleans, of what is younger than it would ever be asked for. In a
    # process of its own: the engine would hold the lock that the proxy's thread needs.
    code = (
        "import sys; from deltalake import DeltaTable; table = DeltaTable(sys.argv[1])\n"
        "table.alter.set_table_properties({'delta.logRetentionDuration': 'interval 0 hours'})\n"
        "gone = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False,\n"
        "                    full=True)\n"
        "table.create_checkpoint(); table.cleanup_metadata(); print(len(gone))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    asked |= (by_maintenance := watch.take())
    assert "s3:DeleteObject" in {a.action for a in by_maintenance}
    # A bulk delete names its keys in the body: those of the table's folder.
    judged = {
        Asked(a.action, f"arn:aws:s3:::{s3.bucket}/{tmp_path.name}/sales/orders/part-0.parquet")
        if a.resource.endswith("?delete")
        else a
        for a in by_maintenance
    }
    assert [a for a in judged if not allowed(maintenance, a)] == []
    # And the ingest role could not have done that.
    assert [a for a in judged if a.action == "s3:DeleteObject" and allowed(ingest, a)] == []

    used = {a.action for a in asked}
    for statements in (ingest, maintenance):
        on_s3 = {action for s in statements for action in s["Action"] if action.startswith("s3:")}
        assert on_s3 - used <= {"s3:AbortMultipartUpload"}  # of an upload that failed


def test_neighbors_of_a_table_are_out_of_reach(s3: LocalS3, tmp_path: Path) -> None:
    root = f"s3://{s3.bucket}/{tmp_path.name}"
    function_for(tmp_path, CONTRACT)
    ingest, maintenance = statements_for(tmp_path, root)
    place = f"arn:aws:s3:::{s3.bucket}/{tmp_path.name}"
    for statements in (ingest, maintenance):
        assert allowed(statements, Asked("s3:GetObject", f"{place}/sales/orders/_delta_log/0.json"))
        for other in ("sales/orders2/x", "sales/ordersX__dead_letters/x", "sales/x", "x"):
            for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
                assert not allowed(statements, Asked(action, f"{place}/{other}")), other
        elsewhere = (("s3:prefix", f"{tmp_path.name}/hr/salaries/"),)
        bucket = f"arn:aws:s3:::{s3.bucket}"
        assert not allowed(statements, Asked("s3:ListBucket", bucket, elsewhere))
    assert not allowed(ingest, Asked("s3:DeleteObject", f"{place}/sales/orders/part-0.parquet"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_no_statement_has_a_wildcard_action_and_few_have_every_resource(example: Path) -> None:
    deployment = read_deployment(example)
    for function in functions_of(deployment):
        for statement in policy(function.statements)["Statement"]:
            assert not [action for action in statement["Action"] if "*" in action]
            if "*" in map(text, statement["Resource"]):
                # AWS knows no resource for these, or asks for all of them: docs/permissions.md.
                assert set(statement["Action"]) <= {
                    "kafka:GetBootstrapBrokers",
                    "ec2:CreateNetworkInterface",
                    "ec2:DescribeNetworkInterfaces",
                    "ec2:DescribeVpcs",
                    "ec2:DeleteNetworkInterface",
                    "ec2:DescribeSubnets",
                    "ec2:DescribeSecurityGroups",
                    "ec2:AssignPrivateIpAddresses",
                    "ec2:UnassignPrivateIpAddresses",
                }
        sids = [statement.sid for statement in function.statements]
        assert len(sids) == len(set(sids))
        size = len(json.dumps(policy(function.statements)))
        assert size < 10_240  # of an inline policy of a role: 'IAM and AWS STS quotas'


def test_only_maintenance_deletes_and_nobody_invokes_a_function() -> None:
    for example in EXAMPLES:
        deployment = read_deployment(example)
        for function in functions_of(deployment):
            actions = {action for s in function.statements for action in s.actions}
            is_maintenance = function.key == "Maintenance"
            assert ("s3:DeleteObject" in actions) == is_maintenance
            assert "lambda:InvokeFunction" not in actions


def test_page_names_every_action_of_every_example_by_role() -> None:
    page = (ROOT / "docs/permissions.md").read_text()
    answer: dict[str, set[str]] = {"topic": set(), "maintenance": set()}
    for row in re.findall(r"^\| ([a-z, ]+) \| (.+?) \|", page, re.MULTILINE):
        for role in row[0].split(", "):
            answer.setdefault(role, set()).update(re.findall(r"`([a-z0-9-]+:\w+)`", row[1]))
    granted: dict[str, set[str]] = {"topic": set(), "maintenance": set()}
    for example in EXAMPLES:
        for function in functions_of(read_deployment(example)):
            role = "maintenance" if function.key == "Maintenance" else "topic"
            granted[role] |= {action for s in function.statements for action in s.actions}
    assert {role: answer[role] for role in granted} == granted
