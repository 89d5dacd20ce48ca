"""What things are called in AWS: from the deployment's name and the topic."""

import hashlib
import re
from typing import Any
from urllib.parse import urlsplit

FUNCTION_NAME_MAX = 64
"""'CreateFunction' of the Lambda API."""
KEY_MAX = 200
"""A logical id has 255 characters at most ('CloudFormation quotas'); this is its beginning."""
GROUP_MAX = 200
"""'AmazonManagedKafkaEventSourceConfig' of the Lambda API."""


def function_name(name: str, topic: str) -> str:
    """Return the name of a topic's function: letters, digits, '-' and '_', at most 64."""
    return cut(f"{name}-{re.sub(r'[^A-Za-z0-9_-]', '-', topic)}", FUNCTION_NAME_MAX)


def maintenance_name(name: str) -> str:
    """Return the name of the maintenance function."""
    return f"{name}--maintenance"


def function_key(topic: str) -> str:
    """Return what begins the logical ids of a topic's resources: letters and digits."""
    words = re.split(r"[^A-Za-z0-9]+", topic)
    whole = "Topic" + "".join(word[:1].upper() + word[1:] for word in words)
    return cut(whole, KEY_MAX).replace("-", "")


def consumer_group(name: str, topic: str) -> str:
    """Return the consumer group of a topic's mapping where none is given."""
    return cut(f"{name}-{topic}", GROUP_MAX)


def cut(whole: str, length: int) -> str:
    """Return a name, or where it is too long as much as fits and a digest of all of it."""
    if len(whole) <= length:
        return whole
    return f"{whole[: length - 9]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def on_failure_arn(bucket: str | None) -> dict[str, Any]:
    """Return the ARN of the bucket of failed batches: of the one that is given, or made."""
    if bucket is None:
        return {"Fn::GetAtt": ["OnFailureBucket", "Arn"]}
    return {"Fn::Sub": f"arn:${{AWS::Partition}}:s3:::{bucket}"}


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Return bucket and key prefix, without slashes at its ends, of a place on S3."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.strip("/")
