"""Buckets over folders: files are objects, and what happens to them is told, whoever does it."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eventrt.errors import ConfigurationError
from eventrt.sources import folders
from tests.running import RunningDaemon
from tests.wire.async_speaking import failing, send
from tests.wire.mappings_speaking import wait_for
from tests.wire.s3_speaking import drain, records, refusal

pytest.importorskip("watchfiles")

CONFIGURATION = """
[[queues]]
name = "told"

[[buckets]]
name = "photos"
folder = "photos"

[[buckets]]
name = "plain"
versioning = true

[[notifications]]
bucket = "photos"
queue = "told"
events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    return made


@pytest.fixture
def daemon(tmp_path: Path, folder: Path) -> Iterator[RunningDaemon]:
    (tmp_path / "eventrt.toml").write_text(CONFIGURATION)
    (folder / "before.txt").write_text("was there")
    running = RunningDaemon(tmp_path / "data", arguments=("--config", str(tmp_path / "eventrt.toml")))
    running.start()
    yield running
    running.stop()
    running.close_clients()


def url(daemon: RunningDaemon) -> str:
    return str(daemon.client("sqs").get_queue_url(QueueName="told")["QueueUrl"])


def told(daemon: RunningDaemon, count: int) -> list[tuple[str, str]]:
    """Return the next events, as soon as there are so many: (name, key)."""
    found: list[tuple[str, str]] = []
    give_up_at = time.monotonic() + 20
    while len(found) < count and time.monotonic() < give_up_at:
        answer = daemon.client("sqs").receive_message(QueueUrl=url(daemon), WaitTimeSeconds=1)
        for message in answer.get("Messages", []):
            daemon.client("sqs").delete_message(QueueUrl=url(daemon), ReceiptHandle=message["ReceiptHandle"])
            import json

            found += [
                (record["eventName"], record["s3"]["object"]["key"])
                for record in json.loads(message["Body"]).get("Records", [])
            ]
    return found


def test_files_are_objects_and_their_changes_are_told(daemon: RunningDaemon, folder: Path) -> None:
    s3 = daemon.client("s3")
    assert told(daemon, 1) == [("ObjectCreated:Put", "before.txt")]
    assert s3.get_object(Bucket="photos", Key="before.txt")["Body"].read() == b"was there"

    (folder / "a dir").mkdir()
    (folder / "a dir" / "one.jpg").write_bytes(b"x" * 100_000)
    assert told(daemon, 1) == [("ObjectCreated:Put", "a+dir/one.jpg")]
    got = s3.get_object(Bucket="photos", Key="a dir/one.jpg", Range="bytes=5-9")
    assert (got["Body"].read(), got["ContentType"]) == (b"xxxxx", "image/jpeg")

    (folder / "before.txt").write_text("is different")
    assert told(daemon, 1) == [("ObjectCreated:Put", "before.txt")]
    (folder / "before.txt").rename(folder / "after.txt")
    assert sorted(told(daemon, 2)) == [("ObjectCreated:Put", "after.txt"), ("ObjectRemoved:Delete", "before.txt")]
    os.rename(folder / "a dir", folder.parent / "elsewhere")
    assert told(daemon, 1) == [("ObjectRemoved:Delete", "a+dir/one.jpg")]
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="photos")["Contents"]] == ["after.txt"]


def test_what_the_api_stores_is_a_file_and_told_once(daemon: RunningDaemon, folder: Path) -> None:
    s3 = daemon.client("s3")
    told(daemon, 1)
    for key, body in (("b/small", b"small"), ("b/large", os.urandom(300_000))):
        put = s3.put_object(Bucket="photos", Key=key, Body=body, Metadata={"a": "1"}, ContentType="text/x")
        assert (folder / key).read_bytes() == body
        got = s3.get_object(Bucket="photos", Key=key)
        assert (got["Body"].read(), got["Metadata"], got["ETag"], got["ContentType"]) == (
            body,
            {"a": "1"},
            put["ETag"],
            "text/x",
        )
    s3.copy_object(Bucket="photos", Key="copy", CopySource="photos/b/large")
    assert (folder / "copy").read_bytes() == body
    upload_id = s3.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
    etag = s3.upload_part(Bucket="photos", Key="parts", UploadId=upload_id, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket="photos", Key="parts", UploadId=upload_id, MultipartUpload=parts)
    assert (folder / "parts").read_bytes() == b"part"
    s3.copy_object(Bucket="plain", Key="out", CopySource="photos/b/small")
    assert s3.get_object(Bucket="plain", Key="out")["Body"].read() == b"small"
    s3.delete_object(Bucket="photos", Key="b/small")
    s3.delete_object(Bucket="photos", Key="b/large")
    assert not (folder / "b").exists()
    expected = ["Put b/small", "Put b/large", "Copy copy", "CompleteMultipartUpload parts"]
    names = [f"ObjectCreated:{one}" for one in expected] + [
        f"ObjectRemoved:Delete b/{one}" for one in ("small", "large")
    ]
    assert [" ".join(one) for one in told(daemon, 6)] == names
    time.sleep(1.0)  # the watcher has seen its own writes by now
    assert records(daemon, url(daemon)) == []
    assert not [path for path in folder.iterdir() if path.name.startswith(".eventrt-")]


