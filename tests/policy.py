"""A small judge of IAM policies, and what a request to S3 asks for.

What it knows is what the policies of Silt use: allows, with wildcards in resources, and StringLike
conditions. The rules are those of 'Policy evaluation logic' in the IAM guide.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qs

from silt.doctor.resolve import resolved
from tests.torture.proxy import Request

PSEUDO = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": "123456789012",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request needs: an action on a resource, in a context of condition keys."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


def asked_of(request: Request) -> list[Asked]:
    """Return what S3 checks for a request ('Required permissions for Amazon S3 API operations')."""
    bucket, _, key = request.key.lstrip("/").partition("/")
    there, whole = f"arn:aws:s3:::{bucket}/{key}", f"arn:aws:s3:::{bucket}"
    query = parse_qs(request.query, keep_blank_values=True)
    if "list-type" in query:
        context = tuple(("s3:prefix", prefix) for prefix in query.get("prefix", []))
        return [Asked("s3:ListBucket", whole, context)]
    match request.method:
        case "GET" | "HEAD":
            # Where the object is not there, the answer is 404 only for who may list the bucket.
            return [Asked("s3:GetObject", there), Asked("s3:ListBucket", whole)]
        case "PUT":
            return [Asked("s3:PutObject", there)]
        case "DELETE":
            part = "uploadId" in query
            return [Asked("s3:AbortMultipartUpload" if part else "s3:DeleteObject", there)]
        case "POST" if "delete" in query:
            # The keys are in the body; those of the table's own folder, which the test compares.
            return [Asked("s3:DeleteObject", f"{whole}/?delete")]
        case "POST":
            return [Asked("s3:PutObject", there)]
    raise AssertionError(f"an unknown request: {request}")


def allowed(statements: Iterable[Mapping[str, Any]], asked: Asked) -> bool:
    """Return whether any statement allows what is asked."""
    return any(_allows(statement, asked) for statement in statements)


def _allows(statement: Mapping[str, Any], asked: Asked) -> bool:
    assert statement["Effect"] == "Allow"
    if asked.action not in statement["Action"]:
        return False
    if not any(fnmatchcase(asked.resource, text(r)) for r in statement["Resource"]):
        return False
    return all(
        _holds(operator, key, values, asked)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def _holds(operator: str, key: str, values: Iterable[str], asked: Asked) -> bool:
    given = dict(asked.context).get(key)
    if given is None:
        return operator.endswith("IfExists")
    assert operator.removesuffix("IfExists") == "StringLike"
    return any(fnmatchcase(given, pattern) for pattern in values)


def text(resource: Any) -> str:
    """Return a resource with what CloudFormation fills in."""
    return resolved(resource, PSEUDO, {"OnFailureBucket": "arn:aws:s3:::onfailurebucket"})
