"""Unpack a function's archive into a folder, trusting nothing in it.

No entry leaves the folder: not by its name, not through a symbolic link, not by what a link points to. Sizes are
counted while unpacking, so that an archive cannot hold more than it says. Blocking: it runs in a thread
(`packages`). What is wrong with an archive is an `InvalidParameterValueException` with AWS's sentence.

Rules beyond AWS's documents: at most ENTRIES_LIMIT entries and as many folders, names of at most 2,048 bytes and
128 steps; of entries with the same name the last one counts;
a name that is a file here and a folder there is refused; devices, sockets and encrypted entries are refused.
"""

import contextlib
import os
import stat
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

from eventrt.core.function_rules import UNZIPPED_LIMIT_BYTES, invalid
from eventrt.core.refused import Refused

ENTRIES_LIMIT = 100_000
"""More entries than this in one archive are refused (a rule of our own: each costs memory and an inode)."""

_DEPTH_LIMIT = 128
_PATH_LIMIT_BYTES = 2048
_CHUNK_BYTES = 256 * 1024
_LINK_LIMIT_BYTES = 4096
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END = b"PK\x05\x06"
_END64 = b"PK\x06\x06"
_CENTRAL = b"PK\x01\x02"


def not_a_zip() -> Refused:
    """Return AWS's refusal of an archive that cannot be unpacked."""
    return invalid("Could not unzip uploaded file. Please check your file, then try to upload again.")


def empty() -> Refused:
    """Return the refusal of an archive without a single file."""
    return invalid("Uploaded file must be a non-empty zip")


def too_large() -> Refused:
    """Return AWS's refusal of an archive whose contents are too large."""
    return invalid(f"Unzipped size must be smaller than {UNZIPPED_LIMIT_BYTES} bytes")


def unpack(archive: bytes, folder: Path) -> int:
    """Unpack `archive` into the empty folder `folder`; return how many bytes its files hold.

    Files are made readable, and executable when their entry says so for anyone. When it raises, what was
    written so far is still there, inside `folder`.

    Raises:
        Refused: the archive is damaged, too large, or has entries that would leave the folder.
        OSError: the disk did not take it.
    """
    entries = _count_entries(archive) if archive else 0
    if not entries:
        raise empty()
    if entries > ENTRIES_LIMIT:
        raise not_a_zip()
    try:
        with zipfile.ZipFile(BytesIO(archive)) as opened:
            return _unpack(opened, folder)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        UnicodeError,
        ValueError,
        struct.error,
    ) as error:
        if isinstance(error, Refused):
            raise
        raise not_a_zip() from error
    except RuntimeError as error:  # zipfile's word for a password
        raise not_a_zip() from error


def _unpack(opened: zipfile.ZipFile, folder: Path) -> int:
    files: dict[tuple[str, ...], zipfile.ZipInfo] = {}
    links: dict[tuple[str, ...], zipfile.ZipInfo] = {}
    folders: set[tuple[str, ...]] = set()
    for entry in opened.infolist():
        parts = _parts(entry)
        kind = stat.S_IFMT(entry.external_attr >> 16) if entry.create_system == 3 else 0
        if entry.filename.endswith("/") or kind == stat.S_IFDIR:
            folders.add(parts)
        elif kind == stat.S_IFLNK:
            files.pop(parts, None)
            links[parts] = entry
        elif kind in (0, stat.S_IFREG):
            links.pop(parts, None)
            files[parts] = entry
        else:
            raise not_a_zip()
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise not_a_zip()
    if sum(entry.file_size for entry in files.values()) > UNZIPPED_LIMIT_BYTES:
        raise too_large()
    for parts in (*files, *links, *tuple(folders)):
        for depth in range(len(parts) - 1, 0, -1):
            if parts[:depth] in folders:
                break
            folders.add(parts[:depth])
        if len(folders) > ENTRIES_LIMIT:
            raise not_a_zip()
    if any(parts in files or parts in links for parts in folders):
        raise not_a_zip()  # also what would be written through a link
    for parts in sorted(folders):
        if parts:
            _make_folder(folder.joinpath(*parts))
    written = 0
    for parts, entry in files.items():
        written += _write_file(opened, entry, folder.joinpath(*parts), room=UNZIPPED_LIMIT_BYTES - written)
    _make_links(opened, links, folder)
    for parts in sorted(folders, reverse=True):
        if parts:
            folder.joinpath(*parts).chmod(0o555)
    return written


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """Return the steps of an entry's name.

    Raises: Refused: it is absolute, empty, or goes up.
    """
    name = entry.filename
    if not entry.flag_bits & _UTF8_NAME:
        with contextlib.suppress(UnicodeError):  # written as UTF-8 by tools that do not say so
            name = name.encode("cp437").decode("utf-8")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\0" in name or (not parts and not name.endswith("/")):
        raise not_a_zip()
    sizes = [len(part.encode(errors="surrogateescape")) for part in parts]
    if len(sizes) > _DEPTH_LIMIT or sum(sizes) > _PATH_LIMIT_BYTES or max(sizes, default=0) > 255:
        raise not_a_zip()
    return parts


def _make_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def _write_file(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, *, room: int) -> int:
    executable = entry.create_system == 3 and (entry.external_attr >> 16) & 0o111
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    written = 0
    with opened.open(entry) as source, os.fdopen(os.open(path, flags, 0o600), "wb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > room:
                raise too_large()
            target.write(chunk)
        os.fchmod(target.fileno(), 0o555 if executable else 0o444)
    return written


def _make_links(opened: zipfile.ZipFile, links: dict[tuple[str, ...], zipfile.ZipInfo], folder: Path) -> None:
    """Make the symbolic links, after all files; then see that each stays inside, wherever it leads."""
    root = os.path.realpath(folder)
    for parts, entry in links.items():
        if entry.file_size > _LINK_LIMIT_BYTES:
            raise not_a_zip()
        with opened.open(entry) as source:
            target = source.read(_LINK_LIMIT_BYTES + 1).decode()
        if not target or target.startswith("/") or "\0" in target or len(target) > _LINK_LIMIT_BYTES:
            raise not_a_zip()
        os.symlink(target, folder.joinpath(*parts))
    for parts in links:
        leads_to = os.path.realpath(folder.joinpath(*parts))
        if leads_to != root and not leads_to.startswith(root + "/"):
            raise not_a_zip()


def _count_entries(archive: bytes) -> int:
    """Count the entries of the central directory, at most a few too many, before anything is built from them."""
    end = archive.rfind(_END, max(0, len(archive) - 65_557))
    if end < 0 or len(archive) < end + 22:
        raise not_a_zip()
    size_bytes = int.from_bytes(archive[end + 12 : end + 16], "little")
    if size_bytes == 0xFFFFFFFF:
        end64 = archive.rfind(_END64, 0, end)
        if end64 < 0 or len(archive) < end64 + 56:
            raise not_a_zip()
        end, size_bytes = end64, int.from_bytes(archive[end64 + 40 : end64 + 48], "little")
    return archive.count(_CENTRAL, max(0, end - size_bytes), end)