def test_what_changed_while_nobody_watched_is_told_at_the_start(daemon: RunningDaemon, folder: Path) -> None:
    told(daemon, 1)
    daemon.stop()
    (folder / "before.txt").unlink()
    (folder / "new.txt").write_text("new")
    daemon.start()
    assert sorted(told(daemon, 2)) == [("ObjectCreated:Put", "new.txt"), ("ObjectRemoved:Delete", "before.txt")]
    daemon.restart(kill=True)
    time.sleep(0.5)
    assert drain(daemon, url(daemon)) == []


def test_who_is_not_declared_any_more_is_told_all_the_same(daemon: RunningDaemon, folder: Path, tmp_path: Path) -> None:
    told(daemon, 1)
    (tmp_path / "eventrt.toml").write_text(CONFIGURATION.partition("[[notifications]]")[0])
    daemon.restart(kill=False)
    assert "declared_notification.left" in daemon.log
    (folder / "new.txt").write_text("new")
    assert told(daemon, 1) == [("ObjectCreated:Put", "new.txt")]


def test_a_folder_takes_no_records_of_failures(daemon: RunningDaemon, folder: Path) -> None:
    told(daemon, 1)
    function, functions = failing(daemon), daemon.client("lambda")
    end = {"OnFailure": {"Destination": "arn:aws:s3:::photos"}}
    functions.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=0, DestinationConfig=end)
    send(daemon, function)
    log = wait_for(lambda: daemon.log, lambda text: "async.undelivered" in text)
    assert "the bucket photos is a folder, which takes files only" in log
    assert [path.name for path in folder.iterdir()] == ["before.txt"]


def test_without_the_library_that_watches_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'eventrt\[files\]'"):
        folders._inotify()


def test_keys_that_are_no_names_of_files_are_refused(daemon: RunningDaemon, folder: Path) -> None:
    s3 = daemon.client("s3")
    put: Callable[[str], Any] = lambda key: s3.put_object(Bucket="photos", Key=key, Body=b"x")  # noqa: E731
    for key in ("../out", "a//b", "/a", "dir/", ".", "a/../b", "x" * 300, ".eventrt-x", "before.txt/below"):
        assert refusal(lambda key=key: put(key)) == ("InvalidArgument", 400)  # type: ignore[misc]
    versioning = {"Status": "Enabled"}
    call = lambda: s3.put_bucket_versioning(Bucket="photos", VersioningConfiguration=versioning)  # noqa: E731
    assert refusal(call) == ("NotImplemented", 501)
    rules = [{"Status": "Enabled", "Prefix": "", "Expiration": {"Days": 1}}]
    expiring = {"Bucket": "photos", "LifecycleConfiguration": {"Rules": rules}}
    assert refusal(lambda: s3.put_bucket_lifecycle_configuration(**expiring)) == ("NotImplemented", 501)
    assert s3.get_bucket_versioning(Bucket="plain")["Status"] == "Enabled"
    assert refusal(lambda: s3.delete_bucket(Bucket="photos"))[0] == "InvalidBucketState"
    assert refusal(lambda: s3.put_object(Bucket="photos", Key="before.txt", Body=b"x", IfNoneMatch="*")) == (
        "PreconditionFailed",
        412,
    )
    assert (folder / "before.txt").read_text() == "was there"


# -- what else may lie in a folder


def told_until(daemon: RunningDaemon, key: str) -> None:
    """Take events until one tells that the file of a key is there."""
    wait_for(lambda: told(daemon, 1), lambda events: ("ObjectCreated:Put", key) in events)


def sizes(daemon: RunningDaemon) -> dict[str, int]:
    return {one["Key"]: one["Size"] for one in daemon.client("s3").list_objects_v2(Bucket="photos").get("Contents", [])}


