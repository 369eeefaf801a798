"""The rules a function must keep: names and ARNs, qualifiers, runtimes, environment, limits, payloads.

Pure: a broken rule is a `Refused` with AWS's code and sentence; the door gives it its HTTP shape. What
the service model itself says (patterns, lengths, required members) is checked before, by the codec.

Source: semantics 01, sections 1.2, 1.3 and 1.8.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eventrt.core.functions import FunctionKey
from eventrt.core.refused import Refused

ZIPPED_LIMIT_BYTES = 52_428_800
UNZIPPED_LIMIT_BYTES = 262_144_000
TOTAL_CODE_LIMIT_BYTES = 80_530_636_800
ENVIRONMENT_LIMIT_BYTES = 4096
TIMEOUT_LIMIT_S = 900
MEMORY_LIMIT_MB = 10_240
EPHEMERAL_STORAGE_LIMIT_MB = 10_240
TAGS_LIMIT = 50
ACCOUNT_CONCURRENCY = 1000
"""What an account may run at a time unless it has another limit, as new accounts on AWS."""

UNRESERVED_FLOOR = 100
PAYLOAD_LIMIT_BYTES = 6_291_456
CLIENT_CONTEXT_LIMIT_BYTES = 3583
LIST_LIMIT = 50
"""ListFunctions and ListVersionsByFunction answer at most so many, whatever MaxItems says."""

LATEST = "$LATEST"

SERVED_RUNTIMES = (
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
    "python3.15",
)

SUPPORTED_RUNTIMES = (
    "nodejs16.x",
    "nodejs18.x",
    "nodejs20.x",
    "nodejs22.x",
    "nodejs24.x",
    "nodejs26.x",
    "java8.al2",
    "java8.al2023",
    "java11",
    "java11.al2023",
    "java17",
    "java17.al2023",
    "java21",
    "java25",
    *SERVED_RUNTIMES,
    "dotnet6",
    "dotnet8",
    "dotnet10",
    "ruby3.2",
    "ruby3.3",
    "ruby3.4",
    "ruby4.0",
    "provided",
    "provided.al2",
    "provided.al2023",
)
"""What AWS takes for new functions; those not in SERVED_RUNTIMES are refused here by name."""

RETIRED_RUNTIMES = frozenset(
    {
        "nodejs",
        "nodejs4.3",
        "nodejs4.3-edge",
        "nodejs6.10",
        "nodejs8.10",
        "nodejs10.x",
        "nodejs12.x",
        "nodejs14.x",
        "java8",
        "python2.7",
        "python3.6",
        "python3.7",
        "python3.8",
        "dotnetcore1.0",
        "dotnetcore2.0",
        "dotnetcore2.1",
        "dotnetcore3.1",
        "go1.x",
        "ruby2.5",
        "ruby2.7",
    }
)

_RESERVED_VARIABLES = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    }
)

_NAME = re.compile(
    r"(?:(?:(?:arn:aws[a-zA-Z-]*:lambda:)?(?P<region>[a-z]{2,}-[a-z0-9-]+-\d):)?(?P<account>\d{12}):function:)?"
    r"(?P<name>[a-zA-Z0-9_-]+)(?::(?P<qualifier>\$LATEST|[a-zA-Z0-9_-]+))?"
)
_QUALIFIER = re.compile(r"\$LATEST|[a-zA-Z0-9_-]+")
_TAG_SIGNS = frozenset("_.:/=+-@")
_ROLE = re.compile(r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")


def invalid(message: str) -> Refused:
    """Return the InvalidParameterValueException with this sentence."""
    return Refused("InvalidParameterValueException", message)


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """What a FunctionName parameter names: a function, and the qualifier given in it or beside it."""

    account_id: str
    region: str
    name: str
    qualifier: str | None = None

    @property
    def key(self) -> FunctionKey:
        """What names the function: account, region, name."""
        return (self.account_id, self.region, self.name)

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:function:{self.name}"

    @property
    def qualified_arn(self) -> str:
        """The ARN with the qualifier, as far as one was given."""
        return self.arn if self.qualifier is None else f"{self.arn}:{self.qualifier}"


def parse_function_name(text: str, *, account_id: str, region: str, qualifier: str | None = None) -> FunctionRef:
    """Take a FunctionName parameter apart: a name, a partial ARN or an ARN, with or without a qualifier.

    Args: account_id, region: the caller's. qualifier: the Qualifier parameter.
    Raises: Refused: it names a function of elsewhere, is too long, or the two qualifiers differ.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value '{text}' at 'functionName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:)?"
            "((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?"
            "([a-zA-Z0-9-_]+)(:(\\$LATEST|[a-zA-Z0-9-_]+))?",
        )
    name, derived = match["name"], match["qualifier"]
    if len(name) > 64:
        raise invalid(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: "
            "Member must have length less than or equal to 64"
        )
    if match["region"] is not None and match["region"] != region:
        raise Refused(
            "ResourceNotFoundException",
            f"Functions from '{match['region']}' are not reachable in this region ('{region}')",
        )
    if (match["account"] or account_id) != account_id:
        raise Refused("AccessDeniedException", "User is not authorized to access this resource")
    if derived is not None and qualifier is not None and derived != qualifier:
        raise invalid("The derived qualifier from the function name does not match the specified qualifier.")
    chosen = derived if derived is not None else qualifier
    if chosen is not None and _QUALIFIER.fullmatch(chosen) is None:
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value '{chosen}' at 'qualifier' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: (|[a-zA-Z0-9$_-]+)",
        )
    return FunctionRef(account_id, region, name, chosen)


