"""Trace headers of invocations: taken over from the caller, made anew where there is none.

`X-Amzn-Trace-Id` comes with a request, a message or an event; a handler sees it as `_X_AMZN_TRACE_ID`. Which passes
through functions it counts is `core.recursion`'s business.
"""

import random
import time

LONGEST_HEADER = 2048
"""A longer header is none of X-Ray's; the invocation gets one of its own."""


def new_trace(sampled: int = 0) -> str:
    """Return a header for an event that begins here; sampled where the function asks for tracing."""
    number = random.getrandbits(160)
    return f"Root=1-{int(time.time()):08x}-{number >> 64:024x};Parent={number & (2**64 - 1):016x};Sampled={sampled}"


def trace_of(header: str | None, sampled: int = 0) -> str:
    """Return the header that an invocation goes on with; one without a root begins a trace and keeps its lineage."""
    if header is None or len(header) > LONGEST_HEADER:
        return new_trace(sampled)
    if "Root=" in header:
        return header
    return ";".join([new_trace(sampled), *(part for part in header.split(";") if part.startswith("Lineage="))])
