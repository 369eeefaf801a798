"""Objects with notifications: what was acknowledged is there with its exact bytes, or stays deleted; told of once.

Keys below `q/` tell a queue, keys below `f/` a function with a success destination, a failure destination and a
dead-letter queue. Every writer has keys of its own and one request at a time, so that what each key may hold is known:
what was acknowledged last, or one of the attempts since of which nobody knows.
"""

import hashlib
import json
import random
import time
import urllib.parse
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.exceptions

from tests.torture import asynchronous
from tests.torture.outages import Gate
from tests.torture.scene import AWAY, Load, Progress, Scene

BUCKET, VERSIONS = "things", "versions"
WRITERS = 3
KEYS = 4
"""Per writer and prefix."""
PART_BYTES = 5 * 1024 * 1024
BLOBS_LIMIT_S = 15.0

FUNCTION = '''
"""Fail for some keys, always."""


def handler(event, context):
    if event["Records"][0]["s3"]["object"]["key"].endswith("bad"):
        raise ValueError("bad")
    return "seen"
'''

Told = tuple[str, str, str]
"""What is told of: key, event, ETag."""


@dataclass(frozen=True)
class Content:
    """What a key holds."""

    etag: str
    sha256: str
    size: int


@dataclass
class Held:
    """What a key may hold: what was acknowledged last (None: nothing), or one of what was tried since."""

    sure: Content | None = None
    maybe: list[Content | None] = field(default_factory=list)

    @property
    def possible(self) -> list[Content | None]:
        """Whatever the key may hold."""
        return [self.sure, *self.maybe]


def content_of(body: bytes, etag: str = "") -> Content:
    """Return what a key holds that got these bytes in one piece."""
    etag = etag or hashlib.md5(body, usedforsecurity=False).hexdigest()
    return Content(etag, hashlib.sha256(body).hexdigest(), len(body))


