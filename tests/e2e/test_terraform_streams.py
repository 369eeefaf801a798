"""Terraform with the AWS provider makes streams and consumers, sees no difference, changes and destroys them."""

from pathlib import Path

import pytest

from tests.e2e.terraforming import ACCOUNT, Terraform, provider
from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(1800)  # the provider waits ten seconds before it looks at a change

CONFIGURATION = (
    provider("kinesis")
    + """
variable "shards" { type = number }
variable "hours" { type = number }
variable "stage" { type = string }

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
)


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    return Terraform(tmp_path / "infra", CONFIGURATION, url=daemon.url).initialise()


def test_streams_are_made_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    kinesis = daemon.client("kinesis", account=ACCOUNT)
    one = {"shards": 2, "hours": 48, "stage": "one"}
    two = {"shards": 4, "hours": 24, "stage": "two"}

    terraform.apply(**one)
    summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (2, 48)
    assert summary["ConsumerCount"] == 1
    clicks = kinesis.describe_stream_summary(StreamName="clicks")["StreamDescriptionSummary"]
    assert (clicks["EncryptionType"], clicks["OpenShardCount"]) == ("KMS", 4)
    assert "writers" in kinesis.get_resource_policy(ResourceARN=summary["StreamARN"])["Policy"]
    kinesis.put_record(StreamName="orders", Data=b"first", PartitionKey="k")

    terraform.apply(**two)
    summary = kinesis.describe_stream_summary(StreamName="orders")["StreamDescriptionSummary"]
    assert (summary["OpenShardCount"], summary["RetentionPeriodHours"]) == (4, 24)
    assert kinesis.list_tags_for_stream(StreamName="orders")["Tags"] == [{"Key": "stage", "Value": "two"}]

    daemon.restart(kill=True)
    terraform.has_no_difference(**two)

    terraform.destroy(**two)
    assert kinesis.list_streams()["StreamNames"] == []
