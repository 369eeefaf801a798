"""Makes a thumbnail of every image that arrives, and keeps its measures in a table; what is no image fails."""

import io
import os
from typing import Any
from urllib.parse import unquote_plus

import boto3
from PIL import Image, ImageOps

SIDE = 128
"""Neither side of a thumbnail is longer, in pixels."""

s3 = boto3.client("s3")
images = boto3.resource("dynamodb").Table(os.environ["TABLE"])


def handler(event: dict[str, Any], context: object) -> None:
    """Handle a notification of a bucket."""
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        make_thumbnail(bucket, unquote_plus(record["s3"]["object"]["key"]))


def make_thumbnail(bucket: str, key: str) -> None:
    """Store the thumbnail of one image, and a row about it; storing both again changes nothing.

    Raises: PIL.UnidentifiedImageError, OSError: it is no image, or a broken one.
    """
    with Image.open(io.BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read())) as image:
        kind = image.format or "unknown"
        upright = ImageOps.exif_transpose(image)  # cameras note how they were held instead of turning the picture
        width, height = upright.size
        upright.thumbnail((SIDE, SIDE))
        body = io.BytesIO()
        upright.convert("RGB").save(body, "JPEG")
    thumbnail = f"{key}.thumbnail.jpg"
    s3.put_object(Bucket=os.environ["THUMBNAILS"], Key=thumbnail, Body=body.getvalue(), ContentType="image/jpeg")
    images.put_item(Item={"key": key, "width": width, "height": height, "format": kind, "thumbnail": thumbnail})
    print(f"{key}: {kind}, {width} x {height}")
