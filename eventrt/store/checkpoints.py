"""What the rest of the house may ask about checkpoints: how far a mapping is in each shard of its source."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from eventrt.core.shard_values import Progress


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a mapping is in a shard. `is_finished`: the shard is closed and nothing of it is left to do."""

    progress: Progress
    is_finished: bool
    saved_at: float


class CheckpointRepository(Protocol):
    """Checkpoints by mapping (UUID) and shard (`api.Shard.checkpoint_key`)."""

    def of(self, mapping_id: str) -> Mapping[str, Checkpoint]:
        """Return the checkpoints of a mapping by shard."""
        ...

    def get(self, mapping_id: str, shard: str) -> Checkpoint | None:
        """Return the checkpoint of a mapping in a shard, or None."""
        ...

    def save(self, mapping_id: str, shard: str, progress: Progress, *, is_finished: bool = False) -> None:
        """Keep how far a mapping is in a shard; nothing happens when the mapping is gone."""
        ...

    def forget(self, mapping_id: str, shards: Iterable[str] | None = None) -> None:
        """Forget the checkpoints of a mapping, those of some shards or all."""
        ...

    def trimmed_to(self, shard_id: int) -> int:
        """Return the counter value of the last record that retention took out of an embedded shard; 0 for none."""
        ...
