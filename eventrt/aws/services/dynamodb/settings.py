"""What is set beside a table: time to live, tags, policy, backups, insights; and what the service says of itself."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.room import Request, TablesRoom, answers, find_table_itself
from eventrt.core.streams import Stream
from eventrt.core.tables.definitions import tags_of
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.schema import Table
from eventrt.errors import ApiError
from eventrt.store.api import Tx

TAGS_PER_PAGE = 10
MAXIMUM_TAGS = 50
_POLICY_BYTES = 20 * 1024


class Settings(TablesRoom):
    """The operations on settings."""

    # -- time to live

    @answers("UpdateTimeToLive")
    async def update_time_to_live(self, call: Call, request: Request) -> Answer:
        """Let items expire at the moment an attribute names, or no longer; at once, where AWS takes an hour."""
        said = request["TimeToLiveSpecification"]
        name, is_enabled = said["AttributeName"], said["Enabled"]

        def unit(tx: Tx) -> None:
            table = find_table_itself(tx, call, request["TableName"])
            if not is_enabled and table.ttl_attribute is None:
                raise TableError("TimeToLive is already disabled")
            if table.ttl_attribute is not None and table.ttl_attribute != name:
                raise TableError(
                    f"TimeToLive is active on a different AttributeName: current AttributeName is {table.ttl_attribute}"
                )
            if is_enabled and table.ttl_attribute is not None:
                raise TableError("TimeToLive is already enabled")
            tx.tables.update(table, ttl_attribute=name if is_enabled else None, plans_expiries=is_enabled)

        await self._store.write(unit)
        return {"TimeToLiveSpecification": {"Enabled": is_enabled, "AttributeName": name}}

    @answers("DescribeTimeToLive")
    async def describe_time_to_live(self, call: Call, request: Request) -> Answer:
        """Show whether items expire, and by which attribute."""
        table = await self._store.read(lambda tx: find_table_itself(tx, call, request["TableName"]))
        shown: dict[str, Any] = {"TimeToLiveStatus": "DISABLED"}
        if table.ttl_attribute is not None:
            shown = {"TimeToLiveStatus": "ENABLED", "AttributeName": table.ttl_attribute}
        return {"TimeToLiveDescription": shown}

    # -- tags

    @answers("TagResource")
    async def tag_resource(self, call: Call, request: Request) -> Answer:
        """Add tags to a table; a key that is there gets the new value."""
        tags = tags_of(request["Tags"])

        def unit(tx: Tx) -> None:
            table = _named(tx, call, request["ResourceArn"])
            merged = {**table.tags, **tags}
            if len(merged) > MAXIMUM_TAGS:
                raise ApiError("LimitExceededException", f"Too many tags: a table has at most {MAXIMUM_TAGS}")
            tx.tables.tags(table, merged)

        await self._store.write(unit)
        return {}

    @answers("UntagResource")
    async def untag_resource(self, call: Call, request: Request) -> Answer:
        """Take tags off a table; keys it does not have are passed over."""
        gone = set(request["TagKeys"])

        def unit(tx: Tx) -> None:
            table = _named(tx, call, request["ResourceArn"])
            tx.tables.tags(table, {key: value for key, value in table.tags.items() if key not in gone})

        await self._store.write(unit)
        return {}

    @answers("ListTagsOfResource")
    async def list_tags_of_resource(self, call: Call, request: Request) -> Answer:
        """Show a table's tags, ten to a page."""
        table = await self._store.read(lambda tx: _named(tx, call, request["ResourceArn"]))
        token = request.get("NextToken", "")
        keys = sorted(key for key in table.tags if not token or key > token)
        page = keys[:TAGS_PER_PAGE]
        answer: dict[str, Any] = {"Tags": [{"Key": key, "Value": table.tags[key]} for key in page]}
        if len(keys) > len(page):
            answer["NextToken"] = page[-1]
        return answer

    # -- policy

    @answers("PutResourcePolicy")
    async def put_resource_policy(self, call: Call, request: Request) -> Answer:
        """Keep a policy of a table or its stream."""
        policy = request["Policy"]
        check_policy(policy)
        revision = new_revision()

        def unit(tx: Tx) -> None:
            table, member = _policed(tx, call, request["ResourceArn"])
            _check_revision(table.settings.get(member), request)
            settings = {**table.settings, member: {"Policy": policy, "RevisionId": revision}}
            tx.tables.update(table, settings=settings)

        await self._store.write(unit)
        return {"RevisionId": revision}

    @answers("GetResourcePolicy")
    async def get_resource_policy(self, call: Call, request: Request) -> Answer:
        """Show the policy of a table or its stream."""

        def query(tx: Tx) -> Mapping[str, Any] | None:
            table, member = _policed(tx, call, request["ResourceArn"])
            kept: Mapping[str, Any] | None = table.settings.get(member)
            return kept

        kept = await self._store.read(query)
        if kept is None:
            raise _no_policy(request)
        return dict(kept)

    @answers("DeleteResourcePolicy")
    async def delete_resource_policy(self, call: Call, request: Request) -> Answer:
        """Forget the policy of a table or its stream; one that is not there is forgotten already."""

        def unit(tx: Tx) -> Mapping[str, Any] | None:
            table, member = _policed(tx, call, request["ResourceArn"])
            kept: Mapping[str, Any] | None = table.settings.get(member)
            _check_revision(kept, request)
            if kept is not None:
                settings = {name: value for name, value in table.settings.items() if name != member}
                tx.tables.update(table, settings=settings)
            return kept

        kept = await self._store.write(unit)
        return {"RevisionId": kept["RevisionId"]} if kept is not None else {}

    # -- backups and insights, as far as others read them

    @answers("DescribeContinuousBackups")
    async def describe_continuous_backups(self, call: Call, request: Request) -> Answer:
        """Say that a table can not be restored to a point in time."""
        await self._store.read(lambda tx: _with_backups(tx, call, request["TableName"]))
        return {"ContinuousBackupsDescription": _NO_BACKUPS}

    @answers("UpdateContinuousBackups")
    async def update_continuous_backups(self, call: Call, request: Request) -> Answer:
        """Leave point-in-time recovery disabled; the ledger refuses to enable it."""
        if "RecoveryPeriodInDays" in request["PointInTimeRecoverySpecification"]:
            raise TableError(
                "One or more parameter values were invalid: RecoveryPeriodInDays cannot be specified when "
                "PointInTimeRecoveryEnabled is false"
            )
        await self._store.read(lambda tx: _with_backups(tx, call, request["TableName"]))
        return {"ContinuousBackupsDescription": _NO_BACKUPS}

    @answers("DescribeContributorInsights")
    async def describe_contributor_insights(self, call: Call, request: Request) -> Answer:
        """Say that nothing counts who reads what."""
        index = request.get("IndexName")

        def query(tx: Tx) -> Table:
            table = find_table_itself(tx, call, request["TableName"])
            if index is not None and table.index(index) is None:
                raise ApiError("ResourceNotFoundException", f"Requested resource not found: Index: {index} not found")
            return table

        table = await self._store.read(query)
        shown = {"TableName": table.name, "ContributorInsightsStatus": "DISABLED"}
        return {**shown, "IndexName": index} if index is not None else shown

    # -- the service

    @answers("DescribeLimits")
    async def describe_limits(self, call: Call, request: Request) -> Answer:
        """Show the account's quotas as a new account has them; nothing here counts against them."""
        return {
            "AccountMaxReadCapacityUnits": 80_000,
            "AccountMaxWriteCapacityUnits": 80_000,
            "TableMaxReadCapacityUnits": 40_000,
            "TableMaxWriteCapacityUnits": 40_000,
        }

    @answers("DescribeEndpoints")
    async def describe_endpoints(self, call: Call, request: Request) -> Answer:
        """Show where this service answers: on the host the caller used."""
        return {"Endpoints": [{"Address": call.host, "CachePeriodInMinutes": 1440}]}


