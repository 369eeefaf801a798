"""Tags of functions and of event source mappings, by ARN."""

import re
from collections.abc import Mapping
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.lambda_.common import api_error, read, write
from eventrt.core.arn import Arn
from eventrt.core.function_rules import (
    FunctionRef,
    function_not_found,
    invalid,
    merge_tags,
    parse_function_name,
    without_tags,
)
from eventrt.core.refused import Refused
from eventrt.invoker import functions
from eventrt.store.api import Store, Tx

_MAPPING = re.compile(r"event-source-mapping:([0-9a-fA-F-]{36})")


class TagService:
    """TagResource, ListTags and UntagResource."""

    service_id = "lambda"

    def __init__(self, store: Store) -> None:
        self._store = store

    @operation("TagResource")
    async def tag_resource(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Add tags, or give those that are there other values."""
        added: Mapping[str, str] = request["Tags"]
        resource = _resource_of(call, request["Resource"])

        def unit(tx: Tx) -> None:
            present = resource.tags(tx)
            if not added:
                raise invalid("An error occurred and the request cannot be processed.")
            resource.set_tags(tx, merge_tags(present, added))

        await write(self._store, unit)
        return {}

    @operation("ListTags")
    async def list_tags(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return all tags."""
        resource = _resource_of(call, request["Resource"])
        return {"Tags": dict(await read(self._store, resource.tags))}

    @operation("UntagResource")
    async def untag_resource(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Take tags away; those that are not there do not matter."""
        removed: list[str] = request["TagKeys"]
        resource = _resource_of(call, request["Resource"])

        def unit(tx: Tx) -> None:
            present = resource.tags(tx)
            if not removed:
                raise invalid("An error occurred and the request cannot be processed.")
            resource.set_tags(tx, without_tags(present, removed))

        await write(self._store, unit)
        return {}


class _FunctionTags:
    """The tags of a function."""

    def __init__(self, ref: FunctionRef) -> None:
        self._ref = ref

    def tags(self, tx: Tx) -> Mapping[str, str]:
        return functions.find(tx, self._ref).latest.tags

    def set_tags(self, tx: Tx, tags: Mapping[str, str]) -> None:
        functions.set_tags(tx, functions.find(tx, self._ref), tags)


class _MappingTags:
    """The tags of an event source mapping."""

    def __init__(self, arn: Arn, mapping_id: str) -> None:
        self._arn = arn
        self._mapping_id = mapping_id

    def tags(self, tx: Tx) -> Mapping[str, str]:
        mapping = tx.mappings.get(self._mapping_id)
        if mapping is None or (mapping.account_id, mapping.region) != (self._arn.account_id, self._arn.region):
            raise Refused("ResourceNotFoundException", f"Event source mapping not found: {self._arn}")
        return mapping.tags

    def set_tags(self, tx: Tx, tags: Mapping[str, str]) -> None:
        tx.mappings.set_tags(self._mapping_id, tags)


def _resource_of(call: Call, text: str) -> _FunctionTags | _MappingTags:
    """Return what carries tags under this ARN.

    Raises: ApiError: it is of another account or region, a version, or a kind that does not exist here.
    """
    try:
        arn = Arn.parse(text)
        if match := _MAPPING.fullmatch(arn.resource):
            if arn.account_id != call.account_id or arn.region != call.region:
                raise Refused("ResourceNotFoundException", f"Event source mapping not found: {text}")
            return _MappingTags(arn, match[1].lower())
        if not arn.resource.startswith("function:"):
            raise Refused("ResourceNotFoundException", f"The resource you requested does not exist: {text}")
        ref = parse_function_name(text, account_id=call.account_id, region=call.region)
        if ref.qualifier is not None:
            raise invalid("Tags on function aliases and versions are not supported. Please specify a function ARN.")
        return _FunctionTags(ref)
    except Refused as refused:
        raise api_error(refused) from refused
    except ValueError as error:
        raise api_error(function_not_found(text)) from error
