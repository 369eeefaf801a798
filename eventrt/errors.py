"""The error taxonomy: who asked wrongly, what is away for now, and what is broken.

Outcomes of user code are values (`core.records`), never exceptions. `ApiError` is what a caller of the AWS
door gets; the codec gives it the shape of the caller's protocol.
"""

from typing import Any


class EventrtError(Exception):
    """Every error this program raises on purpose."""


class ApiError(EventrtError):
    """The caller asked wrongly, or the answer is a refusal in AWS's words.

    Args:
        code: the error code of AWS's documentation, or its shape name in the service model.
        message: AWS's sentence, as far as it is known.
        status: the HTTP status; None takes the one of the service model's error shape, else 400.
        members: further members of the error's body, such as `Reason` or `Type`.
        headers: further HTTP headers, such as `Retry-After`.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        members: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = members or {}
        self.headers = headers or {}


class ConfigurationError(EventrtError):
    """The configuration is wrong; the message says where and what to write instead."""


class StartupError(EventrtError):
    """The daemon cannot start here and now; the message is the one line the user sees.

    Args: exit_code: as in sysexits: 69 unreachable, 73 cannot create, 75 try again, 78 bad configuration.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class SourceUnavailable(EventrtError):  # noqa: N818 - the field's word; it is a state of the world
    """A source cannot be reached for now; the runner waits and shows it in the mapping's state."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoreFull(EventrtError):  # noqa: N818 - a state of the disk
    """The disk has no room; nothing of the unit was kept, and it may be asked again later."""


class CommitLost(StoreFull):
    """A unit of the same commit failed half-way, and took this one along; nothing was kept, and it may be asked again.

    Who waits for a full disk to have room may wait for this in the same way: it only lasts less long.
    """


class StoreClosed(EventrtError):  # noqa: N818 - a state of the daemon
    """The store takes nothing any more: the daemon is stopping."""


class StoreCorrupt(EventrtError):  # noqa: N818 - a state of the file
    """The database is damaged, or newer than this program; nothing was changed."""
