"""Terraform makes buckets with all their settings and what they tell, changes and destroys them.

The whole async life: a bucket with versions tells a queue and a function; the function's event invoke config sends what
became of each event to a queue or to another bucket.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.client import runtime_name
from tests.e2e.terraforming import ACCOUNT, Terraform, provider, write_archive
from tests.running import RunningDaemon
from tests.wire.mappings_speaking import wait_for

pytestmark = pytest.mark.timeout(600)  # the provider waits a minute for every lifecycle configuration

CONFIGURATION = (
    provider("iam", "lambda", "s3", "sqs", region="eu-central-1", further="s3_use_path_style = true")
    + """
variable "stage" { type = string }
variable "archive" { type = string }
variable "runtime" { type = string }

locals {
  is_second = var.stage == "two"
}

resource "aws_sqs_queue" "told" {
  for_each = toset(["told", "done"])
  name     = each.key
}

resource "aws_iam_role" "reader" {
  name = "reader"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_lambda_function" "reader" {
  function_name    = "reader"
  filename         = var.archive
  source_code_hash = filebase64sha256(var.archive)
  role             = aws_iam_role.reader.arn
  handler          = "app.handler"
  runtime          = var.runtime
}

resource "aws_lambda_permission" "photos" {
  statement_id   = "photos"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.reader.function_name
  principal      = "s3.amazonaws.com"
  source_arn     = aws_s3_bucket.photos.arn
  source_account = "123456789012"
}

resource "aws_lambda_function_event_invoke_config" "reader" {
  function_name                = aws_lambda_function.reader.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = local.is_second ? 120 : 60
  destination_config {
    on_failure { destination = aws_s3_bucket.failed.arn }
    on_success { destination = aws_sqs_queue.told["done"].arn }
  }
}

resource "aws_s3_bucket" "failed" {
  bucket        = "tf-failed"
  force_destroy = true
}

resource "aws_s3_bucket" "photos" {
  bucket        = "tf-photos"
  force_destroy = true
  tags          = { stage = var.stage }
}

resource "aws_s3_bucket_versioning" "photos" {
  bucket = aws_s3_bucket.photos.id
  versioning_configuration { status = local.is_second ? "Suspended" : "Enabled" }
}

resource "aws_s3_bucket_notification" "photos" {
  depends_on = [aws_lambda_permission.photos]
  bucket     = aws_s3_bucket.photos.id
  lambda_function {
    id                  = "texts"
    lambda_function_arn = aws_lambda_function.reader.arn
    events              = ["s3:ObjectCreated:*"]
    filter_suffix       = ".txt"
  }
  queue {
    id            = "images"
    queue_arn     = aws_sqs_queue.told["told"].arn
    events        = local.is_second ? ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"] : ["s3:ObjectCreated:*"]
    filter_prefix = "in/"
    filter_suffix = ".jpg"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "photos" {
  bucket = aws_s3_bucket.photos.id
  rule {
    id     = "logs"
    status = "Enabled"
    filter { prefix = "logs/" }
    expiration { days = local.is_second ? 7 : 30 }
    noncurrent_version_expiration { noncurrent_days = 5 }
    abort_incomplete_multipart_upload { days_after_initiation = 1 }
  }
}

resource "aws_s3_bucket_cors_configuration" "photos" {
  bucket = aws_s3_bucket.photos.id
  cors_rule {
    allowed_methods = ["GET", "PUT"]
    allowed_origins = ["https://example.com"]
    allowed_headers = ["*"]
    expose_headers  = ["ETag"]
    max_age_seconds = 60
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "photos" {
  bucket = aws_s3_bucket.photos.id
  rule {
    apply_server_side_encryption_by_default { sse_algorithm = "AES256" }
    bucket_key_enabled = local.is_second
  }
}

resource "aws_s3_bucket_public_access_block" "photos" {
  bucket                  = aws_s3_bucket.photos.id
  block_public_acls       = true
  block_public_policy     = false
  ignore_public_acls      = true
  restrict_public_buckets = false
}

resource "aws_s3_bucket_ownership_controls" "photos" {
  bucket = aws_s3_bucket.photos.id
  rule { object_ownership = "BucketOwnerPreferred" }
}

resource "aws_s3_bucket_acl" "photos" {
  depends_on = [aws_s3_bucket_ownership_controls.photos]
  bucket     = aws_s3_bucket.photos.id
  acl        = "private"
}

resource "aws_s3_bucket_policy" "photos" {
  depends_on = [aws_s3_bucket_public_access_block.photos]
  bucket     = aws_s3_bucket.photos.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "read"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::123456789012:root" }
      Action    = ["s3:GetObject"]
      Resource  = "${aws_s3_bucket.photos.arn}/*"
    }]
  })
}

