"""Unpacking archives: what is good comes out whole, what is bad leaves no file outside its folder."""

import io
import os
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from eventrt.core.refused import Refused
from eventrt.invoker import unpack as unpacking
from eventrt.invoker.unpack import unpack

NOT_A_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
TOO_LARGE = "Unzipped size must be smaller than 262144000 bytes"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "around" / "folder"
    inside.mkdir(parents=True)
    return inside


def entry(name: str, *, mode: int = 0o100644, create_system: int = 3) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = create_system
    info.external_attr = mode << 16
    return info


def archive_of(*entries: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate names
        for name, content in entries:
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else entry(name), content)
    return packed.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    return entry(name, mode=0o120777), target.encode()


def files_under(directory: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(at, name), directory)
        for at, folders, files in os.walk(directory)
        for name in (*files, *folders)
    }


def refusal_of(archive: bytes, folder: Path) -> str:
    with pytest.raises(Refused) as raised:
        unpack(archive, folder)
    assert raised.value.code == "InvalidParameterValueException"
    return raised.value.message


def test_an_archive_without_entries_is_refused_as_empty(folder: Path) -> None:
    for archive in (b"", archive_of()):
        assert refusal_of(archive, folder) == "Uploaded file must be a non-empty zip"


def test_files_and_folders_come_out_with_their_contents_and_total_size(folder: Path) -> None:
    size = unpack(archive_of(("app.py", b"x = 1\n"), ("lib/deep/er/mod.py", b"y"), ("empty/", b"")), folder)
    assert size == 7
    assert (folder / "app.py").read_bytes() == b"x = 1\n"
    assert (folder / "lib/deep/er/mod.py").read_bytes() == b"y"
    assert (folder / "empty").is_dir()


def test_exec_bits_are_kept_and_nothing_is_writable(folder: Path) -> None:
    unpack(archive_of((entry("run", mode=0o100755), b""), ("data", b""), ("d/f", b"")), folder)
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o555
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o444
    assert stat.S_IMODE((folder / "d").stat().st_mode) == 0o555


def test_setuid_bits_are_not_kept(folder: Path) -> None:
    unpack(archive_of((entry("run", mode=0o106755), b"")), folder)
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o555


def test_the_last_of_two_entries_with_one_name_counts(folder: Path) -> None:
    unpack(archive_of(("a", b"first"), ("a", b"second")), folder)
    assert (folder / "a").read_bytes() == b"second"


def test_names_in_utf8_without_the_flag_come_out_as_utf8(folder: Path) -> None:
    packed = archive_of(("zzz.txt", b"1")).replace(b"zzz.txt", "ä.txt".encode() + b"t")
    unpack(packed, folder)
    assert files_under(folder) == {"ä.txtt"}


def test_names_in_no_known_encoding_come_out_somehow(folder: Path) -> None:
    unpack(archive_of(("zzz.txt", b"1")).replace(b"zzz.txt", b"\xff\xfe.txtt"[:7]), folder)
    assert len(files_under(folder)) == 1


def test_symbolic_links_inside_the_folder_are_made(folder: Path) -> None:
    unpack(archive_of(("lib/real.so.1", b"so"), link("lib/real.so", "real.so.1"), link("l", "lib")), folder)
    assert (folder / "lib/real.so").read_bytes() == b"so"
    assert (folder / "l/real.so.1").read_bytes() == b"so"


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "a/../../evil", "//evil", "a/../evil", "..", "x/.."],
)
def test_names_that_lead_out_are_refused(folder: Path, name: str) -> None:
    assert refusal_of(archive_of(("good", b""), (name, b"evil")), folder) == NOT_A_ZIP
    assert files_under(folder.parent) <= {"folder", "folder/good"}


@pytest.mark.parametrize(
    "entries",
    [
        [link("out", "/etc")],
        [link("out", "../..")],
        [link("a/out", "../../x")],
        [link("out", "")],
        # inside by its words, outside by where it leads: a/b leads to the folder itself
        [("a/f", b""), link("a/b", ".."), link("x", "a/b/../../etc")],
        [link("loop", "loop/../../..")],
    ],
    ids=["absolute", "up", "up from below", "empty", "through another link", "through itself"],
)
def test_links_that_lead_out_are_refused(folder: Path, entries: list[tuple[zipfile.ZipInfo | str, bytes]]) -> None:
    assert refusal_of(archive_of(*entries), folder) == NOT_A_ZIP


