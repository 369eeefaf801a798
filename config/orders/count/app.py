"""Adds up orders per shop in windows of a minute; the window's last call writes the totals into a table.

What is added up so far travels in the window's state, so a batch that is tried again counts once. An order that cannot
be read raises, and bisecting leaves it alone with its fault.
"""

import base64
import json
import os
from decimal import Decimal

import boto3

table = boto3.resource("dynamodb").Table(os.environ["TABLE"])


def handler(event, context):
    """Add the batch to the window's totals; write them down when the window is over."""
    totals = event["state"]
    for record in event["Records"]:
        order = json.loads(base64.b64decode(record["kinesis"]["data"]))
        shop = totals.setdefault(order["shop"], {"orders": 0, "cents": 0})
        shop["orders"] += 1
        shop["cents"] += order["quantity"] * order["price_cents"]
    if event["isFinalInvokeForWindow"]:
        with table.batch_writer() as batch:
            for name, shop in totals.items():
                item = {"shop": name, "minute": event["window"]["start"], "orders": shop["orders"]}
                batch.put_item(Item={**item, "total": Decimal(shop["cents"]) / 100})
        print(f"{event['shardId']} {event['window']['start']}: {json.dumps(totals)}")
    return {"state": totals}
