"""The registry of functions: create, update, delete, find; plain functions on a transaction.

A new function is Pending and a changed one InProgress until the transition is completed, which `transitions`
does right after the commit; meanwhile invocations run what was there before. What AWS would refuse is refused
here with its code and sentence (`Refused`), whoever asks. Code comes unpacked (`packages`); the wire's names
and shapes are the door's.

Source: semantics 01, sections 1.3 to 1.5, 1.8 and 1.12.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from eventrt.core import resource_policy
from eventrt.core.function_rules import (
    ACCOUNT_CONCURRENCY,
    FunctionRef,
    check_code_storage,
    check_environment,
    check_limits,
    check_reserved_concurrency,
    check_role,
    check_runtime,
    function_not_found,
    merge_tags,
)
from eventrt.core.functions import CodePackage, Function, FunctionKey, FunctionVersion
from eventrt.core.recursion import RecursiveLoop
from eventrt.core.refused import Refused
from eventrt.store.api import Tx

TRANSITIONS = ("function-transitions",)
"""Announced when a function was created or updated and waits for its transition to be completed."""

CODE = ("function-code",)
"""Announced when an archive may have lost its last function."""

_BEING_CREATED = "The function is being created."
_CREATING = "Creating"

Declared = Literal["created", "updated", "unchanged"]


@dataclass(frozen=True, slots=True)
class FunctionSettings:
    """What a function is made of, apart from its name and its moments; the fields of `FunctionVersion`."""

    runtime: str
    handler: str
    role: str
    code: CodePackage
    description: str = ""
    timeout_s: int = 3
    memory_mb: int = 128
    ephemeral_storage_mb: int = 512
    environment: Mapping[str, str] | None = None
    architectures: tuple[str, ...] = ("x86_64",)
    tracing_mode: str = "PassThrough"
    log_group: str | None = None
    packages: str | None = None
    dead_letter_arn: str | None = None


SETTINGS = tuple(FunctionSettings.__dataclass_fields__)
"""The names of the fields that an update may change."""


# -- finding


def topic(version: FunctionVersion) -> tuple[str, str]:
    """Return what is announced when this function changes or goes."""
    return ("function", version.arn)


def find(tx: Tx, ref: FunctionRef, *, missing_arn: str | None = None) -> Function:
    """Return the function that `ref` names.

    Args: missing_arn: what the 404 shows; None is the ARN as it was asked for.
    Raises: Refused: there is no such function, or it has no such version or alias (there are none but $LATEST).
    """
    function = tx.functions.find(*ref.key)
    if function is None:
        raise function_not_found(missing_arn or ref.qualified_arn)
    if ref.qualifier is not None and ref.qualifier != "$LATEST":
        raise function_not_found(ref.qualified_arn)
    return function


def refuse_qualified(ref: FunctionRef) -> None:
    """Let a name pass that stands for the function as a whole.

    Raises: Refused: it has a qualifier.
    """
    if ref.qualifier is not None:
        raise Refused(
            "InvalidParameterValueException",
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this "
            "operation. Please specify either a function name or an unqualified function ARN.",
        )


# -- creating, updating, deleting


def check(settings: FunctionSettings) -> None:
    """Let settings pass that a function may have.

    Raises: Refused: a rule of AWS is broken, or the runtime is not served here.
    """
    check_runtime(settings.runtime)
    check_role(settings.role)
    check_limits(
        timeout_s=settings.timeout_s,
        memory_mb=settings.memory_mb,
        ephemeral_storage_mb=settings.ephemeral_storage_mb,
    )
    if settings.environment is not None:
        check_environment(settings.environment, compact_json=orjson.dumps(settings.environment).decode())


def check_absent(tx: Tx, key: FunctionKey) -> None:
    """Let a name pass that no function has.

    Raises: Refused: the function exists already.
    """
    if tx.functions.find(*key) is not None:
        raise Refused("ResourceConflictException", f"Function already exist: {key[2]}")


def create(tx: Tx, key: FunctionKey, settings: FunctionSettings, tags: Mapping[str, str]) -> Function:
    """Make a function, Pending until its transition is completed.

    Raises: Refused: it exists already, or a rule is broken.
    """
    check_absent(tx, key)
    check(settings)
    usage = tx.functions.usage(*key[:2])
    check_code_storage(settings.code.size_bytes, used_bytes=usage.code_bytes)
    function = Function(
        _version(
            key,
            settings,
            modified_at=tx.now,
            tags=merge_tags({}, tags),
            state="Pending",
            state_reason=_BEING_CREATED,
            state_reason_code=_CREATING,
        )
    )
    tx.functions.save(function)
    tx.announce(TRANSITIONS)
    return function


def check_revision(version: FunctionVersion, revision_id: str | None, *, read_by: str = "GetFunction/GetAlias") -> None:
    """Let a change pass that was decided on the present state.

    Raises: Refused: another change came in between.
    """
    if revision_id is not None and revision_id != version.revision_id:
        raise Refused(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. "
            f"Call the {read_by} API to retrieve the latest Revision Id",
        )


def check_settled(version: FunctionVersion) -> None:
    """Let a change pass when no other is under way.

    Raises: Refused: the function is being created or updated.
    """
    if version.state == "Pending":
        raise pending()
    if version.update_status == "InProgress":
        raise Refused(
            "ResourceConflictException",
            f"The operation cannot be performed at this time. An update is in progress for resource: {version.arn}",
        )


def pending() -> Refused:
    """Return the refusal of a function that is still being created."""
    return Refused(
        "ResourceConflictException",
        "The operation cannot be performed at this time. The function is currently in the following state: Pending",
    )


def preview(tx: Tx, ref: FunctionRef, changes: Mapping[str, Any], *, revision_id: str | None = None) -> Function:
    """Return the function with other settings, its states and revision as they are; nothing is kept.

    Args: changes: fields of `FunctionSettings` by name.
    Raises: Refused: there is no such function, it is in transition, it was changed since, or a rule is broken.
    """
    function = find(tx, ref)
    check_revision(function.latest, revision_id)
    check_settled(function.latest)
    settings = replace(_settings(function.latest), **changes)
    check(settings)
    if "code" in changes:
        usage = tx.functions.usage(*ref.key[:2])
        check_code_storage(settings.code.size_bytes, used_bytes=usage.code_bytes - function.latest.code.size_bytes)
    return replace(function, latest=replace(function.latest, **_fields(settings)))


def update(tx: Tx, ref: FunctionRef, changes: Mapping[str, Any], *, revision_id: str | None = None) -> Function:
    """Change settings of a function; until the transition is completed the former ones keep serving.

    Args: changes: fields of `FunctionSettings` by name.
    Raises: Refused: as `preview` does.
    """
    former = find(tx, ref).latest
    function = preview(tx, ref, changes, revision_id=revision_id)
    updated = replace(
        function,
        serving=former,
        latest=replace(
            function.latest,
            revision_id=_new_id(),
            configuration_id=_new_id(),
            modified_at=tx.now,
            update_status="InProgress",
            update_status_reason=_BEING_CREATED,
            update_status_reason_code=_CREATING,
        ),
    )
    tx.functions.save(updated)
    tx.announce(TRANSITIONS)
    return updated


def runtimes_in_transition(tx: Tx) -> set[str]:
    """Return the runtimes of the functions that wait for their transition to be completed."""
    return {function.latest.runtime for function in tx.functions.in_transition()}


def complete_transitions(tx: Tx, remarks: Mapping[str, str | None] | None = None) -> int:
    """Make functions Active and their updates Successful; return how many there were.

    Args: remarks: per runtime what the state's reason says, such as that another interpreter stands in for it.
        A function whose runtime has no entry is left for the next time. None has nothing to say of any.
    """
    functions = [f for f in tx.functions.in_transition() if remarks is None or f.latest.runtime in remarks]
    for function in functions:
        latest = replace(
            function.latest,
            revision_id=_new_id(),
            state="Active",
            state_reason=None if remarks is None else remarks[function.latest.runtime],
            state_reason_code=None,
            update_status="Successful",
            update_status_reason=None,
            update_status_reason_code=None,
        )
        tx.functions.save(replace(function, latest=latest, serving=None))
        tx.announce(topic(latest))
    if functions:
        tx.announce(CODE)
    return len(functions)


def delete(tx: Tx, ref: FunctionRef) -> None:
    """Forget a function with all that is set on it; its event source mappings stay.

    Raises: Refused: there is no such function, or the qualifier is not one that can be deleted.
    """
    function = tx.functions.find(*ref.key)
    if function is None:
        raise function_not_found(ref.arn)
    if ref.qualifier == "$LATEST":
        raise Refused(
            "InvalidParameterValueException",
            "$LATEST version cannot be deleted without deleting the function.",
        )
    if ref.qualifier is not None:
        if ref.qualifier.isdigit():
            return  # a version that is not there (there are none yet) is deleted silently
        raise Refused(
            "InvalidParameterValueException",
            "Deletion of aliases is not currently supported.",
        )
    tx.functions.delete(*ref.key)
    tx.asynchronous.give_up(ref.key)
    tx.announce(topic(function.latest))
    tx.announce(CODE)


def declare(
    tx: Tx,
    key: FunctionKey,
    settings: FunctionSettings,
    tags: Mapping[str, str] | None = None,
    *,
    remark: str | None = None,
) -> Declared:
    """Make the function be as declared, Active at once; say what had to be done.

    A function that was made or changed through the API and has the same name becomes as declared. `settings.code`
    is a folder package (`packages.describe_folder`), whose hash tells whether the files changed.

    Args: tags: None leaves the tags alone. remark: what the state's reason says of its interpreter.
    Raises: Refused: a rule is broken.
    """
    check(settings)
    function = tx.functions.find(*key)
    if function is None:
        version = _version(key, settings, modified_at=tx.now, tags=merge_tags({}, tags or {}))
        tx.functions.save(Function(replace(version, update_status="Successful", state_reason=remark)))
        tx.announce(topic(version))
        return "created"
    latest = function.latest
    wanted_tags = latest.tags if tags is None else merge_tags({}, tags)
    if _settings(latest) == settings and wanted_tags == latest.tags and not function.is_in_transition:
        if latest.state_reason != remark:
            tx.functions.save(replace(function, latest=replace(latest, state_reason=remark)))
        return "unchanged"
    version = _version(key, settings, modified_at=tx.now, tags=wanted_tags)
    version = replace(
        version,
        update_status="Successful",
        state_reason=remark,
        reserved_concurrency=latest.reserved_concurrency,
        recursive_loop=latest.recursive_loop,
    )
    if _settings(latest) == settings:
        version = replace(version, configuration_id=latest.configuration_id)
    tx.functions.save(replace(function, latest=version, serving=None))
    tx.announce(topic(version))
    tx.announce(CODE)
    return "updated"


# -- what is set on a function as a whole


def set_tags(tx: Tx, function: Function, tags: Mapping[str, str]) -> None:
    """Give the function these tags, all of them; tags are no part of its revision."""
    _save_both(tx, function, {"tags": dict(tags)})


def reserve_concurrency(
    tx: Tx, ref: FunctionRef, wanted: int | None, *, account_concurrency: int = ACCOUNT_CONCURRENCY
) -> None:
    """Reserve so many of the account's concurrent executions for the function; None gives them back.

    Args: account_concurrency: the account's limit (the setting `lambda.account_concurrency`).
    Raises: Refused: there is no such function, it was named with a qualifier, or too few would be left.
    """
    refuse_qualified(ref)
    function = find(tx, ref, missing_arn=f"{ref.arn}:$LATEST")
    present = function.latest.reserved_concurrency
    if wanted is not None:
        usage = tx.functions.usage(ref.account_id, ref.region)
        check_reserved_concurrency(
            wanted,
            reserved_by_others=usage.reserved_concurrency - (present or 0),
            account_concurrency=account_concurrency,
        )
    if wanted != present:
        _save_both(tx, function, {"reserved_concurrency": wanted})
        tx.announce(topic(function.latest))


def reserved_concurrency(tx: Tx, ref: FunctionRef) -> int | None:
    """Return what is reserved for the function; None when nothing is.

    Raises: Refused: there is no such function, or it was named with a qualifier.
    """
    refuse_qualified(ref)
    return find(tx, ref, missing_arn=f"{ref.arn}:$LATEST").latest.reserved_concurrency


def set_recursive_loop(tx: Tx, ref: FunctionRef, wanted: RecursiveLoop) -> None:
    """Say what becomes of events that go round in a loop through the function.

    Raises: Refused: there is no such function.
    """
    function = find(tx, ref)
    if wanted != function.latest.recursive_loop:
        _save_both(tx, function, {"recursive_loop": wanted})
        tx.announce(topic(function.latest))


def add_permission(
    tx: Tx, ref: FunctionRef, request: Mapping[str, Any], *, revision_id: str | None
) -> Mapping[str, Any]:
    """Add a statement to the function's policy and return it.

    Args: request: the members of AddPermission by their wire names.
    Raises: Refused: there is no such function, the policy was changed since, or the statement is not possible.
    """
    _refuse_latest(ref)
    function = find(tx, ref)
    _check_policy_revision(function, revision_id)
    statement = resource_policy.statement_of(request, resource_arn=ref.qualified_arn)
    policy = resource_policy.with_statement(function.policy, statement)
    resource_policy.check_policy_size(len(orjson.dumps(resource_policy.document_of(policy))))
    _save_policy(tx, function, policy)
    return statement


def remove_permission(tx: Tx, ref: FunctionRef, statement_id: str, *, revision_id: str | None) -> None:
    """Take a statement out of the function's policy.

    Raises: Refused: there is no such function, policy or statement, or the policy was changed since.
    """
    _refuse_latest(ref)
    function = tx.functions.find(*ref.key)
    if function is None:
        raise Refused("ResourceNotFoundException", f"No policy found for: {ref.arn}")
    if ref.qualifier is not None:
        raise function_not_found(ref.qualified_arn)
    policy = resource_policy.without_statement(function.policy, statement_id)
    _check_policy_revision(function, revision_id)
    _save_policy(tx, function, policy)


def _refuse_latest(ref: FunctionRef) -> None:
    if ref.qualifier == "$LATEST":
        raise Refused("InvalidParameterValueException", "We currently do not support adding policies for $LATEST.")


def _check_policy_revision(function: Function, revision_id: str | None) -> None:
    read_by = "GetPolicy" if function.policy else "GetFunction/GetAlias"
    check_revision(function.latest, revision_id, read_by=read_by)


def _save_policy(tx: Tx, function: Function, policy: tuple[Mapping[str, Any], ...]) -> None:
    latest = replace(function.latest, revision_id=_new_id())
    tx.functions.save(replace(function, latest=latest, policy=policy))


# -- values


def _save_both(tx: Tx, function: Function, changes: Mapping[str, Any]) -> None:
    """Change what belongs to the function as a whole, in the version that is shown and the one that runs."""
    tx.functions.save(
        replace(
            function,
            latest=replace(function.latest, **changes),
            serving=None if function.serving is None else replace(function.serving, **changes),
        )
    )


def _version(key: FunctionKey, settings: FunctionSettings, **more: Any) -> FunctionVersion:
    account_id, region, name = key
    return FunctionVersion(
        account_id=account_id,
        region=region,
        name=name,
        revision_id=_new_id(),
        configuration_id=_new_id(),
        **_fields(settings),
        **more,
    )


def _fields(settings: FunctionSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in SETTINGS}


def _settings(version: FunctionVersion) -> FunctionSettings:
    return FunctionSettings(**{name: getattr(version, name) for name in SETTINGS})


def _new_id() -> str:
    return str(uuid.uuid4())
