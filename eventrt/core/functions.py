"""The values of functions: a function's code and configuration as its environments need them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from eventrt.core.recursion import RecursiveLoop

State = Literal["Pending", "Active", "Inactive", "Failed"]
UpdateStatus = Literal["InProgress", "Successful", "Failed"]

FunctionKey: TypeAlias = tuple[str, str, str]
"""Account id, region, name."""


@dataclass(frozen=True, slots=True)
class CodePackage:
    """A function's code: an unpacked folder, and the archive it came from.

    `sha256` is base64 of the archive's digest (of the folder's contents for declared functions), `size_bytes`
    the archive's length. `folder` is the absolute path that becomes /var/task. `archive` names the kept zip,
    None for a declared folder, whose files are used in place.
    """

    sha256: str
    size_bytes: int
    folder: str
    archive: str | None = None


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """One version of a function: all that an environment or an answer needs. Moments are epoch seconds.

    `revision_id` changes with every change and state transition; environments of an older `configuration_id`
    (which changes with code or configuration only) are retired.
    """

    account_id: str
    region: str
    name: str
    runtime: str
    handler: str
    role: str
    code: CodePackage
    revision_id: str
    configuration_id: str
    modified_at: float
    version: str = "$LATEST"
    description: str = ""
    timeout_s: int = 3
    memory_mb: int = 128
    ephemeral_storage_mb: int = 512
    environment: Mapping[str, str] | None = None
    architectures: tuple[str, ...] = ("x86_64",)
    tracing_mode: str = "PassThrough"
    log_group: str | None = None
    state: State = "Active"
    state_reason: str | None = None
    state_reason_code: str | None = None
    update_status: UpdateStatus | None = None
    update_status_reason: str | None = None
    update_status_reason_code: str | None = None
    reserved_concurrency: int | None = None
    packages: str | None = None
    """A folder (a venv or a `pip install --target`) put on the handler's path; declared functions only."""
    tags: Mapping[str, str] = field(default_factory=dict)
    dead_letter_arn: str | None = None
    """Where an asynchronous event goes whose attempts were in vain (DeadLetterConfig)."""
    recursive_loop: RecursiveLoop = "Terminate"
    """What becomes of an event that has passed the function too often; belongs to the function as a whole."""

    @property
    def key(self) -> "FunctionKey":
        """What names the function: account, region, name."""
        return (self.account_id, self.region, self.name)

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.name}"

    @property
    def log_group_name(self) -> str:
        """Where its log goes: LoggingConfig.LogGroup, else /aws/lambda/<name>."""
        return self.log_group or f"/aws/lambda/{self.name}"


@dataclass(frozen=True, slots=True)
class Function:
    """A function as the control plane knows it.

    `latest` is what Get shows. While an update is in progress, `serving` is the version from before it, which
    invocations still run; else None. `policy` is the resource policy's statements, in order.
    """

    latest: FunctionVersion
    serving: FunctionVersion | None = None
    policy: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_in_transition(self) -> bool:
        """Is it being created or updated just now?"""
        return self.latest.state == "Pending" or self.latest.update_status == "InProgress"


@dataclass(frozen=True, slots=True)
class FunctionUsage:
    """What an account holds in one region: functions, the bytes of their code, reserved concurrency."""

    functions: int = 0
    code_bytes: int = 0
    reserved_concurrency: int = 0
