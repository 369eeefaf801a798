"""Terraform with the AWS provider: create, use, no difference, change, destroy; nothing is left."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.bench.client import runtime_name
from tests.e2e.terraforming import ACCOUNT, Terraform, provider, write_archive
from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(1800)

HANDLER = """
import boto3, json, os

def handler(event, context):
    failures = []
    for record in event.get("Records", []):
        if record["body"] == "poison":
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        boto3.client("sqs").send_message(QueueUrl=os.environ["RESULTS"], MessageBody=record["body"].upper())
    return {"batchItemFailures": failures, "stage": os.environ["STAGE"]}
"""

CONFIGURATION = (
    provider("iam", "lambda", "sqs")
    + """
variable "archive" { type = string }
variable "stage" { type = string }
variable "runtime" { type = string }

data "aws_caller_identity" "me" {}

resource "aws_sqs_queue" "dead" {
  name                      = "dead"
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue" "orders" {
  name                       = "orders"
  visibility_timeout_seconds = 5
  receive_wait_time_seconds  = 5
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 1
  })
  tags = { stage = var.stage }
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  queue_url = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.orders.arn]
  })
}

resource "aws_sqs_queue_policy" "orders" {
  queue_url = aws_sqs_queue.orders.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "send"
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.me.account_id}:root" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.orders.arn
    }]
  })
}

resource "aws_sqs_queue" "results" {
  name                        = "results.fifo"
  fifo_queue                  = true
  content_based_deduplication = true
  deduplication_scope         = "messageGroup"
  fifo_throughput_limit       = "perMessageGroupId"
}

resource "aws_sqs_queue" "plain" {
  name = "plain-results"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "consume" {
  statement {
    actions   = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.orders.arn]
  }
}

resource "aws_iam_role" "worker" {
  name                 = "worker"
  path                 = "/service/"
  description          = "runs the worker"
  max_session_duration = 7200
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  tags                 = { stage = var.stage }
}

resource "aws_iam_role_policy_attachment" "basic" {
  role       = aws_iam_role.worker.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

resource "aws_iam_role_policy" "inline" {
  name   = "consume"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.consume.json
}

resource "aws_iam_policy" "managed" {
  name        = "results-${var.stage}"
  description = "what the worker writes"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sqs:SendMessage", Resource = aws_sqs_queue.plain.arn }]
  })
  tags = { stage = var.stage }
}

resource "aws_iam_role_policy_attachment" "managed" {
  role       = aws_iam_role.worker.name
  policy_arn = aws_iam_policy.managed.arn
}

resource "aws_lambda_function" "worker" {
  function_name    = "worker"
  description      = "stage ${var.stage}"
  filename         = var.archive
  source_code_hash = filebase64sha256(var.archive)
  role             = aws_iam_role.worker.arn
  handler          = "app.handler"
  runtime          = var.runtime
  timeout          = 5
  memory_size      = 256
  environment {
    variables = {
      STAGE   = var.stage
      RESULTS = aws_sqs_queue.plain.url
    }
  }
  tags = { stage = var.stage }
}

resource "aws_lambda_permission" "invoke" {
  statement_id  = "invoke"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.worker.function_name
  principal     = "events.amazonaws.com"
  source_arn    = "arn:aws:events:us-east-1:123456789012:rule/nightly"
}

resource "aws_lambda_event_source_mapping" "orders" {
  event_source_arn                   = aws_sqs_queue.orders.arn
  function_name                      = aws_lambda_function.worker.arn
  batch_size                         = 5
  maximum_batching_window_in_seconds = 0
  function_response_types            = ["ReportBatchItemFailures"]
  scaling_config { maximum_concurrency = 4 }
  filter_criteria {
    filter { pattern = jsonencode({ body = [{ "anything-but" = ["ignored"] }] }) }
  }
}

output "orders" { value = aws_sqs_queue.orders.url }
output "dead" { value = aws_sqs_queue.dead.url }
output "results" { value = aws_sqs_queue.plain.url }
output "account" { value = data.aws_caller_identity.me.account_id }
"""
)


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    archive = write_archive(tmp_path / "app.zip", HANDLER)
    return Terraform(
        tmp_path / "infra", CONFIGURATION, url=daemon.url, archive=archive, runtime=runtime_name()
    ).initialise()


def receive_all(sqs: Any, url: str, count: int, *, timeout_s: float = 120.0) -> list[str]:
    """Return `count` bodies as they come; fewer when the time is over."""
    bodies: list[str] = []
    give_up_at = time.monotonic() + timeout_s
    while len(bodies) < count and time.monotonic() < give_up_at:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        for message in answer.get("Messages", []):
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return sorted(bodies)


def test_a_stack_is_made_used_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform, tmp_path: Path
) -> None:
    sqs = daemon.client("sqs", account=ACCOUNT)
    functions = daemon.client("lambda", account=ACCOUNT)
    iam = daemon.client("iam", account=ACCOUNT)

    terraform.apply(stage="one")

    outputs = terraform.outputs()
    assert outputs["account"] == ACCOUNT
    for body in ("first", "second", "poison", "ignored"):
        sqs.send_message(QueueUrl=outputs["orders"], MessageBody=body)
    assert receive_all(sqs, outputs["results"], 2) == ["FIRST", "SECOND"]
    assert receive_all(sqs, outputs["dead"], 1) == ["poison"]
    answer = functions.invoke(FunctionName="worker", Payload=b"{}")
    assert json.load(answer["Payload"]) == {"batchItemFailures": [], "stage": "one"}

    write_archive(tmp_path / "app.zip", HANDLER + "\n# changed\n")
    terraform.apply(stage="two")
    answer = functions.invoke(FunctionName="worker", Payload=b"{}")
    assert json.load(answer["Payload"])["stage"] == "two"
    sqs.send_message(QueueUrl=outputs["orders"], MessageBody="third")
    assert receive_all(sqs, outputs["results"], 1) == ["THIRD"]

    daemon.restart(kill=True)
    terraform.has_no_difference(stage="two")

    terraform.destroy(stage="two")
    assert sqs.list_queues().get("QueueUrls", []) == []
    assert functions.list_functions()["Functions"] == []
    assert functions.list_event_source_mappings()["EventSourceMappings"] == []
    assert iam.list_roles()["Roles"] == []
    assert iam.list_policies(Scope="Local")["Policies"] == []
