"""The async shelf: events in, events to their end; plain functions on a transaction.

An event is accepted for a function and waits on the shelf until `asynchronous` has drained it. Its end is one unit:
the record to a destination, the dead letter, and off the shelf, or none of it.

Source: semantics 02, section 2.7; 01, section 1.10.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nextafter
from typing import Any, NamedTuple

from eventrt.core import event_invoke
from eventrt.core.arn import Arn
from eventrt.core.asynchronous import (
    ASYNC_PAYLOAD_LIMIT_BYTES,
    AsyncEvent,
    AsyncPolicy,
    Ended,
    RetryAt,
    Verdict,
)
from eventrt.core.event_invoke import EventInvokeConfig
from eventrt.core.function_rules import LATEST, FunctionRef, function_not_found
from eventrt.core.functions import FunctionKey, FunctionVersion
from eventrt.core.recursion import entered, mark_of
from eventrt.core.refused import Refused
from eventrt.destinations.async_record import dead_letters, record_messages
from eventrt.destinations.desk import Desk, Message, MessageTooLarge, Undeliverable
from eventrt.invoker.functions import pending
from eventrt.invoker.traces import trace_of
from eventrt.store.api import Tx


def accept(tx: Tx, ref: FunctionRef, *, payload: bytes, request_id: str, trace_header: str | None) -> None:
    """Lay an event on the shelf; what was checked before is its size and that it is JSON.

    Raises: Refused: there is no such function, version or alias, or it is still being created.
    """
    version = tx.functions.get(*ref.key)
    if version is None or ref.qualifier not in (None, LATEST):
        raise function_not_found(f"{ref.arn}:{ref.qualifier or LATEST}")
    if version.state == "Pending":
        raise pending()
    tx.asynchronous.lay(
        ref.key,
        qualifier=ref.qualifier,
        request_id=request_id,
        payload=payload,
        trace_header=trace_of(trace_header),
    )


def take_delivery(tx: Tx, target: Arn, message: Message) -> None:
    """Lay a delivery on the shelf of the function the ARN names: the desk's acceptor for `lambda`.

    Raises: Undeliverable: no such function, or the message is larger than an asynchronous event may be.
    """
    kind, _, name = target.resource.partition(":")
    name, _, qualifier = name.partition(":")
    ref = FunctionRef(target.account_id, target.region, name, qualifier or None)
    if kind != "function" or not has_function(tx, target):
        raise Undeliverable(f"the function {target} does not exist")
    payload = message.body.encode()
    if len(payload) > ASYNC_PAYLOAD_LIMIT_BYTES:
        raise MessageTooLarge(f"the event has {len(payload)} bytes, {target} takes {ASYNC_PAYLOAD_LIMIT_BYTES}")
    tx.asynchronous.lay(
        ref.key,
        qualifier=ref.qualifier,
        request_id=str(uuid.uuid4()),
        payload=payload,
        trace_header=trace_of(message.trace_header),
    )


def has_function(tx: Tx, target: Arn) -> bool:
    """Is the function that an ARN names there, with its version or alias?"""
    name, _, qualifier = target.resource.partition(":")[2].partition(":")
    return tx.functions.get(target.account_id, target.region, name) is not None and qualifier in ("", LATEST)


# -- the end of events


class Outcome(NamedTuple):
    """An event and what was decided about it."""

    event: AsyncEvent
    verdict: Verdict


@dataclass(slots=True)
class Settled:
    """What a unit of outcomes did, for those who tell of it.

    `retries` are the lanes with the moments at which they have something again; `undelivered` says which hand-overs
    failed and why; `shortened` which were made with less than there is to tell, as the target takes no more; `dropped`
    are failed events that nobody was to be told of.
    """

    retries: list[tuple[int, float]] = field(default_factory=list)
    undelivered: list[tuple[AsyncEvent, str, str]] = field(default_factory=list)
    shortened: list[tuple[AsyncEvent, str, str]] = field(default_factory=list)
    dropped: list[tuple[AsyncEvent, Ended]] = field(default_factory=list)


def settle(tx: Tx, desk: Desk, outcomes: Sequence[Outcome]) -> Settled:
    """Carry out what was decided: lay events back, or hand their ends over and take them off the shelf."""
    settled = Settled()
    finished: list[AsyncEvent] = []
    configs: dict[tuple[FunctionKey, str | None], EventInvokeConfig | None] = {}
    for event, verdict in outcomes:
        key = (event.function, event.qualifier)
        if key not in configs:
            configs[key] = tx.asynchronous.config(event.function, event.qualifier or LATEST)
        config = configs[key]
        if type(verdict) is Ended:
            finished.append(event)
            if verdict.is_success and (config is None or config.on_success is None):
                continue
            if tx.asynchronous.holds(event):
                _hand_over(tx, desk, event, verdict, config, settled)
        elif type(verdict) is RetryAt and tx.asynchronous.holds(event):
            # Never before what was read already, however long the disk made this wait: it would not be found again.
            due_at = max(verdict.when, nextafter(tx.now, inf))
            tx.asynchronous.postpone(
                event,
                due_at=due_at,
                executed=verdict.executed,
                refused=verdict.refused,
                last=verdict.last,
            )
            settled.retries.append((event.lane, due_at))
    if finished:
        tx.asynchronous.finish(finished)
    return settled


def _hand_over(
    tx: Tx, desk: Desk, event: AsyncEvent, ended: Ended, config: EventInvokeConfig | None, settled: Settled
) -> None:
    """Give an event's end to whoever is to know of it: the destination and, for a failure, the dead-letter queue."""
    function = tx.functions.get(*event.function)
    function_arn = _arn_of(event.function)
    trace_header, _ = entered(event.trace_header, mark_of(function_arn))
    deliveries: list[tuple[str, Iterator[Message]]] = []
    destination = None if config is None else config.on_success if ended.is_success else config.on_failure
    if destination is not None:
        records = record_messages(
            event,
            ended,
            function_arn=f"{function_arn}:{event.qualifier or LATEST}",
            now=tx.now,
            trace_header=trace_header,
            is_object=":s3:" in destination,
        )
        deliveries.append((destination, records))
    if not ended.is_success and function is not None and function.dead_letter_arn is not None:
        deliveries.append((function.dead_letter_arn, dead_letters(event, ended, trace_header=trace_header)))
    for target, messages in deliveries:
        _deliver(tx, desk, event, target, messages, settled)
    if not deliveries:
        settled.dropped.append((event, ended))


