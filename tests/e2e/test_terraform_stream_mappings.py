"""Terraform with the AWS provider maps a stream and a table's stream, sees no difference, and destroys both."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.terraforming import ACCOUNT, Terraform, provider, write_archive
from tests.running import RunningDaemon
from tests.wire.mappings_speaking import wait_for

pytestmark = pytest.mark.timeout(1800)  # the provider waits ten seconds before it looks at a change

CONFIGURATION = (
    provider("dynamodb", "iam", "kinesis", "lambda", "sqs")
    + """
variable "factor" { type = number }
variable "archive" { type = string }
variable "journal" { type = string }

resource "aws_iam_role" "worker" {
  name               = "worker"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "lambda.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

resource "aws_lambda_function" "worker" {
  function_name    = "worker"
  role             = aws_iam_role.worker.arn
  runtime          = "python3.12"
  handler          = "app.handler"
  filename         = var.archive
  source_code_hash = filebase64sha256(var.archive)
  environment { variables = { JOURNAL = var.journal } }
}

resource "aws_sqs_queue" "dead" { name = "dead" }

resource "aws_kinesis_stream" "orders" {
  name        = "orders"
  shard_count = 2
}

resource "aws_dynamodb_table" "items" {
  name             = "items"
  billing_mode     = "PAY_PER_REQUEST"
  hash_key         = "id"
  stream_enabled   = true
  stream_view_type = "NEW_AND_OLD_IMAGES"
  attribute {
    name = "id"
    type = "S"
  }
}

resource "aws_lambda_event_source_mapping" "orders" {
  event_source_arn                   = aws_kinesis_stream.orders.arn
  function_name                      = aws_lambda_function.worker.arn
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = 50
  maximum_batching_window_in_seconds = 1
  parallelization_factor             = var.factor
  maximum_retry_attempts             = 3
  maximum_record_age_in_seconds      = 3600
  bisect_batch_on_function_error     = true
  function_response_types            = ["ReportBatchItemFailures"]
  destination_config {
    on_failure { destination_arn = aws_sqs_queue.dead.arn }
  }
  filter_criteria {
    filter { pattern = jsonencode({ data = { kind = [{ "anything-but" = ["ignored"] }] } }) }
  }
}

resource "aws_lambda_event_source_mapping" "items" {
  event_source_arn           = aws_dynamodb_table.items.stream_arn
  function_name              = aws_lambda_function.worker.arn
  starting_position          = "LATEST"
  tumbling_window_in_seconds = 30
}
"""
)

HANDLER = """
import os

def handler(event, context):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write("".join(record["eventSource"] + "\\n" for record in event["Records"]))
    return {"state": {}} if "state" in event else None
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path / "data", test_clock=False, environment={"EVENTRT_RUNTIME_ISOLATION": "none"})
    running.start()  # without isolation, as the function writes where the test reads
    yield running
    running.close_clients()
    assert running.stop() == 0


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    archive = write_archive(tmp_path / "app.zip", HANDLER)
    return Terraform(
        tmp_path / "infra", CONFIGURATION, url=daemon.url, archive=archive, journal=tmp_path / "journal"
    ).initialise()


def test_mappings_of_streams_are_made_changed_used_and_destroyed(
    daemon: RunningDaemon, terraform: Terraform, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    functions = daemon.client("lambda", account=ACCOUNT)
    for factor in (1, 5):
        terraform.apply(factor=factor)
    made: list[dict[str, Any]] = functions.list_event_source_mappings()["EventSourceMappings"]
    assert sorted(mapping["ParallelizationFactor"] for mapping in made) == [1, 5]

    daemon.client("kinesis", account=ACCOUNT).put_record(
        StreamName="orders", PartitionKey="k", Data=json.dumps({"kind": "new"}).encode()
    )
    daemon.client("dynamodb", account=ACCOUNT).put_item(TableName="items", Item={"id": {"S": "a"}})
    wait_for(
        lambda: sorted(journal.read_text().split()) if journal.exists() else [],
        lambda seen: seen == ["aws:dynamodb", "aws:kinesis"],
    )

    terraform.destroy(factor=5)
    assert functions.list_event_source_mappings()["EventSourceMappings"] == []