def test_a_deletion_that_is_refused_or_finds_no_version_leaves_the_file(daemon: RunningDaemon, folder: Path) -> None:
    s3 = daemon.client("s3")
    told(daemon, 1)
    no_version = f"{1:016x}{1 << 40:016x}"
    s3.delete_object(Bucket="photos", Key="before.txt", VersionId=no_version)
    refused = s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "before.txt", "ETag": "other"}]})
    assert [one["Code"] for one in refused["Errors"]] == ["PreconditionFailed"]
    gone = s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "before.txt", "VersionId": no_version}]})
    assert "Errors" not in gone
    assert (folder / "before.txt").read_text() == "was there"
    assert s3.get_object(Bucket="photos", Key="before.txt")["Body"].read() == b"was there"
    s3.delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "before.txt"}]})
    assert told(daemon, 1) == [("ObjectRemoved:Delete", "before.txt")]
    assert not (folder / "before.txt").exists()


def test_symbolic_links_are_no_objects_and_nothing_is_written_through_them(
    daemon: RunningDaemon, folder: Path, tmp_path: Path
) -> None:
    s3 = daemon.client("s3")
    told(daemon, 1)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not yours")
    (folder / "link").symlink_to(outside / "secret")
    (folder / "out").symlink_to(outside)
    (folder / "end.txt").write_text("the links were seen before this")
    assert told(daemon, 1) == [("ObjectCreated:Put", "end.txt")]
    for key in ("out/written", "out/a/written"):
        assert refusal(lambda key=key: s3.put_object(Bucket="photos", Key=key, Body=b"x"))[0] == "InvalidArgument"  # type: ignore[misc]
    for key in ("link", "out/secret"):
        assert refusal(lambda key=key: s3.get_object(Bucket="photos", Key=key))[0] == "NoSuchKey"  # type: ignore[misc]
        s3.delete_object(Bucket="photos", Key=key)
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"secret": "not yours"}
    # What was a file and becomes a link is gone (the deletions above, of nothing, are told as well);
    # a put replaces the link itself, not what it leads to.
    (folder / "end.txt").unlink()
    (folder / "end.txt").symlink_to(outside / "secret")
    assert ("ObjectRemoved:Delete", "end.txt") in told(daemon, 3)
    assert refusal(lambda: s3.get_object(Bucket="photos", Key="end.txt"))[0] == "NoSuchKey"
    s3.put_object(Bucket="photos", Key="end.txt", Body=b"a file again")
    assert not (folder / "end.txt").is_symlink()
    assert (outside / "secret").read_text() == "not yours"
    daemon.restart(kill=True)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket="photos")["Contents"]] == ["before.txt", "end.txt"]


def test_a_file_that_is_still_written_holds_up_no_other(daemon: RunningDaemon, folder: Path) -> None:
    s3 = daemon.client("s3")
    told(daemon, 1)
    is_over = threading.Event()

    def write() -> None:
        with (folder / "a growing one").open("wb") as file:
            while not is_over.wait(0.02):
                file.write(b"x" * 1000)
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        (folder / "z.txt").write_text("is whole")
        told_until(daemon, "z.txt")
    finally:
        is_over.set()
        writer.join()
    whole = (folder / "a growing one").read_bytes()
    wait_for(lambda: sizes(daemon).get("a growing one"), lambda size: size == len(whole))
    assert s3.get_object(Bucket="photos", Key="a growing one")["Body"].read() == whole


def test_what_editors_do_to_a_file_is_a_change_of_that_file(daemon: RunningDaemon, folder: Path) -> None:
    told(daemon, 1)
    (folder / ".before.txt.tmp").write_text("saved by renaming")
    (folder / ".before.txt.tmp").rename(folder / "before.txt")
    told_until(daemon, "before.txt")
    (folder / "4913").touch()  # vim tries whether it may write here
    (folder / "4913").unlink()
    (folder / "before.txt").rename(folder / "before.txt~")
    (folder / "before.txt").write_text("saved with a copy of what was there")
    (folder / "before.txt~").unlink()
    told_until(daemon, "before.txt")
    (folder / "äö ü" / "日本").mkdir(parents=True)
    (folder / "äö ü" / "日本" / "ñ+1.txt").write_text("names")
    told_until(daemon, "%C3%A4%C3%B6+%C3%BC/%E6%97%A5%E6%9C%AC/%C3%B1%2B1.txt")
    expected = {"before.txt": 35, "äö ü/日本/ñ+1.txt": 5}  # what else there was came and went, whoever saw it
    assert wait_for(lambda: sizes(daemon), lambda found: found == expected)


def test_what_a_killed_daemon_was_writing_is_cleared_away(daemon: RunningDaemon, folder: Path) -> None:
    told(daemon, 1)
    left = folder / f".eventrt-{'0' * 24}"
    left.write_text("half of a file")
    mine = folder / ".eventrt-notes"
    mine.write_text("not written by the daemon")
    daemon.restart(kill=True)
    assert not wait_for(left.exists, lambda is_there: not is_there)
    assert mine.exists()
