"""Amazon S3 at the door: buckets, objects, uploads in parts, their settings, forms and CORS, over rest-xml.

The handlers check a request by the rules of `core`, run one unit of work on the shelf (`sources.buckets`), and put the
answer into AWS's words. Bytes of large bodies are `store.blobs`' business.
"""

from eventrt.aws.services.s3.bucket_documents import BucketDocuments
from eventrt.aws.services.s3.bucket_settings import BucketSettings
from eventrt.aws.services.s3.buckets import BucketOperations
from eventrt.aws.services.s3.copies import Copies
from eventrt.aws.services.s3.listing import Listing
from eventrt.aws.services.s3.object_settings import ObjectSettings
from eventrt.aws.services.s3.pages import Pages

__all__ = ["S3Service"]


class S3Service(Pages, Copies, Listing, ObjectSettings, BucketOperations, BucketSettings, BucketDocuments):
    """The S3 service: one object for the dispatcher."""
