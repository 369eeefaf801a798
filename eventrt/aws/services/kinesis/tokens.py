"""NextTokens of listings: opaque texts that say where to go on, and that expire after five minutes."""

import base64
import binascii
from typing import Any
from zlib import crc32

import orjson

from eventrt.errors import ApiError

LIFE_S = 300.0
"""How long a token may be used. Source: API, ListShards and ListStreamConsumers."""


def issue(kind: str, now: float, **members: Any) -> str:
    """Return a token of a kind of listing that carries these members."""
    body = orjson.dumps({"kind": kind, "at": now, **members})
    return base64.urlsafe_b64encode(crc32(body).to_bytes(4, "big") + body).decode()


def redeem(token: str, kind: str, now: float) -> dict[str, Any]:
    """Return what a token carries.

    Raises: ApiError: InvalidArgumentException when it is none of ours, ExpiredNextTokenException when it is too old.
    """
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii"))
        members = orjson.loads(raw[4:]) if crc32(raw[4:]).to_bytes(4, "big") == raw[:4] else None
    except (binascii.Error, UnicodeEncodeError, orjson.JSONDecodeError):
        members = None
    if not isinstance(members, dict) or members.get("kind") != kind:
        raise ApiError("InvalidArgumentException", "NextToken is invalid.")
    if now - members["at"] > LIFE_S:
        raise ApiError(
            "ExpiredNextTokenException",
            f"NextToken has expired: it was issued {int(now - members['at'])} seconds ago, and may be used for "
            f"{int(LIFE_S)} seconds.",
        )
    return members
