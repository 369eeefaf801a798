"""What the rest of the house may know of kept mappings: by UUID, by source, by function; those in transition.

Every change rings `("mappings",)`; the supervisor then reads those in transition, so that a change costs the same
however many mappings there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from eventrt.core.mapping import EventSourceMapping


@dataclass(frozen=True, slots=True)
class MappingPage:
    """Some mappings in order of their making, and the position to go on after (None: there are no more)."""

    mappings: Sequence[EventSourceMapping]
    next_after: int | None = None


class MappingRepository(Protocol):
    """Event source mappings of all accounts and regions."""

    def insert(self, mapping: EventSourceMapping) -> None:
        """Keep a new mapping and ring `("mappings",)`. No other may have its source and function (`find_pair`)."""
        ...

    def get(self, mapping_id: str) -> EventSourceMapping | None:
        """Return the mapping of this UUID, of whichever account; or None."""
        ...

    def find_pair(self, source_arn: str, function_arn: str) -> EventSourceMapping | None:
        """Return the mapping between a source and a function (ARN as configured), or None."""
        ...

    def replace(self, mapping: EventSourceMapping) -> None:
        """Keep a mapping as it is now, in place of the one with its UUID, and ring `("mappings",)`."""
        ...

    def set_tags(self, mapping_id: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of a mapping; nothing else of it changes."""
        ...

    def set_problem(self, mapping_id: str, problem: str | None) -> None:
        """Keep what stops a mapping from working; None when nothing does. A mapping that is gone stays gone."""
        ...

    def set_last_result(self, mapping_id: str, result: str) -> None:
        """Keep what came of a stream's last records (LastProcessingResult). A mapping that is gone stays gone."""
        ...

    def set_begun(self, mapping_id: str) -> None:
        """Note that where a mapping starts in each shard is settled. A mapping that is gone stays gone."""
        ...

    def remove(self, mapping_id: str) -> None:
        """Forget a mapping; nothing happens when there is none."""
        ...

    def page(
        self,
        account_id: str,
        region: str,
        *,
        source_arn: str | None = None,
        function_arn: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> MappingPage:
        """Return up to `limit` mappings of an account and region after a position, in order of their making.

        Args: source_arn: only of this source. function_arn: only of this function: an unqualified ARN finds
            those of all its qualifiers, a qualified one only its own.
        """
        ...

    def in_transition(self) -> Sequence[EventSourceMapping]:
        """Return the mappings whose last change the supervisor has still to carry out, oldest change first."""
        ...

    def every(self) -> Sequence[EventSourceMapping]:
        """Return all mappings of all accounts and regions: for start-up and reports."""
        ...
