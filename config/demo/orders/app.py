"""The demo's function: adds up orders, and names those it cannot read, so that only they come back."""

import json
import os


def handler(event, context):
    """Handle a batch of orders; return the messages that failed."""
    failed = []
    for record in event["Records"]:
        try:
            order = json.loads(record["body"])
            total = order["quantity"] * order["price"]
            print(f"order {order['id']}: {total:.2f} {os.environ['CURRENCY']}")
        except (ValueError, KeyError, TypeError) as error:
            print(f"cannot handle message {record['messageId']}: {error!r}")
            failed.append({"itemIdentifier": record["messageId"]})
    return {"batchItemFailures": failed}
