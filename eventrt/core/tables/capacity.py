"""What reads and writes cost: capacity units, and the ConsumedCapacity that shows them.

Source: DynamoDB developer guide, "Read and write operations"; transactions cost twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eventrt.core.tables.schema import Table

READ_BYTES, WRITE_BYTES = 4096, 1024


def read_units(size_bytes: int, *, consistent: bool) -> float:
    """Return what reading so many bytes costs: one unit per 4 KB, half of it when it need not be consistent."""
    units = max(1, -(-size_bytes // READ_BYTES))
    return float(units) if consistent else units / 2


def write_units(*sizes: int) -> float:
    """Return what a write costs: one unit per KB of the larger of the item before and after."""
    return float(max(1, -(-max(sizes, default=0) // WRITE_BYTES)))


@dataclass(slots=True)
class Capacity:
    """What one request consumed of one table and its indexes."""

    table: Table
    units: float = 0.0
    indexes: dict[str, float] = field(default_factory=dict)
    kind: str = ""
    """`ReadCapacityUnits` or `WriteCapacityUnits` where the answer tells them apart (transactions)."""

    def add(self, units: float, index: str | None = None) -> None:
        """Count units of the table, or of an index."""
        if index is None:
            self.units += units
        else:
            self.indexes[index] = self.indexes.get(index, 0.0) + units

    def join(self, other: "Capacity") -> None:
        """Count what another capacity of the same table counted."""
        self.units += other.units
        for name, units in other.indexes.items():
            self.add(units, name)

    def add_write(self, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *sizes: int) -> None:
        """Count a write of the table, and of the indexes that the item is or was in."""
        self.add(write_units(*sizes))
        for index in self.table.indexes:
            keys = [
                tuple(str(item.get(name)) for name in index.key.names)
                for item in (before, after)
                if item is not None and all(name in item for name in index.key.names)
            ]
            if keys and not (len(keys) == 2 and keys[0] == keys[1] and before == after):
                moves = len(keys) == 2 and keys[0] != keys[1]
                self.add(write_units(*sizes) * (2 if moves else 1), index.name)

    def shown(self, how: str) -> dict[str, Any]:
        """Return the ConsumedCapacity member. Args: how: TOTAL or INDEXES."""
        total = self.units + sum(self.indexes.values())
        shown: dict[str, Any] = {"TableName": self.table.name, "CapacityUnits": total}
        if self.kind:
            shown[self.kind] = total
        if how == "INDEXES":
            shown["Table"] = self._units(self.units)
            for name, units in self.indexes.items():
                index = self.table.index(name)
                is_global = index is not None and index.is_global
                member = "GlobalSecondaryIndexes" if is_global else "LocalSecondaryIndexes"
                shown.setdefault(member, {})[name] = self._units(units)
        return shown

    def _units(self, units: float) -> dict[str, float]:
        return {"CapacityUnits": units, self.kind: units} if self.kind else {"CapacityUnits": units}
