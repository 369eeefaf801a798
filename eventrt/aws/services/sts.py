"""AWS STS: who am I, and credentials for a while.

Temporary credentials need no memory: the access key carries its account, the session token says who it is for and
until when, both under a seal (HMAC) of the daemon's secret; the secret key is derived from the token. So they
survive a restart and verify in `--auth sigv4`. Policies are not enforced: any role of any account may be assumed,
also one that IAM does not know; of one that it knows, id and longest session count.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call, operation
from eventrt.core.identities import Role
from eventrt.errors import ApiError
from eventrt.store.api import Store

_ROLE_ARN = re.compile(r"arn:(aws[a-zA-Z-]*):iam::(\d{12}):role/(?:[\w+=,.@/-]*/)?([\w+=,.@-]+)", re.ASCII)
_TEMPORARY_KEY = re.compile(r"ASIA[A-Z2-7]{16}", re.ASCII)
_CHAINED_LIMIT_S = 3600
"""How long a role lasts that was assumed by a role."""

_TOKEN_HEAD = "EVENTRT1."  # noqa: S105 - a marker, not a secret


class TemporaryCredentials:
    """Issues and recognises temporary credentials.

    Args:
        secret: the daemon's own secret, at least 16 bytes; whoever has it can issue credentials.
        now: real time, epoch seconds: credentials expire with the wall clock, as signatures do.
    """

    def __init__(self, secret: bytes, *, now: Callable[[], float] = time.time) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of temporary credentials needs at least 16 bytes")
        self._secret = secret
        self._now = now

    def issue(self, account_id: str, principal: Mapping[str, str], duration_s: int) -> dict[str, Any]:
        """Return AccessKeyId, SecretAccessKey, SessionToken and Expiration for a principal.

        Args: principal: `arn` and `user_id`, as GetCallerIdentity will answer.
        """
        body = int(account_id).to_bytes(5, "big") + secrets.token_bytes(2)
        key = "ASIA" + base64.b32encode(body + self._seal(b"key", body)[:3]).decode()
        expires_at = int(self._now()) + duration_s
        claims = orjson.dumps({"key": key, "account": account_id, "until": expires_at, **principal})
        token = _TOKEN_HEAD + _text(claims + self._seal(b"token", claims))
        return {
            "AccessKeyId": key,
            "SecretAccessKey": self._secret_key(token),
            "SessionToken": token,
            "Expiration": float(expires_at),
        }

    def account_of(self, access_key: str) -> str | None:
        """Return the account a temporary key was issued for, None when it is none of ours."""
        if not _TEMPORARY_KEY.fullmatch(access_key):
            return None
        raw = base64.b32decode(access_key[4:])
        body, seal = raw[:7], raw[7:]
        if not hmac.compare_digest(seal, self._seal(b"key", body)[:3]):
            return None
        account = int.from_bytes(body[:5], "big")
        return f"{account:012d}" if account < 10**12 else None

    def claims_of(self, access_key: str, token: str) -> dict[str, Any] | None:
        """Return what a session token says of its holder, None when it is not ours or not of this key."""
        if not token.startswith(_TOKEN_HEAD):
            return None
        try:
            raw = base64.urlsafe_b64decode(token[len(_TOKEN_HEAD) :] + "==")
        except ValueError:
            return None
        claims, seal = raw[:-32], raw[-32:]
        if not hmac.compare_digest(seal, self._seal(b"token", claims)):
            return None
        said: dict[str, Any] = orjson.loads(claims)
        return said if said["key"] == access_key else None

    def secret_of(self, access_key: str, token: str) -> str | None:
        """Return the secret key that goes with a key and its token; None when they are not ours or have expired."""
        claims = self.claims_of(access_key, token)
        if claims is None or claims["until"] <= self._now():
            return None
        return self._secret_key(token)

    def _seal(self, purpose: bytes, body: bytes) -> bytes:
        return hmac.new(self._secret, purpose + b"\0" + body, hashlib.sha256).digest()

    def _secret_key(self, token: str) -> str:
        return base64.b64encode(self._seal(b"secret", token.encode())[:30]).decode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class StsService:
    """The operations of STS that SDK and Terraform set-up code uses.

    Args: credentials: issues temporary ones. store: knows the roles.
    """

    service_id = "sts"

    def __init__(self, credentials: TemporaryCredentials, store: Store) -> None:
        self._credentials = credentials
        self._store = store

    @operation("GetCallerIdentity")
    async def get_caller_identity(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return the caller's account, ARN and id: the account's root, or the assumed role."""
        claims = self._claims(call)
        if claims is not None:
            return {"UserId": claims["user_id"], "Account": claims["account"], "Arn": claims["arn"]}
        account = call.account_id
        return {"UserId": account, "Account": account, "Arn": f"arn:aws:iam::{account}:root"}

    @operation("AssumeRole")
    async def assume_role(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return credentials that act as a role, in the role's account."""
        role = _ROLE_ARN.fullmatch(request["RoleArn"])
        if role is None:
            raise ApiError("ValidationError", f"{request['RoleArn']} is invalid")
        partition, account, name = role.groups()
        duration_s = request.get("DurationSeconds", 3600)
        if duration_s > _CHAINED_LIMIT_S and self._claims(call) is not None:
            raise ApiError(
                "ValidationError",
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
            )
        known = await self._store.read(lambda tx: tx.identities.role(account, name))
        if known is not None and duration_s > known.max_session_s:
            raise ApiError(
                "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
        principal = _assumed(partition, account, name, known, request["RoleSessionName"])
        answer: dict[str, Any] = {
            "Credentials": self._credentials.issue(account, principal, duration_s),
            "AssumedRoleUser": {"AssumedRoleId": principal["user_id"], "Arn": principal["arn"]},
        }
        if request.get("SourceIdentity"):
            answer["SourceIdentity"] = request["SourceIdentity"]
        return answer

    @operation("GetSessionToken")
    async def get_session_token(self, call: Call, request: Mapping[str, Any]) -> Answer:
        """Return temporary credentials of the caller's own account."""
        if self._claims(call) is not None:
            raise ApiError("AccessDenied", "Cannot call GetSessionToken with session credentials", status=403)
        account = call.account_id
        principal = {"arn": f"arn:aws:iam::{account}:root", "user_id": account}
        return {"Credentials": self._credentials.issue(account, principal, request.get("DurationSeconds", 43200))}

    def _claims(self, call: Call) -> dict[str, Any] | None:
        token = call.http.headers.get("x-amz-security-token", "")
        return self._credentials.claims_of(call.access_key, token) if token else None


async def handler_principal(store: Store, account_id: str, role_arn: str, function_name: str) -> dict[str, str]:
    """Return as whom a function's handler calls: its role, in a session that is called like the function.

    The role counts by its name, in the account of the function.
    """
    role = _ROLE_ARN.fullmatch(role_arn)
    partition, name = (role[1], role[3]) if role is not None else ("aws", "unknown")
    known = await store.read(lambda tx: tx.identities.role(account_id, name))
    return _assumed(partition, account_id, name, known, function_name)


def _assumed(partition: str, account_id: str, name: str, known: Role | None, session: str) -> dict[str, str]:
    """Return the principal of a session: its ARN, and its id, which is the role's and the session's name."""
    role_id = known.id if known is not None else "AROA" + _stable_id(f"{account_id}/{name}")
    return {
        "arn": f"arn:{partition}:sts::{account_id}:assumed-role/{name}/{session}",
        "user_id": f"{role_id}:{session}",
    }


def _stable_id(name: str) -> str:
    """Return 17 characters that look like the rest of an AWS id and are the same for the same name."""
    return base64.b32encode(hashlib.sha256(name.encode()).digest()).decode()[:17]
