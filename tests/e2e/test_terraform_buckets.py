"""Terraform makes buckets with versions, notifications and every setting it reads back, changes and destroys them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(300)

CONFIGURATION = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "123456789012"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  endpoints {
    s3  = var.url
    sqs = var.url
    sts = var.url
  }
}

variable "url" { type = string }
variable "stage" { type = string }

locals {
  is_second = var.stage == "two"
}

resource "aws_sqs_queue" "told" {
  name = "told"
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
  bucket = aws_s3_bucket.photos.id
  queue {
    id            = "images"
    queue_arn     = aws_sqs_queue.told.arn
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


class Terraform:
    """Terraform in a folder of its own, against one daemon."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        (folder / "main.tf").write_text(CONFIGURATION)

    def run(self, *arguments: str, stage: str | None = None, codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """Run a command and return its exit code and output."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
        environment = {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0"}
        variables = [] if stage is None else [f"-var=url={self._url}", f"-var=stage={stage}"]
        command = ["terraform", *arguments, *variables]
        done = subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode, done.stdout

    def has_no_difference(self, stage: str) -> None:
        """Hold that a plan finds nothing to do."""
        code, shown = self.run("plan", "-detailed-exitcode", stage=stage, codes=(0, 2))
        assert code == 0, shown


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path / "data", test_clock=False)
    running.start()
    yield running
    running.close_clients()
    assert running.stop() == 0


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not on PATH")
    folder = tmp_path / "infra"
    folder.mkdir()
    made = Terraform(folder, daemon.url)
    if made.run("init", "-backend=false", codes=(0, 1))[0]:
        pytest.skip("terraform cannot find the AWS provider: neither a filesystem mirror nor the registry has it")
    return made


def test_buckets_are_made_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    s3 = daemon.client("s3", region="eu-central-1", account="123456789012")
    terraform.run("apply", "-auto-approve", stage="one")
    terraform.has_no_difference("one")
    shown = terraform.run("output")[1]
    assert 'logo = "logo one"' in shown
    assert 'region = "eu-central-1"' in shown
    s3.put_object(Bucket="tf-photos", Key="in/a.jpg", Body=b"x")
    sqs = daemon.client("sqs", region="eu-central-1", account="123456789012")
    url = sqs.get_queue_url(QueueName="told")["QueueUrl"]
    bodies = [
        one["Body"] for one in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2)["Messages"]
    ]
    assert any('"configurationId":"images"' in body for body in bodies)

    terraform.run("apply", "-auto-approve", stage="two")
    terraform.has_no_difference("two")
    assert s3.get_bucket_versioning(Bucket="tf-photos")["Status"] == "Suspended"
    terraform.run("destroy", "-auto-approve", stage="two")
    assert s3.list_buckets()["Buckets"] == []
