"""What holds for an account and region as a whole: its limits, and the minimum throughput billing commitment."""

from dataclasses import dataclass
from typing import Any

from eventrt.aws.call import Answer, Call, operation
from eventrt.aws.services.kinesis.room import KinesisRoom, Request
from eventrt.errors import ApiError
from eventrt.store.api import Tx
from eventrt.store.streams import Usage

DAY_S = 86_400.0

SHARD_LIMIT = 20_000
ON_DEMAND_LIMIT = 50
"""What an account may have in a region by default. Source: developer guide, quotas and limits (us-east-1)."""

_ENABLED, _DISABLED, _ENDING = "ENABLED", "DISABLED", "ENABLED_UNTIL_EARLIEST_ALLOWED_END"


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What an account has, and refusals of more."""

    call: Call
    usage: Usage

    def check_shards(self, more: int) -> None:
        """Refuse shards beyond the account's limit."""
        if self.usage.open_shards + more > SHARD_LIMIT:
            raise ApiError(
                "LimitExceededException",
                f"This request would exceed the shard limit for the account {self.call.account_id} in "
                f"{self.call.region}. Current shard count for the account: {self.usage.open_shards}. Limit: "
                f"{SHARD_LIMIT}. Number of additional shards that would have resulted from this request: {more}. "
                "Refer to the AWS Service Limits page "
                "(https://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how "
                "to request higher limits.",
            )

    def check_on_demand(self) -> None:
        """Refuse an on-demand stream beyond the account's limit."""
        if self.usage.on_demand_streams >= ON_DEMAND_LIMIT:
            raise ApiError(
                "LimitExceededException",
                f"This request would exceed the on-demand stream limit for the account {self.call.account_id} in "
                f"{self.call.region}. Limit: {ON_DEMAND_LIMIT}.",
            )


def limits_of(tx: Tx, call: Call) -> AccountLimits:
    """Return the caller's limits as they stand."""
    return AccountLimits(call, tx.streams.usage(call.account_id, call.region))


def has_commitment(tx: Tx, call: Call) -> bool:
    """Is the caller's minimum throughput billing commitment enabled?"""
    kept = tx.streams.account(call.account_id, call.region).get("commitment")
    return bool(_standing(kept, tx.now)["Status"] != _DISABLED)


def _standing(kept: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """Return the commitment as it stands: one that was disabled within its first day runs until that day is over."""
    if kept is None:
        return {"Status": _DISABLED}
    started_at, ended_at = kept["started_at"], kept.get("ended_at")
    members = {"StartedAt": started_at, "EarliestAllowedEndAt": started_at + DAY_S}
    if ended_at is None:
        return {"Status": _ENABLED, **members}
    if now < ended_at:
        return {"Status": _ENDING, **members, "EndedAt": ended_at}
    return {"Status": _DISABLED, "StartedAt": started_at, "EndedAt": ended_at}


class Account(KinesisRoom):
    """The operations on an account's settings."""

    @operation("DescribeLimits")
    async def describe_limits(self, call: Call, request: Request) -> Answer:
        """Show what the account has and may have."""
        usage = await self._store.read(lambda tx: tx.streams.usage(call.account_id, call.region))
        return {
            "ShardLimit": SHARD_LIMIT,
            "OpenShardCount": usage.open_shards,
            "OnDemandStreamCount": usage.on_demand_streams,
            "OnDemandStreamCountLimit": ON_DEMAND_LIMIT if self._has_limits else 1_000_000,
        }

    @operation("DescribeAccountSettings")
    async def describe_account_settings(self, call: Call, request: Request) -> Answer:
        """Show the account's minimum throughput billing commitment."""

        def query(tx: Tx) -> Answer:
            kept = tx.streams.account(call.account_id, call.region).get("commitment")
            return {"MinimumThroughputBillingCommitment": _standing(kept, tx.now)}

        return await self._store.read(query)

    @operation("UpdateAccountSettings")
    async def update_account_settings(self, call: Call, request: Request) -> Answer:
        """Enable or disable the minimum throughput billing commitment: kept, and asked for warm throughput."""
        wanted = request["MinimumThroughputBillingCommitment"]["Status"]

        def unit(tx: Tx) -> Answer:
            settings = dict(tx.streams.account(call.account_id, call.region))
            kept: dict[str, Any] | None = settings.get("commitment")
            standing = _standing(kept, tx.now)["Status"]
            if wanted == _ENABLED and standing == _DISABLED:
                kept = {"started_at": tx.now}
            elif wanted == _ENABLED and kept is not None:
                kept = {"started_at": kept["started_at"]}
            elif kept is not None and standing == _ENABLED:
                kept = {**kept, "ended_at": max(tx.now, kept["started_at"] + DAY_S)}
            tx.streams.set_account(call.account_id, call.region, {**settings, "commitment": kept})
            return {"MinimumThroughputBillingCommitment": _standing(kept, tx.now)}

        return await self._store.write(unit)