def _deliver(tx: Tx, desk: Desk, event: AsyncEvent, target: str, messages: Iterator[Message], settled: Settled) -> None:
    """Give the target the first of these messages, each shorter than the last, that it takes."""
    too_large: MessageTooLarge | None = None
    for message in messages:
        try:
            desk.deliver(tx, target, message)
        except MessageTooLarge as error:
            too_large = too_large or error
        except Undeliverable as error:
            settled.undelivered.append((event, target, str(error)))
            return
        else:
            if too_large is not None:
                settled.shortened.append((event, target, str(too_large)))
            return
    settled.undelivered.append((event, target, str(too_large)))


def _arn_of(function: FunctionKey) -> str:
    account_id, region, name = function
    return f"arn:aws:lambda:{region}:{account_id}:function:{name}"


def policy_of(tx: Tx, event: AsyncEvent, retry_base_s: float) -> AsyncPolicy:
    """Return the policy an event is under now: that of the qualifier it was invoked with."""
    config = tx.asynchronous.config(event.function, event.qualifier or LATEST)
    return AsyncPolicy(retry_base_s=retry_base_s) if config is None else config.policy(retry_base_s)


# -- event invoke configs


def configure(tx: Tx, desk: Desk, ref: FunctionRef, request: Mapping[str, Any], *, merges: bool) -> EventInvokeConfig:
    """Set a function's event invoke config and return it.

    Args: merges: what the request leaves out stays as it is; the config must be there.
    Raises: Refused: there is no such function or config, or a rule is broken.
    """
    qualifier = ref.qualifier or LATEST
    function = _function_of(tx, ref)
    present = tx.asynchronous.config(ref.key, qualifier) if merges else None
    if merges and (function is None or present is None):
        raise event_invoke.missing(ref)
    if function is None:
        raise Refused("ResourceNotFoundException", "The function doesn't exist.")
    config = event_invoke.merged(present, request, now=tx.now)
    event_invoke.check_destinations(
        config, ref, is_served=desk.takes, has_function=lambda target: has_function(tx, target)
    )
    tx.asynchronous.save_config(ref.key, qualifier, config)
    return config


def config_of(tx: Tx, ref: FunctionRef) -> EventInvokeConfig:
    """Return a function's event invoke config.

    Raises: Refused: there is none.
    """
    config = None if _function_of(tx, ref) is None else tx.asynchronous.config(ref.key, ref.qualifier or LATEST)
    if config is None:
        raise event_invoke.missing(ref)
    return config


def remove_config(tx: Tx, ref: FunctionRef) -> None:
    """Take a function's event invoke config away.

    Raises: Refused: there is none.
    """
    config_of(tx, ref)
    tx.asynchronous.delete_config(ref.key, ref.qualifier or LATEST)


def _function_of(tx: Tx, ref: FunctionRef) -> FunctionVersion | None:
    return tx.functions.get(*ref.key) if ref.qualifier in (None, LATEST) else None
