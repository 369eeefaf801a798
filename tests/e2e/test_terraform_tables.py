"""Terraform makes tables with streams, indexes, time to live and items, changes them, and finds no difference."""

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
  region                      = "us-east-1"
  access_key                  = "123456789012"
  secret_key                  = "secret"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  endpoints {
    dynamodb = var.url
    sts      = var.url
  }
}

variable "url" { type = string }
variable "stage" { type = string }

locals {
  is_second = var.stage == "two"
}

resource "aws_dynamodb_table" "orders" {
  name                        = "orders"
  billing_mode                = local.is_second ? "PROVISIONED" : "PAY_PER_REQUEST"
  read_capacity               = local.is_second ? 5 : null
  write_capacity              = local.is_second ? 5 : null
  hash_key                    = "customer"
  range_key                   = "placed"
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"
  deletion_protection_enabled = false

  attribute {
    name = "customer"
    type = "S"
  }
  attribute {
    name = "placed"
    type = "N"
  }
  attribute {
    name = "state"
    type = "S"
  }
  attribute {
    name = "total"
    type = "N"
  }

  global_secondary_index {
    name               = "by-state"
    hash_key           = "state"
    range_key          = local.is_second ? "total" : "placed"
    projection_type    = "INCLUDE"
    non_key_attributes = ["note"]
    read_capacity      = local.is_second ? 2 : null
    write_capacity     = local.is_second ? 2 : null
  }

  local_secondary_index {
    name            = "by-total"
    range_key       = "total"
    projection_type = "KEYS_ONLY"
  }

  ttl {
    attribute_name = "expires"
    enabled        = true
  }

  server_side_encryption {
    enabled = true
  }

  tags = { stage = var.stage, owner = "tables" }
}

resource "aws_dynamodb_table" "plain" {
  name         = "plain"
  billing_mode = "PAY_PER_REQUEST"
  table_class  = "STANDARD_INFREQUENT_ACCESS"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "B"
  }
}

resource "aws_dynamodb_table_item" "first" {
  table_name = aws_dynamodb_table.orders.name
  hash_key   = aws_dynamodb_table.orders.hash_key
  range_key  = aws_dynamodb_table.orders.range_key
  item = jsonencode({
    customer = { S = "ada" }
    placed   = { N = "1" }
    state    = { S = var.stage }
    total    = { N = "12.5" }
  })
}

resource "aws_dynamodb_resource_policy" "orders" {
  resource_arn = aws_dynamodb_table.orders.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::123456789012:root" }
      Action    = "dynamodb:GetItem"
      Resource  = aws_dynamodb_table.orders.arn
    }]
  })
}

data "aws_dynamodb_table" "orders" {
  name = aws_dynamodb_table.orders.name
}

output "stream" { value = aws_dynamodb_table.orders.stream_arn }
output "read_back" { value = data.aws_dynamodb_table.orders.arn }
"""


class Terraform:
    """Terraform in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        folder.mkdir()
        (folder / "main.tf").write_text(CONFIGURATION)

    def run(self, *arguments: str, stage: str | None = None, codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
        """Run a command and return its exit code and output."""
        variables = {} if stage is None else {"url": self._url, "stage": stage}
        command = ["terraform", *arguments, *(f"-var={name}={value}" for name, value in variables.items())]
        environment = {**os.environ, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "AWS_EC2_METADATA_DISABLED": "true"}
        done = subprocess.run(command, cwd=self._folder, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode in codes, f"terraform {arguments[0]}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.returncode, done.stdout

    def has_no_difference(self, stage: str) -> None:
        """Check that a plan would change nothing."""
        code, shown = self.run("plan", "-detailed-exitcode", stage=stage, codes=(0, 1, 2))
        assert code == 0, f"a plan shows a difference:\n{shown}"


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
    made = Terraform(tmp_path / "infra", daemon.url)
    code, _ = made.run("init", "-backend=false", codes=(0, 1))
    if code:
        pytest.skip("terraform cannot find the AWS provider: neither a filesystem mirror nor the registry has it")
    return made


def test_tables_are_made_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    tables = daemon.client("dynamodb", account="123456789012")
    terraform.run("apply", "-auto-approve", stage="one")
    terraform.has_no_difference("one")
    shown = tables.describe_table(TableName="orders")["Table"]
    assert shown["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert shown["SSEDescription"]["Status"] == "ENABLED"
    assert tables.describe_time_to_live(TableName="orders")["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "expires",
    }
    found = tables.query(
        TableName="orders",
        IndexName="by-state",
        KeyConditionExpression="#s = :s",
        ExpressionAttributeNames={"#s": "state"},
        ExpressionAttributeValues={":s": {"S": "one"}},
    )
    assert found["Count"] == 1

    terraform.run("apply", "-auto-approve", stage="two")
    terraform.has_no_difference("two")
    daemon.restart(kill=True)
    terraform.has_no_difference("two")
    found = tables.query(
        TableName="orders",
        IndexName="by-state",
        KeyConditionExpression="#s = :s AND #t > :t",
        ExpressionAttributeNames={"#s": "state", "#t": "total"},
        ExpressionAttributeValues={":s": {"S": "two"}, ":t": {"N": "12"}},
    )
    assert [item["customer"]["S"] for item in found["Items"]] == ["ada"]

    terraform.run("destroy", "-auto-approve", stage="two")
    assert tables.list_tables()["TableNames"] == []
