"""Terraform sets what becomes of events: dead letters, retries, destinations, loops; no difference is left."""

import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.client import runtime_name
from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(600)

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
  region                      = "us-east-1"
  access_key                  = "123456789012"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  endpoints {
    iam    = var.url
    lambda = var.url
    sqs    = var.url
    sts    = var.url
  }
}

variable "url" { type = string }
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

HANDLER = "def handler(event, context):\n    if event['fails']: raise ValueError('no')\n    return event\n"


class Terraform:
    """Terraform in a folder of its own, against one daemon."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._variables = {"url": url, "archive": str(folder / "app.zip"), "runtime": runtime_name()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_VAR_"))}
        self._environment = {**kept, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0"}
        (folder / "main.tf").write_text(CONFIGURATION)
        with zipfile.ZipFile(folder / "app.zip", "w") as package:
            package.writestr(zipfile.ZipInfo("app.py", (2025, 1, 1, 0, 0, 0)), HANDLER)

    def run(self, *arguments: str, stage: str | None = None, codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """Run a command and return its exit code and output."""
        variables = {} if stage is None else {**self._variables, "stage": stage}
        command = ["terraform", *arguments, *(f"-var={name}={value}" for name, value in variables.items())]
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=400
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


def test_what_becomes_of_events_is_made_changed_and_destroyed_without_a_difference(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    account = "123456789012"
    sqs, functions = daemon.client("sqs", account=account), daemon.client("lambda", account=account)
    for stage in ("one", "two"):
        terraform.run("apply", "-auto-approve", stage=stage)
        code, shown = terraform.run("plan", "-detailed-exitcode", stage=stage, codes=(0, 2))
        assert code == 0, f"a plan after apply shows a difference:\n{shown}"
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
    terraform.run("destroy", "-auto-approve", stage="two")
    assert functions.list_functions()["Functions"] == []
    assert sqs.list_queues().get("QueueUrls", []) == []
