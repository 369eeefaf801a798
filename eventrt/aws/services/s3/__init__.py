"""Amazon S3 at the door: buckets, objects, uploads in parts, their settings, forms and CORS, over rest-xml.

The handlers check a request by the rules of `core`, run one unit of work on the shelf (`sources.buckets`), and put the
answer into AWS's words. Bytes of large bodies are `store.blobs`' business.
"""

from eventrt.aws.services.s3.buckets import BucketOperations
from eventrt.aws.services.s3.listing import Listing
from eventrt.aws.services.s3.objects import Objects
from eventrt.aws.services.s3.uploads import Uploads

__all__ = ["S3Service"]


class S3Service(Objects, Uploads, Listing, BucketOperations):
    """The S3 service: one object for the dispatcher."""
