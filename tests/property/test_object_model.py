"""Objects, versions and listings against a model that is a dict, in whatever order things happen."""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from eventrt.clock import SystemClock
from eventrt.core import object_rules
from eventrt.core.buckets import Body, Bucket, Extent, ObjectDraft
from eventrt.core.notifications import Origin
from eventrt.destinations.desk import Desk
from eventrt.sources.buckets import Buckets
from eventrt.store.sqlite.store import SqliteStore

T = TypeVar("T")

KEYS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "b", "b/1", "ä", "ä/x", "\U0010ffff", "z"])
ORIGIN = Origin("test")


@dataclass
class Version:
    """What the model knows of one version: its id, its body ("" marks a delete marker), the blobs it lies in."""

    version_id: str
    body: bytes | None
    blobs: list[str] = field(default_factory=list)


class ObjectModel(RuleBasedStateMachine):
    """One bucket, and the versions of each key, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteStore(Path(self.folder.name), clock=SystemClock(), durability="process")
        self.store.open()
        self.shelf = Buckets(Desk())
        self.unused: set[str] = set()
        self.store.engine.tx.objects.uses.on_unused = self.unused.update
        self.write(lambda tx: tx.buckets.create("bucket", "0" * 12, "us-east-1"))
        self.model: dict[str, list[Version]] = {}
        self.state = ""
        self.number = 0

    def write(self, unit: Callable[[Any], T]) -> T:
        return self.loop.run_until_complete(self.store.write(unit))

    @property
    def bucket(self) -> Bucket:
        found = self.store.engine.tx.buckets.find("bucket")
        assert found is not None
        return found

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    def _lay(self, key: str, version: Version) -> None:
        versions = self.model.setdefault(key, [])
        if not version.version_id:
            versions[:] = [one for one in versions if one.version_id]
        versions.append(version)

    @rule(key=KEYS, is_large=st.booleans())
    def put(self, key: str, is_large: bool) -> None:
        self.number += 1
        body = str(self.number).encode()
        blobs = [f"blob-{self.number}"] if is_large else []
        kept = Body(len(body), None, [Extent(blobs[0], 0, len(body))]) if is_large else Body(len(body), body)
        draft = ObjectDraft(key, kept, object_rules.md5_hex(body))
        made = self.write(lambda tx: self.shelf.put(tx, self.bucket, draft, "s3:ObjectCreated:Put", ORIGIN))
        assert bool(made.version_id) == (self.state == "Enabled")
        self._lay(key, Version(made.version_id, body, blobs))

    @rule(key=KEYS, to=KEYS)
    def copy(self, key: str, to: str) -> None:
        versions = self.model.get(key)
        if not versions or versions[-1].body is None:
            return
        source = versions[-1]

        def unit(tx: Any) -> str:
            found = tx.objects.current(self.bucket, key)
            draft = ObjectDraft(to, found.body, found.etag)
            return str(self.shelf.put(tx, self.bucket, draft, "s3:ObjectCreated:Copy", ORIGIN).version_id)

        self._lay(to, Version(self.write(unit), source.body, list(source.blobs)))

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        done = self.write(lambda tx: self.shelf.delete(tx, self.bucket, key, None, ORIGIN))
        if self.state:
            assert done.version is not None
            self._lay(key, Version(done.version.version_id, None))
        else:
            self.model.pop(key, None)

    @rule(key=KEYS, index=st.integers(0, 5))
    def delete_version(self, key: str, index: int) -> None:
        versions = self.model.get(key, [])
        if index >= len(versions):
            return
        version = versions.pop(index)
        if not versions:
            self.model.pop(key, None)
        self.write(lambda tx: self.shelf.delete(tx, self.bucket, key, version.version_id, ORIGIN))

    @rule(state=st.sampled_from(["Enabled", "Suspended"]))
    def switch(self, state: str) -> None:
        self.state = state
        self.write(lambda tx: tx.buckets.change(self.bucket, versioning=state))

    @precondition(lambda self: self.model)
    @rule(key=KEYS)
    def fail(self, key: str) -> None:
        """A unit that fails leaves nothing behind."""

        def unit(tx: Any) -> None:
            self.shelf.delete(tx, self.bucket, key, None, ORIGIN)
            raise RuntimeError("no")

        try:
            self.write(unit)
        except RuntimeError:
            return
        raise AssertionError("the unit must fail")

    @invariant()
    def versions_are_the_models(self) -> None:
        for key, versions in self.model.items():
            found = self.write(lambda tx, key=key: tx.objects.versions(self.bucket, key))  # type: ignore[misc]
            assert [(one.version_id, one.is_marker) for one in found] == [
                (one.version_id, one.body is None) for one in reversed(versions)
            ]
            assert [one.is_current for one in found] == [True] + [False] * (len(found) - 1)
            assert [one.size for one in found] == [len(one.body or b"") for one in reversed(versions)]
            for one in versions:
                same = self.write(lambda tx, key=key, one=one: tx.objects.version(self.bucket, key, one.version_id))  # type: ignore[misc]
                assert same is not None
                if one.body is not None and not one.blobs:
                    assert same.body.inline == one.body

    @invariant()
    def blobs_are_kept_while_a_version_uses_them(self) -> None:
        used = {name for versions in self.model.values() for one in versions for name in one.blobs}
        assert not used & self.unused
        every = {f"blob-{number}" for number in range(self.number + 1)}
        free = set(self.write(lambda tx: tx.objects.unused(sorted(every))))
        assert free == every - used

    @invariant()
    def the_bucket_is_empty_when_the_model_is(self) -> None:
        assert self.write(lambda tx: tx.buckets.is_empty(self.bucket)) == (not self.model)

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "ä", "none", "\U0010ffff"]),
        delimiter=st.sampled_from(["", "/", "b"]),
        size=st.integers(1, 4),
        after=st.sampled_from(["", "a", "a/", "a/b", "b", "ä"]),
    )
    def list_in_pages(self, prefix: str, delimiter: str, size: int, after: str) -> None:
        current = sorted((key for key, versions in self.model.items() if versions[-1].body is not None), key=str.encode)
        expected: list[str] = []
        for key in current:
            if not key.startswith(prefix) or not key > after:
                continue
            shared = object_rules.common_prefix(key, prefix, delimiter) if delimiter else ""
            if shared and shared == after:
                continue
            told = f"prefix {shared}" if shared else f"key {key}"
            if told not in expected:
                expected.append(told)
        found: list[str] = []
        marker = after
        while True:
            page = self.write(
                lambda tx, marker=marker: tx.objects.list_current(  # type: ignore[misc]
                    self.bucket, prefix=prefix, delimiter=delimiter, after=marker, limit=size
                )
            )
            told_now = [(one.key, f"key {one.key}") for one in page.entries]
            told_now += [(one, f"prefix {one}") for one in page.prefixes]
            assert len(told_now) <= size
            found += [text for _, text in sorted(told_now, key=lambda one: one[0].encode())]
            if not page.next_key:
                break
            assert len(told_now) == size
            marker = page.next_key
        assert found == expected

    @rule(prefix=st.sampled_from(["", "a", "a/"]), size=st.integers(1, 3))
    def list_versions_in_pages(self, prefix: str, size: int) -> None:
        expected = [
            (key, version.version_id)
            for key in sorted(self.model, key=str.encode)
            if key.startswith(prefix)
            for version in reversed(self.model[key])
        ]
        found: list[tuple[str, str]] = []
        key, row_id = "", None
        while True:
            page = self.write(
                lambda tx, key=key, row_id=row_id: tx.objects.list_versions(  # type: ignore[misc]
                    self.bucket, prefix=prefix, delimiter="", after_key=key, after_id=row_id, limit=size
                )
            )
            found += [(one.key, one.version_id) for one in page.entries]
            if not page.next_key:
                break
            key, row_id = page.next_key, page.next_id
        assert found == expected


TestObjectModel = ObjectModel.TestCase
TestObjectModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
