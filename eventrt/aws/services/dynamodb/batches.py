"""Many items in one call, each for itself: BatchGetItem and BatchWriteItem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.items import written
from eventrt.aws.services.dynamodb.parameters import Parameters
from eventrt.aws.services.dynamodb.room import Request, TablesRoom, answers, find_table, metrics_of
from eventrt.core.tables.capacity import Capacity, read_units
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.paths import Path
from eventrt.core.tables.projections import project
from eventrt.core.tables.schema import Key, Table, key_of, key_of_map
from eventrt.core.tables.values import Item, checked_item
from eventrt.sources import tables as shelf
from eventrt.sources.table_streams import Changes
from eventrt.store.api import Tx
from eventrt.store.items import Stored, fragment

MAXIMUM_READS, MAXIMUM_WRITES = 100, 25
MAXIMUM_ANSWER_BYTES = 16 * 1024 * 1024
_DUPLICATES = "Provided list of item keys contains duplicates"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a BatchGetItem asks of one table; `raw` are the keys as they came."""

    named: Sequence[Item]
    raw: Sequence[Any]
    paths: tuple[Path, ...] | None
    is_consistent: bool


class Batches(TablesRoom):
    """The operations on batches."""

    @answers("BatchGetItem")
    async def batch_get_item(self, call: Call, request: Request) -> Answer:
        """Return up to 100 items, and as unprocessed the keys of those beyond 16 MB."""
        asked: Mapping[str, Any] = request["RequestItems"]
        if sum(len(one["Keys"]) for one in asked.values()) > MAXIMUM_READS:
            raise TableError("Too many items requested for the BatchGetItem call")
        wanted = {name: _wanted(one) for name, one in asked.items()}

        def query(tx: Tx) -> tuple[dict[str, list[Any]], dict[str, list[Any]], list[Capacity]]:
            found: dict[str, list[Any]] = {}
            left: dict[str, list[Any]] = {}
            capacities: list[Capacity] = []
            size = 0
            for name, one in wanted.items():
                table = find_table(tx, call, name)
                keys = [key_of_map(table.key, named) for named in one.named]
                if len(set(keys)) != len(keys):
                    raise TableError(_DUPLICATES)
                items = found[name] = []
                capacity = Capacity(table, name=name)
                for key, raw in zip(keys, one.raw, strict=True):
                    if size >= MAXIMUM_ANSWER_BYTES:
                        left.setdefault(name, []).append(raw)
                        continue
                    stored = tx.tables.get(table, key)
                    capacity.add(read_units(stored.size_bytes if stored else 0, consistent=one.is_consistent))
                    if stored is not None:
                        size += stored.size_bytes
                        items.append(_shown(stored, one.paths))
                capacities.append(capacity)
            return found, left, capacities

        found, left, capacities = await self._store.read(query)
        answer: dict[str, Any] = {
            "Responses": found,
            "UnprocessedKeys": {name: {**asked[name], "Keys": keys} for name, keys in left.items()},
        }
        how = request.get("ReturnConsumedCapacity", "NONE")
        if how != "NONE":
            answer["ConsumedCapacity"] = [capacity.shown(how) for capacity in capacities]
        return answer

    @answers("BatchWriteItem")
    async def batch_write_item(self, call: Call, request: Request) -> Answer:
        """Put and delete up to 25 items; none is left unprocessed."""
        asked: Mapping[str, Sequence[Mapping[str, Any]]] = request["RequestItems"]
        if sum(len(writes) for writes in asked.values()) > MAXIMUM_WRITES:
            raise TableError("Too many items requested for the BatchWriteItem call")
        drafts = {name: [_draft(write) for write in writes] for name, writes in asked.items()}

        def unit(tx: Tx) -> list[tuple[Table, Capacity, list[Item]]]:
            done: list[tuple[Table, Capacity, list[Item]]] = []
            changes = Changes(tx)
            for name, writes in drafts.items():
                table = find_table(tx, call, name)
                capacity, named = Capacity(table, name=name), [item for item, _ in writes]
                keys = [
                    key_of(table.key, item) if after is not None else key_of_map(table.key, item)
                    for item, after in writes
                ]
                if len(set(keys)) != len(keys):
                    raise TableError(_DUPLICATES)
                for key, (_, after) in zip(keys, writes, strict=True):
                    before = _write(tx, table, key, after, changes)
                    if "ReturnConsumedCapacity" in request:
                        capacity.join(written(table, before, after))
                done.append((table, capacity, named))
            changes.flush()
            return done

        done = await self._store.write(unit)
        answer: dict[str, Any] = {"UnprocessedItems": {}}
        how = request.get("ReturnConsumedCapacity", "NONE")
        if how != "NONE":
            answer["ConsumedCapacity"] = [capacity.shown(how) for _, capacity, _ in done]
        answer.update(collections_of(request, [(table, item) for table, _, items in done for item in items]))
        return answer


def _wanted(asked: Mapping[str, Any]) -> _Wanted:
    parameters = Parameters(asked, ("ProjectionExpression",))
    paths = parameters.projection()
    parameters.finish()
    raw = asked["Keys"]
    return _Wanted([checked_item(key) for key in raw], raw, paths, asked.get("ConsistentRead", False))


def _shown(stored: Stored, paths: tuple[Path, ...] | None) -> Any:
    return stored.fragment if paths is None else fragment(project(stored.item, paths))


def _draft(write: Mapping[str, Any]) -> tuple[Item, Stored | None]:
    """Return the item of a put and what is to be kept, or the key of a delete and None."""
    if len(write) != 1:
        raise TableError(
            "Supplied AttributeValue has more than one datatypes set, "
            "must contain exactly one of the supported datatypes"
            if write
            else "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
        )
    if "PutRequest" in write:
        item = checked_item(write["PutRequest"]["Item"])
        return item, shelf.kept(item)
    return checked_item(write["DeleteRequest"]["Key"]), None


def _write(tx: Tx, table: Table, key: Key, after: Stored | None, changes: Changes) -> Stored | None:
    if after is None:
        return shelf.remove(tx, table, key, None, changes)
    return shelf.put(tx, table, key, after, None, changes)


def collections_of(request: Request, items: Sequence[tuple[Table, Item]]) -> dict[str, Any]:
    """Return the ItemCollectionMetrics of several items by table, where the request asks for them."""
    if request.get("ReturnItemCollectionMetrics", "NONE") != "SIZE":
        return {}
    found: dict[str, list[Any]] = {}
    for table, item in items:
        metrics = metrics_of(table, item)
        if metrics is not None:
            found.setdefault(table.name, []).append(metrics)
    return {"ItemCollectionMetrics": found} if found else {}
