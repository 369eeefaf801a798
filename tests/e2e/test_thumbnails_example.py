"""The classic example: an image in a bucket or its folder becomes a thumbnail and a row, a broken one a dead letter."""

import io
import json
import shutil
import signal
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.client import runtime_name
from tests.running import RunningDaemon
from tests.wire.mappings_speaking import wait_for

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("watchfiles")
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]


def picture(width: int, height: int) -> bytes:
    """Return a real image."""
    body = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(body, "PNG")
    return body.getvalue()


def turned_picture(width: int, height: int) -> bytes:
    """Return a real image as a camera stores it that was held upright: lying, with a note."""
    body = io.BytesIO()
    image = Image.new("RGB", (height, width), "olive")
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: turn it to the right
    image.save(body, "JPEG", exif=exif)
    return body.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The example, with the packages of its function in place, for the interpreter that runs these tests."""
    home = tmp_path / "config"
    shutil.copytree(ROOT / "config" / "thumbnails" / "resize", home / "thumbnails" / "resize")
    packages = home / "thumbnails" / "packages"
    packages.mkdir()
    installed = Path(sysconfig.get_path("platlib"))
    for name in ("PIL", "pillow.libs"):
        if (installed / name).is_dir():
            shutil.copytree(installed / name, packages / name)
    text = (ROOT / "config" / "thumbnails.toml").read_text().replace("python3.12", runtime_name())
    (home / "thumbnails.toml").write_text(text)
    return home


@pytest.fixture
def daemon(tmp_path: Path, folder: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(
        tmp_path / "data",
        arguments=("--config", str(folder / "thumbnails.toml")),
        environment={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )
    running.start()
    yield running
    running.close_clients()
    assert running.stop() == 0


def thumbnails(daemon: RunningDaemon) -> list[str]:
    """Return the keys of the thumbnails there are."""
    found = daemon.client("s3").list_objects_v2(Bucket="thumbnails").get("Contents", [])
    return [one["Key"].removesuffix(".thumbnail.jpg") for one in found]


def rows(daemon: RunningDaemon) -> dict[str, tuple[str, int, int]]:
    """Return what the table says of each image: format, width, height."""
    found = daemon.client("dynamodb").scan(TableName="images")["Items"]
    return {one["key"]["S"]: (one["format"]["S"], int(one["width"]["N"]), int(one["height"]["N"])) for one in found}


def dead_letters(daemon: RunningDaemon, count: int) -> list[dict[str, Any]]:
    """Move the clock until so many dead letters came; return them, oldest first."""
    sqs = daemon.client("sqs")
    url = sqs.get_queue_url(QueueName="broken-images")["QueueUrl"]
    letters: list[dict[str, Any]] = []

    def more() -> int:
        daemon.advance(20)
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
        for letter in found.get("Messages", []):
            letters.append(letter)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=letter["ReceiptHandle"])
        return len(letters)

    wait_for(more, lambda found: found >= count)
    return letters


def key_of(letter: dict[str, Any]) -> str:
    (record,) = json.loads(letter["Body"])["Records"]
    return str(record["s3"]["object"]["key"])


def test_images_become_thumbnails_however_they_come(daemon: RunningDaemon, folder: Path) -> None:
    s3 = daemon.client("s3")
    s3.put_object(Bucket="photos", Key="by api/ä.png", Body=picture(640, 320))
    (folder / "thumbnails" / "photos" / "dropped.png").write_bytes(picture(300, 600))
    (folder / "thumbnails" / "photos" / "upright.jpg").write_bytes(turned_picture(90, 180))

    expected = {"by api/ä.png": ("PNG", 640, 320), "dropped.png": ("PNG", 300, 600), "upright.jpg": ("JPEG", 90, 180)}
    assert wait_for(lambda: rows(daemon), lambda found: len(found) == 3) == expected
    assert thumbnails(daemon) == list(expected)
    sizes = {}
    for key in expected:
        body = s3.get_object(Bucket="thumbnails", Key=f"{key}.thumbnail.jpg")["Body"].read()
        small = Image.open(io.BytesIO(body))
        assert small.format == "JPEG"
        sizes[key] = small.size
    assert sizes == {"by api/ä.png": (128, 64), "dropped.png": (64, 128), "upright.jpg": (64, 128)}


def test_what_is_no_image_becomes_one_dead_letter_also_over_a_kill(daemon: RunningDaemon, folder: Path) -> None:
    s3, photos = daemon.client("s3"), folder / "thumbnails" / "photos"
    s3.put_object(Bucket="photos", Key="broken.png", Body=picture(64, 64)[:60])
    (photos / "notes.txt").write_text("no image")

    def printed() -> str:
        with urllib.request.urlopen(f"{daemon.url}/_eventrt/functions/make-thumbnail/logs") as answer:
            return str(answer.read().decode())

    shown = wait_for(printed, lambda text: text.count("[ERROR]") == 2)
    assert "UnidentifiedImageError" in shown
    daemon.stop(signal.SIGKILL)
    (photos / "later.png").write_bytes(picture(20, 10))
    daemon.start()
    letters = dead_letters(daemon, 2)
    assert sorted(key_of(letter) for letter in letters) == ["broken.png", "notes.txt"]
    by_key = {key_of(letter): letter["MessageAttributes"] for letter in letters}
    assert "cannot identify image file" in by_key["notes.txt"]["ErrorMessage"]["StringValue"]
    assert wait_for(lambda: rows(daemon), bool) == {"later.png": ("PNG", 20, 10)}
    assert thumbnails(daemon) == ["later.png"]
