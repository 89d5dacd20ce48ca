"""What CloudFormation would fill into a template, for a stack that is there."""

from collections.abc import Mapping
from typing import Any


def resolved(value: Any, pseudo: Mapping[str, str], made: Mapping[str, str]) -> str:
    """Return a resource of a policy as an ARN.

    `pseudo` are CloudFormation's own parameters, `made` the ARNs of resources by logical id.
    """
    if isinstance(value, str):
        return value
    if "Fn::Join" in value:
        between, parts = value["Fn::Join"]
        return str(between).join(resolved(part, pseudo, made) for part in parts)
    if "Fn::GetAtt" in value:
        return made[value["Fn::GetAtt"][0]]
    filled = str(value["Fn::Sub"])
    for name, text in pseudo.items():
        filled = filled.replace(f"${{{name}}}", text)
    return filled
