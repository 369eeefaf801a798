"""A bucket over a folder: a file that was put through the API is there with its bytes, one that was deleted is gone."""

import importlib.util
import random
from pathlib import Path
from typing import Any

import botocore.exceptions

from tests.torture.objects import Content, Held, content_of
from tests.torture.outages import Gate
from tests.torture.scene import AWAY, Load, Scene

BUCKET = "folder"
KEYS = ("a", "b/a", "b/c/a", "b/c/d", "e/f")


def can_watch() -> bool:
    """Can the daemon watch folders here?"""
    return importlib.util.find_spec("watchfiles") is not None


def configuration(directory: Path) -> tuple[str, ...]:
    """Write a configuration with such a bucket; return the daemon's arguments, none where folders are not watched."""
    if not can_watch():
        return ()
    path = directory / "eventrt.toml"
    path.write_text(f'[[buckets]]\nname = "{BUCKET}"\nfolder = "files"\n')
    return ("--config", str(path))


class Folders:
    """The life of that bucket: one writer, and what each key may hold."""

    def __init__(self, scene: Scene, gate: Gate, folder: Path) -> None:
        self._scene, self._gate, self._folder = scene, gate, folder
        self._s3 = scene.client("s3")
        self._held = {key: Held() for key in KEYS}

    def furnish(self) -> None:
        """The configuration has declared the bucket."""

    def add_to(self, load: Load) -> None:
        """Let a client put and delete."""
        client, rng, books = self._scene.client("s3"), random.Random(self._scene.rng.random()), self._scene.books

        def step() -> None:
            key = rng.choice(KEYS)
            try:
                if rng.random() < 0.4:
                    self._held[key].maybe.append(None)
                    client.delete_object(Bucket=BUCKET, Key=key)
                    self._held[key] = Held()
                else:
                    body = rng.randbytes(rng.randrange(200_000))
                    content = content_of(body)
                    self._held[key].maybe.append(content)
                    client.put_object(Bucket=BUCKET, Key=key, Body=body)
                    self._held[key] = Held(content)
                    books.note_sent("files", [content.sha256])
            except AWAY:
                books.note_refused()
                load.pause(0.03)
            load.pause(0.02)

        load.add(self._gate.passing(step))

    def check(self, when: str) -> None:
        """Each key, and its file, holds what was acknowledged last, or what was tried since."""
        for key, held in self._held.items():
            found, path = self._read(key), self._folder / key
            on_disk = content_of(path.read_bytes()) if path.is_file() else None
            self._scene.books.expect(found in held.possible, f"{when}: {key} holds {found}, not one of {held.possible}")
            self._scene.books.expect(found == on_disk, f"{when}: {key} holds {found}, its file {on_disk}")
            self._held[key] = Held(found)

    def _read(self, key: str) -> Content | None:
        try:
            answer: Any = self._s3.get_object(Bucket=BUCKET, Key=key)
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return content_of(answer["Body"].read(), answer["ETag"].strip('"'))

    def finish(self) -> None:
        """All was compared by `check`."""
