"""Laws of unpacking: whatever the bytes, it is done or refused, and nothing outside the folder changes."""

import contextlib
import io
import os
import tempfile
import warnings
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from eventrt.core.refused import Refused
from eventrt.invoker.unpack import unpack

NAMES = st.one_of(
    st.sampled_from(["a", "a/b", "../x", "/x", "..", ".", "", "a/../b", "l", "l/x", "a/", "//", "\\..\\x", "ä"]),
    st.text(max_size=20).filter(lambda name: "\0" not in name),
)
MODES = st.sampled_from([0o100644, 0o100755, 0o120777, 0o040755, 0o020644, 0, 0o777])
CONTENTS = st.one_of(
    st.sampled_from([b"", b"..", b"../..", b"/etc", b"a", b"l", b"l/..", b"a/../..", b"."]), st.binary(max_size=40)
)


def archive_of(entries: list[tuple[str, int, bytes]]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, mode, content in entries:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, content)
    return packed.getvalue()


def unpack_somewhere(archive: bytes) -> None:
    """Unpack, and see that only the folder changed and that everything in it leads inside."""
    with tempfile.TemporaryDirectory() as around:
        folder = Path(around, "in", "folder")
        folder.mkdir(parents=True)
        done = False
        with contextlib.suppress(Refused):
            unpack(archive, folder)
            done = True
        assert os.listdir(around) == ["in"]
        assert os.listdir(Path(around, "in")) == ["folder"]
        if done:
            root = os.path.realpath(folder)
            for at, folders, files in os.walk(folder):
                for name in (*folders, *files):
                    assert os.path.realpath(os.path.join(at, name)).startswith(root)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, MODES, CONTENTS), max_size=6))
def test_any_archive_stays_inside_its_folder(entries: list[tuple[str, int, bytes]]) -> None:
    unpack_somewhere(archive_of(entries))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(NAMES, MODES, CONTENTS), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_any_damage_is_refused_or_harmless(
    entries: list[tuple[str, int, bytes]], damage: list[tuple[float, int]]
) -> None:
    archive = bytearray(archive_of(entries))
    for place, byte in damage:
        archive[int(place * len(archive))] = byte
    unpack_somewhere(bytes(archive))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_harmless(archive: bytes) -> None:
    unpack_somewhere(archive)
