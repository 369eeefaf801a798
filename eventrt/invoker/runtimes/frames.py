"""The frames between the daemon and an environment's process; `python_host/worker.py` is the other side.

Plain structs over two pipes: small frames go in one write, and both sides know the length from the first bytes.
"""

import struct

REQUEST = struct.Struct("<IHHHId")
"""Payload length; lengths of request id, ARN, trace header, client context; deadline in epoch milliseconds."""

RESPONSE = struct.Struct("<IIB")
"""Body length; peak memory in kB; kind."""

READY, INIT_ERROR, RESULT, ERROR, OUT_OF_MEMORY = 0, 1, 2, 3, 4
"""Kinds of response: the handler is loaded; it cannot be loaded; it returned; it raised; it needs more memory than it
has, and ends itself."""


def pack_request(
    payload: bytes, request_id: str, arn: str, trace: str, client_context: bytes, deadline_ms: float
) -> bytes:
    """Return the frame of one invocation."""
    id_bytes, arn_bytes, trace_bytes = request_id.encode(), arn.encode(), trace.encode()
    return b"".join(
        (
            REQUEST.pack(
                len(payload), len(id_bytes), len(arn_bytes), len(trace_bytes), len(client_context), deadline_ms
            ),
            id_bytes,
            arn_bytes,
            trace_bytes,
            client_context,
            payload,
        )
    )
