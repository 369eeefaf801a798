"""A function in the wire's shape: FunctionConfiguration, exactly the members that AWS sends."""

import hashlib
from typing import Any

from eventrt.aws.services.lambda_.common import iso_moment
from eventrt.core.functions import FunctionVersion


def configuration_of(
    version: FunctionVersion, *, qualifier: str | None = None, with_states: bool = True
) -> dict[str, Any]:
    """Return FunctionConfiguration.

    Args: qualifier: the one asked with, shown in the ARN. with_states: lists leave out the states, and the
        version of the runtime.
    """
    members: dict[str, Any] = {
        "FunctionName": version.name,
        "FunctionArn": version.arn if qualifier is None else f"{version.arn}:{qualifier}",
        "Runtime": version.runtime,
        "Role": version.role,
        "Handler": version.handler,
        "CodeSize": version.code.size_bytes,
        "Description": version.description,
        "Timeout": version.timeout_s,
        "MemorySize": version.memory_mb,
        "LastModified": iso_moment(version.modified_at),
        "CodeSha256": version.code.sha256,
        "Version": version.version,
        "TracingConfig": {"Mode": version.tracing_mode},
        "RevisionId": version.revision_id,
        "PackageType": "Zip",
        "Architectures": list(version.architectures),
        "EphemeralStorage": {"Size": version.ephemeral_storage_mb},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": version.log_group_name},
    }
    if version.environment is not None:
        members["Environment"] = {"Variables": dict(version.environment)}
    if version.dead_letter_arn is not None:
        members["DeadLetterConfig"] = {"TargetArn": version.dead_letter_arn}
    if with_states:
        states = {
            "State": version.state,
            "StateReason": version.state_reason,
            "StateReasonCode": version.state_reason_code,
            "LastUpdateStatus": version.update_status,
            "LastUpdateStatusReason": version.update_status_reason,
            "LastUpdateStatusReasonCode": version.update_status_reason_code,
        }
        members.update({name: value for name, value in states.items() if value is not None})
        members["RuntimeVersionConfig"] = {"RuntimeVersionArn": runtime_version_arn(version.region, version.runtime)}
    return members


def runtime_version_arn(region: str, runtime: str) -> str:
    """Return the ARN of the runtime version that stands for `runtime` here; the same every time."""
    return f"arn:aws:lambda:{region}::runtime:{hashlib.sha256(runtime.encode()).hexdigest()}"
