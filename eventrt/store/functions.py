"""What the rest of the house may know of kept functions: one row each, then read from memory."""

from collections.abc import Sequence
from typing import Protocol

from eventrt.core.functions import Function, FunctionUsage, FunctionVersion


class FunctionRepository(Protocol):
    """Functions by account, region and name."""

    def get(self, account_id: str, region: str, name: str) -> FunctionVersion | None:
        """Return the version that invocations run now; None when there is no such function.

        While an update is in progress that is the version from before it. It is read on every invocation and
        costs a look-up in memory.
        """
        ...

    def find(self, account_id: str, region: str, name: str) -> Function | None:
        """Return the function as the control plane shows it, with its policy; None when there is none."""
        ...

    def save(self, function: Function) -> None:
        """Keep the function, new or changed."""
        ...

    def delete(self, account_id: str, region: str, name: str) -> None:
        """Forget the function and all that is set on it; nothing happens when there is none."""
        ...

    def page(self, account_id: str, region: str, *, after: str, limit: int) -> Sequence[FunctionVersion]:
        """Return up to `limit` functions whose names follow `after`, in order of names, as Get shows them."""
        ...

    def every(self) -> Sequence[FunctionVersion]:
        """Return all functions of all accounts and regions, as invocations run them."""
        ...

    def in_transition(self) -> Sequence[Function]:
        """Return the functions that are being created or updated."""
        ...

    def usage(self, account_id: str, region: str) -> FunctionUsage:
        """Count what the account holds in the region."""
        ...

    def archives(self) -> set[str]:
        """Return the names of all archives that a function still uses or serves from."""
        ...
