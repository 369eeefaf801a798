"""PartiQL at the door: ExecuteStatement, BatchExecuteStatement, ExecuteTransaction."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from eventrt.aws.call import Answer, Call
from eventrt.aws.services.dynamodb import transactions
from eventrt.aws.services.dynamodb.items import check_no_key, updated_attributes, written
from eventrt.aws.services.dynamodb.room import Request, TablesRoom, answers, consumed, find_table
from eventrt.core.tables.capacity import Capacity, read_units
from eventrt.core.tables.conditions import compiled
from eventrt.core.tables.errors import Malformed, TableError
from eventrt.core.tables.partiql import Erase, Exists, Insert, Modify, Select, Statement, parse_statement
from eventrt.core.tables.plans import key_in, names_in, plan_of
from eventrt.core.tables.projections import project
from eventrt.core.tables.schema import EVERYTHING, Index, Key, KeySchema, Table, key_of, key_of_map
from eventrt.core.tables.values import Item, Value, checked
from eventrt.errors import ApiError
from eventrt.sources import tables as shelf
from eventrt.sources.table_streams import Changes
from eventrt.store.api import Tx
from eventrt.store.items import Stored, fragment
from eventrt.store.tables import Place, Row

_CODES = {
    "ConditionalCheckFailedException": "ConditionalCheckFailed",
    "ResourceNotFoundException": "ResourceNotFound",
    "DuplicateItemException": "DuplicateItem",
    "SerializationException": "ValidationError",
    "ValidationException": "ValidationError",
}


@dataclass(frozen=True, slots=True)
class _Done:
    """What a statement gave: items, the table, what it consumed, and where it goes on."""

    items: list[Any]
    table: Table
    capacity: Capacity
    next_place: tuple[int, Row] | None = None
    schema: KeySchema | None = None


class Statements(TablesRoom):
    """The operations on PartiQL statements."""

    @answers("ExecuteStatement")
    async def execute_statement(self, call: Call, request: Request) -> Answer:
        """Run one statement; a SELECT answers page by page."""
        statement = _parsed(request)
        if isinstance(statement, Select):
            return await self._select(call, request, statement)
        if isinstance(statement, Exists):
            raise TableError("EXISTS can only be used in a transaction")
        if "NextToken" in request or "Limit" in request:
            raise TableError("Limit and NextToken can only be used with a SELECT statement")

        def unit(tx: Tx) -> _Done:
            changes = Changes(tx)
            done = _write(tx, call, statement, changes)
            changes.flush()
            return done

        done = await self._store.write(unit)
        return {"Items": done.items, **consumed(request, lambda: done.capacity)}

    async def _select(self, call: Call, request: Request, statement: Select) -> Answer:
        mark = hashlib.sha256(orjson.dumps((request["Statement"], request.get("Parameters")))).hexdigest()[:16]
        start = _start_of(request.get("NextToken"), mark)
        is_consistent = request.get("ConsistentRead", False)

        def query(tx: Tx) -> _Done:
            table = find_table(tx, call, statement.table)
            return _read(tx, table, statement, start, request.get("Limit"), is_consistent=is_consistent)

        done = await self._store.read(query)
        answer: dict[str, Any] = {"Items": done.items}
        if done.next_place is not None and done.schema is not None:
            number, row = done.next_place
            names = dict.fromkeys((*done.table.key.names, *done.schema.names))
            last = fragment({name: row.item[name] for name in names})
            answer["NextToken"] = _token_of(mark, number, row.place)
            if "Limit" in request:
                answer["LastEvaluatedKey"] = last
        answer.update(consumed(request, lambda: done.capacity))
        return answer

    @answers("BatchExecuteStatement")
    async def batch_execute_statement(self, call: Call, request: Request) -> Answer:
        """Run up to 25 statements, each for itself: all of them read one item, or all of them write."""
        asked: Sequence[Mapping[str, Any]] = request["Statements"]
        parsed = [_attempt(partial(_parsed, one)) for one in asked]
        kinds = {isinstance(one, Select) for one in parsed if not isinstance(one, ApiError)}
        if len(kinds) > 1:
            raise TableError("Statements of a batch must be either all reads or all writes")

        def unit(tx: Tx) -> tuple[list[dict[str, Any]], list[Capacity]]:
            responses: list[dict[str, Any]] = []
            capacities: list[Capacity] = []
            changes = Changes(tx)
            for one, said in zip(parsed, asked, strict=True):
                done = one if isinstance(one, ApiError) else _attempt(partial(_one, tx, call, one, changes))
                responses.append(_response(done, one, said))
                if isinstance(done, _Done):
                    capacities.append(done.capacity)
            changes.flush()
            return responses, capacities

        responses, capacities = await self._store.write(unit)
        answer: dict[str, Any] = {"Responses": responses}
        how = request.get("ReturnConsumedCapacity", "NONE")
        if how != "NONE":
            answer["ConsumedCapacity"] = [capacity.shown(how) for capacity in _joined(capacities)]
        return answer

    @answers("ExecuteTransaction")
    async def execute_transaction(self, call: Call, request: Request) -> Answer:
        """Run up to 100 statements, all or none: all of them read, or all of them write."""
        asked: Sequence[Mapping[str, Any]] = request["TransactStatements"]
        parsed = [_parsed(one) for one in asked]
        if len({isinstance(one, Select) for one in parsed}) > 1:
            raise TableError("Statements of a transaction must be either all reads or all writes")
        how = request.get("ReturnConsumedCapacity", "NONE")

        def unit(tx: Tx) -> tuple[list[dict[str, Any]], list[Capacity]]:
            if isinstance(parsed[0], Select):
                done = [_one(tx, call, one, None) for one in parsed]
                for one in done:
                    one.capacity.units *= 2
                    one.capacity.kind = "ReadCapacityUnits"
                return [{"Item": one.items[0]} if one.items else {} for one in done], _joined(
                    [one.capacity for one in done]
                )
            if transactions.remember(tx, call, request):
                tables = [find_table(tx, call, _table_of(one)) for one in parsed]
                return [{} for _ in parsed], transactions.reread(tables)
            steps = [_step(tx, call, one, said) for one, said in zip(parsed, asked, strict=True)]
            capacities, _ = transactions.run(tx, call, steps, counts=how != "NONE")
            return [{} for _ in parsed], capacities

        responses, capacities = await self._store.write(unit)
        answer: dict[str, Any] = {"Responses": responses}
        if how != "NONE":
            answer["ConsumedCapacity"] = [capacity.shown(how) for capacity in capacities]
        return answer


def _parsed(asked: Mapping[str, Any]) -> Statement:
    parameters = [checked(value) for value in asked.get("Parameters") or ()]
    return parse_statement(asked["Statement"], parameters)


def _table_of(statement: Statement) -> str:
    return statement.select.table if isinstance(statement, Exists) else statement.table


def _joined(capacities: Sequence[Capacity]) -> list[Capacity]:
    """Return one capacity for each table."""
    joined: dict[int, Capacity] = {}
    for capacity in capacities:
        present = joined.setdefault(capacity.table.id, capacity)
        if present is not capacity:
            present.join(capacity)
    return list(joined.values())


# -- batches


def _attempt(work: Callable[[], Any]) -> Any:
    """Return what a statement gives, or its refusal as a value."""
    try:
        return work()
    except ApiError as error:
        return error
    except (TableError, Malformed) as error:
        return ApiError("ValidationException", str(error))
    except shelf.Refusal as refusal:
        members = {"Item": refusal.stored.fragment} if refusal.stored is not None else {}
        return ApiError("ConditionalCheckFailedException", str(refusal), members=members)


def _response(done: Any, statement: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {}
    if isinstance(done, ApiError):
        error: dict[str, Any] = {"Code": _CODES.get(done.code, "InternalServerError"), "Message": done.message}
        if asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and "Item" in done.members:
            error["Item"] = done.members["Item"]
        response["Error"] = error
    elif done.items:
        response["Item"] = done.items[0]
    if not isinstance(statement, ApiError):
        response["TableName"] = _table_of(statement)
    return response


def _one(tx: Tx, call: Call, statement: Statement, changes: Changes | None) -> _Done:
    """Run a statement that reads or writes one item (raises TableError, ApiError, Refusal)."""
    if isinstance(statement, Select):
        table = find_table(tx, call, statement.table)
        if statement.index is not None:
            raise TableError("Select statements within a batch or transaction cannot name an index")
        named, says_more = key_in(statement.where, statement.values, table.key)
        stored = tx.tables.get(table, key_of_map(table.key, named))
        capacity = Capacity(table, read_units(stored.size_bytes if stored else 0, consistent=False))
        if stored is not None and says_more and not _test(statement)(stored.item):
            stored = None
        return _Done([_shown(statement, stored)] if stored is not None else [], table, capacity)
    if isinstance(statement, Exists) or changes is None:
        raise TableError("EXISTS can only be used in a transaction that writes")
    return _write(tx, call, statement, changes)


# -- writing


def _write(tx: Tx, call: Call, statement: Insert | Modify | Erase, changes: Changes) -> _Done:
    """Run a statement that writes (raises TableError, ApiError, Refusal)."""
    table = find_table(tx, call, statement.table)
    if isinstance(statement, Insert):
        after = shelf.kept(statement.item)
        key = key_of(table.key, statement.item)
        if tx.tables.get(table, key) is not None:
            raise ApiError("DuplicateItemException", "Duplicate primary key exists in table")
        shelf.put(tx, table, key, after, None, changes)
        return _Done([], table, written(table, None, after))
    named, condition = _target(table, statement)
    key = key_of_map(table.key, named)
    if isinstance(statement, Erase):
        if statement.returning not in ("NONE", "ALL_OLD"):
            raise TableError("DELETE statements can only return ALL OLD")
        before = shelf.remove(tx, table, key, condition, changes)
        shown = [before.fragment] if before is not None and statement.returning == "ALL_OLD" else []
        return _Done(shown, table, written(table, before, None))
    check_no_key(table, statement.update)
    before, after = shelf.update(
        tx, table, key, named, (statement.update, statement.values), condition or _is_there, changes
    )
    attributes = updated_attributes(statement.returning, statement.update, before, after)
    return _Done([attributes] if attributes is not None else [], table, written(table, before, after))


def _is_there(item: Item) -> bool:
    return bool(item)


def _target(table: Table, statement: Modify | Erase) -> tuple[dict[str, Value], shelf.Test | None]:
    """Return the key that a statement names, and the condition where its WHERE says more."""
    named, says_more = key_in(statement.where, statement.values, table.key)
    if not says_more:
        return named, None
    return named, _test(statement)


def _test(statement: Select | Modify | Erase) -> shelf.Test:
    assert statement.where is not None
    holds, values = compiled(statement.where), statement.values
    return lambda item: holds(item, values)


def _step(tx: Tx, call: Call, statement: Statement, asked: Mapping[str, Any]) -> transactions.Step:
    """Return a statement as a step of a transaction (raises TableError, ApiError)."""
    returns_old = asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    name = _table_of(statement)
    table = find_table(tx, call, name)
    if isinstance(statement, Insert):
        return transactions.put_step(
            name, statement.item, shelf.kept(statement.item), _must_be_new(table), returns_old, code="DuplicateItem"
        )
    if isinstance(statement, Exists):
        select = statement.select
        named, _ = key_in(select.where, select.values, table.key)
        return transactions.check_step(name, named, _test(select), returns_old)
    assert not isinstance(statement, Select)
    named, condition = _target(table, statement)
    if isinstance(statement, Erase):
        return transactions.delete_step(name, named, condition, returns_old)
    change = (statement.update, statement.values)
    return transactions.update_step(name, named, change, condition or _is_there, returns_old)


def _must_be_new(table: Table) -> shelf.Test:
    name = table.key.partition
    return lambda item: name not in item


# -- reading


def _shown(statement: Select, stored: Stored) -> Any:
    return stored.fragment if statement.paths is None else fragment(_flat(stored.item, statement))


def _flat(item: Item, statement: Select) -> dict[str, Value]:
    """Return the selected parts of an item; the last step of each path names what is found there."""
    found: dict[str, Value] = {}
    for path in statement.paths or ():
        value: Any = {"M": project(item, [path])}
        for step in path:
            content = value.get("M") if isinstance(step, str) else value.get("L")
            value = None if not content else content.get(step) if isinstance(step, str) else content[0]
            if value is None:
                break
        if value is not None:
            names = [step for step in path if isinstance(step, str)]
            found[names[-1]] = value
    return found


def _read(
    tx: Tx,
    table: Table,
    statement: Select,
    start: tuple[int, Place] | None,
    limit: int | None,
    *,
    is_consistent: bool,
) -> _Done:
    """Read a page of what a SELECT selects (raises TableError)."""
    index: Index | None = None
    if statement.index is not None:
        index = table.index(statement.index)
        if index is None:
            raise TableError(f"The table does not have the specified index: {statement.index}")
        if index.is_global and is_consistent:
            raise TableError("Consistent reads are not supported on global secondary indexes")
    schema = index.key if index is not None else table.key
    ranges = plan_of(statement.where, statement.values, schema).ranges
    _check_order(statement, schema, is_scan=ranges is None)
    held = _held(table, index, statement)
    keeps = _test(statement) if statement.where is not None else None
    sources = list(_rows(tx, table, index, statement, ranges, start))
    found: list[Any] = []
    scanned = size = 0
    next_place: tuple[int, Row] | None = None
    for number, rows in sources:
        page = shelf.page(
            rows,
            limit=None if limit is None else limit - scanned,
            keeps=keeps,
            shows=held,
        )
        scanned += page.scanned
        size += page.size_bytes
        found.extend(_shown(statement, row) for row in page.rows)
        if page.last is not None:
            next_place = number, page.last
            break
    capacity = Capacity(table)
    capacity.add(read_units(size, consistent=is_consistent), index.name if index is not None else None)
    return _Done(found, table, capacity, next_place, schema)


def _held(table: Table, index: Index | None, statement: Select) -> Callable[[Row], Row] | None:
    """Return what reduces rows to what an index holds; a local index fetches what it does not hold."""
    if index is None:
        return None
    wanted = {str(path[0]) for path in statement.paths or ()} | names_in(statement.where)
    names = {*table.key.names, *index.key.names, *index.projected}
    if not index.is_global and not wanted <= names:
        return None
    return shelf.projected(table, index)


def _rows(
    tx: Tx,
    table: Table,
    index: Index | None,
    statement: Select,
    ranges: Sequence[Any] | None,
    start: tuple[int, Place] | None,
) -> Iterator[tuple[int, Iterator[Row]]]:
    """Yield the ranges to read with their numbers, from the place to go on from."""
    first, after = start if start is not None else (0, None)
    index_id = index.id if index is not None else None
    if ranges is None:
        yield 0, tx.tables.scan(table, index_id, EVERYTHING, after=after)
        return
    for number, wanted in enumerate(ranges):
        if number >= first:
            yield (
                number,
                tx.tables.partition(
                    table,
                    index_id,
                    wanted.partition,
                    wanted.bounds,
                    descending=statement.is_descending,
                    after=after if number == first else None,
                ),
            )


def _check_order(statement: Select, schema: KeySchema, *, is_scan: bool) -> None:
    if statement.order_by is None:
        return
    if is_scan:
        raise TableError("Must have WHERE clause in the statement when using ORDER BY clause.")
    if statement.order_by not in schema.names:
        raise TableError(f"Variable reference {statement.order_by} in ORDER BY clause must be part of the primary key")


def _token_of(mark: str, number: int, place: Place) -> str:
    keys = [place.key, *([place.index_key] if place.index_key is not None else [])]
    parts = [base64.b64encode(part).decode() for key in keys for part in (key.partition, key.sort)]
    return base64.urlsafe_b64encode(orjson.dumps([mark, number, *parts])).decode()


def _start_of(token: str | None, mark: str) -> tuple[int, Place] | None:
    """Return the place that a NextToken means (raises TableError)."""
    if token is None:
        return None
    try:
        given, number, *parts = orjson.loads(base64.urlsafe_b64decode(token))
        raw = [base64.b64decode(part, validate=True) for part in parts]
        if given != mark or len(raw) not in (2, 4) or not isinstance(number, int):
            raise ValueError("the token of another statement")
    except (binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise TableError("Invalid NextToken") from error
    return number, Place(Key(raw[0], raw[1]), Key(raw[2], raw[3]) if len(raw) == 4 else None)
