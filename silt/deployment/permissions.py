"""What each role may do, and why: `docs/permissions.md` is made from these statements."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from silt.deployment.deploy_yml import DeploymentModel
from silt.deployment.mapping_section import Msk, SelfManaged
from silt.deployment.names import bucket_and_prefix, function_name, maintenance_name, on_failure_arn
from silt.deployment.plan import Deployment, TopicDeployment

NETWORK = (
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
)
"""What Lambda does in a VPC with the role of whatever runs there."""
OF_POLLERS = ("ec2:DescribeSecurityGroups", "ec2:DescribeVpcs")
"""And for pollers ('Configuring Lambda permissions for Amazon MSK')."""
OF_FUNCTIONS = ("ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses")
"""And for functions ('AWSLambdaVPCAccessExecutionRole')."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of a policy, with its reason."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[Any, ...]
    why: str
    condition: dict[str, Any] | None = None

    def as_policy(self) -> dict[str, Any]:
        """Return it as IAM writes it."""
        statement: dict[str, Any] = {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": list(self.resources),
        }
        if self.condition is not None:
            statement["Condition"] = self.condition
        return statement


def of_topic(deployment: Deployment, topic: TopicDeployment) -> list[Statement]:
    """Return what the role of a topic's function may do: the function's, and its mapping's."""
    model = deployment.model
    name = function_name(model.name, topic.topic)
    tables = _places(deployment, [topic])
    result = [
        _logs(name),
        Statement(
            "ReadAndAppend",
            ("s3:GetObject", "s3:PutObject"),
            tuple(_objects(tables)),
            "Reads the log and, for a look-up, data files; writes data files and commits, and "
            "offers of appends to other sandboxes. It deletes nothing: maintenance vacuums what a "
            "lost race leaves behind.",
        ),
        *_list(tables),
    ]
    result += _key(model)
    if topic.on_failure:
        result += _on_failure(model, topic)
    if model.msk is not None:
        result += _msk(model.msk, topic)
    if model.self_managed is not None:
        result += _secrets(model.self_managed.secret_arn, model.self_managed.root_ca_secret_arn)
        result += _secret_key(model.self_managed)
    in_vpc = model.msk is not None or (
        model.self_managed is not None and model.self_managed.vpc is not None
    )
    if in_vpc or topic.function.vpc is not None:
        of_function = OF_FUNCTIONS if topic.function.vpc is not None else ()
        result.append(_network(*of_function, *(OF_POLLERS if in_vpc else ())))
    return result


def of_maintenance(deployment: Deployment) -> list[Statement]:
    """Return what the role of the maintenance function may do."""
    model = deployment.model
    tables = _places(deployment, deployment.topics)
    result = [
        _logs(maintenance_name(model.name)),
        Statement(
            "Maintain",
            ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
            tuple(_objects(tables)),
            "Compacts, checkpoints, vacuums and cleans the logs of the tables of the contracts. "
            "The only role that may delete; large files are put in parts.",
        ),
        *_list(tables),
    ]
    result += _key(model)
    if model.maintenance.vpc is not None:
        result.append(_network(*OF_FUNCTIONS))
    return result


def _logs(name: str) -> Statement:
    return Statement(
        "WriteLog",
        ("logs:CreateLogStream", "logs:PutLogEvents"),
        (_arn("logs", f"log-group:/aws/lambda/{name}:*"),),
        "Writes log lines and metrics (EMF) into the log group of the stack; it may create none.",
    )


def _places(deployment: Deployment, topics: Iterable[TopicDeployment]) -> list[str]:
    """Return where the tables of topics and their dead letters are."""
    root = deployment.model.table_root
    contracts = [contract for topic in topics for contract in topic.contracts]
    return [uri for contract in contracts for _name, uri in contract.places(root)]