def function_not_found(arn: str) -> Refused:
    """Return the 404 of a function, version or alias that is not there."""
    return Refused("ResourceNotFoundException", f"Function not found: {arn}")


def is_version(qualifier: str) -> bool:
    """Does the qualifier name a published version? Otherwise it is `$LATEST` or an alias."""
    return qualifier.isdigit()


def check_runtime(runtime: str) -> None:
    """Let a runtime pass that functions can be made for here.

    Raises: Refused: it is retired, unknown to AWS, or known to AWS and not served here.
    """
    if runtime in SERVED_RUNTIMES:
        return
    if runtime in RETIRED_RUNTIMES:
        raise invalid(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda "
            "functions. We recommend you use a supported runtime while creating or updating functions."
        )
    if runtime in SUPPORTED_RUNTIMES:
        raise invalid(f"The runtime {runtime} is not served by eventrt yet; it serves {', '.join(SERVED_RUNTIMES)}.")
    raise invalid(
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
        f"[{', '.join(SUPPORTED_RUNTIMES)}] or be a valid ARN"
    )


def check_role(role: str) -> None:
    """Let the ARN of a role pass.

    Raises: Refused: it is none.
    """
    if _ROLE.fullmatch(role) is None:
        raise Refused(
            "ValidationException",
            f"1 validation error detected: Value '{role}' at 'role' failed to satisfy constraint: Member "
            f"must satisfy regular expression pattern: {_ROLE.pattern}",
        )


def check_environment(variables: Mapping[str, str], *, compact_json: str) -> None:
    """Let environment variables pass that a function may have.

    Args: compact_json: the map as a JSON object without blanks, which is what AWS measures.
    Raises: Refused: reserved names are used, or the map is larger than 4 KB.
    """
    reserved = [name for name in variables if name in _RESERVED_VARIABLES]
    refusal = (
        "Lambda was unable to configure your environment variables because the environment variables you have provided"
    )
    if reserved:
        raise invalid(
            f"{refusal} contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    if len(compact_json.encode()) > ENVIRONMENT_LIMIT_BYTES:
        raise invalid(f"{refusal} exceeded the 4KB limit. String measured: {compact_json}")


def check_limits(*, timeout_s: int, memory_mb: int, ephemeral_storage_mb: int) -> None:
    """Let sizes pass that functions outside managed instances may have; the service model's limits are wider.

    Raises: Refused: one of them is too large.
    """
    broken = [
        f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value less than or "
        f"equal to {limit}"
        for value, path, limit in (
            (timeout_s, "timeout", TIMEOUT_LIMIT_S),
            (memory_mb, "memorySize", MEMORY_LIMIT_MB),
            (ephemeral_storage_mb, "ephemeralStorage.size", EPHEMERAL_STORAGE_LIMIT_MB),
        )
        if value > limit
    ]
    if broken:
        count = f"{len(broken)} validation error{'s' if len(broken) > 1 else ''} detected: "
        raise Refused("ValidationException", count + "; ".join(broken))


def check_archive_size(size_bytes: int) -> None:
    """Let an archive pass that is small enough to come in a request.

    Raises: Refused: it is larger than 50 MB.
    """
    if size_bytes > ZIPPED_LIMIT_BYTES:
        raise Refused(
            "RequestEntityTooLargeException",
            f"Zipped size must be smaller than {ZIPPED_LIMIT_BYTES} bytes",
        )


def check_code_storage(size_bytes: int, *, used_bytes: int) -> None:
    """Let code pass that the account still has room for.

    Raises: Refused: all code of the account in the region would be more than 75 GiB.
    """
    if used_bytes + size_bytes > TOTAL_CODE_LIMIT_BYTES:
        raise Refused("CodeStorageExceededException", "Code storage limit exceeded.")


def check_reserved_concurrency(
    wanted: int, *, reserved_by_others: int, account_concurrency: int = ACCOUNT_CONCURRENCY
) -> None:
    """Let a reservation pass that leaves 100 of the account's limit to functions without one.

    Raises: Refused: it leaves fewer.
    """
    if account_concurrency - reserved_by_others - wanted < UNRESERVED_FLOOR:
        raise invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's "
            f"UnreservedConcurrentExecution below its minimum value of [{UNRESERVED_FLOOR}]."
        )


def merge_tags(present: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return the tags with the added ones in place.

    Raises: Refused: a key or value has characters that tags may not have, a key is AWS's, or they are more than 50.
    """
    for text in (*added.keys(), *added.values()):
        if not all(sign in _TAG_SIGNS or unicodedata.category(sign)[0] in "LZN" for sign in text):
            raise Refused(
                "ValidationException",
                f"1 validation error detected: Value '{text}' at 'tags' failed to satisfy constraint: Member "
                "must satisfy regular expression pattern: ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)",
            )
    if any(key.lower().startswith("aws:") for key in added):
        raise invalid("aws: prefixed tag key names are not allowed for external use.")
    merged = {**present, **added}
    if len(merged) > TAGS_LIMIT:
        raise invalid("Number of tags exceeds resource tag limit.")
    return merged


def without_tags(present: Mapping[str, str], removed: Sequence[str]) -> dict[str, str]:
    """Return the tags without the named ones; names that are not there do not matter."""
    return {name: value for name, value in present.items() if name not in removed}
