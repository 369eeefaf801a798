"""Functions kept in SQLite: a row each, decoded once and then held in memory.

A value is taken into memory only when what it was read from cannot be rolled back alone any more: a unit
that writes a function reads it from the database until it is committed. Paths of code folders are not kept,
since the data directory may be moved: they are put together from the archive's name when a row is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from eventrt.core.functions import Function, FunctionKey, FunctionUsage, FunctionVersion

if TYPE_CHECKING:
    from eventrt.store.sqlite.engine import Engine

CODE_FOLDER = "code"
"""The part of the data directory that holds archives and what was unpacked from them."""

_DECODE_VERSION = msgspec.json.Decoder(FunctionVersion)
_DECODE_POLICY = msgspec.json.Decoder(tuple[dict[str, Any], ...])
_ENCODE = msgspec.json.Encoder().encode


class SqliteFunctions:
    """The `store.functions.FunctionRepository` of the embedded store."""

    def __init__(self, engine: "Engine[Any]") -> None:
        self._engine = engine
        self._folders = engine.directory.absolute() / CODE_FOLDER / "folders"
        self._held: dict[FunctionKey, Function] = {}
        self._run: dict[FunctionKey, FunctionVersion] = {}
        self._unsettled: dict[FunctionKey, object] = {}
        engine.after_rollback.append(self._forget)

    def get(self, account_id: str, region: str, name: str) -> FunctionVersion | None:
        """Return what invocations run (see `FunctionRepository.get`)."""
        version = self._run.get((account_id, region, name))
        if version is not None:
            return version
        function = self.find(account_id, region, name)
        return None if function is None else function.serving or function.latest

    def find(self, account_id: str, region: str, name: str) -> Function | None:
        """Return what the control plane shows (see `FunctionRepository.find`)."""
        key = (account_id, region, name)
        function = self._held.get(key)
        if function is not None:
            return function
        row = self._engine.connection.execute(
            "SELECT latest, serving, policy FROM functions WHERE account_id = ? AND region = ? AND name = ?",
            key,
        ).fetchone()
        if row is None:
            return None
        function = self._decode(row)
        if self._unsettled.get(key) is not self._engine._unit:
            self._unsettled.pop(key, None)
            self._held[key] = function
            self._run[key] = function.serving or function.latest
        return function

    def save(self, function: Function) -> None:
        """Keep the function (see `FunctionRepository.save`)."""
        latest, serving = function.latest, function.serving
        self._unsettle(latest.key)
        self._engine.connection.execute(
            "INSERT OR REPLACE INTO functions (account_id, region, name, latest, serving, policy, archive,"
            " serving_archive, code_bytes, reserved_concurrency, in_transition)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *latest.key,
                _encode(latest),
                None if serving is None else _encode(serving),
                _ENCODE(function.policy) if function.policy else None,
                latest.code.archive,
                None if serving is None else serving.code.archive,
                latest.code.size_bytes,
                latest.reserved_concurrency,
                int(function.is_in_transition),
            ),
        )

    def delete(self, account_id: str, region: str, name: str) -> None:
        """Forget the function (see `FunctionRepository.delete`)."""
        key = (account_id, region, name)
        self._unsettle(key)
        self._engine.connection.execute("DELETE FROM functions WHERE account_id = ? AND region = ? AND name = ?", key)

    def page(self, account_id: str, region: str, *, after: str, limit: int) -> Sequence[FunctionVersion]:
        """Return a page of functions (see `FunctionRepository.page`)."""
        rows = self._engine.connection.execute(
            "SELECT latest FROM functions WHERE account_id = ? AND region = ? AND name > ? ORDER BY name LIMIT ?",
            (account_id, region, after, limit),
        )
        return [self._version(latest) for (latest,) in rows]

    def every(self) -> Sequence[FunctionVersion]:
        """Return all functions (see `FunctionRepository.every`)."""
        rows = self._engine.connection.execute("SELECT ifnull(serving, latest) FROM functions")
        return [self._version(version) for (version,) in rows]

    def in_transition(self) -> Sequence[Function]:
        """Return the functions in transition (see `FunctionRepository.in_transition`)."""
        rows = self._engine.connection.execute("SELECT latest, serving, policy FROM functions WHERE in_transition = 1")
        return [self._decode(row) for row in rows]

    def usage(self, account_id: str, region: str) -> FunctionUsage:
        """Count what the account holds (see `FunctionRepository.usage`)."""
        row = self._engine.connection.execute(
            "SELECT count(*), total(code_bytes), total(reserved_concurrency) FROM functions"
            " WHERE account_id = ? AND region = ?",
            (account_id, region),
        ).fetchone()
        return FunctionUsage(row[0], int(row[1]), int(row[2]))

    def archives(self) -> set[str]:
        """Return the archives in use (see `FunctionRepository.archives`)."""
        rows = self._engine.connection.execute(
            "SELECT archive FROM functions WHERE archive IS NOT NULL"
            " UNION SELECT serving_archive FROM functions WHERE serving_archive IS NOT NULL"
        )
        return {archive for (archive,) in rows}

    def _decode(self, row: tuple[bytes, bytes | None, bytes | None]) -> Function:
        latest, serving, policy = row
        statements: tuple[Mapping[str, Any], ...] = () if policy is None else _DECODE_POLICY.decode(policy)
        return Function(self._version(latest), None if serving is None else self._version(serving), statements)

    def _version(self, encoded: bytes) -> FunctionVersion:
        version = _DECODE_VERSION.decode(encoded)
        archive = version.code.archive
        if archive is None:
            return version
        return replace(version, code=replace(version.code, folder=str(self._folders / archive)))

    def _unsettle(self, key: FunctionKey) -> None:
        """Read `key` from the database until the running unit is committed, or a later unit runs."""
        self._held.pop(key, None)
        self._run.pop(key, None)
        unit = self._unsettled[key] = self._engine._unit

        def settle() -> None:
            if self._unsettled.get(key) is unit:
                del self._unsettled[key]

        self._engine.after_commit(settle)

    def _forget(self) -> None:
        self._held.clear()
        self._run.clear()
        self._unsettled.clear()


def _encode(version: FunctionVersion) -> bytes:
    if version.code.archive is not None:
        version = replace(version, code=replace(version.code, folder=""))
    return _ENCODE(version)
