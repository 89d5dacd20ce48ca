"""What AWS takes no more of: known before a deployment, instead of half-way through it."""

import json
from collections.abc import Iterator

from silt.deployment.functions import LambdaFunction
from silt.deployment.permissions import policy

RESOURCES_MAX = 500
"""Of a stack ('CloudFormation quotas')."""
OF_FRAMEWORK = 2
"""The bucket that osls makes for artifacts, and its policy."""
POLICY_MAX = 10_240
"""Characters of a role's inline policies, without blanks ('IAM and AWS STS quotas')."""
ENVIRONMENT_MAX = 4096
"""Bytes of a function's variables ('Lambda quotas')."""
_DIVIDE = "Split the topics into several deployments, each with its own name"


def beyond(functions: list[LambdaFunction], resources: int) -> list[str]:
    """Return a line for each limit that a deployment is beyond, with the way out."""
    result = [problem for function in functions for problem in _of_function(function)]
    if resources + OF_FRAMEWORK > RESOURCES_MAX:
        result.append(
            f"{resources} resources, and a stack of CloudFormation takes {RESOURCES_MAX}, of which "
            f"the framework needs {OF_FRAMEWORK}. "
            f"{_DIVIDE}, or set alarms: {{enabled: false}} for some"
        )
    return result


def _of_function(function: LambdaFunction) -> Iterator[str]:
    length = len(json.dumps(policy(function.statements), separators=(",", ":")))
    if length > POLICY_MAX:
        yield (
            f"the policy of {function.name} has {length} characters, and a role takes "
            f"{POLICY_MAX}. {_DIVIDE}, or use shorter table names"
        )
    size = sum(len(name) + len(value.encode()) for name, value in function.environment.items())
    if size > ENVIRONMENT_MAX:
        yield (
            f"the variables of {function.name} have {size} bytes, and Lambda takes "
            f"{ENVIRONMENT_MAX}. {_DIVIDE}"
        )
