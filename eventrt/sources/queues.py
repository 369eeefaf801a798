"""Queues as a shelf: send, receive, settle, dead-letter, purge, move; plain functions on a transaction."""

from collections.abc import Sequence
from typing import Literal

from eventrt.core.messages import (
    MessageDraft,
    Queue,
    QueueDepth,
    Received,
    SentMessage,
    SettleResult,
)
from eventrt.store.api import Tx

Owner = Literal["client", "poller"]
"""Who holds a lease: a client over the wire, or a poller of this daemon (whose leases end when it restarts)."""


def send(tx: Tx, queue: Queue, drafts: Sequence[MessageDraft]) -> list[SentMessage]:
    """Lay messages on a queue, in order, and wake who waits for them."""
    raise NotImplementedError


def receive(
    tx: Tx,
    queue: Queue,
    *,
    limit: int,
    visibility_timeout_s: int | None = None,
    attempt_id: str | None = None,
    owner: Owner = "client",
) -> Received:
    """Lease up to `limit` messages until now + visibility timeout; dead-letter those received too often."""
    raise NotImplementedError


def delete(tx: Tx, queue: Queue, receipt_handles: Sequence[str]) -> list[SettleResult]:
    """Settle messages as done. Per handle: None, or why not."""
    raise NotImplementedError


def change_visibility(
    tx: Tx, queue: Queue, changes: Sequence[tuple[str, int]]
) -> list[SettleResult]:
    """Let leases end `timeout_s` from now; 0 releases at once. Per (handle, timeout_s): None, or why not."""
    raise NotImplementedError


def depth(tx: Tx, queue: Queue) -> QueueDepth:
    """Count the queue's messages, exactly, at a cost that does not grow with them."""
    raise NotImplementedError
