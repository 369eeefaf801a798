"""The laws of tables, against a dict: any order of writes, transactions, failed units, kills, expiries.

The table, its indexes and its counts are what the dict says; its stream tells every change exactly once, in order, with
the images as they were; what changes nothing is not told; a unit that fails leaves no trace.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.core.tables.changes import SERVICE_IDENTITY
from eventrt.core.tables.expressions import Expressions
from eventrt.core.tables.keyconditions import bound, range_of
from eventrt.core.tables.schema import EVERYTHING, Index, KeySchema, Table, key_of, segment_bounds
from eventrt.core.tables.values import equal, size_of_item
from eventrt.sources import streams, table_streams
from eventrt.sources import tables as shelf
from eventrt.sources.table_streams import Changes
from eventrt.sources.tablesweeper import TableSweeper, expire
from eventrt.store.api import Tx
from eventrt.store.sqlite.store import SqliteStore

KEYS = [("a", 1), ("a", 2), ("a", -3), ("b", 1), ("b", 10), ("c", 0)]
KEY = KeySchema("id", "S", "k", "N")
START = 1_700_000_000.0


class FloatClock:
    """A clock that is a number."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> float:
        return self.moment


class OopsError(Exception):
    """A unit that fails after its work."""


keys = st.sampled_from(KEYS)
values = st.one_of(
    st.sampled_from([{"S": "x"}, {"S": ""}, {"N": "1"}, {"N": "-2.5"}, {"B": b"\x00"}, {"BOOL": True}, {"NULL": True}]),
    st.sampled_from([{"SS": ["a", "b"]}, {"SS": ["b", "a"]}, {"L": [{"N": "1"}]}, {"M": {"q": {"B": b"deep"}}}]),
)
attributes = st.fixed_dictionaries(
    {},
    optional={
        "v": values,
        "n": st.sampled_from([{"N": "0"}, {"N": "7"}]),
        "who": st.sampled_from([{"S": "ada"}, {"S": "bob"}]),
        "ends": st.sampled_from([{"N": str(int(START) + 50)}, {"N": str(int(START) + 500)}, {"S": "never"}]),
    },
)
conditions = st.sampled_from([None, None, "attribute_exists(id)", "attribute_not_exists(id)", "n = :seven"])
updates = st.sampled_from(
    [
        "SET n = if_not_exists(n, :zero) + :one",
        "SET who = :bob REMOVE v",
        "ADD tags :tags",
        "DELETE tags :tags",
        "REMOVE who, nowhere",
        "SET v = :v, ends = :ends",
    ]
)
writes = st.one_of(
    st.tuples(st.just("put"), keys, attributes, conditions),
    st.tuples(st.just("update"), keys, updates, conditions),
    st.tuples(st.just("delete"), keys, st.none(), conditions),
)
operations = st.one_of(
    st.tuples(st.just("one"), st.lists(writes, min_size=1, max_size=1)),
    st.tuples(st.just("fails"), st.lists(writes, min_size=1, max_size=3)),
    st.tuples(st.just("all"), st.lists(writes, min_size=1, max_size=4, unique_by=lambda write: write[1])),
    st.tuples(st.just("advance"), st.sampled_from([10, 100, 5 * 3600])),
    st.tuples(st.just("kill"), st.none()),
    st.tuples(st.just("index"), st.none()),
)
VALUES: dict[str, Any] = {
    ":zero": {"N": "0"},
    ":one": {"N": "1"},
    ":seven": {"N": "7"},
    ":bob": {"S": "bob"},
    ":tags": {"SS": ["t"]},
    ":v": {"S": "x"},
    ":ends": {"N": str(int(START) + 200)},
}


def named(key: tuple[str, int]) -> dict[str, Any]:
    return {"id": {"S": key[0]}, "k": {"N": str(key[1])}}


def updated(item: dict[str, Any], text: str) -> dict[str, Any]:
    """Return what an update makes of an item, told without expressions."""
    after = dict(item)
    if text.startswith("SET n"):
        after["n"] = {"N": str(int(item.get("n", {"N": "0"})["N"]) + 1)}
    elif text.startswith("SET who"):
        after["who"] = {"S": "bob"}
        after.pop("v", None)
    elif text.startswith("ADD"):
        after["tags"] = {"SS": ["t"]}
    elif text.startswith("DELETE"):
        after.pop("tags", None)
    elif text.startswith("REMOVE"):
        after.pop("who", None)
    else:
        after |= {"v": {"S": "x"}, "ends": VALUES[":ends"]}
    return after


def holds(condition: str | None, item: dict[str, Any] | None) -> bool:
    if condition is None:
        return True
    if condition == "attribute_exists(id)":
        return item is not None
    if condition == "attribute_not_exists(id)":
        return item is None
    return item is not None and item.get("n") == {"N": "7"}


Told = tuple[str, Any, Any, bool]


