"""Buckets as a shelf: store, delete and change objects, and tell who wants to know, in one unit of work.

Plain functions on a transaction. What is asked here has been checked by its door: sizes, hashes, names. Storing an
object, or deleting one, and handing over its event are one commit: neither is there without the other.
"""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from eventrt.core import notifications as events
from eventrt.core import object_rules as rules
from eventrt.core.arn import Arn
from eventrt.core.buckets import Body, Bucket, Lock, ObjectDraft, ObjectVersion
from eventrt.core.notifications import Event, Origin, Rule
from eventrt.destinations.desk import Desk, Message, Undeliverable
from eventrt.store.api import Tx

COALESCE_S = 1.0
"""With `s3.coalesce`: a second write to a key so soon after the first one raises no event of its own."""

_LOG = structlog.get_logger("eventrt.buckets")
_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did: `version` is the delete marker it made or the version it removed; None when nothing was."""

    version: ObjectVersion | None
    made_marker: bool = False


def own_act(principal_id: str, source_ip: str = "127.0.0.1", *, trace_header: str | None = None) -> Origin:
    """Return the origin of what no request asked for, with ids of its own: readers look for them in every record."""
    return Origin(principal_id, source_ip, secrets.token_hex(8).upper(), "eventrt", trace_header)


class Buckets:
    """Objects and their events.

    Args:
        desk: where events are handed over.
        coalesces: one event for two quick writes to a key without versions, as may happen on AWS.
    """

    def __init__(self, desk: Desk, *, coalesces: bool = False) -> None:
        self.desk = desk
        self._coalesces = coalesces
        self._rules: dict[int, tuple[Mapping[str, Any], list[Rule]]] = {}

    # -- objects

    def put(
        self,
        tx: Tx,
        bucket: Bucket,
        draft: ObjectDraft,
        event: str,
        origin: Origin,
        *,
        conditions: Mapping[str, Any] = _NOTHING,
    ) -> ObjectVersion:
        """Store an object and tell of it.

        Args: event: `s3:ObjectCreated:Put` and the like. conditions: see `object_rules.check_write`.
        Raises: S3Refused: a condition does not hold, or the version it would replace is locked.
        """
        present = tx.objects.current(bucket, draft.key)
        if conditions:
            rules.check_write(conditions, present, draft.key)
        if bucket.has_object_lock:
            draft = draft._replace(lock=rules.default_lock(bucket, draft.lock, tx.now))
        if present is not None or draft.body.extents or "notification" in bucket.settings:
            tx.secure()  # more than one statement follows; a small object under a new key is one
        made = tx.objects.put(bucket, draft, replaces=present)
        if "notification" in bucket.settings and not (
            self._coalesces
            and not bucket.versioning
            and present is not None
            and tx.now - present.modified_at < COALESCE_S
        ):
            told = Event(event, made.key, made.version_id or None, made.size, made.etag, made.id)
            self.tell(tx, bucket, told, origin)
        return made

    def delete(
        self,
        tx: Tx,
        bucket: Bucket,
        key: str,
        version_id: str | None,
        origin: Origin,
        *,
        conditions: Mapping[str, Any] = _NOTHING,
        bypasses_governance: bool = False,
        by_lifecycle: bool = False,
    ) -> Deleted:
        """Delete the current version (`version_id` None) or one version, and tell of it.

        In a bucket with versions, deleting the current one lays a delete marker over it. Nothing there to delete is
        no error.

        Raises: S3Refused: a condition does not hold, or the version is locked.
        """
        family = "s3:LifecycleExpiration:" if by_lifecycle else "s3:ObjectRemoved:"
        if version_id is not None:
            version = tx.objects.version(bucket, key, version_id)
            _check_delete(conditions, version, key)
            if version is None:
                return Deleted(None)
            rules.check_removable(version, bypasses_governance=bypasses_governance, now=tx.now)
            tx.objects.remove(version)
            told = Event(f"{family}Delete", key, version.shown_version_id, sequence=tx.objects.next_id())
            self.tell(tx, bucket, told, origin)
            return Deleted(version)
        current = tx.objects.current(bucket, key)
        _check_delete(conditions, current, key)
        if bucket.versioning:
            if bucket.versioning == "Suspended":
                null = tx.objects.version(bucket, key, "")
                if null is not None:
                    rules.check_removable(null, bypasses_governance=False, now=tx.now)
            marker = tx.objects.put_marker(bucket, key, replaces=current)
            told = Event(
                f"{family}DeleteMarkerCreated",
                key,
                marker.version_id or None,
                etag="d41d8cd98f00b204e9800998ecf8427e",
                sequence=marker.id,
            )
            self.tell(tx, bucket, told, origin)
            return Deleted(marker, made_marker=True)
        if current is not None:
            tx.objects.remove(current)
        self.tell(tx, bucket, Event(f"{family}Delete", key, sequence=tx.objects.next_id()), origin)
        return Deleted(current)

    def set_tags(
        self, tx: Tx, bucket: Bucket, version: ObjectVersion, tags: Mapping[str, str], origin: Origin, *, event: str
    ) -> None:
        """Replace a version's tags and tell of it; `event` is `s3:ObjectTagging:Put` or `:Delete`."""
        tx.objects.change(version, tags=tags)
        self.tell(tx, bucket, Event(event, version.key, version.version_id or None, etag=version.etag), origin)

    def set_acl(self, tx: Tx, bucket: Bucket, version: ObjectVersion, acl: str, origin: Origin) -> None:
        """Replace the access control list kept with a version and tell of it."""
        tx.objects.change(version, acl=acl)
        told = Event("s3:ObjectAcl:Put", version.key, version.version_id or None, etag=version.etag)
        self.tell(tx, bucket, told, origin)

    def set_lock(
        self, tx: Tx, bucket: Bucket, version: ObjectVersion, lock: Lock, origin: Origin, *, event: str = ""
    ) -> None:
        """Replace what keeps a version from being deleted; `event` tells of it where AWS does."""
        tx.objects.change(version, lock=lock)
        if event:
            self.tell(tx, bucket, Event(event, version.key, version.version_id or None, etag=version.etag), origin)

    def delete_bucket(self, tx: Tx, bucket: Bucket) -> None:
        """Take an empty bucket away; nobody finds its uploads any more, and the sweeper ends them in its time."""
        tx.buckets.delete(bucket)
        self._rules.pop(bucket.id, None)
        tx.announce(("buckets",))

    # -- notifications

    def tell(self, tx: Tx, bucket: Bucket, event: Event, origin: Origin) -> None:
        """Hand an event to everyone whose rule it matches; who is gone meanwhile is passed over, as on AWS."""
        configuration = bucket.settings.get("notification")
        if configuration is None:
            return
        for rule in self._rules_of(bucket.id, configuration):
            if not rule.matches(event.name, event.key):
                continue
            record = events.record(
                event,
                rule.id,
                bucket=bucket.name,
                region=bucket.region,
                owner=bucket.account_id,
                origin=origin,
                now=tx.now,
            )
            body = orjson.dumps({"Records": [record]}).decode()
            try:
                self.desk.deliver(
                    tx,
                    rule.target_arn,
                    Message(body, trace_header=origin.trace_header, sender_id=bucket.account_id),
                )
            except Undeliverable as error:
                _LOG.warning(
                    "notification.dropped", bucket=bucket.name, destination_arn=rule.target_arn, error=str(error)
                )

    def _rules_of(self, bucket_id: int, configuration: Mapping[str, Any]) -> Sequence[Rule]:
        known = self._rules.get(bucket_id)
        if known is None or known[0] is not configuration:
            known = self._rules[bucket_id] = (configuration, events.read(configuration))
        return known[1]

    def set_notification(
        self, tx: Tx, bucket: Bucket, configuration: Mapping[str, Any], *, request_id: str, host_id: str, checks: bool
    ) -> Bucket:
        """Replace a bucket's notification configuration; each queue (and topic) in it is sent a test event.

        Args: checks: are the destinations looked at? Else a missing one shows when an event is handed over.
        Raises: S3Refused: the configuration is refused, or a destination is.
        """
        kept = events.with_names(configuration, lambda: str(uuid.uuid4()))
        found = events.read(kept, bucket.region)
        for rule in found:
            if not self.desk.takes(rule.target_arn):
                service = Arn.parse(rule.target_arn).service
                raise rules.S3Refused(
                    "NotImplemented", f"eventrt does not deliver bucket notifications to {service} yet.", status=501
                )
        if checks:
            self._check_destinations(tx, found)
        changed = tx.buckets.change(bucket, settings={"notification": kept or None})
        test = events.test_event(bucket.name, request_id=request_id, host_id=host_id, now=tx.now)
        body = orjson.dumps(test).decode()
        for target in dict.fromkeys(rule.target_arn for rule in found if ":lambda:" not in rule.target_arn):
            try:
                self.desk.deliver(tx, target, Message(body, sender_id=bucket.account_id))
            except Undeliverable as error:
                _LOG.warning("notification.dropped", bucket=bucket.name, destination_arn=target, error=str(error))
        return changed

    def _check_destinations(self, tx: Tx, found: Sequence[Rule]) -> None:
        wrong: dict[str, str] = {}
        for rule in found:
            target = Arn.parse(rule.target_arn)
            if target.service == "sqs":
                queue = tx.queues.by_arn(rule.target_arn)
                if queue is None or queue.is_fifo:
                    wrong[rule.target_arn] = "The destination queue does not exist"
                    if queue is not None:
                        wrong[rule.target_arn] = "FIFO SQS queues are not supported"
            elif target.service == "lambda" and not _is_function(tx, target):
                wrong[f"{rule.target_arn}, null"] = f"Not authorized to invoke function [{rule.target_arn}]"
        if wrong:
            members: dict[str, str] = {}
            for number, (name, why) in enumerate(wrong.items(), 1):
                members |= {f"ArgumentName{number}": name, f"ArgumentValue{number}": why}
            raise rules.S3Refused(
                "InvalidArgument", "Unable to validate the following destination configurations", members=members
            )

    # -- the desk

    def accept(self, tx: Tx, target: Arn, message: Message) -> None:
        """Store a delivery as an object under its `object_key`: the desk's acceptor for `arn:aws:s3:::<bucket>`.

        The body lies in the row, so that it is in the same commit as what it tells of.

        Raises: Undeliverable: there is no such bucket, or it is a folder.
        """
        bucket = tx.buckets.find(target.resource)
        if bucket is None:
            raise Undeliverable(f"the bucket {target.resource} does not exist")
        if bucket.folder:
            raise Undeliverable(f"the bucket {bucket.name} is a folder, which takes files only")
        key = message.object_key or str(uuid.uuid4())
        data = message.body.encode()
        draft = ObjectDraft(
            key, Body(len(data), data), rules.md5_hex(data), headers={"Content-Type": message.content_type}
        )
        self.put(tx, bucket, draft, "s3:ObjectCreated:Put", own_act("AWS:eventrt", trace_header=message.trace_header))


def _check_delete(conditions: Mapping[str, Any], version: ObjectVersion | None, key: str) -> None:
    """Let a conditional delete pass.

    Raises: S3Refused: PreconditionFailed, NoSuchKey.
    Source: user guide, "Conditional deletes".
    """
    match = conditions.get("IfMatch")
    if match is None:
        return
    if version is None or version.is_marker:
        if match.strip() == "*" and version is not None:
            return
        raise rules.no_such_key(key)
    if not rules.matches_etag(match, version.etag):
        raise rules.precondition_failed("If-Match")


def _is_function(tx: Tx, target: Arn) -> bool:
    """Does the ARN name a function that is there? Versions and aliases are not: there are none yet."""
    kind, _, rest = target.resource.partition(":")
    name, _, qualifier = rest.partition(":")
    if kind != "function" or not name or qualifier not in ("", "$LATEST"):
        return False
    return tx.functions.find(target.account_id, target.region, name) is not None