resource "aws_s3_object" "logo" {
  bucket       = aws_s3_bucket.photos.id
  key          = "static/logo ü.txt"
  content      = "logo ${var.stage}"
  content_type = "text/plain"
  metadata     = { stage = var.stage }
  tags         = { kind = "logo" }
}

resource "aws_s3_bucket" "vault" {
  bucket              = "tf-vault"
  object_lock_enabled = true
  force_destroy       = true
}

resource "aws_s3_bucket_object_lock_configuration" "vault" {
  bucket = aws_s3_bucket.vault.id
  rule {
    default_retention {
      mode = "GOVERNANCE"
      days = 1
    }
  }
}

data "aws_s3_bucket" "photos" { bucket = aws_s3_bucket.photos.id }
data "aws_s3_object" "logo" {
  bucket = aws_s3_bucket.photos.id
  key    = aws_s3_object.logo.key
}
output "region" { value = data.aws_s3_bucket.photos.region }
output "logo" { value = data.aws_s3_object.logo.body }
"""
)

HANDLER = """
import boto3
from urllib.parse import unquote_plus

def handler(event, context):
    (record,) = event["Records"]
    thing = record["s3"]["object"]
    key = unquote_plus(thing["key"])
    found = boto3.client("s3").get_object(Bucket=record["s3"]["bucket"]["name"], Key=key, VersionId=thing["versionId"])
    return {"key": key, "text": found["Body"].read().decode("ascii")}
"""


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    archive = write_archive(tmp_path / "app.zip", HANDLER)
    return Terraform(
        tmp_path / "infra", CONFIGURATION, url=daemon.url, archive=archive, runtime=runtime_name()
    ).initialise()


class World:
    """What the configuration makes, as clients see it."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.s3, self.sqs, self.functions = (
            daemon.client(service, region="eu-central-1", account=ACCOUNT) for service in ("s3", "sqs", "lambda")
        )

    def take(self, queue: str) -> dict[str, Any]:
        """Take the next message off a queue and return what it says."""
        url = self.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        (message,) = self.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"]
        self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        body: dict[str, Any] = json.loads(message["Body"])
        return body

    def failed(self) -> list[dict[str, Any]]:
        """Return the records of failed events that lie in the bucket for them."""
        found = self.s3.list_objects_v2(Bucket="tf-failed").get("Contents", [])
        return [json.loads(self.s3.get_object(Bucket="tf-failed", Key=one["Key"])["Body"].read()) for one in found]


def test_buckets_and_what_they_tell_are_made_used_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    world = World(daemon)
    s3 = world.s3
    terraform.apply(stage="one")
    shown = terraform.outputs()
    assert (shown["logo"], shown["region"]) == ("logo one", "eu-central-1")

    while world.take("told").get("Event") != "s3:TestEvent":
        pass
    s3.put_object(Bucket="tf-photos", Key="in/a.jpg", Body=b"x")
    (told,) = world.take("told")["Records"]
    assert (told["s3"]["configurationId"], told["s3"]["object"]["key"]) == ("images", "in/a.jpg")
    s3.put_object(Bucket="tf-photos", Key="fine ü.txt", Body=b"fine")
    payload = {}
    while payload.get("key") != "fine ü.txt":  # the logo may have been told of, too
        payload = world.take("done")["responsePayload"]
    assert payload["text"] == "fine"
    s3.put_object(Bucket="tf-photos", Key="broken.txt", Body=b"\xff")
    (record,) = wait_for(world.failed, bool)
    assert record["requestPayload"]["Records"][0]["s3"]["object"]["key"] == "broken.txt"
    assert record["requestContext"]["condition"] == "RetriesExhausted"

    terraform.apply(stage="two")
    assert s3.get_bucket_versioning(Bucket="tf-photos")["Status"] == "Suspended"
    terraform.destroy(stage="two")
    assert s3.list_buckets()["Buckets"] == []
    assert world.functions.list_functions()["Functions"] == []
    assert world.sqs.list_queues().get("QueueUrls", []) == []
