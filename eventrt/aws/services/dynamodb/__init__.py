"""Amazon DynamoDB at the door: tables, items, ranges, batches, transactions and statements.

The handlers check a request by the rules of `core.tables`, run one unit of work on the shelf (`sources.tables`), and
put the answer into DynamoDB's words. Items come and go as the JSON they are (`overlays.Policy.raw`).
"""

from eventrt.aws.services.dynamodb.items import Items
from eventrt.aws.services.dynamodb.reading import Reading
from eventrt.aws.services.dynamodb.tables import Tables

__all__ = ["DynamoDbService"]


class DynamoDbService(Items, Reading, Tables):
    """The DynamoDB service: one object for the dispatcher."""