_NO_BACKUPS = {
    "ContinuousBackupsStatus": "DISABLED",
    "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"},
}


def _with_backups(tx: Tx, call: Call, name: str) -> Table:
    try:
        return find_table_itself(tx, call, name)
    except ApiError as error:
        if error.code != "ResourceNotFoundException":
            raise
        raise ApiError("TableNotFoundException", f"Table not found: {name}") from error


def _named(tx: Tx, call: Call, arn: str) -> Table:
    """Return the table of an ARN (raises TableError, ApiError)."""
    if not arn.startswith("arn:") or "/" not in arn:
        raise TableError(f"Invalid TableArn: Invalid ResourceArn provided as input {arn}")
    table = tx.tables.find(call.account_id, call.region, arn.split("/")[1])
    if table is None or table.arn != arn:
        raise ApiError("ResourceNotFoundException", f"Requested resource not found: ResourcArn: {arn} not found")
    return table


def _policed(tx: Tx, call: Call, arn: str) -> tuple[Table, str]:
    """Return the table whose policy, or whose stream's policy, an ARN means, and the setting that holds it."""
    own, _, label = arn.partition("/stream/")
    table = _named(tx, call, own)
    if not label:
        return table, "ResourcePolicy"
    stream: Stream | None = tx.streams.by_arn(arn)
    if stream is None:
        raise ApiError("ResourceNotFoundException", f"Requested resource not found: Stream: {arn} not found")
    return table, f"StreamPolicy/{label}"


def new_revision() -> str:
    """Return the revision id of a policy that is put now."""
    return str(uuid.uuid4().int >> 64)


def check_policy(policy: str) -> None:
    """Refuse what cannot be a resource policy (raises TableError)."""
    if len(policy.encode()) > _POLICY_BYTES:
        raise TableError("Resource policy exceeds the maximum size of 20 KB")
    try:
        document = orjson.loads(policy)
    except orjson.JSONDecodeError as error:
        raise TableError("Policy document is invalid: it is not JSON") from error
    if not isinstance(document, dict) or "Statement" not in document:
        raise TableError("Policy document is invalid: it has no Statement")


def _check_revision(kept: Mapping[str, Any] | None, request: Request) -> None:
    expected = request.get("ExpectedRevisionId")
    if expected is None:
        return
    present = kept["RevisionId"] if kept is not None else "NO_POLICY"
    if expected != present:
        raise _no_policy(request)


def _no_policy(request: Request) -> ApiError:
    arn = request["ResourceArn"]
    return ApiError("PolicyNotFoundException", f"Resource-based policy not found for the provided ResourceArn: {arn}")
