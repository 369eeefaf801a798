"""Feeds orders.toml: puts orders on the stream, one of them unreadable, and shows what became of them.

    python config/orders/feed.py [--orders N] [--wait]

It speaks to the daemon with boto3, as any client would. With --wait it stays until the window of a minute is over and
its totals are in the table. Where the daemon listens comes from AWS_ENDPOINT_URL (else http://127.0.0.1:4566).
"""

import argparse
import json
import os
import random
import sys
import time
from typing import Any

import boto3

SHOPS = ("Aalborg", "Bergen", "Coimbra", "Dresden", "Elche", "Faro", "Ghent", "Hull")
WINDOW_S = 60


def client(service: str) -> Any:
    """Return a client of the daemon."""
    return boto3.client(
        service,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
        region_name="us-east-1",
        aws_access_key_id="000000000000",
        aws_secret_access_key="any",
    )


def orders(count: int) -> list[dict[str, Any]]:
    """Return orders as PutRecords takes them; the one in the middle cannot be read."""
    made: list[dict[str, Any]] = []
    for number in range(count):
        shop = random.choice(SHOPS)
        order = {
            "shop": shop,
            "item": number,
            "quantity": random.randint(1, 5),
            "price_cents": random.randint(99, 9999),
        }
        data = json.dumps(order) if number != count // 2 else "this is no order"
        made.append({"PartitionKey": shop, "Data": data.encode()})
    return made


def put(made: list[dict[str, Any]]) -> None:
    """Put orders on the stream, in requests of 500."""
    kinesis = client("kinesis")
    for begin in range(0, len(made), 500):
        answer = kinesis.put_records(StreamName="orders", Records=made[begin : begin + 500])
        if answer["FailedRecordCount"]:
            sys.exit(f"{answer['FailedRecordCount']} orders were refused")


def totals(since: str) -> list[dict[str, Any]]:
    """Return the totals of windows that began at or after a moment."""
    found = client("dynamodb").scan(TableName="totals")["Items"]
    return [item for item in found if item["minute"]["S"] >= since]


def poison() -> list[dict[str, Any]]:
    """Take the failure records off their queue."""
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName="poison-orders")["QueueUrl"]
    records: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            records.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return records


def unreadable(record: dict[str, Any]) -> str:
    """Fetch the record that a failure record points to: it is still on the stream."""
    info, kinesis = record["KinesisBatchInfo"], client("kinesis")
    iterator = kinesis.get_shard_iterator(
        StreamARN=info["streamArn"],
        ShardId=info["shardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=info["startSequenceNumber"],
    )["ShardIterator"]
    text: str = kinesis.get_records(ShardIterator=iterator, Limit=1)["Records"][0]["Data"].decode()
    return text


def main() -> int:
    """Feed, wait if asked to, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--wait", action="store_true", help="stay until their totals are in the table")
    options = parser.parse_args()
    began = time.time()
    put(orders(options.orders))
    print(f"put {options.orders} orders on the stream; one of them cannot be read")
    if not options.wait:
        print("their totals are in the table when the minute is over; --wait shows them")
        return 0
    since = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(began))
    give_up_at = began + 2 * WINDOW_S + 30
    while sum(int(item["orders"]["N"]) for item in totals(since)) < options.orders - 1:
        if time.time() > give_up_at:
            print("the totals are not complete; see `eventrt status`", file=sys.stderr)
            return 1
        time.sleep(1)
    for item in sorted(totals(since), key=lambda item: (item["minute"]["S"], item["shop"]["S"])):
        print(
            f"  {item['minute']['S']}  {item['shop']['S']:<8} {item['orders']['N']:>5} orders {item['total']['N']:>12}"
        )
    for record in poison():
        tries = record["requestContext"]["approximateInvokeCount"]
        print(f"  given up after {tries} tries: {unreadable(record)!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