class Objects:
    """The life of objects: buckets, writers, and the laws."""

    def __init__(self, scene: Scene, gate: Gate) -> None:
        self._scene, self._gate, self._books = scene, gate, scene.books
        self._s3 = scene.client("s3")
        self._held: dict[str, Held] = {}
        self._acknowledged: Counter[Told] = Counter()
        self._attempted: Counter[Told] = Counter()
        self._versions: dict[tuple[str, str], Content] = {}
        self._gone: set[tuple[str, str]] = set()
        self._queues: dict[str, str] = {}

    def furnish(self) -> None:
        """Make buckets, queues, the function, and what tells them."""
        scene = self._scene
        names = ("told", "told-succeeded", "told-failed", "told-dead")
        self._queues = {name: scene.make_queue(name) for name in names}
        arn = "arn:aws:sqs:us-east-1:000000000000:{}".format
        function = scene.make_function("told", FUNCTION, DeadLetterConfig={"TargetArn": arn("told-dead")})
        scene.client("lambda").put_function_event_invoke_config(
            FunctionName="told",
            DestinationConfig={
                "OnSuccess": {"Destination": arn("told-succeeded")},
                "OnFailure": {"Destination": arn("told-failed")},
            },
        )
        self._s3.create_bucket(Bucket=BUCKET)
        self._s3.create_bucket(Bucket=VERSIONS)
        self._s3.put_bucket_versioning(Bucket=VERSIONS, VersioningConfiguration={"Status": "Enabled"})
        events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
        self._s3.put_bucket_notification_configuration(
            Bucket=BUCKET,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": arn("told"), "Events": events, "Filter": _below("q/")}],
                "LambdaFunctionConfigurations": [
                    {"LambdaFunctionArn": function["FunctionArn"], "Events": events, "Filter": _below("f/")}
                ],
            },
        )

    def add_to(self, load: Load) -> None:
        """Let writers write."""
        for number in range(WRITERS):
            self._write(load, number)
        self._write_versions(load)

    # -- writing

    def _write(self, load: Load, number: int) -> None:
        client, rng = self._scene.client("s3"), random.Random(self._scene.rng.random())
        keys = [f"{prefix}/{number}-{index}{'bad' if index == 0 else ''}" for prefix in "qf" for index in range(KEYS)]
        self._held.update((key, Held()) for key in keys)

        def step() -> None:
            key = rng.choice(keys)
            held, chance = self._held[key], rng.random()
            try:
                if chance < 0.2 and held.sure is not None and not held.maybe:
                    self._delete(client, key)
                elif chance < 0.27:
                    self._upload(client, rng, key)
                elif chance < 0.37:
                    self._copy(client, rng.choice(keys), key)
                else:
                    self._put(client, rng, key)
            except AWAY:
                self._books.note_refused()
                load.pause(0.03)
            load.pause(0.003)

        load.add(self._gate.passing(step))

    def _try(self, key: str, content: Content | None, event: str) -> Told:
        """Note that somebody may have written this."""
        told = (key, event, content.etag if content is not None else "")
        self._held[key].maybe.append(content)
        self._attempted[told] += 1
        return told

    def _keep(self, told: Told, content: Content | None) -> None:
        """Note that it was acknowledged."""
        self._held[told[0]] = Held(content)
        self._acknowledged[told] += 1
        self._books.note_sent("objects", [f"{told} {self._acknowledged[told]}"])

    def _put(self, client: Any, rng: random.Random, key: str) -> None:
        body = rng.randbytes(_size(rng))
        content = content_of(body)
        told = self._try(key, content, "ObjectCreated:Put")
        answer = client.put_object(Bucket=BUCKET, Key=key, Body=body)
        self._keep(told, content)
        self._books.expect(answer["ETag"] == f'"{content.etag}"', f"{key}: put answered ETag {answer['ETag']}")

    def _delete(self, client: Any, key: str) -> None:
        told = self._try(key, None, "ObjectRemoved:Delete")
        client.delete_object(Bucket=BUCKET, Key=key)
        self._keep(told, None)

    def _copy(self, client: Any, source: str, key: str) -> None:
        held = self._held[source]
        if source == key or held.sure is None or held.maybe or "-" in held.sure.etag:
            return
        told = self._try(key, held.sure, "ObjectCreated:Copy")
        client.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})
        self._keep(told, held.sure)

    def _upload(self, client: Any, rng: random.Random, key: str) -> None:
        parts = [rng.randbytes(PART_BYTES), rng.randbytes(rng.randrange(1, 300_000))]
        digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        named = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
        done = []
        for number, part in enumerate(parts, 1):
            answer = client.upload_part(**named, PartNumber=number, Body=part)
            done.append({"PartNumber": number, "ETag": answer["ETag"]})
        if rng.random() < 0.2:
            client.abort_multipart_upload(**named)
            return
        content = content_of(b"".join(parts), etag)
        told = self._try(key, content, "ObjectCreated:CompleteMultipartUpload")
        client.complete_multipart_upload(**named, MultipartUpload={"Parts": done})
        self._keep(told, content)

    def _write_versions(self, load: Load) -> None:
        client, rng = self._scene.client("s3"), random.Random(self._scene.rng.random())

        def step() -> None:
            key = rng.choice("abc")
            try:
                if rng.random() < 0.3 and self._versions:
                    gone = rng.choice(list(self._versions))
                    content = self._versions.pop(gone)
                    client.delete_object(Bucket=VERSIONS, Key=gone[0], VersionId=gone[1])
                    self._gone.add(gone)
                else:
                    body = rng.randbytes(_size(rng))
                    content = content_of(body)
                    answer = client.put_object(Bucket=VERSIONS, Key=key, Body=body)
                    self._versions[key, answer["VersionId"]] = content
                    self._books.note_sent("versions", [answer["VersionId"]])
            except AWAY:
                self._books.note_refused()
                load.pause(0.03)
            load.pause(0.01)

        load.add(self._gate.passing(step))

    # -- looking

    def check(self, when: str, *, all_versions: bool = False) -> None:
        """Compare every key with what it may hold; what it holds is then sure. The gate is closed meanwhile."""
        listed = {
            one["Key"]: one
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
            for one in page.get("Contents", [])
        }
        strange = set(listed) - set(self._held)
        self._books.expect(not strange, f"{when}: there are objects that nobody made: {sorted(strange)[:5]}")
        for key, held in self._held.items():
            found, sha256 = self._read(BUCKET, key), None
            if found is not None:
                sha256 = found.sha256
            match = [one for one in held.possible if (one.sha256 if one is not None else None) == sha256]
            if not match or (found is not None and match[0] is not None and found.etag != match[0].etag):
                self._books.violate(f"{when}: {key} holds {found}, not one of {held.possible}")
            entry = listed.get(key)
            seen = (entry["ETag"].strip('"'), entry["Size"]) if entry is not None else None
            self._books.expect(
                seen == ((found.etag, found.size) if found is not None else None),
                f"{when}: {key} is listed as {seen}, and read as {found}",
            )
            self._held[key] = Held(found)
        some = (
            list(self._versions)
            if all_versions
            else self._scene.rng.sample(list(self._versions), min(10, len(self._versions)))
        )
        for key, version in some:
            wanted = self._versions[key, version]
            found = self._read(VERSIONS, key, version)
            self._books.expect(found == wanted, f"{when}: version {version} of {key} holds {found}, not {wanted}")
        for key, version in list(self._gone) if all_versions else list(self._gone)[-10:]:
            found = self._read(VERSIONS, key, version)
            self._books.expect(found is None, f"{when}: version {version} of {key} is back after its deletion")

    def _read(self, bucket: str, key: str, version: str = "") -> Content | None:
        members = {"VersionId": version} if version else {}
        try:
            answer = self._s3.get_object(Bucket=bucket, Key=key, **members)
            return content_of(answer["Body"].read(), answer["ETag"].strip('"'))
        except botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchVersion"):
                return None
            self._books.violate(f"{key} {version} cannot be read: {error}")
        except botocore.exceptions.BotoCoreError as error:
            self._books.violate(f"{key} {version} cannot be read: {error}")
        return Content("unreadable", "", 0)

    # -- the end

    def finish(self, say: Progress) -> None:
        """Hold the laws that need an end; then delete everything and see that nothing is left of it."""
        scene, books = self._scene, self._books
        self.check("the end", all_versions=True)
        scene.await_that(lambda: asynchronous.lanes(scene) == 0, "every event has come to its end", timeout_s=180)
        seen: dict[str, Counter[Told]] = {name: Counter() for name in self._queues}
        order: dict[str, list[tuple[str, Told]]] = defaultdict(list)
        for name, url in self._queues.items():
            for message in asynchronous.all_of(scene, url):
                for told, sequencer in _told_in(name, message):
                    seen[name][told] += 1
                    if name == "told":
                        order[told[0]].append((sequencer, told))
        for told, attempts in self._attempted.items():
            key = told[0]
            ways = (
                {"told"}
                if key.startswith("q/")
                else {"told-failed", "told-dead"}
                if key.endswith("bad")
                else {"told-succeeded"}
            )
            for name in self._queues:
                least, most = (self._acknowledged[told], attempts) if name in ways else (0, 0)
                count = seen[name][told]
                books.expect(least <= count <= most, f"{told} was told to {name} {count} times, not {least} to {most}")
        strange = [told for counts in seen.values() for told in counts if told not in self._attempted]
        books.expect(not strange, f"{len(strange)} events of what nobody did, such as {strange[:3]}")
        for name, both in (("told-failed", "told-dead"),):
            books.expect(seen[name] == seen[both], f"{name} and {both} were not told of the same")
        for key, events in order.items():
            numbers = [sequencer for sequencer, _ in events]
            books.expect(len(set(numbers)) == len(numbers), f"{key}: two events have one sequencer")
            self._check_last(key, max(events)[1])
        say(
            f"objects: {sum(self._acknowledged.values()):,} writes acknowledged, {len(self._versions):,} versions "
            f"kept, {len(self._gone):,} deleted, {sum(map(Counter.total, seen.values())):,} events told"
        )
        self._clear(say)

    def _check_last(self, key: str, told: Told) -> None:
        """The event with the highest sequencer is the one that made the key what it is."""
        sure = self._held[key].sure
        self._books.expect(
            told[2] == (sure.etag if sure is not None else ""), f"{key} holds {sure}, but was last told of as {told}"
        )

    def _clear(self, say: Progress) -> None:
        """Delete all there is: no blob may stay."""
        blobs = self._scene.daemon.data / "blobs"
        before = len(_files(blobs))
        for upload in self._s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
            self._s3.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for one in page.get("Contents", []):
                self._s3.delete_object(Bucket=BUCKET, Key=one["Key"])
        for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=VERSIONS):
            for one in page.get("Versions", []) + page.get("DeleteMarkers", []):
                self._s3.delete_object(Bucket=VERSIONS, Key=one["Key"], VersionId=one["VersionId"])
        give_up_at = time.monotonic() + BLOBS_LIMIT_S
        while (left := _files(blobs)) and time.monotonic() < give_up_at:
            time.sleep(0.1)
        self._books.expect(not left, f"{len(left)} blobs stay when nothing uses them, such as {left[:3]}")
        say(f"objects: {before:,} blobs, {len(left)} after everything was deleted")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _below(prefix: str) -> dict[str, Any]:
    return {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}


def _size(rng: random.Random) -> int:
    """Return a size: in the row, around the limit of what goes there, as a file."""
    return rng.choice(
        (0, rng.randrange(5_000), rng.randrange(5_000), rng.randrange(60_000, 70_000), rng.randrange(900_000))
    )


def _told_in(queue: str, message: Any) -> list[tuple[Told, str]]:
    """Return what a message tells of, and the sequencers."""
    event = json.loads(message["Body"])
    if queue in ("told-succeeded", "told-failed"):
        event = event["requestPayload"]
    found = []
    for record in event.get("Records", []):  # the test event has none
        one = record["s3"]["object"]
        key = urllib.parse.unquote_plus(one["key"])
        found.append(((key, record["eventName"], one.get("eTag", "")), one["sequencer"]))
    return found