def _objects(tables: Sequence[str]) -> Iterator[Any]:
    """Give the objects of tables."""
    for table in tables:
        bucket, folder = bucket_and_prefix(table)
        yield {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}/{folder}/*"}


def _list(tables: Sequence[str]) -> Iterator[Statement]:
    """Give a statement for each bucket."""
    prefixes: dict[str, list[str]] = {}
    for table in tables:
        bucket, folder = bucket_and_prefix(table)
        prefixes.setdefault(bucket, []).append(f"{folder}/*")
    for i, (bucket, allowed) in enumerate(prefixes.items()):
        yield Statement(
            f"List{i or ''}",
            ("s3:ListBucket",),
            ({"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}"},),
            "Lists the logs, and learns that an object is not there: without it S3 answers 403 "
            "instead of 404. IfExists, because a GET has no prefix that could be compared.",
            {"StringLikeIfExists": {"s3:prefix": allowed}},
        )


def _key(model: DeploymentModel) -> Iterator[Statement]:
    if model.kms_key_arn is not None:
        yield Statement(
            "UseKey",
            ("kms:Decrypt", "kms:GenerateDataKey"),
            (model.kms_key_arn,),
            "Reads and writes objects that are encrypted with the key.",
        )


def _on_failure(model: DeploymentModel, topic: TopicDeployment) -> Iterator[Statement]:
    bucket = on_failure_arn(model.on_failure.bucket)
    yield Statement(
        "KeepFailedBatches",
        ("s3:PutObject",),
        ({"Fn::Join": ["/", [bucket, "aws/lambda/*"]]},),
        "The mapping puts batches that it gives up on, under the prefix that AWS chooses: its own "
        "id, which would narrow it, is known only after the role.",
    )
    yield Statement(
        "FindOnFailureBucket",
        ("s3:ListBucket",),
        (bucket,),
        "AWS asks for it beside s3:PutObject ('Configuring S3 on-failure destinations').",
    )
    if model.on_failure.kms_key_arn is not None:
        yield Statement(
            "EncryptFailedBatches",
            ("kms:GenerateDataKey",),
            (model.on_failure.kms_key_arn,),
            "The on-failure bucket is encrypted with this key.",
        )


def _msk(msk: Msk, topic: TopicDeployment) -> Iterator[Statement]:
    yield Statement(
        "DescribeCluster",
        ("kafka:DescribeCluster", "kafka:DescribeClusterV2"),
        (msk.cluster_arn,),
        "The mapping learns where the cluster is.",
    )
    yield Statement(
        "GetBootstrapBrokers",
        ("kafka:GetBootstrapBrokers",),
        ("*",),
        "The mapping learns the brokers' addresses. The action has no resource-level permissions.",
    )
    if msk.authentication == "iam":
        of_cluster = msk.cluster_arn.replace(":cluster/", ":{}/")
        yield Statement(
            "Connect",
            ("kafka-cluster:Connect", "kafka-cluster:DescribeClusterDynamicConfiguration"),
            (msk.cluster_arn,),
            "The pollers connect.",
        )
        yield Statement(
            "ReadTopic",
            ("kafka-cluster:DescribeTopic", "kafka-cluster:ReadData"),
            (f"{of_cluster.format('topic')}/{topic.topic}",),
            "The pollers read this topic.",
        )
        yield Statement(
            "UseGroup",
            ("kafka-cluster:DescribeGroup", "kafka-cluster:AlterGroup"),
            (f"{of_cluster.format('group')}/{topic.group}",),
            "The pollers commit offsets under this consumer group.",
        )
    yield from _secrets(msk.secret_arn)
    yield from _secret_key(msk)


def _secrets(*arns: str | None) -> Iterator[Statement]:
    given = tuple(arn for arn in arns if arn is not None)
    if given:
        yield Statement(
            "ReadSecret",
            ("secretsmanager:GetSecretValue",),
            given,
            "The pollers authenticate, and check the cluster's certificate.",
        )


def _secret_key(cluster: Msk | SelfManaged) -> Iterator[Statement]:
    if cluster.secret_key_arn is not None:
        yield Statement(
            "DecryptSecret",
            ("kms:Decrypt",),
            (cluster.secret_key_arn,),
            "The secrets are encrypted with this key.",
        )


def _network(*more: str) -> Statement:
    return Statement(
        "UseNetwork",
        (*NETWORK, *more),
        ("*",),
        "Lambda makes the network interfaces of pollers and of functions in a VPC. Describe "
        "actions know no resource, and AWS asks for all resources of the others; in this region "
        "alone.",
        {"StringEquals": {"aws:RequestedRegion": {"Ref": "AWS::Region"}}},
    )


def _arn(service: str, rest: str) -> dict[str, str]:
    whole = f"arn:${{AWS::Partition}}:{service}:${{AWS::Region}}:${{AWS::AccountId}}:{rest}"
    return {"Fn::Sub": whole}


def policy(statements: Iterable[Statement]) -> dict[str, Any]:
    """Return a policy document."""
    return {"Version": "2012-10-17", "Statement": [s.as_policy() for s in statements]}
