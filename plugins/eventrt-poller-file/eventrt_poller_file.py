"""Follow a text file as a stream: every line is a record, its sequence number the byte offset just after it.

The file, and each file that it was rotated to (`app.log.1`), is a shard; a rotated one is the parent of the one that
follows it, so that lines keep their order. A shard is known by its inode, which a renaming does not change.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from eventrt.api import (
    ConfigurationError,
    Page,
    PollerContext,
    Record,
    Shard,
    ShardPoller,
    SourceUnavailable,
    StartingPosition,
)

LOOK_AGAIN_S = 1.0
LONGEST_LINE_BYTES = 1024 * 1024
"""A longer line comes in pieces of this size."""


@dataclass(frozen=True)
class Present:
    """A file that is there: the followed one, or one that it was rotated to."""

    path: Path
    inode: int
    is_followed: bool

    @property
    def shard_id(self) -> str:
        """The shard it is."""
        return f"shardId-{self.inode:012d}"


class FilePoller:
    """The lines of one file. Keeps no state: everything is looked up in the directory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def shards(self) -> Sequence[Shard]:
        """Return the file and those it was rotated to, each with its predecessor as parent."""
        files = await anyio.to_thread.run_sync(self._files)
        parents = [(), *[(file.shard_id,) for file in files]]
        return [Shard(file.shard_id, parent) for file, parent in zip(files, parents, strict=False)]

    async def read(self, shard: Shard, *, after: str | None, limit: int) -> Page:
        """Return up to `limit` whole lines that follow the byte offset `after`."""
        return await anyio.to_thread.run_sync(self._read, shard, int(after or 0), limit)

    async def seek(self, shard: Shard, position: StartingPosition, moment: float | None) -> str | None:
        """Return the end of the last whole line for LATEST."""
        if position == "AT_TIMESTAMP":
            raise ConfigurationError("Lines of a file have no moments: start at TRIM_HORIZON or LATEST.")
        return await anyio.to_thread.run_sync(self._end, shard) if position == "LATEST" else None

    def _files(self) -> list[Present]:
        """Return the files that are there, the oldest first."""
        found: list[tuple[int, Present]] = []
        prefix = f"{self._path.name}."
        try:
            with os.scandir(self._path.parent) as entries:
                for entry in entries:
                    number = entry.name.removeprefix(prefix)
                    if entry.name == self._path.name:
                        found.append((0, Present(Path(entry.path), entry.inode(), is_followed=True)))
                    elif entry.name.startswith(prefix) and number.isdecimal() and entry.is_file():
                        found.append((int(number), Present(Path(entry.path), entry.inode(), is_followed=False)))
        except OSError as error:
            raise SourceUnavailable(f"{self._path.parent} cannot be listed: {error.strerror}") from error
        if not found:
            raise SourceUnavailable(f"{self._path} does not exist.")
        return [file for _, file in sorted(found, key=lambda pair: -pair[0])]

    def _file_of(self, shard: Shard) -> tuple[Present, bool] | None:
        """Return the file that is this shard, and whether its writer has turned to another; None when it is gone."""
        files = self._files()
        file = next((each for each in files if each.shard_id == shard.id), None)
        if file is None:
            return None
        followed = next((each for each in files if each.is_followed), None)
        is_over = not file.is_followed and followed is not None and followed.path.stat().st_size > 0
        return file, is_over

    def _read(self, shard: Shard, offset: int, limit: int) -> Page:
        try:
            found = self._file_of(shard)
            if found is None:
                return Page((), str(offset), end_of_shard=True, has_gap=True)
            file, is_over = found
            with file.path.open("rb") as opened:
                facts = os.fstat(opened.fileno())
                if facts.st_ino != file.inode:
                    raise SourceUnavailable(f"{file.path} is being rotated.", retry_after_s=0.1)
                if facts.st_size < offset:
                    raise SourceUnavailable(
                        f"{file.path} has {facts.st_size} bytes, and {offset} were read already: it was cut off. "
                        "Rotate it by renaming, and make the mapping anew.",
                        retry_after_s=10.0,
                    )
                opened.seek(offset)
                records: list[Record] = []
                while len(records) < limit:
                    line = opened.readline(LONGEST_LINE_BYTES)
                    if not line.endswith(b"\n") and len(line) < LONGEST_LINE_BYTES:
                        break  # the end, or the writer is still in the middle of this line
                    offset += len(line)
                    text = line.removesuffix(b"\n").decode(errors="replace")
                    body = {"line": text, "offset": offset, "path": str(self._path)}
                    records.append(Record(str(offset), body, facts.st_mtime, len(line)))
                is_caught_up = len(records) < limit
        except OSError as error:
            raise SourceUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        return Page(
            records,
            str(offset),
            end_of_shard=is_caught_up and is_over,
            is_caught_up=is_caught_up,
            look_again_s=LOOK_AGAIN_S,
        )

    def _end(self, shard: Shard) -> str | None:
        """Return the offset after the last whole line of a shard."""
        found = self._file_of(shard)
        if found is None:
            return None
        data_end = end = found[0].path.stat().st_size
        with found[0].path.open("rb") as opened:
            while end:
                begin = max(0, end - LONGEST_LINE_BYTES)
                opened.seek(begin)
                at = opened.read(end - begin).rfind(b"\n")
                if at >= 0:
                    return str(begin + at + 1)
                end = begin
        return "0" if data_end else None


@asynccontextmanager
async def poller(context: PollerContext) -> AsyncIterator[ShardPoller]:
    """Open the poller of one mapping: `arn:eventrt:file:::/var/log/app.log`."""
    path = Path(context.source_arn.split(":", 5)[5])
    if not path.is_absolute():
        raise ConfigurationError(
            f"{context.source_arn} names no absolute path; write arn:eventrt:file:::/var/log/app.log"
        )
    yield FilePoller(path)
