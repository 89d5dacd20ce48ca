"""What AWS says: who we are, the bucket, the functions, their roles and mappings, the lag."""

import datetime as dt
import email.utils
import json
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError

from handler.errors import counted
from handler.health import CLOCK_SKEW_MAX_MS, Finding
from silt.deployment.deploy_yml import DeploymentModel
from silt.deployment.functions import LambdaFunction, lambda_function
from silt.deployment.permissions import Statement
from silt.deployment.plan import TopicDeployment
from silt.doctor.resolve import resolved

LOG_IN = "Log in: set AWS_PROFILE, run aws sso login, or set AWS_ACCESS_KEY_ID and its secret."
CONNECT = "AWS is not reached: look at the network, the proxy (HTTPS_PROXY) and the region's name."
_MAY = "Ask for the permission, or use a role that has it."
_LAG_MINUTES = 15
FAILED = (ClientError, BotoCoreError, ResponseParserError)
"""How a request to AWS fails: refused, not sent, or answered by something else than AWS."""


class Account:
    """One account and region, asked with the credentials of this machine."""

    def __init__(self, region: str) -> None:
        """Raises BotoCoreError for a profile that is not there."""
        self._session = boto3.Session(region_name=region)
        self.region = region
        self.number: str | None = None
        self._listed: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
        self.partition = self._session.get_partition_for_region(region)

    def client(self, service: str, read_timeout_s: float = 20) -> Any:
        """Return a client of a service, which gives up soon."""
        retries = {"max_attempts": 2, "mode": "standard"}
        config = Config(connect_timeout=5, read_timeout=read_timeout_s, retries=retries)
        return self._session.client(service, config=config)

    def identity(self) -> Iterator[Finding]:
        """Give who we are, and how this machine's clock goes beside AWS's."""
        try:
            response = self.client("sts").get_caller_identity()
        except FAILED as error:
            yield no_credentials(self.region, error)
            return
        self.number = response["Account"]
        yield Finding("credentials", response["Account"], "ok", response["Arn"])
        date = response["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
        if date is not None:
            yield clock(email.utils.parsedate_to_datetime(date), dt.datetime.now(dt.UTC))

    def bucket(self, name: str) -> Finding:
        """Return whether a bucket is there, ours to use, and in this region."""
        try:
            response = self.client("s3").head_bucket(Bucket=name)
        except ClientError as error:
            response = error.response
            code = response["ResponseMetadata"]["HTTPStatusCode"]
            if code == 404:
                fix = "Create it, or set create_bucket: true in deploy.yml. Is its name right?"
                return Finding("bucket", name, "wrong", "there is no such bucket", fix)
            if code != 301:  # of another region, which the answer names
                return Finding("bucket", name, "wrong", str(error), _MAY)
        except FAILED as error:
            return Finding("bucket", name, "wrong", str(error), "Is S3 reachable from here?")
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        region = response.get("BucketRegion") or headers.get("x-amz-bucket-region") or self.region
        if region != self.region:
            reason = (
                f"it is in {region}, the functions are in {self.region}: slower, and traffic "
                "costs money"
            )
            return Finding("bucket", name, "warning", reason, "Use a bucket of the same region.")
        return Finding("bucket", name, "ok", f"in {region}")

    def configuration(self, function: str) -> Mapping[str, Any] | Finding:
        """Return how a function is deployed, or why that is not known."""
        try:
            response = self.client("lambda").get_function_configuration(FunctionName=function)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ResourceNotFoundException":
                reason, fix = "it is not deployed", "Deploy: docs/deploy.md#first-deployment"
                return Finding("function", function, "wrong", reason, fix)
            return Finding("function", function, "unknown", str(error), _MAY)
        except FAILED as error:
            return Finding("function", function, "unknown", str(error), "Is Lambda reachable?")
        return dict(response)

    def mappings(self, **filters: str) -> list[Mapping[str, Any]] | Finding:
        """Return mappings by FunctionName or EventSourceArn, or why that is not known.

        Those of a cluster are listed once, for all of its topics.
        """
        key = (*filters, *filters.values())
        try:
            if key not in self._listed:
                pages = self.client("lambda").get_paginator("list_event_source_mappings")
                self._listed[key] = [
                    m for page in pages.paginate(**filters) for m in page["EventSourceMappings"]
                ]
        except FAILED as error:
            subject = " ".join(filters.values()) or self.region
            return Finding("mapping", subject, "unknown", str(error), _MAY)
        return self._listed[key]

    def health(self, function: str) -> Iterator[Finding]:
        """Give what the function itself finds, with its own role and network."""
        payload = json.dumps({"silt": "health"}).encode()
        try:
            answer = self.client("lambda", read_timeout_s=120).invoke(
                FunctionName=function, Payload=payload
            )
            response = json.loads(answer["Payload"].read())
        except (*FAILED, ValueError) as error:
            yield Finding("health", function, "unknown", str(error), _MAY)
            return
        if "FunctionError" in answer:
            reason = f"{response.get('errorType')}: {response.get('errorMessage')}"
            fix = "Look into its log; docs/troubleshooting.md has the messages."
            yield Finding("health", function, "wrong", reason, fix)
            return
        try:
            findings = [Finding(**finding) for finding in response["findings"]]
            build = str(response["build"])
        except (TypeError, KeyError):
            reason, fix = (
                "its answer is not that of this release",
                "Deploy again: docs/deploy.md#upgrade",
            )
            yield Finding("health", function, "unknown", reason, fix)
            return
        yield Finding("build", function, "ok", build)
        yield from findings

    def permissions(
        self, function: str, role: str, statements: list[Statement], destination: str | None
    ) -> Iterator[Finding]:
        """Give what the role may not do that it needs, by IAM's own simulator."""
        client = self.client("iam")
        # Where none is known any bucket serves: what counts is whether the action is allowed.
        made = {"OnFailureBucket": destination or f"arn:{self.partition}:s3:::on-failure"}
        denied = []
        try:
            for statement in statements:
                resources = [resolved(r, self._pseudo(), made) for r in statement.resources]
                denied += self._denied(client, role, statement, resources)
        except FAILED as error:
            fix = "Allow iam:SimulatePrincipalPolicy to who runs the doctor, or trust `health`."
            yield Finding("role", function, "unknown", str(error), fix)
            return
        for action, resource, why in denied:
            fix = f"Allow it: {why} docs/permissions.md"
            yield Finding("role", function, "wrong", f"{action} on {resource} is denied", fix)
        if not denied:
            yield Finding(
                "role", function, "ok", f"{counted(len(statements), 'statement')} simulated"
            )

    def _denied(
        self, client: Any, role: str, statement: Statement, resources: list[str]
    ) -> list[tuple[str, str, str]]:
        context = []
        if statement.condition is not None:
            ((_operator, keys),) = statement.condition.items()
            for key, values in keys.items():
                value = values[0] if isinstance(values, list) else self.region
                context.append(
                    {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
                )
        response = client.simulate_principal_policy(
            PolicySourceArn=role,
            ActionNames=list(statement.actions),
            # The simulator takes a name instead of a wildcard at the end.
            ResourceArns=[r if r == "*" else r.replace("*", "x") for r in resources],
            ContextEntries=context,
        )
        return [
            (result["EvalActionName"], result.get("EvalResourceName", "*"), statement.why)
            for result in response["EvaluationResults"]
            if result["EvalDecision"] != "allowed"
        ]

    def _pseudo(self) -> dict[str, str]:
        return {
            "AWS::Partition": self.partition,
            "AWS::Region": self.region,
            "AWS::AccountId": self.number or "",
        }

    def lag(self, topic: TopicDeployment, function: str, mapping_id: str) -> Finding:
        """Return how far behind a mapping was at most, of late, as CloudWatch knows it."""
        metric, limit, topic_name = topic.lag_metric, topic.alarms.lag_records, topic.topic
        dimension = {"Name": "FunctionName", "Value": function}
        if topic.provisioned:
            dimension = {"Name": "EventSourceMappingUUID", "Value": mapping_id}
        now = dt.datetime.now(dt.UTC)
        try:
            response = self.client("cloudwatch").get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName=metric,
                Dimensions=[dimension],
                StartTime=now - dt.timedelta(minutes=_LAG_MINUTES),
                EndTime=now,
                Period=60,
                Statistics=["Maximum"],
            )
        except FAILED as error:
            return Finding("lag", topic_name, "unknown", str(error), _MAY)
        points = sorted(response["Datapoints"], key=lambda point: point["Timestamp"])
        if not points:
            reason = f"no {metric} in {_LAG_MINUTES} minutes"
            fix = "Is the mapping enabled, and has it the MetricsConfig of the template?"
            return Finding("lag", topic_name, "unknown", reason, fix)
        latest = int(points[-1]["Maximum"])
        if latest > limit:
            fix = "More pollers, or larger batches: docs/sizing.md"
            return Finding("lag", topic_name, "warning", f"{counted(latest, 'record')} behind", fix)
        return Finding("lag", topic_name, "ok", f"{counted(latest, 'record')} behind at most")


def no_credentials(region: str, error: Exception) -> Finding:
    """Return that nothing can be asked, and whether it is the network or who asks."""
    if isinstance(error, NoConnection | HTTPClientError):
        return Finding("network", region, "wrong", str(error), CONNECT)
    return Finding("credentials", region, "wrong", str(error), LOG_IN)


def clock(theirs: dt.datetime, ours: dt.datetime) -> Finding:
    """Return how a clock goes beside AWS's, whose answers are dated to the second."""
    skew_s = (ours - theirs).total_seconds()
    if abs(skew_s) * 1000 <= CLOCK_SKEW_MAX_MS:
        return Finding("clock", "this machine", "ok", f"within {abs(skew_s):.0f} s of AWS's")
    reason = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} AWS's"
    return Finding("clock", "this machine", "wrong", reason, "Set the clock by NTP.")


