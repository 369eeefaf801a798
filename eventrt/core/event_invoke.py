"""Event invoke configs: retries, age and destinations of a function's asynchronous events, and their rules.

Pure: a broken rule is a `Refused` with AWS's code and sentence. Whether a destination function is there is for the
caller to look up.

Source: semantics 01, section 1.10.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from eventrt.core.arn import Arn
from eventrt.core.asynchronous import LONGEST_AGE_S, MOST_RETRIES, AsyncPolicy
from eventrt.core.function_rules import FunctionRef, invalid
from eventrt.core.refused import Refused

_LATER = {"sns": "SNS topics", "events": "EventBridge buses", "s3": "S3 buckets"}
"""Destinations of AWS that are refused by name until their rooms stand."""


@dataclass(frozen=True, slots=True)
class EventInvokeConfig:
    """What is set for one qualifier of a function; None is not set. Destinations are ARNs, `modified_at` epoch s."""

    modified_at: float
    most_retries: int | None = None
    longest_age_s: int | None = None
    on_success: str | None = None
    on_failure: str | None = None

    def policy(self, retry_base_s: float) -> AsyncPolicy:
        """Return the policy of its events."""
        return AsyncPolicy(
            MOST_RETRIES if self.most_retries is None else self.most_retries,
            LONGEST_AGE_S if self.longest_age_s is None else self.longest_age_s,
            retry_base_s,
        )


def merged(present: EventInvokeConfig | None, request: Mapping[str, Any], *, now: float) -> EventInvokeConfig:
    """Return the config that a request leaves: over `present` when it merges, anew when that is None.

    Raises: Refused: the request sets nothing.
    """
    names = ("MaximumRetryAttempts", "MaximumEventAgeInSeconds", "DestinationConfig")
    if all(request.get(name) is None for name in names):
        raise invalid("You must specify at least one of error handling or destination setting.")
    changes: dict[str, Any] = {"modified_at": now}
    if (retries := request.get("MaximumRetryAttempts")) is not None:
        changes["most_retries"] = retries
    if (age := request.get("MaximumEventAgeInSeconds")) is not None:
        changes["longest_age_s"] = age
    destinations = request.get("DestinationConfig") or {}
    for member, field in (("OnSuccess", "on_success"), ("OnFailure", "on_failure")):
        arn = (destinations.get(member) or {}).get("Destination")
        if arn is not None:
            changes[field] = arn or None  # "" clears it
    return replace(present or EventInvokeConfig(now), **changes)


def check_destinations(
    config: EventInvokeConfig,
    ref: FunctionRef,
    *,
    is_served: Callable[[str], bool],
    has_function: Callable[[Arn], bool],
) -> None:
    """Let destinations pass that events of the function can be handed to.

    Args: is_served: does somebody here take deliveries for an ARN? has_function: is the function it names there?
    Raises: Refused: one is the function itself, not there, of a kind AWS does not take, or not served here.
    """
    for arn, is_failure in ((config.on_success, False), (config.on_failure, True)):
        if arn is None:
            continue
        try:
            target = Arn.parse(arn)
        except ValueError as error:
            raise _unsupported(config) from error
        match target.service:
            case "lambda":
                _check_function(target, arn, ref, has_function)
            case "sqs" | "sns":
                if target.resource.endswith(".fifo"):
                    raise _unsupported(config)
            case "s3" if not is_failure:
                raise _unsupported(config)
            case "events" | "s3":
                pass
            case _:
                raise _unsupported(config)
        if not is_served(arn):
            raise invalid(f"The destination {arn} is refused: {_LATER[target.service]} are not served by eventrt yet.")


def check_dead_letter_target(arn: str, *, is_served: Callable[[str], bool]) -> None:
    """Let the target of a DeadLetterConfig pass: a standard queue, or a standard topic once topics are served.

    Raises: Refused: it is neither.
    """
    try:
        target = Arn.parse(arn)
    except ValueError as error:
        raise invalid(f"The dead-letter target {arn} is not an ARN.") from error
    if target.service not in ("sqs", "sns") or target.resource.endswith(".fifo"):
        raise invalid(f"The dead-letter target {arn} is invalid: it must be a standard SQS queue or SNS topic.")
    if not is_served(arn):
        raise invalid(
            f"The dead-letter target {arn} is refused: {_LATER[target.service]} are not served by eventrt yet."
        )


def missing(ref: FunctionRef) -> Refused:
    """Return the 404 of a config that is not there."""
    arn = f"{ref.arn}:{ref.qualifier or '$LATEST'}"
    return Refused("ResourceNotFoundException", f"The function {arn} doesn't have an EventInvokeConfig")


def _check_function(target: Arn, arn: str, ref: FunctionRef, has_function: Callable[[Arn], bool]) -> None:
    kind, _, name = target.resource.partition(":")
    if kind != "function" or not name:
        raise invalid(f"The destination ARN {arn} is invalid.")
    if (target.region, target.account_id, name.partition(":")[0]) == (ref.region, ref.account_id, ref.name):
        raise invalid("You can't specify the function as a destination for itself.")
    if not has_function(target):
        raise invalid(f"The destination ARN {arn} is invalid.")


def _unsupported(config: EventInvokeConfig) -> Refused:
    success = f"OnSuccess(destination={config.on_success})" if config.on_success else "null"
    failure = f"OnFailure(destination={config.on_failure})" if config.on_failure else "null"
    return invalid(
        f"The provided destination config DestinationConfig(onSuccess={success}, onFailure={failure}) is invalid."
    )
