"""A deployment as a template of CloudFormation, and as what serverless.yml takes of it."""

from typing import Any

from handler import __version__
from silt.command_errors import DeploymentError
from silt.deployment.alarms import alarms_of
from silt.deployment.buckets import buckets_of
from silt.deployment.dashboard import dashboard
from silt.deployment.functions import (
    MAINTENANCE_KEY,
    LambdaFunction,
    functions_of,
    lambda_function,
    role_and_log,
)
from silt.deployment.limits import beyond
from silt.deployment.mappings import event_source_mapping
from silt.deployment.names import function_key
from silt.deployment.plan import Deployment


def cloudformation(deployment: Deployment) -> dict[str, Any]:
    """Return the whole template. The functions' code is a path: `aws cloudformation package`.

    Raises DeploymentError for what is beyond AWS's limits.
    """
    model = deployment.model
    functions = functions_of(deployment)
    result = {f"{f.key}LambdaFunction": lambda_function(model, f) for f in functions}
    result |= _resources(deployment, functions)
    if problems := beyond(functions, len(result)):
        raise DeploymentError([f"{deployment.file}: {problem}" for problem in problems])
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"Silt {__version__}: Kafka topics to Delta tables, exactly once",
        "Resources": result,
        **({"Outputs": outputs} if (outputs := _outputs(deployment)) else {}),
    }


def serverless(deployment: Deployment) -> dict[str, Any]:
    """Return the parts that serverless.yml includes: the same functions and resources.

    The framework makes `AWS::Lambda::Function` itself, of the same names, because it uploads their
    code and its own commands know them.
    """
    model = deployment.model
    whole = cloudformation(deployment)
    functions = functions_of(deployment)
    made_there = {f"{function.key}LambdaFunction" for function in functions}
    return {
        "name": model.name,
        "region": model.region,
        "functions": {_framework_key(f): _framework_function(deployment, f) for f in functions},
        "resources": {
            "Description": whole["Description"],
            "Resources": {k: r for k, r in whole["Resources"].items() if k not in made_there},
            "Outputs": {
                **whole.get("Outputs", {}),
                # The framework exports its bucket by service and stage, which two stacks share.
                "ServerlessDeploymentBucketName": {
                    "Value": {"Ref": "ServerlessDeploymentBucket"},
                    "Export": {"Name": f"{model.name}-deployment-bucket"},
                },
            },
        },
    }


def _resources(deployment: Deployment, functions: list[LambdaFunction]) -> dict[str, Any]:
    """Return everything but the functions themselves, by logical id."""
    model = deployment.model
    result: dict[str, Any] = {}
    for function in functions:
        result |= role_and_log(model, function)
    for topic in deployment.topics:
        if topic.mapping.create:
            key = f"{function_key(topic.topic)}Mapping"
            result[key] = event_source_mapping(deployment, topic)
    result |= buckets_of(deployment)
    if model.maintenance.enabled:
        result |= _schedule(deployment)
    result |= alarms_of(deployment)
    if model.alarms.enabled:
        result["Dashboard"] = dashboard(deployment)
    return result


def _outputs(deployment: Deployment) -> dict[str, Any]:
    """Return what bears no name of ours: the ids of the mappings. A stack has 200 at most."""
    result: dict[str, Any] = {}
    for topic in deployment.topics:
        if topic.mapping.create:
            key = f"{function_key(topic.topic)}Mapping"
            result[f"{key}Id"] = {"Value": {"Ref": key}}
    return result


def _schedule(deployment: Deployment) -> dict[str, Any]:
    minutes = deployment.model.maintenance.every_minutes
    function = {"Fn::GetAtt": [f"{MAINTENANCE_KEY}LambdaFunction", "Arn"]}
    rate = f"rate({minutes} minute{'' if minutes == 1 else 's'})"
    return {
        "MaintenanceSchedule": {
            "Type": "AWS::Events::Rule",
            "Properties": {
                "Description": "Silt: maintenance of all tables",
                "ScheduleExpression": rate,
                "State": "ENABLED",
                "Targets": [{"Id": "maintenance", "Arn": function, "Input": '{"silt":"maintain"}'}],
            },
        },
        "MaintenancePermission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "Action": "lambda:InvokeFunction",
                "FunctionName": function,
                "Principal": "events.amazonaws.com",
                "SourceArn": {"Fn::GetAtt": ["MaintenanceSchedule", "Arn"]},
            },
        },
        # A run that failed is not tried again by AWS: the next one of the schedule does better.
        "MaintenanceInvokeConfig": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": {"Ref": f"{MAINTENANCE_KEY}LambdaFunction"},
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": 0,
                "MaximumEventAgeInSeconds": 900,
            },
        },
    }


def _framework_key(function: LambdaFunction) -> str:
    """Return the key in `functions:`: the framework begins its logical ids with a capital."""
    return function.key[:1].lower() + function.key[1:]


def _framework_function(deployment: Deployment, function: LambdaFunction) -> dict[str, Any]:
    model = deployment.model
    made = lambda_function(model, function)
    properties = made["Properties"]
    description: dict[str, Any] = {
        "name": function.name,
        "description": function.description,
        "handler": function.handler,
        "runtime": properties["Runtime"],
        "architecture": model.architecture,
        "package": {"artifact": properties["Code"]},
        "role": f"{function.key}Role",
        "memorySize": function.memory_mb,
        "timeout": function.timeout_s,
        "environment": function.environment,
        "dependsOn": made["DependsOn"],
        # The log group is ours, with its retention and key.
        "disableLogs": True,
    }
    if model.tags:
        description["tags"] = dict(sorted(model.tags.items()))
    if "EphemeralStorage" in properties:
        description["ephemeralStorageSize"] = function.storage_mb
    if function.reserved_concurrency is not None:
        description["reservedConcurrency"] = function.reserved_concurrency
    if model.kms_key_arn is not None:
        description["kmsKeyArn"] = model.kms_key_arn
    if function.vpc is not None:
        description["vpc"] = {
            "subnetIds": function.vpc.subnets,
            "securityGroupIds": function.vpc.security_groups,
        }
    return description
