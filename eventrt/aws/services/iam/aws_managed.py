"""The policies AWS publishes, as far as set-up code of functions reads them.

Every well-formed `arn:aws:iam::aws:policy/...` can be attached and read, since nothing is enforced; the few
whose documents are written here can be listed, and read with their document. Here they are all at version v1.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eventrt.core import iam_rules
from eventrt.core.identities import ManagedPolicy, PolicyVersion

_PUBLISHED_AT = 1428607155.0
"""2015-04-09T19:19:15Z: shown for all of them; AWS has a date for each."""

_LOGS = ("logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents")


@dataclass(frozen=True, slots=True)
class AwsManagedPolicy(ManagedPolicy):
    """A policy of AWS's; its document is None where it is not known here."""

    document: str | None = None


def aws_managed_policy(path: str, name: str) -> AwsManagedPolicy:
    """Return the policy of AWS's with this path and name; those not written here have no document."""
    statement = _STATEMENTS.get(path + name)
    document = {"Version": "2012-10-17", "Statement": statement}
    digest = hashlib.sha256(f"{path}{name}".encode()).digest()
    letters = [iam_rules.ID_ALPHABET[byte % 32] for byte in digest]
    return AwsManagedPolicy(
        account_id="aws",
        name=name,
        id=iam_rules.principal_id("ANPA", lambda alphabet, count: letters[:count]),
        path=path,
        created_at=_PUBLISHED_AT,
        updated_at=_PUBLISHED_AT,
        document=orjson.dumps(document).decode() if statement is not None else None,
    )


def aws_managed_policies(used_arns: Iterable[str]) -> Sequence[AwsManagedPolicy]:
    """Return the policies of AWS's that are written here, and those of `used_arns`."""
    names = dict.fromkeys(_STATEMENTS)
    for arn in used_arns:
        owner, path, name = iam_rules.parse_policy_arn(arn)
        if owner == "aws":
            names[path + name] = None
    split = (full.rpartition("/") for full in names)
    return [aws_managed_policy(folder + "/", name) for folder, _, name in split]


def aws_managed_version(policy: AwsManagedPolicy) -> PolicyVersion | None:
    """Return the policy's only version; None when its document is not known here."""
    if policy.document is None:
        return None
    return PolicyVersion(1, policy.document, policy.created_at)


def _allow(actions: Sequence[str], resource: str = "*") -> list[Mapping[str, Any]]:
    return [{"Effect": "Allow", "Action": list(actions), "Resource": resource}]


_STATEMENTS: dict[str, list[Mapping[str, Any]]] = {
    "/AdministratorAccess": _allow(["*"]),
    "/AmazonSQSFullAccess": _allow(["sqs:*"]),
    "/AmazonSQSReadOnlyAccess": _allow(
        [
            "sqs:GetQueueAttributes",
            "sqs:GetQueueUrl",
            "sqs:ListDeadLetterSourceQueues",
            "sqs:ListQueues",
            "sqs:ListMessageMoveTasks",
            "sqs:ListQueueTags",
        ]
    ),
    "/AWSXRayDaemonWriteAccess": _allow(
        [
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
            "xray:GetSamplingStatisticSummaries",
        ]
    ),
    "/service-role/AWSLambdaBasicExecutionRole": _allow(_LOGS),
    "/service-role/AWSLambdaSQSQueueExecutionRole": _allow(
        ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", *_LOGS]
    ),
    "/service-role/AWSLambdaKinesisExecutionRole": _allow(
        [
            "kinesis:DescribeStream",
            "kinesis:DescribeStreamSummary",
            "kinesis:GetRecords",
            "kinesis:GetShardIterator",
            "kinesis:ListShards",
            "kinesis:ListStreams",
            "kinesis:SubscribeToShard",
            *_LOGS,
        ]
    ),
    "/service-role/AWSLambdaDynamoDBExecutionRole": _allow(
        [
            "dynamodb:DescribeStream",
            "dynamodb:GetRecords",
            "dynamodb:GetShardIterator",
            "dynamodb:ListStreams",
            *_LOGS,
        ]
    ),
    "/service-role/AWSLambdaRole": _allow(["lambda:InvokeFunction"]),
    "/service-role/AWSLambdaVPCAccessExecutionRole": _allow(
        [
            *_LOGS,
            "ec2:CreateNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:DeleteNetworkInterface",
            "ec2:AssignPrivateIpAddresses",
            "ec2:UnassignPrivateIpAddresses",
        ]
    ),
}
"""By path and name: the statements, as the AWS managed policy reference prints them."""
