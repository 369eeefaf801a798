"""Terraform with the AWS provider maps a stream and a table's stream, sees no difference, and destroys both."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.running import RunningDaemon
from tests.wire.lambda_speaking import zip_of
from tests.wire.mappings_speaking import wait_for

pytestmark = pytest.mark.timeout(600)  # the provider waits ten seconds before it looks at a change

ACCOUNT = "123456789012"

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
variable "factor" { type = number }
variable "archive" {}
variable "journal" {}

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "123456789012"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  endpoints {
    dynamodb = var.url
    iam      = var.url
    kinesis  = var.url
    lambda   = var.url
    sqs      = var.url
    sts      = var.url
  }
}

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

HANDLER = """
import os

def handler(event, context):
    with open(os.environ["JOURNAL"], "a") as journal:
        journal.write("".join(record["eventSource"] + "\\n" for record in event["Records"]))
    return {"state": {}} if "state" in event else None
"""


class Terraform:
    """Terraform in a folder of its own, against one daemon."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self.journal = folder / "journal"
        self._fixed = {"url": url, "archive": str(folder / "app.zip"), "journal": str(self.journal)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
        self._environment = {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0"}
        (folder / "main.tf").write_text(CONFIGURATION)
        (folder / "app.zip").write_bytes(zip_of(HANDLER))

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,), **variables: object) -> tuple[int, str]:
        """Run a command and return its exit code and output."""
        given = {**self._fixed, **variables} if variables else {}
        command = ["terraform", *arguments, *(f"-var={name}={value}" for name, value in given.items())]
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode in codes, f"terraform {arguments[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode, done.stdout


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    running = RunningDaemon(tmp_path / "data", test_clock=False, environment={"EVENTRT_RUNTIME_ISOLATION": "none"})
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


def test_mappings_of_streams_are_made_changed_used_and_destroyed(daemon: RunningDaemon, terraform: Terraform) -> None:
    functions = daemon.client("lambda", account=ACCOUNT)
    for factor in (1, 5):
        terraform.run("apply", "-auto-approve", factor=factor)
        code, shown = terraform.run("plan", "-detailed-exitcode", codes=(0, 1, 2), factor=factor)
        assert code == 0, f"a plan after apply shows a difference:\n{shown}"
    made: list[dict[str, Any]] = functions.list_event_source_mappings()["EventSourceMappings"]
    assert sorted(mapping["ParallelizationFactor"] for mapping in made) == [1, 5]

    daemon.client("kinesis", account=ACCOUNT).put_record(
        StreamName="orders", PartitionKey="k", Data=json.dumps({"kind": "new"}).encode()
    )
    daemon.client("dynamodb", account=ACCOUNT).put_item(TableName="items", Item={"id": {"S": "a"}})
    wait_for(
        lambda: sorted(terraform.journal.read_text().split()) if terraform.journal.exists() else [],
        lambda seen: seen == ["aws:dynamodb", "aws:kinesis"],
        limit_s=30,
    )

    terraform.run("destroy", "-auto-approve", factor=5)
    assert functions.list_event_source_mappings()["EventSourceMappings"] == []
