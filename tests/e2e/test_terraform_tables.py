"""Terraform makes tables with streams, indexes, time to live and items, changes them, and finds no difference."""

from pathlib import Path

import pytest

from tests.e2e.terraforming import ACCOUNT, Terraform, provider
from tests.running import RunningDaemon

pytestmark = pytest.mark.timeout(1800)

CONFIGURATION = (
    provider("dynamodb")
    + """
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
)


@pytest.fixture
def terraform(tmp_path: Path, daemon: RunningDaemon) -> Terraform:
    return Terraform(tmp_path / "infra", CONFIGURATION, url=daemon.url).initialise()


def test_tables_are_made_changed_and_destroyed_without_a_difference_left(
    daemon: RunningDaemon, terraform: Terraform
) -> None:
    tables = daemon.client("dynamodb", account=ACCOUNT)
    terraform.apply(stage="one")
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

    terraform.apply(stage="two")
    daemon.restart(kill=True)
    terraform.has_no_difference(stage="two")
    found = tables.query(
        TableName="orders",
        IndexName="by-state",
        KeyConditionExpression="#s = :s AND #t > :t",
        ExpressionAttributeNames={"#s": "state", "#t": "total"},
        ExpressionAttributeValues={":s": {"S": "two"}, ":t": {"N": "12"}},
    )
    assert [item["customer"]["S"] for item in found["Items"]] == ["ada"]

    terraform.destroy(stage="two")
    assert tables.list_tables()["TableNames"] == []