def of_function(
    model: DeploymentModel, function: LambdaFunction, response: Mapping[str, Any]
) -> Iterator[Finding]:
    """Give how a function is, and what is deployed otherwise than deploy.yml says now."""
    state, update = response.get("State", "Active"), response.get("LastUpdateStatus", "Successful")
    if state not in ("Active", "Inactive") or update == "Failed":
        reason = (
            response.get("StateReason")
            or response.get("LastUpdateStatusReason")
            or f"{state}, {update}"
        )
        yield Finding("function", function.name, "wrong", str(reason), "Fix that and deploy again.")
    expected = lambda_function(model, function)["Properties"]
    differs = [
        f"{name} is {response.get(name)}, and deploy.yml makes it {expected[name]}"
        for name in ("Runtime", "Architectures", "Handler", "MemorySize", "Timeout")
        if response.get(name) != expected[name]
    ]
    environment = response.get("Environment") or {}
    if "Error" in environment:
        reason = f"its environment cannot be read: {environment['Error'].get('Message')}"
        yield Finding("function settings", function.name, "unknown", reason, _MAY)
        variables = dict(function.environment)
    else:
        variables = environment.get("Variables") or {}
    for name in sorted({*variables, *function.environment}):
        if name.startswith("SILT_") and variables.get(name) != function.environment.get(name):
            now, then = variables.get(name), function.environment.get(name)
            differs.append(f"{name} is {now!r}, and deploy.yml makes it {then!r}")
    for reason in differs:
        fix = "Deploy again: docs/deploy.md#upgrade"
        yield Finding("function settings", function.name, "warning", reason, fix)
    if not differs:
        yield Finding("function", function.name, "ok", f"{state}, as deploy.yml says")