class World:
    """A store with one table, and the dict that says what should be in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FloatClock()
        self.items: dict[tuple[str, int], dict[str, Any]] = {}
        self.told: list[Told] = []
        self.store = self._open()
        self.has_index = False

    def _open(self) -> SqliteStore:
        store = SqliteStore(self.directory, clock=self.clock, durability="process")  # type: ignore[arg-type]
        store.open()
        return store

    async def start(self) -> None:
        def unit(tx: Tx) -> None:
            table = Table(
                0,
                "0" * 12,
                "us-east-1",
                "laws",
                "uuid",
                KEY,
                tx.now,
                indexes=(Index("by-who", KeySchema("who", "S"), True, "INCLUDE", ("n",)),),
                ttl_attribute="ends",
            )
            table_streams.enable(tx, tx.tables.create(table), "NEW_AND_OLD_IMAGES")

        await self.store.write(unit)

    def table(self, tx: Tx) -> Table:
        table = tx.tables.find("0" * 12, "us-east-1", "laws")
        assert table is not None
        return table

    # -- what is done, and what the model makes of it

    async def write(self, kind: str, wanted: Sequence[Any]) -> None:
        def unit(tx: Tx) -> None:
            changes = Changes(tx)
            for write in wanted:
                self._write(tx, write, changes if kind == "all" else None)
            changes.flush()
            if kind == "fails":
                raise OopsError

        items, told = dict(self.items), list(self.told)
        is_refused = kind == "fails"
        for verb, key, said, condition in wanted:
            is_refused = is_refused or not holds(condition, items.get(key))
            self._model(items, told, verb, key, said)
        with suppress(OopsError, shelf.Refusal):
            await self.store.write(unit, secured=kind != "one")
            assert not is_refused
        if not is_refused:
            self.items, self.told = items, told

    def _write(self, tx: Tx, write: Any, changes: Changes | None) -> None:
        verb, place, said, text = write
        table = self.table(tx)
        key = key_of(table.key, named(place))
        expressions = Expressions(None, VALUES)
        condition = expressions.condition("ConditionExpression", text) if text is not None else None
        if verb == "put":
            shelf.put(tx, table, key, shelf.kept(named(place) | said), condition, changes)
        elif verb == "update":
            change = (expressions.update(said), expressions.values)
            shelf.update(tx, table, key, named(place), change, condition, changes)
        else:
            shelf.remove(tx, table, key, condition, changes)

    def _model(self, items: dict[Any, Any], told: list[Told], verb: str, key: Any, said: Any) -> None:
        before = items.get(key)
        after = None
        if verb == "put":
            after = named(key) | said
        elif verb == "update":
            after = updated(before or named(key), said)
        if after is None:
            items.pop(key, None)
        else:
            items[key] = after
        if before is None and after is None:
            return
        if before is not None and after is not None and equal({"M": before}, {"M": after}):
            return
        name = "REMOVE" if after is None else "INSERT" if before is None else "MODIFY"
        told.append((name, before, after, False))

    async def advance(self, seconds: float) -> None:
        self.clock.moment += seconds
        await self.store.write(expire)
        due = [
            (int(item["ends"]["N"]), key_of(KEY, item), key)
            for key, item in self.items.items()
            if "N" in item.get("ends", {}) and int(item["ends"]["N"]) <= self.clock.moment
        ]
        for _, _, key in sorted(due):
            self.told.append(("REMOVE", self.items.pop(key), None, True))

    async def kill(self) -> None:
        """End without a word: what was answered is there."""
        copy = Path(tempfile.mkdtemp(dir=self.directory.parent))
        for name in ("eventrt.db", "eventrt.db-wal"):
            (copy / name).write_bytes((self.directory / name).read_bytes())
        await self.store.close()
        self.directory = copy
        self.store = self._open()

    async def add_index(self) -> None:
        """Add an index to the table that is there, and let the sweeper fill it; or drop it again."""
        index = Index("by-n", KeySchema("n", "N", "id", "S"), True, status="CREATING")

        def unit(tx: Tx) -> None:
            table = self.table(tx)
            kept = tuple(one for one in table.indexes if one.name != "by-n")
            tx.tables.update(table, indexes=kept if self.has_index else (*kept, index))

        await self.store.write(unit)
        self.has_index = not self.has_index
        sweeper = TableSweeper(self.store, self.clock)  # type: ignore[arg-type]
        await sweeper._fill()
        await self.store.write(lambda tx: tx.tables.drop_garbage(limit=1000))

    # -- what must hold

    async def check(self) -> None:
        await self.store.read(self._check)

    def _check(self, tx: Tx) -> None:
        table = self.table(tx)
        found = {self._key(row.item): dict(row.item) for row in self._scan(tx, table)}
        assert found.keys() == self.items.keys()
        assert all(equal({"M": item}, {"M": self.items[key]}) for key, item in found.items())
        sizes = [size_of_item(item) for item in self.items.values()]
        assert tx.tables.counts(table) == (len(self.items), sum(sizes))
        for key in KEYS:
            stored = tx.tables.get(table, key_of(table.key, named(key)))
            assert (stored is None) is (key not in self.items)
        self._check_ranges(tx, table)
        self._check_index(tx, table, "by-who", ("who",))
        if self.has_index:
            self._check_index(tx, table, "by-n", ("n",))
        assert self._records(tx, table) == self.told

    def _scan(self, tx: Tx, table: Table) -> list[Any]:
        whole = list(tx.tables.scan(table, None, EVERYTHING, after=None))
        parts = [row for n in range(3) for row in tx.tables.scan(table, None, segment_bounds(n, 3), after=None)]
        assert [row.place for row in whole] == [row.place for row in parts]
        for position, row in enumerate(whole):
            rest = tx.tables.scan(table, None, EVERYTHING, after=row.place)
            assert [each.place for each in rest] == [each.place for each in whole[position + 1 :]]
        return whole

    def _check_ranges(self, tx: Tx, table: Table) -> None:
        for partition in ("a", "b"):
            expressions = Expressions(None, {":id": {"S": partition}, ":low": {"N": "-3"}, ":high": {"N": "9.5"}})
            asked = expressions.key_conditions("id = :id AND k BETWEEN :low AND :high")
            wanted = range_of(bound(asked, expressions.values), table.key)
            expected = sorted(k for name, k in self.items if name == partition and -3 <= k <= 9.5)
            for descending in (False, True):
                rows = list(
                    tx.tables.partition(table, None, wanted.partition, wanted.bounds, descending=descending, after=None)
                )
                assert [self._key(row.item)[1] for row in rows] == (expected[::-1] if descending else expected)
                for position, row in enumerate(rows):
                    rest = tx.tables.partition(
                        table, None, wanted.partition, wanted.bounds, descending=descending, after=row.place
                    )
                    assert [each.place for each in rest] == [each.place for each in rows[position + 1 :]]

    def _check_index(self, tx: Tx, table: Table, name: str, needs: Sequence[str]) -> None:
        index = table.index(name)
        assert index is not None
        assert index.status == "ACTIVE"
        expected = {key for key, item in self.items.items() if all(each in item for each in needs)}
        rows = list(tx.tables.scan(table, index.id, EVERYTHING, after=None))
        assert len(rows) == len(expected)
        assert {self._key(row.item) for row in rows} == expected
        assert tx.tables.counts(table, index.id)[0] == len(expected)
        shows = shelf.projected(table, index)
        sizes = [(shows(row) if shows else row).size_bytes for row in rows]
        assert tx.tables.counts(table, index.id)[1] == sum(sizes)
        for position, row in enumerate(rows):
            rest = tx.tables.scan(table, index.id, EVERYTHING, after=row.place)
            assert [each.place for each in rest] == [each.place for each in rows[position + 1 :]]

    def _records(self, tx: Tx, table: Table) -> list[Told]:
        stream = table_streams.stream_of(tx, table)
        assert stream is not None
        told: list[Told] = []
        last = 0
        for shard in tx.streams.shards(stream):
            for record in streams.read(tx, shard, after=tx.streams.trim_horizon(shard), limit=10_000).records:
                said = orjson.loads(record.data)
                number = int(said["dynamodb"]["SequenceNumber"])
                assert number > last
                last = number
                told.append(
                    (
                        said["eventName"],
                        _item(said["dynamodb"].get("OldImage")),
                        _item(said["dynamodb"].get("NewImage")),
                        said.get("userIdentity") == dict(SERVICE_IDENTITY),
                    )
                )
        return told

    def _key(self, item: Any) -> tuple[str, int]:
        return item["id"]["S"], int(item["k"]["N"])


def _item(image: Any) -> Any:
    """Return an image with its binaries as the model has them."""
    from eventrt.store.items import decode

    return decode(orjson.dumps(image)) if image is not None else None


@pytest.mark.timeout(300)
@settings(max_examples=int(os.environ.get("EVENTRT_LAWS", "100")), deadline=None)
@given(st.lists(operations, max_size=25))
def test_a_table_is_what_the_dict_says_and_its_stream_tells_how_it_became_so(wanted: Sequence[Any]) -> None:
    async def live(folder: str) -> None:
        world = World(Path(folder) / "data")
        await world.start()
        spent = 0.0
        for kind, said in wanted:
            if kind == "advance":
                spent += said
                if spent < 23 * 3600:  # the stream of the whole story must still be there
                    await world.advance(said)
            elif kind == "kill":
                await world.kill()
            elif kind == "index":
                await world.add_index()
            else:
                await world.write(kind, said)
            await world.check()
        await world.store.close()

    with tempfile.TemporaryDirectory(prefix="eventrt-tables-") as folder:
        asyncio.run(live(folder))
