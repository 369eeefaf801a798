"""Mappings in SQLite: one row each, the value as JSON, indexed by source, by function and by being in transition."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from eventrt.core.mapping import EventSourceMapping
from eventrt.store.mappings import MappingPage
from eventrt.store.sqlite.engine import Engine

_DECODER = msgspec.json.Decoder(EventSourceMapping)
_ENCODER = msgspec.json.Encoder()


class SqliteMappings:
    """The `store.mappings.MappingRepository` of the embedded store; rows are read when asked for, never cached."""

    def __init__(self, engine: Engine[Any]) -> None:
        self._engine = engine

    def insert(self, mapping: EventSourceMapping) -> None:
        """Keep a new mapping and ring the bell."""
        self._engine.connection.execute(
            "INSERT INTO mappings (account_id, region, source_arn, function_arn, unqualified_function_arn,"
            " in_transition, document, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            _row(mapping),
        )
        self._engine.announce(("mappings",))

    def get(self, mapping_id: str) -> EventSourceMapping | None:
        """Return the mapping of this UUID."""
        return self._one("SELECT document FROM mappings WHERE id = ?", mapping_id)

    def find_pair(self, source_arn: str, function_arn: str) -> EventSourceMapping | None:
        """Return the mapping between a source and a function."""
        return self._one(
            "SELECT document FROM mappings WHERE source_arn = ? AND function_arn = ?", source_arn, function_arn
        )

    def replace(self, mapping: EventSourceMapping) -> None:
        """Keep a mapping as it is now and ring the bell."""
        self._update(mapping)
        self._engine.announce(("mappings",))

    def set_tags(self, mapping_id: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of a mapping."""
        if mapping := self.get(mapping_id):
            self._update(replace(mapping, tags=dict(tags)))

    def set_problem(self, mapping_id: str, problem: str | None) -> None:
        """Keep what stops a mapping from working."""
        if (mapping := self.get(mapping_id)) and mapping.problem != problem:
            self._update(replace(mapping, problem=problem))

    def set_last_result(self, mapping_id: str, result: str) -> None:
        """Keep what came of a stream's last records."""
        if (mapping := self.get(mapping_id)) and mapping.last_result != result:
            self._update(replace(mapping, last_result=result))

    def set_begun(self, mapping_id: str) -> None:
        """Note that where a mapping starts in each shard is settled."""
        if mapping := self.get(mapping_id):
            self._update(replace(mapping, has_begun=True))

    def remove(self, mapping_id: str) -> None:
        """Forget a mapping."""
        self._engine.connection.execute("DELETE FROM mappings WHERE id = ?", (mapping_id,))

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
        """Return mappings of an account and region in order of their making."""
        where, values = ["account_id = ?", "region = ?"], [account_id, region]
        if source_arn is not None:
            where.append("source_arn = ?")
            values.append(source_arn)
        if function_arn is not None:
            qualified = function_arn.count(":") > 6
            where.append("function_arn = ?" if qualified else "unqualified_function_arn = ?")
            values.append(function_arn)
            if qualified:
                where.append("unqualified_function_arn = ?")
                values.append(function_arn.rpartition(":")[0])
        rows = self._engine.connection.execute(
            f"SELECT position, document FROM mappings WHERE {' AND '.join(where)} AND position > ?"
            " ORDER BY position LIMIT ?",
            (*values, after, limit + 1),
        ).fetchall()
        more = len(rows) > limit
        del rows[limit:]
        return MappingPage([_DECODER.decode(row[1]) for row in rows], rows[-1][0] if more else None)

    def in_transition(self) -> Sequence[EventSourceMapping]:
        """Return the mappings whose last change is still to be carried out."""
        return self._many("SELECT document FROM mappings WHERE in_transition = 1 ORDER BY position")

    def every(self) -> Sequence[EventSourceMapping]:
        """Return all mappings."""
        return self._many("SELECT document FROM mappings ORDER BY position")

    def _update(self, mapping: EventSourceMapping) -> None:
        self._engine.connection.execute(
            "UPDATE mappings SET account_id = ?, region = ?, source_arn = ?, function_arn = ?,"
            " unqualified_function_arn = ?, in_transition = ?, document = ? WHERE id = ?",
            _row(mapping),
        )

    def _one(self, query: str, *values: str) -> EventSourceMapping | None:
        row = self._engine.connection.execute(query, values).fetchone()
        return None if row is None else _DECODER.decode(row[0])

    def _many(self, query: str) -> list[EventSourceMapping]:
        return [_DECODER.decode(row[0]) for row in self._engine.connection.execute(query)]


def _row(mapping: EventSourceMapping) -> tuple[str | int, ...]:
    return (
        mapping.account_id,
        mapping.region,
        mapping.source_arn,
        mapping.function_arn,
        mapping.unqualified_function_arn,
        int(mapping.is_in_transition),
        _ENCODER.encode(mapping).decode(),
        mapping.id,
    )
