"""The buckets that a deployment makes: of failed batches, and of the tables if asked to."""

from typing import Any

from silt.deployment.deploy_yml import DeploymentModel
from silt.deployment.functions import tags_of
from silt.deployment.names import bucket_and_prefix
from silt.deployment.plan import Deployment


def buckets_of(deployment: Deployment) -> dict[str, Any]:
    """Return the buckets and their policies, by logical id."""
    model = deployment.model
    result: dict[str, Any] = {}
    keeps = any(topic.on_failure for topic in deployment.topics)
    if keeps and model.on_failure.bucket is None:
        expiry = {
            "Id": "expire",
            "Status": "Enabled",
            "ExpirationInDays": model.on_failure.expire_days,
        }
        result |= _bucket(model, "OnFailureBucket", None, [expiry])
    if model.create_bucket:
        bucket, _prefix = bucket_and_prefix(model.table_root)
        result |= _bucket(model, "TableBucket", bucket, [])
    return result


def _bucket(
    model: DeploymentModel, key: str, name: str | None, rules: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a private, encrypted bucket that takes no plain HTTP and outlives the stack."""
    default: dict[str, Any] = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    if model.kms_key_arn is not None:
        encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": model.kms_key_arn}
        default = {"ServerSideEncryptionByDefault": encryption, "BucketKeyEnabled": True}
    unfinished = {
        "Id": "unfinished-uploads",
        "Status": "Enabled",
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    properties: dict[str, Any] = {
        "BucketEncryption": {"ServerSideEncryptionConfiguration": [default]},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "LifecycleConfiguration": {"Rules": [*rules, unfinished]},
        **tags_of(model),
    }
    if name is not None:
        properties["BucketName"] = name
    arn = {"Fn::GetAtt": [key, "Arn"]}
    plain = {
        "Sid": "RefusePlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, {"Fn::Join": ["/", [arn, "*"]]}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return {
        key: {
            "Type": "AWS::S3::Bucket",
            # A table, or a batch that was not replayed yet, is not for a stack to delete; what a
            # first deployment that failed has made is, or the next could not make it again.
            "DeletionPolicy": "RetainExceptOnCreate",
            "UpdateReplacePolicy": "Retain",
            "Properties": properties,
        },
        f"{key}Policy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {
                "Bucket": {"Ref": key},
                "PolicyDocument": {"Version": "2012-10-17", "Statement": [plain]},
            },
        },
    }
