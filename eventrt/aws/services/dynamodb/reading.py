"""Query and Scan: ranges of a table or an index, page by page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb.parameters import Parameters
from eventrt.aws.services.dynamodb.room import Request, TablesRoom, answers, consumed, find_table
from eventrt.core.tables.capacity import Capacity, entry_size, read_units
from eventrt.core.tables.conditions import attributes_of
from eventrt.core.tables.errors import TableError
from eventrt.core.tables.keyconditions import KeyRange, bound, range_of
from eventrt.core.tables.legacy import key_conditions_of
from eventrt.core.tables.paths import Path
from eventrt.core.tables.projections import project
from eventrt.core.tables.schema import EVERYTHING, Bounds, Index, Key, KeySchema, Table, key_of, segment_bounds
from eventrt.core.tables.values import Item, checked_item
from eventrt.sources import tables as shelf
from eventrt.store.api import Tx
from eventrt.store.items import Stored, fragment
from eventrt.store.tables import Place

_OUTSIDE = "The provided starting key is outside query boundaries based on provided conditions"
_INVALID_START = "The provided starting key is invalid"
_INVALID_START_SIZE = "Exclusive Start Key must have same size as table's key schema"


class Reading(TablesRoom):
    """The operations that read ranges."""

    @answers("Query")
    async def query(self, call: Call, request: Request) -> Answer:
        """Return a page of one partition, in order of the sort key."""
        parameters = Parameters(request, ("ProjectionExpression", "FilterExpression", "KeyConditionExpression"))
        text = request.get("KeyConditionExpression")
        if text is None and "KeyConditions" not in request:
            raise TableError(
                "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."
            )
        wanted = parameters.expressions.key_conditions(text) if text is not None else None
        older = key_conditions_of(request["KeyConditions"]) if wanted is None else {}
        keeps, paths = parameters.filter("QueryFilter"), parameters.projection()
        parameters.finish()
        filtered = _filtered(parameters, request, "QueryFilter")
        values = parameters.expressions.values
        start = _start_of(request)
        descending = not request.get("ScanIndexForward", True)

        def unit(tx: Tx) -> tuple[View, shelf.Page]:
            view = _view(find_table(tx, call, request["TableName"]), request, paths, verb="Querying")
            for name in filtered:
                if name in view.schema.names:
                    raise TableError(
                        f"{'Filter Expression' if wanted is not None else 'QueryFilter'} can only contain non-primary "
                        f"key attributes: Primary key attribute: {name}"
                    )
            asked = range_of(bound(wanted, values) if wanted is not None else older, view.schema)
            rows = tx.tables.partition(
                view.table,
                view.index.id if view.index is not None else None,
                asked.partition,
                asked.bounds,
                descending=descending,
                after=_within(view.place(start), asked, descending=descending),
            )
            return view, shelf.page(rows, limit=request.get("Limit"), keeps=keeps, shows=view.shows, weighs=view.weighs)

        view, page = await self._store.read(unit)
        return _shown(request, view, page)

    @answers("Scan")
    async def scan(self, call: Call, request: Request) -> Answer:
        """Return a page of everything, or of one segment of it."""
        parameters = Parameters(request, ("ProjectionExpression", "FilterExpression"))
        keeps, paths = parameters.filter("ScanFilter"), parameters.projection()
        parameters.finish()
        bounds = _segment(request)
        start = _start_of(request)

        def unit(tx: Tx) -> tuple[View, shelf.Page]:
            view = _view(find_table(tx, call, request["TableName"]), request, paths, verb="Scanning")
            after = view.place(start)
            if after is not None and not _is_within((after.index_key or after.key).partition, bounds):
                raise TableError(
                    "The provided Exclusive start key does not map to the provided Segment and TotalSegments values."
                )
            rows = tx.tables.scan(view.table, view.index.id if view.index is not None else None, bounds, after=after)
            return view, shelf.page(rows, limit=request.get("Limit"), keeps=keeps, shows=view.shows, weighs=view.weighs)

        view, page = await self._store.read(unit)
        return _shown(request, view, page)


@dataclass(frozen=True, slots=True)
class View:
    """What a request reads: a table or one of its indexes, and how much of each item it shows.

    `weighs` says what an item weighs in a local index that fetches from its table what it does not hold.
    """

    table: Table
    index: Index | None
    schema: KeySchema
    paths: tuple[Path, ...] | None
    shows: Callable[[Any], Any] | None
    counts_only: bool
    weighs: Callable[[Item], int] | None = None

    def place(self, start: Item | None) -> Place | None:
        """Return the place that an ExclusiveStartKey means (raises TableError)."""
        if start is None:
            return None
        names = {*self.table.key.names, *self.schema.names}
        if len(start) != len(names):
            raise TableError(_INVALID_START if self.index is not None else _INVALID_START_SIZE)
        if set(start) != names:
            raise TableError(f"{_INVALID_START}: The provided key element does not match the schema")
        try:
            own = key_of(self.table.key, start)
            return Place(own, key_of(self.schema, start) if self.index is not None else None)
        except TableError:
            raise TableError(f"{_INVALID_START}: The provided key element does not match the schema") from None

    def shown(self, rows: Sequence[Stored]) -> Any:
        """Return items as the request wants to see them."""
        if self.paths is None:
            return orjson.Fragment(b"[%b]" % b",".join([stored.wire for stored in rows]))
        return [fragment(project(stored.item, self.paths)) for stored in rows]

    def last_key(self, stored: Stored) -> Any:
        """Return the LastEvaluatedKey that leads on from an item."""
        names = dict.fromkeys((*self.table.key.names, *self.schema.names))
        return fragment({name: stored.item[name] for name in names})


def _view(table: Table, request: Request, paths: tuple[Path, ...] | None, *, verb: str) -> View:
    """Return what a request reads (raises TableError)."""
    name, select = request.get("IndexName"), request.get("Select")
    index: Index | None = None
    if name is not None:
        index = table.index(name)
        if index is None:
            raise TableError(f"The table does not have the specified index: {name}")
        if index.is_global and request.get("ConsistentRead"):
            raise TableError("Consistent reads are not supported on global secondary indexes")
        if index.status == "CREATING":
            raise TableError(f"Cannot read from backfilling global secondary index: {name}")
    _check_select(select, request, index, verb=verb)
    shows = shelf.projected(table, index) if index is not None else None
    weighs: Callable[[Item], int] | None = None
    if index is not None and shows is not None:
        held = {*table.key.names, *index.key.names, *index.projected}
        missing = [str(path[0]) for path in paths or () if path[0] not in held]
        if index.is_global:
            if missing:
                raise TableError(
                    f"One or more parameter values were invalid: Global secondary index {index.name} does not project "
                    f"[{', '.join(missing)}]"
                )
        elif missing or select == "ALL_ATTRIBUTES":
            shows = None  # a local index fetches what it does not hold from the table
            weighs = partial(entry_size, table, index)
    schema = index.key if index is not None else table.key
    return View(table, index, schema, paths, shows, select == "COUNT", weighs)


def _check_select(select: str | None, request: Request, index: Index | None, *, verb: str) -> None:
    member = next((name for name in ("ProjectionExpression", "AttributesToGet") if name in request), None)
    if select is None:
        return
    if select == "SPECIFIC_ATTRIBUTES":
        if member is None:
            raise TableError(
                "One or more parameter values were invalid: Must specify the AttributesToGet or ProjectionExpression "
                "when choosing to get SPECIFIC_ATTRIBUTES"
            )
        return
    if select == "ALL_PROJECTED_ATTRIBUTES" and index is None:
        raise TableError(
            "One or more parameter values were invalid: ALL_PROJECTED_ATTRIBUTES can be used only when "
            f"{verb} using an IndexName"
        )
    if member is not None:
        what = "only the Count" if select == "COUNT" else select
        raise TableError(f"Cannot specify the {member} when choosing to get {what}")
    if select == "ALL_ATTRIBUTES" and index is not None and index.is_global and index.projection != "ALL":
        raise TableError(
            "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global "
            f"secondary index {index.name} because its projection type is not ALL"
        )


def _filtered(parameters: Parameters, request: Request, old_member: str) -> set[str]:
    """Return the attributes that a filter reads."""
    text = request.get("FilterExpression")
    if text is None:
        old: Mapping[str, Any] = request.get(old_member) or {}
        return set(old)
    tree = parameters.expressions.clause("FilterExpression", text).tree
    return {str(path[0]) for path in attributes_of(tree)}


def _start_of(request: Request) -> Item | None:
    start = request.get("ExclusiveStartKey")
    return checked_item(start) if start else None


def _within(after: Place | None, wanted: KeyRange, *, descending: bool) -> Place | None:
    """Return the place to go on from; it must be of the range that the query reads (raises TableError)."""
    if after is None:
        return None
    key: Key = after.index_key or after.key
    if key.partition != wanted.partition:
        raise TableError(_OUTSIDE)
    if not _is_within(key.sort, wanted.bounds):
        raise TableError("The provided starting key does not match the range key predicate")
    return after


def _is_within(place: bytes, bounds: Bounds) -> bool:
    if bounds.low is not None and (place < bounds.low or (place == bounds.low and not bounds.low_included)):
        return False
    return bounds.high is None or place < bounds.high or (place == bounds.high and bounds.high_included)


def _segment(request: Request) -> Bounds:
    """Return the range of partition keys that a scan reads (raises TableError)."""
    segment, total = request.get("Segment"), request.get("TotalSegments")
    if segment is None and total is None:
        return EVERYTHING
    if total is None:
        raise TableError(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is "
            "present"
        )
    if segment is None:
        raise TableError(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is "
            "present"
        )
    if segment >= total:
        raise TableError(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: "
            f"Segment: {segment} is not less than TotalSegments: {total}"
        )
    return segment_bounds(segment, total)


def _shown(request: Request, view: View, page: shelf.Page) -> Answer:
    answer: dict[str, Any] = {"Count": len(page.rows), "ScannedCount": page.scanned}
    if not view.counts_only:
        answer["Items"] = view.shown(page.rows)
    if page.last is not None:
        answer["LastEvaluatedKey"] = view.last_key(page.last)
    if "ReturnConsumedCapacity" in request:
        answer.update(consumed(request, lambda: _read(request, view, page)))
    return answer


def _read(request: Request, view: View, page: shelf.Page) -> Capacity:
    is_consistent = request.get("ConsistentRead", False)
    capacity = Capacity(view.table)
    units = read_units(page.size_bytes, consistent=is_consistent)
    capacity.add(units, view.index.name if view.index is not None else None)
    # What an index fetches from its table is read item by item.
    capacity.add(sum(read_units(size, consistent=is_consistent) for size in page.fetched))
    return capacity
