"""Where a function's code comes from: a zip archive in the request, or an object in a bucket.

The archive is read once, when the function is made or updated, as on AWS: what becomes of the object later does not
matter to the function. What S3 would refuse, Lambda refuses in S3's words inside its own sentence.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from eventrt.aws.call import Call
from eventrt.core.buckets import NULL, Body, Bucket, ObjectVersion
from eventrt.core.function_rules import UNZIPPED_LIMIT_BYTES, check_archive_size
from eventrt.core.object_rules import S3Refused, no_such_key, no_such_version
from eventrt.errors import ApiError
from eventrt.invoker.unpack import too_large
from eventrt.sources.folders import Folders
from eventrt.store.api import Store, Tx
from eventrt.store.blobs import Blobs, BodyLost

_LOG = structlog.get_logger("eventrt.buckets")

_SOURCES_BESIDE_A_ZIP = ("S3Bucket", "S3Key", "S3ObjectVersion", "ImageUri")


def check_source(source: Mapping[str, Any]) -> None:
    """Let a source of code pass: a zip in the request, alone, or an object in a bucket.

    Args: source: `Code` of CreateFunction, or a whole UpdateFunctionCode.
    Raises: ApiError: there is none, or more than one.
    """
    if source.get("ZipFile") is not None:
        if any(source.get(name) for name in _SOURCES_BESIDE_A_ZIP):
            raise _invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
    elif source.get("S3Bucket") is None or source.get("S3Key") is None:
        raise _invalid("Please provide a source for function code.")


class Archives:
    """The archives that requests carry or name."""

    def __init__(self, store: Store, blobs: Blobs, folders: Folders) -> None:
        self._store = store
        self._blobs = blobs
        self._folders = folders

    async def read(self, call: Call, source: Mapping[str, Any]) -> bytes:
        """Return the archive that a source names, which `check_source` let pass.

        Raises:
            ApiError: the object cannot be had, in AWS's words.
            Refused: the archive is larger than it may be.
        """
        archive: bytes | None = source.get("ZipFile")
        if archive is not None:
            check_archive_size(len(archive))
            return archive
        bucket_name, key = source["S3Bucket"], source["S3Key"]
        try:
            return await self._download(call, bucket_name, key, source.get("S3ObjectVersion"))
        except S3Refused as refused:
            raise _as_lambda_says(refused, bucket_name, key) from refused
        except BodyLost as error:
            _LOG.error("object.lost", bucket=bucket_name, key=key, path=str(error.path), reason=error.reason)
            lost = S3Refused("InternalError", "We encountered an internal error. Please try again.")
            raise _as_lambda_says(lost, bucket_name, key) from error

    async def _download(self, call: Call, bucket_name: str, key: str, version_id: str | None) -> bytes:
        bucket, version = await self._store.read(lambda tx: _find(tx, call, bucket_name, key, version_id))
        # With no await since the unit: the blobs cannot go in between.
        with self._blobs.reading(version.body.blobs):
            body = version.body
            if bucket.folder:
                bucket, version = await self._folders.fresh(bucket, version)
                body = Body(version.size, file=str(self._folders.path(bucket, key)))
            if body.size > UNZIPPED_LIMIT_BYTES:
                raise too_large()
            archive = bytearray()
            async for piece in self._blobs.read(body):
                archive += piece
        return bytes(archive)


def _find(tx: Tx, call: Call, bucket_name: str, key: str, version_id: str | None) -> tuple[Bucket, ObjectVersion]:
    bucket = tx.buckets.find(bucket_name)
    if bucket is None:
        raise S3Refused("NoSuchBucket", "The specified bucket does not exist")
    if bucket.account_id != call.account_id:
        raise S3Refused("AccessDenied", "Access Denied")
    if bucket.region != call.region:
        raise S3Refused(
            "PermanentRedirect",
            f"The bucket is in this region: {bucket.region}. Please use this region to retry the request",
        )
    if version_id is None:
        current = tx.objects.current(bucket, key)
        if current is None or current.is_marker:
            raise no_such_key(key)
        return bucket, current
    version = tx.objects.version(bucket, key, "" if version_id == NULL else version_id)
    if version is None:
        raise no_such_version(key, version_id)
    if version.is_marker:
        raise S3Refused("MethodNotAllowed", "The specified method is not allowed against this resource.")
    return bucket, version


def _as_lambda_says(refused: S3Refused, bucket_name: str, key: str) -> ApiError:
    told = f"S3 Error Code: {refused.code}. S3 Error Message: {refused.message}"
    if refused.code == "AccessDenied":
        return ApiError(
            "AccessDeniedException",
            "Your access has been denied by S3, please make sure your request credentials have permission to "
            f"GetObject for {bucket_name}/{key}. {told}",
            status=403,
        )
    return _invalid(f"Error occurred while GetObject. {told}")


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterValueException", message)
