"""Terraform with the AWS provider makes streams and consumers, sees no difference, changes and destroys them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(600)  # the provider waits ten seconds before it looks at a change

CONFIGURATION = """
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "url" {}
variable "shards" { type = number }
variable "hours" { type = number }
variable "stage" {}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "123456789012"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  endpoints {
    kinesis = var.url
    sts     = var.url
  }
}

resource "aws_kinesis_stream" "orders" {
  name                = "orders"
  shard_count         = var.shards
  retention_period    = var.hours
  tags                = { stage = var.stage }
  stream_mode_details { stream_mode = "PROVISIONED" }
  enforce_consumer_deletion = true
}

resource "aws_kinesis_stream" "clicks" {
  name = "clicks"
  encryption_type     = "KMS"
  kms_key_id          = "alias/aws/kinesis"
  shard_level_metrics = ["IncomingBytes", "OutgoingBytes"]
  stream_mode_details { stream_mode = "ON_DEMAND" }
}

resource "aws_kinesis_stream_consumer" "app" {
  name       = "app"
  stream_arn = aws_kinesis_stream.orders.arn
}

resource "aws_kinesis_resource_policy" "orders" {
  resource_arn = aws_kinesis_stream.orders.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "writers"
      Effect    = "Allow"
      Principal = { AWS = "123456789012" }
      Action    = ["kinesis:PutRecord", "kinesis:PutRecords"]
      Resource  = aws_kinesis_stream.orders.arn
    }]
  })
}

data "aws_kinesis_stream" "orders" {
  name       = aws_kinesis_stream.orders.name
  depends_on = [aws_kinesis_stream.orders]
}

output "open_shards" { value = data.aws_kinesis_stream.orders.open_shards }
output "consumer" { value = aws_kinesis_stream_consumer.app.arn }
"""


class Terraform:
    """Terraform in a folder of its own, against one daemon."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
        self._environment = {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0"}
        (folder / "main.tf").write_text(CONFIGURATION)

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,), **variables: object) -> tuple[int, str]:
        """Run a command and return its exit code and output."""
        given = {"url": self._url, **variables} if variables else {}
        command = ["terraform", *arguments, *(f"-var={name}={value}" for name, value in given.items())]
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode in codes, f"terraform {arguments[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode, done.stdout


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
    code, _ = made.run("init", "-backend=false", codes=(0, 1))
    if code:
        pytest.skip("terraform cannot find the AWS provider: neither a filesystem mirror nor the registry has it")
    return made


def test_streams_are_made_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    kinesis = daemon.client("kinesis", account="123456789012")
    one = {"shards": 2, "hours": 48, "stage": "one"}
    two = {"shards": 4, "hours": 24, "stage": "two"}

    terraform.run("apply", "-auto-approve", **one)
    code, shown = terraform.run("plan", "-detailed-exitcode", codes=(0, 1, 2), **one)
    assert code == 0, f"a plan after apply shows a difference:\n{shown}"
    summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (2, 48)
    assert summary["ConsumerCount"] == 1
    clicks = kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]
    assert (clicks["EncryptionType"], clicks["OpenShardCount"]) == ("KMS", 4)
    assert "writers" in kinesis.get_resource_policy(ResourceARN=summary["StreamARN"])["Policy"]
    kinesis.put_record(StreamName="orders", Data=b"first", PartitionKey="k")

    terraform.run("apply", "-auto-approve", **two)
    code, shown = terraform.run("plan", "-detailed-exitcode", codes=(0, 1, 2), **two)
    assert code == 0, f"a plan after a change shows a difference:\n{shown}"
    summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (4, 24)
    assert kinesis.list_tags_for_stream(StreamName="orders")["Tags"] == [{"Key": "stage", "Value": "two"}]

    daemon.restart(kill=True)
    code, shown = terraform.run("plan", "-detailed-exitcode", codes=(0, 1, 2), **two)
    assert code == 0, f"a plan after kill -9 shows a difference:\n{shown}"

    terraform.run("destroy", "-auto-approve", **two)
    assert kinesis.list_streams()["StreamNames"] == []
