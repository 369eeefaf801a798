"""What reads and writes cost: capacity units, and the ConsumedCapacity that shows them.

Source: DynamoDB developer guide, "Read and write operations"; transactions cost twice.
"""

from dataclasses import dataclass, field
from typing import Any

from eventrt.core.tables.schema import Index, Table
from eventrt.core.tables.values import Item, size_of_item

READ_BYTES, WRITE_BYTES = 4096, 1024


def read_units(size_bytes: int, *, consistent: bool) -> float:
    """Return what reading so many bytes costs: one unit per 4 KB, half of it when it need not be consistent."""
    units = max(1, -(-size_bytes // READ_BYTES))
    return float(units) if consistent else units / 2


def write_units(*sizes: int) -> float:
    """Return what a write costs: one unit per KB of the larger of the item before and after."""
    return float(max(1, -(-max(sizes, default=0) // WRITE_BYTES)))


def entry_of(table: Table, index: Index, item: Item | None) -> Item | None:
    """Return what an index holds of an item; None when the item is not in it."""
    if item is None or not all(name in item for name in index.key.names):
        return None
    if index.projection == "ALL":
        return item
    names = {*table.key.names, *index.key.names, *index.projected}
    return {name: value for name, value in item.items() if name in names}


def entry_size(table: Table, index: Index, item: Item) -> int:
    """Return what an item weighs in an index; nothing when it is not in it."""
    entry = entry_of(table, index, item)
    return size_of_item(entry) if entry is not None else 0


def _index_units(table: Table, index: Index, before: Item | None, after: Item | None) -> float:
    """Return what a write of an item costs an index (developer guide, "Global secondary indexes", write capacity)."""
    old, new = entry_of(table, index, before), entry_of(table, index, after)
    if old is None or new is None:
        entry = old if old is not None else new
        return write_units(size_of_item(entry)) if entry is not None else 0.0
    if any(old[name] != new[name] for name in index.key.names):  # it goes from one place to another
        return write_units(size_of_item(old)) + write_units(size_of_item(new))
    return 0.0 if old == new else write_units(size_of_item(old), size_of_item(new))


@dataclass(slots=True)
class Capacity:
    """What one request consumed of one table and its indexes."""

    table: Table
    units: float = 0.0
    indexes: dict[str, float] = field(default_factory=dict)
    name: str = ""
    """The table as the request named it, where that was not by its name: AWS repeats an ARN."""
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

    def add_write(self, before: Item | None, after: Item | None, *sizes: int, times: int = 1) -> None:
        """Count a write of the table, and of the indexes whose entries it changes. Args: times: 2 in a transaction."""
        self.add(times * write_units(*sizes))
        for index in self.table.indexes:
            units = _index_units(self.table, index, before, after)
            if units:
                self.add(times * units, index.name)

    def shown(self, how: str) -> dict[str, Any]:
        """Return the ConsumedCapacity member. Args: how: TOTAL or INDEXES."""
        total = self.units + sum(self.indexes.values())
        shown: dict[str, Any] = {"TableName": self.name or self.table.name, "CapacityUnits": total}
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
