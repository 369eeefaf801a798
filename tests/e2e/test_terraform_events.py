"""Terraform sets what becomes of events: dead letters, retries, destinations, loops; no difference is left."""

import json
from pathlib import Path

import pytest

from tests.bench.client import runtime_name
from tests.e2e.terraforming import ACCOUNT, Terraform, provider, write_archive
from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(1800)

CONFIGURATION = (
    provider("iam", "lambda", "sqs")
    + """
variable "archive" { type = string }
variable "stage" { type = string }
variable "runtime" { type = string }

resource "aws_sqs_queue" "told" {
  for_each = toset(["succeeded", "failed", "dead"])
  name     = each.key
}

resource "aws_iam_role" "worker" {
  name = "worker"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "lambda.amazonaws.com" } }]
  })
}

resource "aws_lambda_function" "worker" {
  function_name    = "worker"
  filename         = var.archive
  source_code_hash = filebase64sha256(var.archive)
  role             = aws_iam_role.worker.arn
  handler          = "app.handler"
  runtime          = var.runtime
  dynamic "dead_letter_config" {
    for_each = var.stage == "one" ? ["dead"] : []
    content {
      target_arn = aws_sqs_queue.told[dead_letter_config.value].arn
    }
  }
}

resource "aws_lambda_function_event_invoke_config" "worker" {
  function_name                = aws_lambda_function.worker.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = var.stage == "one" ? 60 : 120
  destination_config {
    on_failure {
      destination = aws_sqs_queue.told["failed"].arn
    }
    dynamic "on_success" {
      for_each = var.stage == "one" ? ["succeeded"] : []
      content {
        destination = aws_sqs_queue.told[on_success.value].arn
      }
    }
  }
}

resource "aws_lambda_function_recursion_config" "worker" {
  function_name  = aws_lambda_function.worker.function_name
  recursive_loop = var.stage == "one" ? "Allow" : "Terminate"
}
"""
)

HANDLER = "def handler(event, context):\n    if event['fails']: raise ValueError('no')\n    return event\n"


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    archive = write_archive(tmp_path / "app.zip", HANDLER)
    return Terraform(
        tmp_path / "infra", CONFIGURATION, url=daemon.url, archive=archive, runtime=runtime_name()
    ).initialise()


def test_what_becomes_of_events_is_made_changed_and_destroyed_without_a_difference(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    sqs, functions = daemon.client("sqs", account=ACCOUNT), daemon.client("lambda", account=ACCOUNT)
    for stage in ("one", "two"):
        terraform.apply(stage=stage)
        functions.invoke(FunctionName="worker", InvocationType="Event", Payload=b'{"fails": true}')
        url = sqs.get_queue_url(QueueName="failed")["QueueUrl"]
        message = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)["Messages"][0]
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        assert json.loads(message["Body"])["requestContext"]["condition"] == "RetriesExhausted"
        dead = sqs.get_queue_url(QueueName="dead")["QueueUrl"]
        letters = sqs.receive_message(QueueUrl=dead).get("Messages", [])
        assert len(letters) == (1 if stage == "one" else 0)
        for letter in letters:
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=letter["ReceiptHandle"])
    terraform.destroy(stage="two")
    assert functions.list_functions()["Functions"] == []
    assert sqs.list_queues().get("QueueUrls", []) == []
