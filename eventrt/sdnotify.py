"""Telling systemd how we are: READY=1, STOPPING=1, WATCHDOG=1, over the datagram socket it names.

Nothing is sent where NOTIFY_SOCKET is not set, and a message that cannot be sent is dropped: a service
manager that does not listen is no reason to fail.
"""

import os
import socket

import anyio
import structlog

_LOG = structlog.get_logger("eventrt.daemon")


def notify(*states: str) -> None:
    """Send states such as `READY=1` in one datagram; do nothing outside systemd.

    Source: sd_notify(3). A name that begins with @ is in the abstract namespace.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(states).encode(), address)
    except OSError as error:
        _LOG.warning("systemd.unreachable", error=str(error))


def watchdog_interval_s() -> float | None:
    """Return how often systemd wants to hear from us, half its limit; None when it does not ask."""
    limit_us = os.environ.get("WATCHDOG_USEC", "")
    if not limit_us.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(limit_us) / 2_000_000


async def feed_watchdog() -> None:
    """Tell systemd at its own pace that the loop turns; return at once when it does not ask."""
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notify("WATCHDOG=1")
        await anyio.sleep(interval_s)
