"""Recursive loops, found by the trace header: each pass through a function is counted in its `Lineage`.

A trace header is `Root=1-...;Parent=...;Sampled=0;Lineage=3:1a2b3c4d:0|1:5e6f7a8b:0`: per function that the chain of
events has passed, how often and which (a digest of its ARN). SDKs in a handler send the header they were
given along with their calls, queues keep it with the message, and so it comes back to the function it began at.

Source: semantics 01, section 1.12; the form of Lineage as it stands in AWS's documentation of X-Ray trace headers.
"""

from collections.abc import Iterable
from typing import Final, Literal
from urllib.parse import unquote
from zlib import crc32

RecursiveLoop = Literal["Terminate", "Allow"]

MOST_PASSES: Final = 16
"""An event chain may pass one function so often; the next pass is stopped."""

_MOST_FUNCTIONS = 32
"""A lineage keeps so many functions, those passed last."""

MESSAGE: Final = (
    "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources "
    "and stopped your function's invocation."
)


def decoded(header: str | None) -> str | None:
    """Return a trace header as it was meant: the SDKs in a handler percent-encode some of its signs."""
    return unquote(header) if header is not None and "%" in header else header


def mark_of(function_arn: str) -> str:
    """Return what stands for a function in a lineage: 8 hex digits."""
    return f"{crc32(function_arn.encode()):08x}"


def entered(header: str, mark: str) -> tuple[str, int]:
    """Return (the header with one more pass through the function, how many passes that makes)."""
    if "Lineage=" not in header:
        return f"{header};Lineage=1:{mark}:0", 1
    parts = header.split(";")
    for place, part in enumerate(parts):
        if part.startswith("Lineage="):
            others: list[str] = []
            passes = 0
            for entry in part[8:].split("|"):
                count, _, rest = entry.partition(":")
                if rest.partition(":")[0] == mark:
                    passes += int(count) if count.isascii() and count.isdecimal() and len(count) < 6 else 0
                elif rest:
                    others.append(entry)
            passes += 1
            parts[place] = "Lineage=" + "|".join([*others[-(_MOST_FUNCTIONS - 1) :], f"{passes}:{mark}:0"])
            return ";".join(parts), passes
    return f"{header};Lineage=1:{mark}:0", 1


def deepest(headers: Iterable[str], mark: str) -> str | None:
    """Return the header of a batch whose chain has passed the function most often, the first of equals; None of none.

    So a batch that holds one event of a loop is a pass of that loop.
    """
    chosen, most = None, 0
    for header in headers:
        passes = entered(header, mark)[1] if "Lineage=" in header else 1
        if passes > most:
            chosen, most = header, passes
    return chosen
