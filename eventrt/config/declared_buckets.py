"""Declared buckets, and who is told of what happens in them; the rest of what can be declared is in `declared`."""

from typing import Annotated

import msgspec
from msgspec import Meta

BUCKET_NAME = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"


class DeclaredBucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket; one over a folder has the folder's files as its objects, whoever writes them."""

    name: Annotated[str, Meta(pattern=BUCKET_NAME, description="Its name, unique over all accounts and regions.")]
    folder: Annotated[
        str,
        Meta(
            description="The folder whose files are its objects, relative to this file; made when missing. Empty "
            "keeps the objects in the data directory. Needs the extra `files`."
        ),
    ] = ""
    versioning: Annotated[bool, Meta(description="Are versions kept? Not of files in a folder.")] = False
    account: Annotated[str, Meta(pattern=r"^\d{12}$", description="The account it belongs to.")] = "000000000000"
    region: Annotated[str, Meta(pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$", description="The region it belongs to.")] = (
        "us-east-1"
    )


class DeclaredNotification(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of what happens in a bucket: a function or a queue."""

    bucket: Annotated[str, Meta(min_length=1, description="The name of the bucket.")]
    function: Annotated[str, Meta(description="The name of the function that is invoked, or an ARN.")] = ""
    queue: Annotated[str, Meta(description="The name of the queue that gets a message, or an ARN.")] = ""
    events: Annotated[
        tuple[str, ...], Meta(min_length=1, description="The events, by AWS's names, wildcards included.")
    ] = ("s3:ObjectCreated:*",)
    prefix: Annotated[str, Meta(description="What keys must begin with.")] = ""
    suffix: Annotated[str, Meta(description="What keys must end with.")] = ""
    account: Annotated[str, Meta(pattern=r"^\d{12}$", description="The account of function or queue.")] = "000000000000"
    region: Annotated[str, Meta(pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$", description="Their region.")] = "us-east-1"

    @property
    def targets(self) -> tuple[str, ...]:
        """The members that name who is told; there has to be one."""
        return tuple(kind for kind in ("function", "queue") if getattr(self, kind))

    @property
    def title(self) -> str:
        """What messages call it: `uploads → resize`."""
        return f"{self.bucket} → {self.function or self.queue}"