def test_nothing_is_written_through_a_link(folder: Path) -> None:
    for order in (1, -1):
        entries = [link("out", "../elsewhere"), ("out/evil", b"evil")][::order]
        assert refusal_of(archive_of(*entries), folder) == NOT_A_ZIP
    assert files_under(folder.parent) == {"folder"}


@pytest.mark.parametrize("kind", [0o020644, 0o060644, 0o010644, 0o140644])
def test_devices_pipes_and_sockets_are_refused(folder: Path, kind: int) -> None:
    assert refusal_of(archive_of((entry("odd", mode=kind), b"")), folder) == NOT_A_ZIP
    assert files_under(folder) == set()


def test_a_name_that_is_a_file_and_a_folder_is_refused(folder: Path) -> None:
    assert refusal_of(archive_of(("a", b""), ("a/b", b"")), folder) == NOT_A_ZIP


def test_too_long_names_are_refused(folder: Path) -> None:
    assert refusal_of(archive_of(("n" * 256, b"")), folder) == NOT_A_ZIP


@pytest.mark.parametrize("name", ["d/" * 129 + "f", "/".join(["n" * 200] * 11)], ids=["deep", "long"])
def test_deep_and_long_paths_are_refused(folder: Path, name: str) -> None:
    assert refusal_of(archive_of((name, b"")), folder) == NOT_A_ZIP


def test_more_folders_than_the_limit_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "ENTRIES_LIMIT", 20)
    assert refusal_of(archive_of(("a/b/c/d/e/f/g/h/i/j/k/1", b""), ("l/m/n/o/p/q/r/s/t/u/2", b"")), folder)
    assert files_under(folder) == set()


def test_what_unpacks_to_too_much_is_refused_before_it_is_written(folder: Path) -> None:
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(27):
            with archive.open(f"zeros{number}", "w") as target:
                for _ in range(10):
                    target.write(bytes(1_000_000))
    assert refusal_of(packed.getvalue(), folder) == TOO_LARGE
    assert files_under(folder) == set()


def test_an_archive_that_lies_about_its_sizes_is_stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNZIPPED_LIMIT_BYTES", 100_000)
    honest = archive_of(("bomb", bytes(10_000_000)))
    lying = honest.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 10))
    with pytest.raises(Refused):
        unpack(lying, folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 100_000


def test_entries_that_share_their_bytes_are_counted_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNZIPPED_LIMIT_BYTES", 100_000)
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(60_000))
        first = archive.filelist[0]
        for number in range(1, 5):
            twin = zipfile.ZipInfo(str(number))
            twin.compress_type, twin.CRC = first.compress_type, first.CRC
            twin.compress_size, twin.file_size = first.compress_size, first.file_size
            twin.header_offset = first.header_offset
            archive.filelist.append(twin)
    with pytest.raises(Refused):
        unpack(packed.getvalue(), folder)


def test_more_entries_than_the_limit_are_refused_before_they_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "ENTRIES_LIMIT", 10)
    assert refusal_of(archive_of(*[(str(number), b"") for number in range(11)]), folder) == NOT_A_ZIP
    unpack(archive_of(*[(str(number), b"") for number in range(10)]), folder)


@pytest.mark.parametrize(
    "archive",
    [b"PK", b"no zip at all", b"PK\x05\x06", archive_of(("a", b"abc"))[:-5], archive_of(("a", b"abc"))[10:]],
)
def test_what_is_no_zip_is_refused(folder: Path, archive: bytes) -> None:
    assert refusal_of(archive, folder) == NOT_A_ZIP


def test_a_damaged_file_is_refused(folder: Path) -> None:
    packed = archive_of(("a", os.urandom(5000)))
    assert refusal_of(packed[:2000] + b"\0\0\0\0\0\0\0\0" + packed[2008:], folder) == NOT_A_ZIP


def test_encrypted_entries_are_refused(folder: Path) -> None:
    packed = bytearray(archive_of(("a", b"abc")))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    assert refusal_of(bytes(packed), folder) == NOT_A_ZIP


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_other_than_stored_and_deflated_are_refused(folder: Path, method: int) -> None:
    with zipfile.ZipFile(packed := io.BytesIO(), "w", method) as archive:
        archive.writestr("a", b"abc" * 100)
    assert refusal_of(packed.getvalue(), folder) == NOT_A_ZIP
